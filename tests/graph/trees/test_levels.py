"""State trees as mappings: levels, empty ones among them, and their flat view."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from brainstate_graph import (
    FlattedDict,
    GraphError,
    NestedDict,
    State,
    register_with_flax,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from tests.laws.graphs import Gadget, net

NEST = {"a": {"x": 1.0, 3: {}}, "b": {}, 7: {"deep": {"er": {}}}, "c": 2.0}


def test_a_nested_dict_is_a_good_mapping():
    tree = NestedDict(
        {"a": {"w": 1.0, 7: {(1, 2): 2.0}}, 3: {"items": 3.0}, "items": 4.0, None: 5.0, True: 6.0, 1.5: 7.0}
    )
    assert not hasattr(tree, "missing")
    assert getattr(tree, "missing", 9) == 9
    assert not hasattr(tree.a, "missing")
    assert tree["items"] == 4.0
    assert tree[3]["items"] == 3.0
    assert dict(tree.items())["items"] == 4.0
    assert all(isinstance(level, NestedDict) for level in (tree["a"], tree.a, tree["a"][7], tree.copy()))
    assert isinstance(tree.to_flat().copy(), FlattedDict)
    assert sorted(jax.tree.leaves(tree)) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    doubled = jax.tree.map(lambda x: x * 2, tree)
    assert doubled.to_pure_dict()["a"][7] == {(1, 2): 4.0}
    assert tree.to_flat().to_nest() == tree
    for change in (
        lambda: setattr(tree, "a", 1),
        lambda: tree.__setitem__("b", 1),
        lambda: tree["a"].__setitem__("w", 0),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    assert tree["a"]["w"] == 1.0


def test_flax_takes_it():
    serialization = pytest.importorskip("flax.serialization")
    register_with_flax()
    tree = treefy_states(net(2))
    data = serialization.to_state_dict(tree)
    again = serialization.from_state_dict(tree, jax.tree.map(lambda x: x + 1, data))
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    assert all(np.allclose(a, b + 1) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(tree), strict=True))


def test_flat_and_nested_views_go_back_and_forth():
    tree = NestedDict({"a": {"x": 1.0, "y": {3: [1.0, 2.0]}}, "v": None, "t": (1.0,)})
    assert set(tree.to_flat()) == {("a", "x"), ("a", "y", 3), ("v",), ("t",)}
    assert tree.to_flat().to_nest() == tree
    assert NestedDict.from_flat(dict(tree.to_flat().items())) == tree
    assert NestedDict({}).to_flat().to_nest() == NestedDict({})
    value = {"k": {"j": 1.0}}  # a dict as the value of a state is no level
    held = treefy_states([State(value)])
    assert list(held.to_flat()) == [(0,)]
    assert held.to_pure_dict() == {0: value}


def test_empty_levels_are_kept():
    tree = NestedDict(NEST)
    assert tree.to_pure_dict() == NEST
    assert jax.tree.map(lambda x: x, tree).to_pure_dict() == NEST
    assert tree.copy().to_pure_dict() == NEST
    assert NestedDict(tree.to_pure_dict()) == tree
    model = Gadget(w=State(1.0), empty={}, inner=Gadget(), rows=[{}])
    again = treefy_merge(*treefy_split(model))
    assert (again.empty, again.rows, type(again.inner)) == ({}, [{}], Gadget)


@pytest.mark.parametrize("order", [1, -1])
def test_a_value_and_a_level_at_one_path_are_refused_in_both_orders(order):
    pairs = [(("a",), 1.0), (("a", "b"), 2.0), (("a", "b", "c"), 3.0)][::order]
    for make in (NestedDict.from_flat, lambda p: FlattedDict.from_flat(p).to_nest()):
        with pytest.raises(GraphError, match=r"path a is the beginning of another, a\.b"):
            make(pairs)
    for path in ((), ("a",)):
        with pytest.raises(GraphError, match=r"beginning of another|occurs twice"):
            NestedDict.from_flat([(path, 1.0), (("a",), 2.0)])
    left, right = NestedDict({"a": {"b": 1.0}, "z": 0.0}), NestedDict({"a": 2.0})
    for one, two in ((left, right), (right, left)):
        with pytest.raises(GraphError, match=r"beginning of another"):
            _ = one | two


def test_equal_paths_are_refused_and_nothing_is_shared_or_dropped():
    pairs = [(("a", "w"), 1.0), (("b",), 2.0), (("a", "w"), 3.0)]
    for make in (NestedDict.from_flat, FlattedDict.from_flat):
        with pytest.raises(GraphError, match=r"twice"):
            make(pairs)
    with pytest.raises(GraphError, match=r"equal but of different type"):
        NestedDict.from_flat([((1,), 1.0), ((True,), 2.0)])
    inner = {"w": 1.0}
    tree = NestedDict({"a": inner, "b": inner, "none": {}})
    inner["w"] = 5.0
    assert tree.to_pure_dict() == {"a": {"w": 1.0}, "b": {"w": 1.0}, "none": {}}
    pure = tree.to_pure_dict()
    pure["a"]["w"] = 9.0
    assert pure["b"]["w"] == 1.0
    assert tree["a"]["w"] == 1.0
