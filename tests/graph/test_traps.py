"""Bugs that systems of this kind have had: one test for each, numbered as in the list of 56 traps (1 to 16 here).

The later ones, and 26 weaknesses that another system still has, stand in `test_traps_*.py`.
"""

from __future__ import annotations

import ast
import copy
import os
import pathlib
import pickle
import re
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    GraphError,
    NestedDict,
    Node,
    PathContains,
    State,
    Static,
    TraceContextError,
    TreefyState,
    clone,
    graph_to_tree,
    graphdef,
    iter_leaf,
    merge_context,
    nodes,
    pop_states,
    register_graph_node_type,
    split_context,
    states,
    tree_to_graph,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_transform import jit
from tests.laws.graphs import Bag, Gadget, Pair, Param, Stat, Widget, assert_isomorphic, net
from tests.laws.transforms import transforms

# What cannot go wrong here, for we have no such thing.
ELSEWHERE = {
    27: "the kinds of hidden states belong to brainstate_nn, and none keeps a group of named arrays in one",
    47: "no dataclasses of our own; frozen ones of Python are static values, see W10",
    48: "no DotDict: a model holds plain dicts, a state tree is one immutable class",
    50: "nothing takes a count that a bool could stand for",
    51: "no FrozenDict; mixed keys in a state tree are W14",
    52: "no trace object of our own: traces are compared by what JAX gives out",
    53: "no dict that hashes: statics are compared by `static_key`, whatever their order",
    54: "no modes; static values of foreign classes are W5",
    55: "no JointTypes; unions of types as filters are W23",
    56: "conversion from other frameworks belongs to brainstate_nn",
    "W7": "conversion from other frameworks belongs to brainstate_nn",
}


def test_every_trap_and_weakness_has_a_test_or_a_reason():
    here = pathlib.Path(__file__)
    tested = set()
    for file in here.parent.glob("test_traps*.py"):
        for item in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(item, ast.FunctionDef) and (found := re.match(r"test_(trap|w)_?(\d\d)_", item.name)):
                tested.add(int(found[2]) if found[1] == "trap" else f"W{int(found[2])}")
    numbers = {*range(1, 57), *(f"W{n}" for n in range(1, 27))}
    assert tested | ELSEWHERE.keys() == numbers
    assert not tested & ELSEWHERE.keys()


class Linear(Node):
    def __init__(self, n_in: int, n_out: int) -> None:
        self.in_size, self.out_size = (n_in,), (n_out,)
        self.weight = Param(jnp.arange(1.0, n_in * n_out + 1).reshape(n_in, n_out), tag="w")
        self.bias = Param(jnp.zeros(n_out), name="bias")
        self.calls = Stat(jnp.zeros(()))

    def __call__(self, x: Any) -> Any:
        self.calls.value += 1.0
        return x @ self.weight.value + self.bias.value


def tied() -> Gadget:
    """One weight in three places, of two depths."""
    w = Param(jnp.ones(2))
    return Gadget(a=Gadget(w=w, b=Param(jnp.zeros(2))), b=Gadget(w=w, s=Stat(0)), late={"w": w})


@pytest.mark.parametrize("make", [lambda: Linear(2, 3), lambda: net(2), tied])
def test_trap_01_deepcopy_of_nodes_and_trees(make):
    model = make()
    again = copy.deepcopy(model)
    assert_isomorphic(model, again)
    assert not {*map(id, states(model).values())} & {*map(id, states(again).values())}
    tree = treefy_states(model)
    for item in (tree, tree.to_flat(), states(model), NestedDict({"a": {0: 1.0}}), graphdef(model)):
        other = copy.deepcopy(item)
        assert type(other) is type(item)
        assert jax.tree.structure(other) == jax.tree.structure(item)
    for name in ("__deepcopy__x", "__array__", "__jax_array__", "_private"):
        assert not hasattr(tree, name)


@transforms()
def test_trap_01_deepcopy_inside_a_transform_reads_the_value_of_the_trace(wrap):
    model = Linear(2, 3)
    expected = np.ones(2) @ np.asarray(model.weight.value) * 10.0

    def f(x):
        model.weight.value = model.weight.value * x
        return copy.deepcopy(model)(jnp.ones(2)).sum()

    assert np.allclose(wrap(f)(jnp.float32(10.0)), expected.sum())
    assert model.calls.value == 0


def test_trap_02_a_merged_model_is_split_and_merged_again():
    model, x = Linear(2, 3), jnp.ones(2)
    expected = model(x)
    shape, tree = treefy_split(model)
    for turn in range(3):
        model = treefy_merge(shape, tree)
        assert np.array_equal(model(x), expected)
        again, tree = treefy_split(model)
        assert again is shape
        assert tree["calls"].value == turn + 2
    assert model.weight.tag == {"w"}
    assert model.bias.name == "bias"


def test_trap_02_merged_models_are_as_good_inside_raw_jit():
    shape, tree = treefy_split(Linear(2, 3))

    @jax.jit
    def twice(tree):
        model = treefy_merge(*treefy_split(treefy_merge(shape, tree)))
        y = clone(model)(model(jnp.ones(2))[:2])
        return y, treefy_states(model)

    y, after = twice(tree)
    w = np.arange(1.0, 7.0).reshape(2, 3)
    assert np.allclose(y, (np.ones(2) @ w)[:2] @ w)
    assert after["calls"].value == 1
    assert jax.tree.structure(after) == jax.tree.structure(tree)


def test_trap_03_the_table_of_a_merge_context_is_live_and_stays():
    model = tied()
    with split_context() as (ctx, ref_index):
        parts = ctx.treefy_split(model)
        assert model in ref_index
    with merge_context() as (ctx, index_ref):
        assert not index_ref
        again = ctx.treefy_merge(*parts)
        assert any(item is again for item in index_ref.values())
    held = {*map(id, index_ref.values())}
    assert {id(again), id(again.a), id(again.a.w), id(again.b.s)} <= held
    assert len(held) == len(nodes(model)) + len(states(model))
    with pytest.raises(GraphError, match=r"ctx\.treefy_merge"):
        ctx.treefy_merge(*parts)


@pytest.mark.parametrize(
    "make", [Gadget, lambda: Gadget(inner=Gadget(k=1)), lambda: net(2), lambda: Gadget(rows=[Gadget()])]
)
def test_trap_04_what_is_made_in_a_trace_is_checked_at_every_depth(make):
    """A node with a value of another trace is refused; nodes without states, and those without values of one, pass."""
    model = make()
    jax.jit(lambda x: (treefy_split(model), clone(model), x)[-1])(1.0)

    def leak(x):
        model.late = State(0.0)
        deep = Gadget(box=[{"k": model}])
        with pytest.raises(TraceContextError, match=r"late"):
            jax.vmap(lambda y: update_states(deep, {"box": {0: {"k": {"late": y * x}}}}))(jnp.ones(2))
        assert model.late.value == 0.0
        del model.late
        return x

    jax.jit(leak)(1.0)
    assert "late" not in vars(model)


def test_trap_05_popping_a_tied_weight_leaves_no_alias():
    model = tied()
    w = model.a.w
    model.again = model.a
    model.pairs = {"x": {"y": w}}
    popped = pop_states(model, Param)
    assert list(popped) == [("a", "b"), ("a", "w")]
    assert popped["a", "w"] is w
    assert "w" not in vars(model.a)
    assert "w" not in vars(model.b)
    assert model.late == {}
    assert model.pairs == {"x": {}}
    assert [type(s) for _, s in iter_leaf(model) if isinstance(s, State)] == [Stat]


@pytest.mark.parametrize(
    "wall", [list, tuple, lambda w: Pair(*w, 0), lambda w: Bag(*w)], ids=["list", "tuple", "nt", "bag"]
)
def test_trap_05_a_pop_that_cannot_reach_an_alias_changes_nothing(wall):
    model = tied()
    model.stuck = wall([model.a.w])
    before = copy.deepcopy(model)
    with pytest.raises(GraphError, match=r"stuck\.(0|left)"):
        pop_states(model, Param)
    assert_isomorphic(model, before)
    assert graphdef(model) is graphdef(before)


def test_trap_06_a_shared_state_is_listed_once_everywhere():
    model = tied()
    found = list(states(model))
    assert found == [("a", "b"), ("a", "w"), ("b", "s")]
    assert list(treefy_states(model).to_flat()) == found
    assert list(treefy_split(model)[1].to_flat()) == found
    assert [path for path, leaf in iter_leaf(model) if isinstance(leaf, State)] == found
    assert [path for part in states(model, Stat, Param) for path in part] == [found[2], *found[:2]]
    assert sum(x.size for x in map(jnp.asarray, jax.tree.leaves(treefy_states(model)))) == 5
    assert repr(model).count("Param(") == 2


def test_trap_07_popped_states_go_back_alive():
    model = tied()
    w = model.a.w
    popped = pop_states(model, Param)
    update_states(model, popped, allow_new=True)
    assert model.a.w is w
    model.a.w.value = jnp.full(2, 7.0)
    assert np.array_equal(states(model)["a", "w"].value, [7.0, 7.0])
    assert all(isinstance(leaf, State) for path, leaf in iter_leaf(model.a))


def test_trap_07_an_existing_key_takes_the_value_of_a_state_and_stays_itself():
    model, before = tied(), tied().a.w
    live = model.a.w
    other = Param(jnp.full(2, 5.0), tag="other")
    update_states(model, {"b": {"w": other}})
    assert model.a.w is model.b.w is live
    assert live is not before
    assert np.array_equal(live.value, [5.0, 5.0])
    assert live.tag is None
    other.value = jnp.zeros(2)
    assert np.array_equal(live.value, [5.0, 5.0])


@pytest.mark.parametrize("options", [{}, {"allow_new": True}], ids=str)
def test_trap_07_a_state_onto_what_is_no_state_is_refused(options):
    model = Gadget(k=2, inner=Gadget(w=State(1.0)), items=[1], fun=len)
    for path, found in {"k": "2", "inner": "Gadget", "items": "list", "fun": "len"}.items():
        with pytest.raises(GraphError, match=rf"unexpected: {path} .*{found}"):
            update_states(
                model, {path: State(3.0), "inner": {"w": 9.0}} if path != "inner" else {path: State(3.0)}, **options
            )
    assert (model.k, model.items, model.inner.w.value) == (2, [1], 1.0)


def test_trap_07_near_two_new_states_for_one_place_are_refused():
    inner = Gadget()
    model = Gadget(a=inner, b=inner)
    with pytest.raises(GraphError, match=r"given twice"):
        update_states(model, {"a": {"x": State(1.0)}, "b": {"x": State(2.0)}}, allow_new=True)
    assert not states(model)


def test_trap_07_near_a_new_state_must_be_visible():
    class Hiding(Gadget):
        graph_invisible_attrs = ("cache",)

    model = Hiding(w=State(1.0))
    with pytest.raises(GraphError, match=r"cache"):
        update_states(model, {"cache": State(3.0)}, allow_new=True)
    assert list(states(model)) == [("w",)]


def test_trap_08_conflicting_prefixes_of_stateless_nodes():
    n = Gadget(k=1)
    for tree, prefix in [
        ([n, n], [0, 1]),
        ([Gadget(inner=n), n], [0, 1]),
        ([n, Gadget(inner=[{"x": n}])], [0, None]),
        ({"a": n, "b": (Gadget(inner=Gadget(n=n)),)}, {"a": 0, "b": 0.0}),
    ]:
        with pytest.raises(GraphError, match=r"two prefixes"):
            graph_to_tree(tree, prefix=prefix)
        graph_to_tree(tree, prefix=0)
        graph_to_tree(tree, prefix=prefix, check_aliasing=False)
    with pytest.raises(GraphError, match=r"0\.inner has 0, 1 has 1"):
        graph_to_tree([Gadget(inner=n), n], prefix=[0, 1])


def test_trap_09_a_prefix_of_another_length_is_an_error():
    for tree, prefix in [
        ([Gadget(), Gadget()], [0]),
        ([Gadget()], [0, 1]),
        ({"a": Gadget()}, {"b": 0}),
        ((1, 2), [0, 0]),
    ]:
        with pytest.raises(ValueError, match=r"prefix does not fit"):
            graph_to_tree(tree, prefix=prefix)
        with pytest.raises(ValueError, match=r"prefix does not fit"):
            tree_to_graph(graph_to_tree(tree)[0], prefix=prefix)


def test_trap_09_errors_do_not_depend_on_assertions():
    code = """
import jax, jax.numpy as jnp
from brainstate_graph import *
from brainstate_transform import jit
s = State(1.0)
assert False, "not run with -O"
def refused(f, *kinds):
    try:
        f()
    except kinds:
        return
    raise SystemExit("accepted")
n = Node()
refused(lambda: graph_to_tree([n, n], prefix=[0]), ValueError)
refused(lambda: graph_to_tree([n, n], prefix=[0, 1]), GraphError)
refused(lambda: treefy_split({"a": s}, "tag"), ValueError)
refused(lambda: treefy_merge(graphdef({"a": s}), {"b": 1.0}), GraphError)
refused(lambda: update_states({"a": s}, {"a": jnp.ones(3)}), GraphError)
refused(lambda: pop_states([s], ...), GraphError)
refused(lambda: jax.jit(lambda x: setattr(s, "value", x))(1.0), TraceContextError)
refused(lambda: jit(lambda s: s.value)(s), StateArgumentError)
refused(lambda: NestedDict({"a": 1}).split("tag"), ValueError)
refused(lambda: treefy_split({"a": {s}}), GraphError)
print(s.value)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout == "1.0\n", done.stdout + done.stderr


def test_trap_10_a_missing_state_is_named_by_its_dotted_path():
    model = Gadget(layers=[Gadget(w=State(1.0)), Gadget(w=State(2.0), bag=Bag(State(3.0)))], k={7: State(4.0)})
    shape, tree = treefy_split(model)
    for path in tree.to_flat():
        rest = tree - NestedDict.from_flat({path: 0.0})
        with pytest.raises(GraphError, match=rf"missing: {re.escape('.'.join(map(str, path)))}($|;)"):
            treefy_merge(shape, rest)
    with pytest.raises(
        GraphError, match=r"missing: k\.7; missing: layers\.0\.w; missing: layers\.1\.bag\.0; missing: layers\.1\.w"
    ):
        treefy_merge(shape, {})
    with pytest.raises(KeyError, match=r"'nowhere'"):
        tree["nowhere"]


class Foreigner:
    def __init__(self, **held: Any) -> None:
        self.held = held


def test_trap_10_a_class_that_is_not_registered_is_named_with_the_function_to_call():
    code = """
import pickle, sys
class Box: pass
sys.modules["__main__"].Box = Box
from brainstate_graph import *
if sys.argv[1] == "write":
    register_graph_node_type(Box, lambda b: (vars(b).items(), None), setattr, delattr, lambda _: Box(), len)
    b = Box(); b.w = State(1.0)
    sys.stdout.buffer.write(pickle.dumps(graphdef(b)))
else:
    try:
        treefy_merge(pickle.loads(sys.stdin.buffer.read()), {"w": 2.0})
    except GraphError as error:
        print(error)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    data = subprocess.run([sys.executable, "-c", code, "write"], capture_output=True, env=env, check=True).stdout
    said = subprocess.run([sys.executable, "-c", code, "read"], input=data, capture_output=True, env=env, check=True)
    assert b"Box" in said.stdout
    assert b"register_graph_node_type(Box, ...)" in said.stdout


class Twice(Foreigner):
    pass


def test_trap_11_equal_keys_from_a_foreign_flatten_are_refused():
    register_graph_node_type(
        Twice,
        flatten=lambda t: ([("x", t.held["x"]), ("x", t.held["y"])], None),
        set_key=lambda t, key, child: t.held.__setitem__(key, child),
        pop_key=lambda t, key: t.held.pop(key),
        create_empty=lambda _: Twice(),
        clear=lambda t: t.held.clear(),
    )
    model = Gadget(a=[Twice(x=State(1.0), y=State(2.0))])
    for verb in (treefy_split, treefy_states, states, nodes, clone, graphdef, lambda m: pop_states(m, ...)):
        with pytest.raises(GraphError, match=r"a\.0.*Twice.*equal keys"):
            verb(model)


class Box(NamedTuple):
    item: Any


@pytest.mark.parametrize(
    "item", [[], {}, (), None, [None], [[]], ([],), {"a": {}}, ((),), Pair((), None), (2, 3), [2, 3], Bag()]
)
def test_trap_12_empty_and_static_containers_come_back_as_they_are(item):
    model = Gadget(item=item, w=State(1.0))
    again = treefy_merge(*treefy_split(model))
    assert_isomorphic(model, again)
    assert type(again.item) is type(item)


@pytest.mark.parametrize(
    "hold",
    [lambda x: (1, x), lambda x: [1, x], lambda x: {"a": (x,)}, lambda x: Box(x), lambda x: Bag(x), lambda x: x],
    ids=lambda item: None,
)
def test_trap_12_arrays_are_not_swallowed(hold):
    array = jnp.arange(3.0)
    model = Gadget(item=hold(array), w=State(0.0))
    (found,) = (leaf for _, leaf in iter_leaf(model) if isinstance(leaf, jax.Array))
    assert found is array
    (back,) = (leaf for _, leaf in iter_leaf(clone(model)) if isinstance(leaf, jax.Array))
    assert np.array_equal(back, array)
    assert graphdef(model) is graphdef(clone(model))
    other = Gadget(item=hold(jnp.arange(3.0) + 1), w=State(0.0))
    assert graphdef(other) is not graphdef(model)
    f = jit(lambda m: sum(jnp.sum(leaf) for _, leaf in iter_leaf(m) if isinstance(leaf, jax.Array)))
    for _ in range(2):
        assert f(model) == 3.0
        assert f(other) == 6.0


def test_trap_12_a_treefied_state_as_attribute_is_data():
    model = Gadget(ref=TreefyState(Param, jnp.ones(2), tag="t"), w=State(0.0))
    again = clone(model)
    assert isinstance(again.ref, TreefyState)
    assert again.ref.type is Param
    assert np.array_equal(again.ref.value, [1.0, 1.0])
    model.ref = model.ref.replace(jnp.zeros(2))
    assert np.array_equal(clone(model).ref.value, [0.0, 0.0])


def test_trap_13_a_class_registered_after_its_first_use_becomes_a_node():
    class Late(Foreigner):
        pass

    class Sub(Late):
        pass

    holders = [Gadget(x=cls(plain=1), y=[cls(plain=1)]) for cls in (Late, Sub)]
    for model in holders:
        assert not states(model)
        assert len(nodes(model)) == 1
    register_graph_node_type(
        Late,
        flatten=lambda t: (sorted(t.held.items()), None),
        set_key=lambda t, key, child: t.held.__setitem__(key, child),
        pop_key=lambda t, key: t.held.pop(key),
        create_empty=lambda _: Late(),
        clear=lambda t: t.held.clear(),
    )
    for model in holders:
        model.x.held["w"] = State(1.0)
        model.y[0].held["w"] = State(2.0)
        fresh = Gadget(x=model.x, y=model.y)
        assert list(states(fresh)) == [("x", "w"), ("y", 0, "w")]
        assert type(clone(fresh).x) is type(model.x)
        model.z = 1  # a change makes the old model look again
        assert len(states(model)) == 2


@pytest.mark.graph_cache
def test_trap_13_near_a_registration_is_seen_by_the_cached_model():
    class Later(Foreigner):
        pass

    model = Gadget(x=Later(w=1), s=State(0.0))
    assert len(nodes(model)) == 1
    register_graph_node_type(
        Later,
        flatten=lambda t: (sorted(t.held.items()), None),
        set_key=lambda t, key, child: t.held.__setitem__(key, child),
        pop_key=lambda t, key: t.held.pop(key),
        create_empty=lambda _: Later(),
        clear=lambda t: t.held.clear(),
    )
    model.x.held["w"] = State(1.0)
    assert list(states(model)) == [("s",), ("x", "w")]


def test_trap_14_filters_give_a_partition_and_no_spurious_part():
    model = net(3)
    everything = dict(states(model).items())
    for filters in [
        (Param, ...),
        (Stat, Param),
        ("bias", Param, ...),
        (PathContains("head"), ..., ...),
        (State, Param),
    ]:
        for parts in (states(model, *filters), treefy_states(model, *filters), treefy_split(model, *filters)[1:]):
            assert len(parts) == len(filters)
            paths = [path for part in parts for path in part.to_flat()]
            assert sorted(map(str, paths)) == sorted(map(str, everything))
    assert len(nodes(model, Widget, ...)) == 2
    assert not isinstance(states(model, Param), tuple)


@pytest.mark.parametrize("kind", [list, tuple])
def test_trap_15_a_state_in_the_root_list_and_in_a_node_there_is_one(kind):
    shared = State(1.0)
    for items in (
        [shared, Gadget(s=shared)],
        [Gadget(s=shared), shared],
        [Gadget(deep=[{"x": shared}]), (shared,), Gadget(s=shared)],
    ):
        again = treefy_merge(*treefy_split(kind(items)))
        assert_isomorphic(kind(items), again)
        assert len(states(again)) == 1
        for found in states(again).values():
            found.value = 9.0
        assert {leaf.value for _, leaf in iter_leaf(again) if isinstance(leaf, State)} == {9.0}


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("asked for equality")


def test_trap_16_statics_that_cannot_be_hashed():
    for static in (Unhashable(), [1, {2: [3]}], {"a": {1}}, bytearray(b"x"), np.arange(3), jnp.arange(3), slice(1, 2)):
        model = Gadget(k=static, w=State(1.0))
        shape, tree = treefy_split(model)
        again = treefy_merge(shape, tree)
        assert type(again.k) is type(static)
        assert hash(shape) == hash(graphdef(again))
        assert graphdef(again) is shape
        f = jit(lambda m: m.w.value + 1.0)
        assert (f(model), f(again), f(model)) == (2.0, 2.0, 2.0)
        step = jax.jit(lambda d, s: treefy_merge(d, s).w.value * 2.0)
        assert (step(shape, tree), step(shape, tree)) == (2.0, 2.0)
        assert hash(Static(static)) == hash(Static(static))


def test_trap_16_near_the_shape_survives_pickle():
    model = Gadget(k=[1, {2: [3]}], w=State(1.0), a=np.arange(2))
    assert pickle.loads(pickle.dumps(graphdef(model))) is graphdef(model)
