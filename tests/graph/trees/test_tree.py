"""State trees: immutable mappings by path, and pytrees."""

from __future__ import annotations

import copy
import pickle
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    FlattedDict,
    GraphError,
    NestedDict,
    Not,
    PathPrefix,
    State,
    TreefyState,
    states,
    treefy_states,
    update_states,
)
from tests.laws.graphs import Gadget, Param, Stat, net, same_value
from tests.tables import each

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


@each("keys", [(1, 2.5, "a"), (True, 0, "x"), (10, 9, 1j, 2j)])
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


@each("values", [(2, 2.0), (1, True), (0.0, -0.0)])
def test_metadata_is_compared_by_type_and_value(values):
    a, b = (TreefyState(State, 1.0, rate=v) for v in values)
    assert jax.tree.structure(a) != jax.tree.structure(b)


@pytest.mark.parametrize("make", [lambda: float("nan"), lambda: (1, float("nan"))])
def test_equal_metadata_is_equal(make):
    a, b = (TreefyState(State, 1.0, rate=make()) for _ in range(2))
    assert jax.tree.structure(a) == jax.tree.structure(b)


def test_metadata_in_a_state_tree_is_compared_by_type_and_value():
    def structure(rate):
        return jax.tree.structure(treefy_states(Gadget(s=State(1.0, rate=rate))))

    for a in (2, 2.0, True, 1, 0.0, -0.0, float("nan"), (1,), (True,)):
        for b in (2, 2.0, True, 1, 0.0, -0.0, float("nan"), (1,), (True,)):
            assert (structure(a) == structure(b)) == (repr(a) == repr(b))


# ------------------------------------------------------------------------------------------------- kinds


def test_a_plain_value_takes_the_kind_of_the_state_whose_path_it_takes():
    model = net()
    tree = treefy_states(model)
    plain = NestedDict(jax.tree.map(lambda x: x + 1, tree).to_pure_dict())
    update_states(model, plain)
    for whole in (tree | plain, NestedDict.merge(tree, plain), (tree.to_flat() | plain.to_flat()).to_nest()):
        assert whole == treefy_states(model)
        assert jax.tree.structure(whole) == jax.tree.structure(tree)
    assert (plain | tree) == tree
    ref = TreefyState(Stat, 5.0, tag="new")
    replaced = tree | NestedDict({"head": {"bias": ref, "extra": 1.0}})
    assert (replaced["head"]["bias"].type, replaced["head"]["bias"].tag) == (Stat, {"new"})
    assert replaced["head"]["extra"] == 1.0
    twice = tree | plain.filter(PathPrefix("head.bias")) | NestedDict({"head": {"bias": 0.0}})
    assert twice["head"]["bias"].type is Param


def test_live_states_among_plain_data():
    model = net()
    live = states(model)
    tree = treefy_states(model)
    assert (tree | live) == tree
    assert (live | states(net(1)))[("head", "bias")] is not live[("head", "bias")]
    assert isinstance((live | states(net(1)))[("head", "bias")], State)
    assert live.to_nest().to_pure_dict().keys() == tree.to_pure_dict().keys()
    assert same_value(live.to_nest().to_pure_dict(), tree.to_pure_dict())
    assert same_value(live.to_pure_dict(), tree.to_flat().to_pure_dict())


def test_a_treefy_state_does_not_change():
    tree = treefy_states(net())
    ref = tree["head"]["bias"]
    with pytest.raises(AttributeError, match=r"is immutable, and so is the tree.*ref = ref\.replace\(value\)"):
        ref.value = 3.0
    for name in ("type", "tag", "other"):
        with pytest.raises(AttributeError):
            setattr(ref, name, 3.0)
    assert ref.copy() is not ref
    assert same_value(ref.copy(), ref)


@each("wrong", [int, "Param", 3, State(1.0)])
def test_a_treefy_state_has_a_class_of_states(wrong):
    with pytest.raises(TypeError, match=r"takes a class of states first, not .*TreefyState\(State, 1"):
        TreefyState(wrong, 1.0)


# ------------------------------------------------------------------------------------------------- pure dicts


@pytest.mark.parametrize("view", [NestedDict.copy, NestedDict.to_flat], ids=["nested", "flat"])
def test_values_back_from_a_pure_dict(view):
    model = net()
    model.extra = State({"w": [1.0, 2.0], "deep": {"b": 3.0}})
    tree = view(treefy_states(model))
    doubled = jax.tree.map(lambda x: x * 2, tree)
    for data in (doubled.to_pure_dict(), MappingProxyType(doubled.to_pure_dict()), doubled, doubled.to_flat()):
        new = tree.replace_by_pure_dict(data)
        assert new == doubled
        assert type(new) is type(tree)
        assert jax.tree.structure(new) == jax.tree.structure(tree)
    assert tree == view(treefy_states(model))
    part = doubled.filter(Param)
    some = tree.replace_by_pure_dict(part.to_pure_dict(), strict=False)
    assert some.filter(Param) == part
    assert some.filter(Not(Param)) == tree.filter(Not(Param))


def test_all_that_does_not_fit_is_listed():
    tree = treefy_states(net(1))
    data = tree.to_pure_dict()
    del data["head"]["bias"]
    data["head"]["typo"] = {"deep": 1.0}
    data["layers"][0]["weight"] = {"w": 1.0}
    data["layers"][1] = 3.0
    strange = r"unexpected: head\.typo\.deep; unexpected: layers\.0\.weight\.w; unexpected: layers\.1"
    with pytest.raises(GraphError, match=rf"{strange}; missing: head\.bias; missing: layers\.0\.weight$"):
        tree.replace_by_pure_dict(data)
    with pytest.raises(GraphError, match=rf"{strange}$"):
        tree.replace_by_pure_dict(data, strict=False)
    with pytest.raises(GraphError, match=r"unexpected: x; unexpected: a\.b; missing: a$"):
        FlattedDict({("a",): 1.0}).replace_by_pure_dict({("x",): 1.0, ("a", "b"): 2.0})
    with pytest.raises(GraphError, match=r"unexpected: a; missing: a\.b$"):
        NestedDict({"a": {"b": 1.0}}).replace_by_pure_dict(NestedDict({"a": 1.0}))


# ------------------------------------------------------------------------------------------------- laws

_deep = st.dictionaries(
    st.one_of(_keys, st.sampled_from([None, (1, "x"), 0.5, b"k"])),
    st.recursive(st.integers() | st.none(), lambda x: st.dictionaries(_keys, x, max_size=3), max_leaves=8),
    max_size=4,
)


@given(_deep)
def test_views_and_forms_go_back_and_forth(nested):
    tree = NestedDict(nested)
    assert tree.to_pure_dict() == nested  # empty levels too
    assert tree.to_flat().to_nest() == NestedDict.from_flat(tree.to_flat()) == tree
    assert NestedDict.from_nest(nested) == tree.copy() == NestedDict(tree) == tree
    assert FlattedDict.from_nest(nested) == tree.to_flat()
    assert dict(FlattedDict.from_flat(dict(tree.to_flat()))) == dict(tree.to_flat())
    assert tree.replace_by_pure_dict(nested) == tree
    treedef = jax.tree.structure(tree)
    assert jax.tree.structure(NestedDict(reversed_order(nested))) == treedef
    mapped = jax.tree.map(lambda x: x, tree)
    assert jax.tree.structure(mapped) == treedef
    assert mapped._layout is tree._layout
    assert tree.filter(...) == tree == tree | tree == tree | NestedDict()
    flat_view = tree.to_flat()
    assert list(flat_view.items()) == list(zip(flat_view, flat_view.values(), strict=True))
    assert list(flat_view.values()) == [flat_view[p] for p in flat_view]
    assert all(p in flat_view and flat_view.get(p) == v for p, v in flat_view.items())


@given(_nested, _nested)
def test_union_and_difference(one, two):
    a, b = NestedDict(one), NestedDict(two)
    paths = {**flat(one), **flat(two)}
    begins = {p[:n] for p in paths for n in range(len(p))}
    if begins & paths.keys():
        for merge in (lambda: a | b, lambda: b | a):
            with pytest.raises(GraphError, match=r"cannot be nested: the path .* is the beginning of another, "):
                merge()
        union = a.to_flat() | b.to_flat()
    else:
        union = (a | b).to_flat()
    assert dict(union) == paths
    expected = FlattedDict({p: v for p, v in paths.items() if p not in flat(two)})
    assert union - b == expected
    assert jax.tree.structure(union) == jax.tree.structure(FlattedDict(paths))


@given(_nested, st.lists(st.integers(0, 2), min_size=30, max_size=30))
def test_split_then_merge(nested, dice):
    tree = NestedDict(nested)
    fate = dict(zip(tree.to_flat(), dice, strict=False))
    parts = tree.split(lambda p, _: fate.get(p) == 0, lambda p, _: fate.get(p) == 1, ...)
    assert NestedDict.merge(*parts) == NestedDict.merge(*reversed(parts)) == tree
    assert sum(len(part.to_flat()) for part in parts) == len(tree.to_flat())


# ------------------------------------------------------------------------------------------------- depth


def test_a_long_chain_of_nodes():
    depth = 20_000
    first = chain = Gadget(w=Param(0.0))
    for i in range(1, depth):
        chain.next = Gadget(w=Param(float(i)) if i % 2 else Stat(float(i)))
        chain = chain.next
    live = states(first)
    assert len(live) == depth
    assert "paths" not in vars(live._layout)
    assert sum(state.value for state in live.values()) == depth * (depth - 1) / 2
    params, rest = live.filter(Param, ...)
    assert len(params) == depth // 2 + 1
    last = ("next",) * (depth - 1) + ("w",)
    assert live[last] is chain.w
    assert last in live
    assert (*last, "x") not in live
    tree = treefy_states(first)
    assert tree.to_flat().to_nest() == tree
    assert jax.tree.map(lambda x: x, tree) == tree
    params, rest = tree.split(Param, Stat)
    assert params | rest == rest | params == tree
    assert (tree - rest) == params
    assert NestedDict(tree.to_pure_dict())._values == tree._values
    assert tree.replace_by_pure_dict(tree.to_pure_dict()) == tree
    for item in (live, params, tree):
        assert "paths" not in vars(item._layout)
