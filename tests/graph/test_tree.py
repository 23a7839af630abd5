"""State trees: immutable mappings by path, and pytrees."""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    FlattedDict,
    NestedDict,
    State,
    TreefyState,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from tests.graph.zoo import Gadget, Param, net, same_value

_keys = st.one_of(st.sampled_from(["a", "b", "split", "items"]), st.integers(0, 12))
_nested = st.dictionaries(
    _keys,
    st.recursive(st.integers(), lambda x: st.dictionaries(_keys, x, min_size=1, max_size=3), max_leaves=6),
    max_size=4,
)


def flat(nested, path=()):
    """The slow way."""
    if not isinstance(nested, dict):
        return {path: nested}
    return {k: v for key, below in nested.items() for k, v in flat(below, (*path, key)).items()}


def reversed_order(nested):
    return {k: reversed_order(v) for k, v in reversed(nested.items())} if isinstance(nested, dict) else nested


@given(_nested)
def test_views_of_nested_dictionaries(nested):
    tree = NestedDict(nested)
    assert tree.to_pure_dict() == nested
    assert dict(tree.to_flat()) == flat(nested)
    assert tree.to_flat().to_nest() == tree == NestedDict(tree.to_flat()) == NestedDict.from_flat(flat(nested).items())
    assert set(tree) == set(nested)
    assert len(tree) == len(nested)
    assert len(tree.to_flat()) == len(flat(nested))
    for key, value in nested.items():
        assert key in tree
        found = tree[key]
        assert (found.to_pure_dict() if isinstance(found, NestedDict) else found) == value
    for path, value in flat(nested).items():
        assert tree.to_flat()[path] == value


@given(_nested)
def test_the_treedef_does_not_depend_on_the_order_of_insertion(nested):
    one, two = NestedDict(nested), NestedDict(reversed_order(nested))
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert one == two
    assert list(one.to_flat()) == list(two.to_flat())
    assert hash(jax.tree.structure(one)) == hash(jax.tree.structure(two))


@given(_nested, st.lists(st.booleans(), min_size=30, max_size=30))
def test_parts_have_the_treedef_of_trees_made_directly(nested, coins):
    tree = NestedDict(nested)
    coin = dict(zip(tree.to_flat(), coins, strict=False))
    yes, no = tree.split(lambda path, _: coin.get(path, False), ...)
    for part in (yes, no):
        assert jax.tree.structure(part) == jax.tree.structure(NestedDict(part.to_pure_dict()))
    assert yes | no == no | yes == tree
    assert tree - yes == no
    assert tree.filter(lambda path, _: coin.get(path, False)) == yes
    assert NestedDict.merge(yes, no) == tree
    for key, below in tree.items():
        if isinstance(below, NestedDict):
            assert below == NestedDict(nested[key])
            assert jax.tree.structure(below) == jax.tree.structure(NestedDict(nested[key]))


@pytest.mark.parametrize("keys", [(1, 2.5, "a"), (True, 0, "x"), (10, 9, 1j, 2j)])
def test_siblings_stand_in_one_order_whoever_their_neighbours_are(keys):
    *kept, _gone = keys if not isinstance(keys[-1], complex) else (*keys[:2], keys[2:])
    whole = NestedDict(dict.fromkeys(keys, 1.0))
    part = whole.filter(lambda path, _: path[0] in kept)
    direct = NestedDict(dict.fromkeys(kept, 1.0))
    assert jax.tree.structure(part) == jax.tree.structure(direct)


def test_keys_with_a_partial_order():
    a, b = frozenset({1}), frozenset({2})
    assert jax.tree.structure(NestedDict({a: 1, b: 2})) == jax.tree.structure(NestedDict({b: 2, a: 1}))


def test_as_a_pytree():
    tree = NestedDict({"b": 2.0, "a": {1: jnp.ones(2), "x": (3, None)}})
    leaves, treedef = jax.tree.flatten(tree)
    assert [np.shape(x) for x in leaves] == [(2,), (), ()]
    assert jax.tree.unflatten(treedef, leaves) == tree
    doubled = jax.tree.map(lambda x: x * 2, tree)
    assert type(doubled) is NestedDict
    assert doubled["b"] == 4.0
    assert doubled["a"]["x"] == (6, None)
    assert jax.tree.leaves(NestedDict({})) == []
    assert jax.tree.map(lambda x: x, NestedDict({})) == NestedDict({})


@pytest.mark.parametrize("view", [lambda t: t, NestedDict.to_flat])
def test_key_paths_read_as_the_paths_of_the_states(view):
    model = net()
    model.tree = State({"w": [1.0]})
    tree = treefy_states(model)
    found = {
        jax.tree_util.keystr(p, simple=True, separator=".")
        for p, _ in jax.tree_util.tree_flatten_with_path(view(tree))[0]
    }
    expected = {".".join(map(str, p)) for p in states(model) if p != ("tree",)} | {"tree.w.0"}
    assert found == expected
    named = jax.tree_util.tree_map_with_path(lambda p, _: jax.tree_util.keystr(p), view(tree).filter(Param))
    assert named.to_flat()[("head", "bias")].value == ".head.bias"


def test_live_states_and_treefy_states():
    model = net(1)
    tree = treefy_states(model)
    ref = tree["head"]["bias"]
    assert isinstance(ref, TreefyState)
    assert (ref.type, ref.tag, ref.name) == (Param, frozenset({"bias"}), None)
    assert tree.head.bias.value is model.head.bias.value
    live = states(model)
    assert live[("head", "bias")] is model.head.bias
    assert live.to_dict_values()[("head", "seen")] == 0
    made = ref.to_state()
    assert type(made) is Param
    assert made is not model.head.bias
    assert dict(made.metadata) == dict(model.head.bias.metadata)
    assert ref.replace(1.0).value == 1.0
    assert ref.replace(1.0).metadata == ref.metadata


def test_treefy_state_is_a_pytree_with_its_kind_as_structure():
    a = TreefyState(Param, 1.0, name="w", tag="t")
    b = TreefyState(Param, 2.0, tag=["t"], name="w")
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert jax.tree.structure(a) != jax.tree.structure(TreefyState(State, 1.0, name="w", tag="t"))
    total = jax.tree.map(lambda x, y: x + y, a, b)
    assert (total.type, total.value, total.name, total.tag) == (Param, 3.0, "w", {"t"})
    assert jax.tree_util.keystr(jax.tree_util.tree_flatten_with_path(a)[0][0][0]) == ".value"
    for same in (pickle.loads(pickle.dumps(a)), copy.deepcopy(a), copy.copy(a)):
        assert (same.type, same.value, same.metadata) == (a.type, a.value, a.metadata)
    assert "value=1.0" in repr(a)
    assert TreefyState(State, 1.0).to_state().tag is None


@pytest.mark.parametrize("values", [(2, 2.0), (1, True), (0.0, -0.0)])
def test_metadata_is_compared_by_type_and_value(values):
    a, b = (TreefyState(State, 1.0, rate=v) for v in values)
    assert jax.tree.structure(a) != jax.tree.structure(b)


@pytest.mark.parametrize("make", [lambda: float("nan"), lambda: np.ones(2)])
def test_equal_metadata_is_equal(make):
    a, b = (TreefyState(State, 1.0, rate=make()) for _ in range(2))
    assert jax.tree.structure(a) == jax.tree.structure(b)


def test_metadata_in_a_state_tree_is_compared_by_type_and_value():
    def structure(rate):
        return jax.tree.structure(treefy_states(Gadget(s=State(1.0, rate=rate))))

    for a in (2, 2.0, True, 1, 0.0, -0.0, float("nan"), (1,), (True,)):
        for b in (2, 2.0, True, 1, 0.0, -0.0, float("nan"), (1,), (True,)):
            assert (structure(a) == structure(b)) == (repr(a) == repr(b))


# ------------------------------------------------------------------------------------------------- mappings


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
    assert "a" not in tree.to_flat()


@pytest.mark.parametrize("kind", [NestedDict, FlattedDict])
def test_trees_do_not_change(kind):
    tree = kind.from_flat({("a",): 1.0})
    key = "a" if kind is NestedDict else ("a",)
    with pytest.raises(
        TypeError, match=rf"a {kind.__name__} does not change.*tree = tree \| {kind.__name__}.from_flat.*jax.tree.map"
    ):
        tree[key] = 2.0
    with pytest.raises(AttributeError):
        tree.a = 2.0
    with pytest.raises(TypeError, match="unhashable"):
        hash(tree)
    assert tree[key] == 1.0


def test_nothing_can_be_deleted_from_a_tree():
    with pytest.raises(TypeError, match="does not change"):
        del NestedDict({"a": 1.0})["a"]


def test_the_advice_for_a_change():
    tree = treefy_states(net(1))
    path = ("head", "seen")
    changed = tree | NestedDict.from_flat({path: 7})
    assert changed["head"]["seen"] == 7
    ref = tree["head"]["seen"]
    changed = tree | NestedDict.from_flat({path: ref.replace(7)})
    assert jax.tree.structure(changed) == jax.tree.structure(tree)


@pytest.mark.parametrize("kind", [NestedDict, FlattedDict])
def test_copies_and_pickles(kind):
    tree = kind.from_flat(dict(treefy_states(net()).to_flat()))
    for other in (copy.copy(tree), copy.deepcopy(tree), pickle.loads(pickle.dumps(tree))):
        assert other == tree
        assert type(other) is kind
        assert jax.tree.structure(other) == jax.tree.structure(tree)


def test_equality():
    tree = NestedDict({"a": jnp.ones(2)})
    assert tree == NestedDict({"a": np.ones(2, "float32")})
    assert tree != NestedDict({"a": jnp.zeros(2)})
    assert tree != NestedDict({"a": jnp.ones(3)})
    assert tree != NestedDict({"b": jnp.ones(2)})
    assert tree != tree.to_flat()
    assert tree != 3


@pytest.mark.parametrize("pair", [((1, 2), 1), ((1, 2), [1, 2]), (None, ())])
def test_equality_looks_at_the_structure_of_values(pair):
    one, two = pair
    assert NestedDict({"a": one}) != NestedDict({"a": two})


def test_equality_of_labels():
    assert NestedDict({"a": "label"}) == NestedDict({"a": "".join(["la", "bel"])})


@pytest.mark.parametrize(
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
    with pytest.raises(ValueError, match=r"the path \(.*\) is the beginning of another: it cannot be nested"):
        tree.to_nest()
    assert dict(tree.filter(lambda p, _: p != ("a",))) == {(): 0, ("a", "b"): 2}


def test_a_string_is_no_path():
    with pytest.raises(TypeError, match="tuple"):
        FlattedDict({"ab": 1.0})


def test_a_path_that_stands_twice():
    with pytest.raises(ValueError, match=r"the path \('a',\) stands twice"):
        FlattedDict.from_flat([(("a",), 1), (("a",), 2)])
    with pytest.raises(ValueError, match="equal but of different type"):
        FlattedDict.from_flat([((1,), 1), ((True,), 2)])


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
