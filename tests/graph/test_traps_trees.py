"""Traps 42 to 49: state trees, their views, and filters; see `test_traps`."""

from __future__ import annotations

import jax
import pytest

from brainstate_graph import (
    All,
    Any,
    Filter,
    FlattedDict,
    GraphError,
    NestedDict,
    Not,
    State,
    WithTag,
    states,
    to_predicate,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from tests.laws.graphs import Gadget, Param

NEST = {"a": {"x": 1.0, 3: {}}, "b": {}, 7: {"deep": {"er": {}}}, "c": 2.0}


def test_trap_42_flat_and_nested_views_go_back_and_forth():
    tree = NestedDict({"a": {"x": 1.0, "y": {3: [1.0, 2.0]}}, "v": None, "t": (1.0,)})
    assert set(tree.to_flat()) == {("a", "x"), ("a", "y", 3), ("v",), ("t",)}
    assert tree.to_flat().to_nest() == tree
    assert NestedDict.from_flat(dict(tree.to_flat().items())) == tree
    assert NestedDict({}).to_flat().to_nest() == NestedDict({})
    value = {"k": {"j": 1.0}}  # a dict as the value of a state is no level
    held = treefy_states([State(value)])
    assert list(held.to_flat()) == [(0,)]
    assert held.to_pure_dict() == {0: value}


def test_trap_43_empty_levels_are_kept():
    tree = NestedDict(NEST)
    assert tree.to_pure_dict() == NEST
    assert jax.tree.map(lambda x: x, tree).to_pure_dict() == NEST
    assert tree.copy().to_pure_dict() == NEST
    assert NestedDict(tree.to_pure_dict()) == tree
    model = Gadget(w=State(1.0), empty={}, inner=Gadget(), rows=[{}])
    again = treefy_merge(*treefy_split(model))
    assert (again.empty, again.rows, type(again.inner)) == ({}, [{}], Gadget)


@pytest.mark.parametrize("order", [1, -1])
def test_trap_44_a_value_and_a_level_at_one_path_are_refused_in_both_orders(order):
    pairs = [(("a",), 1.0), (("a", "b"), 2.0), (("a", "b", "c"), 3.0)][::order]
    for make in (NestedDict.from_flat, lambda p: FlattedDict.from_flat(p).to_nest()):
        with pytest.raises(GraphError, match=r"path a is the beginning of another, a\.b"):
            make(pairs)
    for path in ((), ("a",)):
        with pytest.raises(GraphError, match=r"beginning of another|stands twice"):
            NestedDict.from_flat([(path, 1.0), (("a",), 2.0)])
    left, right = NestedDict({"a": {"b": 1.0}, "z": 0.0}), NestedDict({"a": 2.0})
    for one, two in ((left, right), (right, left)):
        with pytest.raises(GraphError, match=r"beginning of another"):
            _ = one | two


class Unhashable:
    """A predicate, and equal to its like, but without a hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)

    def __call__(self, path: tuple[object, ...], item: object) -> bool:
        return path[-1] == "w"


def test_trap_45_filters_of_unhashable_predicates_hash_and_select():
    predicate = Unhashable()
    model = Gadget(w=Param(1.0), v=State(2.0))
    for made in (Any(predicate, "t"), All(predicate, State), Not(Not(predicate)), Any([predicate, [predicate]])):
        assert hash(made) == hash(made)
        assert made in {made}
        for _ in range(2):
            assert list(states(model, made)) == [("w",)]
            assert [list(part) for part in treefy_split(model, made, ...)[1:]] == [["w"], ["v"]]


def test_trap_45_a_predicate_that_reads_values_is_asked_each_time():
    model = Gadget(a=State(1.0), b=State(-1.0))
    positive = Any(lambda path, s: s.value > 0)
    assert list(states(model, positive)) == [("a",)]
    model.a.value, model.b.value = -1.0, 1.0
    assert list(states(model, positive)) == [("b",)]


@pytest.mark.parametrize("tag", [["a"], ("a",), {"a"}, None, 3, b"a", State])
def test_trap_46_a_tag_is_one_string(tag):
    with pytest.raises(TypeError, match=r"a tag is a string.*Any\('a', 'b'\)"):
        WithTag(tag)


def test_trap_46_what_is_short_for_a_tag():
    made: Filter = to_predicate(["a", ("b", WithTag("c"))])
    for tag, found in (("a", True), ("c", True), ("abc", False), (["x", "b"], True)):
        assert made(("w",), State(1.0, tag=tag)) is found
    assert not made(("w",), State(1.0))


def test_trap_49_equal_paths_are_refused_and_nothing_is_shared_or_dropped():
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
