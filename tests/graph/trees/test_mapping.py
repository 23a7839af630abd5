"""State trees as immutable mappings: names, paths, equality, union, and what no tree is made of."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import FlattedDict, GraphError, NestedDict, State, treefy_merge, treefy_split, treefy_states
from tests.laws.graphs import Gadget, net, same_value
from tests.tables import each


def flat(nested, path=()):
    """The slow way."""
    if not isinstance(nested, dict):
        return {path: nested}
    return {k: v for key, below in nested.items() for k, v in flat(below, (*path, key)).items()}


def test_missing_names():
    tree = NestedDict({"a": {"b": 1}})
    assert not hasattr(tree, "missing")
    assert not hasattr(tree, "_private")
    assert getattr(tree, "missing", 3) == 3
    assert tree.get("missing") is None
    assert tree.a.b == 1
    with pytest.raises(AttributeError, match="'NestedDict' has no attribute or key 'missing'"):
        tree.missing  # noqa: B018
    with pytest.raises(KeyError, match=r"'x'; the keys here are \['a'\]"):
        tree["x"]
    with pytest.raises(KeyError, match=r"no state at \('a',\); there are a\.b"):
        tree.to_flat()[("a",)]
    with pytest.raises(KeyError, match="there are none"):
        FlattedDict({})["a"]


@each(
    "key, flat, nest",
    [
        (
            "layers.0.w",
            "no state at 'layers.0.w': write [('layers', 0, 'w')]",
            "'layers.0.w': write ['layers'][0]['w']",
        ),
        (
            ("layers", "0", "w"),
            "no state at ('layers', '0', 'w'): write [('layers', 0, 'w')]",
            "('layers', '0', 'w'): write ['layers'][0]['w']",
        ),
        ("layers.0", "no state at 'layers.0'; there are", "'layers.0': write ['layers'][0]"),
        ("layers.1.w", "no state at 'layers.1.w'; there are 7, layers.0.w", "'layers.1.w'; the keys here are"),
        (("layers",), "no state at ('layers',); there are", "('layers',): write ['layers']"),
        (None, "no state at None; there are", "None; the keys here are"),
        ("", "no state at ''; there are", "''; the keys here are"),
    ],
)
def test_an_error_shows_the_key_that_is_meant(key, flat, nest):
    tree = NestedDict({"layers": {0: {"w": 1}}, 7: 2})
    for items, text in ((tree.to_flat(), flat), (tree, nest)):
        with pytest.raises(KeyError) as caught:
            items[key]
        assert caught.value.args[0].startswith(text)
    assert "a" not in tree.to_flat()


@pytest.mark.parametrize("kind", [NestedDict, FlattedDict])
def test_trees_do_not_change(kind):
    tree = kind.from_flat({("a",): 1.0})
    key = "a" if kind is NestedDict else ("a",)
    with pytest.raises(
        TypeError, match=rf"a {kind.__name__} is immutable.*tree = tree \| {kind.__name__}.from_flat.*jax.tree.map"
    ):
        tree[key] = 2.0
    with pytest.raises(AttributeError):
        tree.a = 2.0
    with pytest.raises(TypeError, match="unhashable"):
        hash(tree)
    assert tree[key] == 1.0


def test_nothing_can_be_deleted_from_a_tree():
    with pytest.raises(TypeError, match="is immutable"):
        del NestedDict({"a": 1.0})["a"]


def test_the_advice_for_a_change():
    tree = treefy_states(net(1))
    path = ("head", "seen")
    changed = tree | NestedDict.from_flat({path: 7})
    assert changed["head"]["seen"].value == 7
    assert jax.tree.structure(changed) == jax.tree.structure(tree)
    ref = tree["head"]["seen"]
    changed = tree | NestedDict.from_flat({path: ref.replace(7)})
    assert jax.tree.structure(changed) == jax.tree.structure(tree)


def test_equality():
    tree = NestedDict({"a": jnp.ones(2)})
    assert tree == NestedDict({"a": np.ones(2, "float32")})
    assert tree != NestedDict({"a": jnp.zeros(2)})
    assert tree != NestedDict({"a": jnp.ones(3)})
    assert tree != NestedDict({"b": jnp.ones(2)})
    assert tree != tree.to_flat()
    assert tree != 3


@each("pair", [((1, 2), 1), ((1, 2), [1, 2]), (None, ())])
def test_equality_looks_at_the_structure_of_values(pair):
    one, two = pair
    assert NestedDict({"a": one}) != NestedDict({"a": two})


def test_equality_of_labels():
    assert NestedDict({"a": "label"}) == NestedDict({"a": "".join(["la", "bel"])})


@each(
    "make",
    [
        lambda: NestedDict.from_flat({("a",): 1, ("a", "b"): 2}),
        lambda: NestedDict.from_flat({(): 1}),
        lambda: NestedDict({"a": 1}) | NestedDict({"a": {"b": 2}}),
        lambda: NestedDict.merge(FlattedDict({("a",): 1, ("a", "b"): 2})),
    ],
)
def test_a_path_that_begins_another_cannot_be_nested(make):
    with pytest.raises(ValueError, match="beginning of another"):
        make()


def test_flat_trees_may_hold_such_paths():
    tree = FlattedDict({("a",): 1, ("a", "b"): 2, (): 0})
    assert dict(tree) == {(): 0, ("a",): 1, ("a", "b"): 2}
    assert tree[()] == 0
    with pytest.raises(
        GraphError,
        match=r"cannot be nested: the path \(root\) is the beginning of another, a; "
        r"the path a is the beginning of another, a\.b$",
    ):
        tree.to_nest()
    assert dict(tree.filter(lambda p, _: p != ("a",))) == {(): 0, ("a", "b"): 2}


def test_a_string_is_no_path():
    with pytest.raises(TypeError, match="tuple"):
        FlattedDict({"ab": 1.0})


def test_a_path_that_stands_twice():
    with pytest.raises(ValueError, match=r"the path \('a',\) occurs twice"):
        FlattedDict.from_flat([(("a",), 1), (("a",), 2)])
    with pytest.raises(GraphError, match=r"the path \('a',\) occurs twice; the path \('b',\) occurs twice"):
        FlattedDict.from_flat([(("a",), 1), (("b",), 1), (("a",), 2), (("b",), 2)])
    with pytest.raises(GraphError, match=r"equal but of different type: \('x', 1\) and \('x', True\)"):
        FlattedDict.from_flat([(("x", 1), 1), (("x", True), 2)])
    with pytest.raises(TypeError, match=r"must be hashable, not \[1\] as in \('x', \[1\]\)"):
        FlattedDict.from_flat([(("x", [1]), 1)])


def test_merge_and_the_last_one_wins():
    a = NestedDict({"x": 1, "y": {"z": 2}})
    b = NestedDict({"y": {"z": 3, "w": 4}})
    assert NestedDict.merge(a, b).to_pure_dict() == {"x": 1, "y": {"z": 3, "w": 4}} == (a | b).to_pure_dict()
    assert (b | a)["y"]["z"] == 2
    assert (a - b).to_pure_dict() == {"x": 1}
    assert (a - a) == NestedDict({})
    assert (a | NestedDict({})) == a
    with pytest.raises(TypeError):
        a | 3
    assert FlattedDict.merge(a, b)[("y", "w")] == 4


def test_empty_trees():
    for kind in (NestedDict, FlattedDict):
        tree = kind()
        assert len(tree) == 0
        assert list(tree) == []
        assert tree.split(...) == (tree,)
        assert tree == kind({})
        assert not tree
    shape, tree = treefy_split(Gadget())
    assert len(tree) == 0
    assert type(treefy_merge(shape, tree)) is Gadget
    assert type(treefy_merge(shape)) is Gadget


def test_mixed_keys_in_one_level():
    model = Gadget(d={"a": State(1.0), 3: State(2.0), None: State(3.0), (1, "x"): State(4.0)})
    shape, tree = treefy_split(model)
    assert {k: tree["d"][k].value for k in model.d} == {"a": 1.0, 3: 2.0, None: 3.0, (1, "x"): 4.0}
    assert same_value(tree, jax.tree.map(lambda x: x, tree))
    assert list(treefy_merge(shape, tree).d) == list(model.d)


def test_an_empty_level_stays_until_values_are_chosen():
    tree = NestedDict({"a": {}, "b": {"c": {}, "d": 1.0}})
    assert list(tree) == ["a", "b"]
    assert (len(tree), "a" in tree, tree["a"]) == (2, True, NestedDict())
    for same in (tree.copy(), jax.tree.map(lambda x: x, tree), tree | NestedDict(), pickle.loads(pickle.dumps(tree))):
        assert same.to_pure_dict() == {"a": {}, "b": {"c": {}, "d": 1.0}}
    assert (NestedDict({"x": {}}) | tree).to_pure_dict().keys() == {"x", "a", "b"}
    assert (tree | NestedDict({"a": {"y": 2.0}})).to_pure_dict()["a"] == {"y": 2.0}
    assert tree.split(lambda p, _: False, ...)[0].to_pure_dict() == {}
    assert dict(tree.to_flat()) == {("b", "d"): 1.0}


def test_trees_inside_nested_dictionaries():
    inner = treefy_states(net(1))
    tree = NestedDict(OrderedDict(net=inner, flat=inner.to_flat(), other=MappingProxyType({"w": 1.0})))
    assert tree["net"] == tree["flat"] == inner
    assert tree["other"].to_pure_dict() == {"w": 1.0}
    with pytest.raises(GraphError, match=r"the path a is the beginning of another, a\.b"):
        NestedDict({"a": FlattedDict({(): 1.0, ("b",): 2.0})})


def test_a_dictionary_that_holds_itself():
    cyclic = {"a": {"b": 1.0}}
    cyclic["a"]["self"] = cyclic
    with pytest.raises(GraphError, match="the mapping below the key 'self' holds itself"):
        NestedDict(cyclic)
    shared = {"w": 1.0}
    assert NestedDict({"a": shared, "b": [shared], "c": {"d": shared}})["c"]["d"].to_pure_dict() == shared


def test_what_no_tree_is_made_of():
    with pytest.raises(TypeError, match=r"takes a nested mapping, not 3; for pairs write `NestedDict\.from_flat`"):
        NestedDict(3)


def test_odd_keys():
    nan = float("nan")
    tree = NestedDict({nan: 1.0, "items": {"get": 2.0}, -0.0: 3.0, None: 4.0, (nan,): 5.0, b"x": 6.0, "_p": 7.0})
    assert tree["items"]["get"] == 2.0
    assert tree["_p"] == 7.0
    assert not hasattr(tree, "_p")
    assert callable(tree.items)
    assert sum(tree[key] for key in tree if key != "items") == 26.0
    assert jax.tree.structure(NestedDict({float("nan"): 1.0})) == jax.tree.structure(NestedDict({nan: 1.0}))
    with pytest.raises(GraphError, match=r"the path \(nan,\) occurs twice"):  # two objects, but one key to us
        NestedDict({nan: 1.0, float("nan"): 2.0})


def test_missing_keys_are_told_with_a_few_that_are_there():
    tree = NestedDict({f"k{i:03}": 1.0 for i in range(500)})
    with pytest.raises(KeyError, match=r"'x'; the keys here are \['k000', .* 'k007' and 492 more\]"):
        tree["x"]
    with pytest.raises(KeyError, match=r"no state at 'x'; there are k000, .* k007, \.\.\."):
        tree.to_flat()["x"]


def test_two_trees_that_differ_in_what_is_said_of_one_state_are_told_apart():
    def tree(**meta):
        return treefy_states({"bias": State(1.0), "weight": State(1.0, **meta)})

    with pytest.raises(ValueError, match="different pytree metadata") as caught:
        jax.tree.map(jnp.add, tree(), tree(tag="decay"))
    assert "Layout(bias: State, weight: State)" in str(caught.value)
    assert "Layout(bias: State, weight: State(tag=frozenset({'decay'})))" in str(caught.value)


def test_the_text_of_a_layout_is_short_and_has_what_is_unusual():
    states = {f"s{i:03}": State(1.0) for i in range(500)}
    states["s300"] = State(1.0, name="this")
    text = repr(jax.tree.structure(treefy_states(states)))
    assert "s000: State, s001: State" in text
    assert "s007: State, s300: State(name='this'), ... and 491 more" in text
    assert "Layout(a: a value)" in repr(jax.tree.structure(NestedDict({"a": 1})))
