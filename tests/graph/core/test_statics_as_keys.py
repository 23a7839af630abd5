"""Static values, arrays among them, as part of the shape and of the keys of JAX."""

from __future__ import annotations

import copy
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    GraphError,
    State,
    Static,
    clone,
    graph_to_tree,
    graphdef,
    tree_to_graph,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from brainstate_transform import jit
from tests.laws.graphs import Bag, Gadget, Param
from tests.tables import each


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("asked for equality")


ALIKE = [
    2,
    2.0,
    True,
    np.float32(2),
    np.int32(2),
    0.0,
    -0.0,
    False,
    0,
    (0.0,),
    (-0.0,),
    (0,),
    [0],
    [0.0],
    {"a": 0.0},
    {"a": -0.0},
    1,
    1.0,
    (1, (1,)),
    (1, (True,)),
    complex(0, 0.0),
    complex(0, -0.0),
    np.float32(0.0),
    np.float32(-0.0),
    "2",
    b"2",
    np.array(2),
    np.array(2.0),
    np.array([0.0]),
    np.array([-0.0]),
    {1},
    {True},
    frozenset({1}),
    frozenset({1.0}),
    slice(0),
    slice(0.0),
    range(0),
]


one = jnp.float32(1.0)  # an argument; not for a state, whose buffer may be donated


BUG = pytest.mark.xfail


def test_statics_that_cannot_be_hashed():
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


def test_the_shape_survives_pickle():
    model = Gadget(k=[1, {2: [3]}], w=State(1.0), a=np.arange(2))
    assert pickle.loads(pickle.dumps(graphdef(model))) is graphdef(model)


def test_static_values_differ_by_type_and_sign():
    shapes = [graphdef(Gadget(k=k)) for k in ALIKE]
    assert len({*map(id, shapes)}) == len(ALIKE)
    statics = [Static(k) for k in ALIKE]
    assert all(a != b for a, b in itertools.combinations(statics, 2))
    for k in ALIKE:
        assert graphdef(Gadget(k=copy.deepcopy(k))) is graphdef(Gadget(k=k))
        assert type(clone(Gadget(k=k)).k) is type(k)


@each(
    "hold",
    [lambda a: a, lambda a: (1, a), lambda a: {"x": [a]}, Static, Bag],
    ids=["bare", "tuple", "dict", "static", "bag"],
)
@each("array", [jnp.arange(3.0), np.arange(3.0), jax.random.key(0), jnp.zeros(0)], ids=["jax", "numpy", "key", "empty"])
def test_an_array_as_plain_attribute(array, hold):
    model = Gadget(a=hold(array), w=State(one))
    shape, other = graphdef(model), graphdef(Gadget(a=hold(copy.deepcopy(array)), w=State(one)))
    assert hash(shape) == hash(graphdef(model))
    assert shape == graphdef(model)
    assert (shape == other) in (True, False)
    good = Gadget(a=3, w=State(one))
    f = jit(lambda m, x: m.w.value * x)
    g = jax.jit(lambda tree, x: tree_to_graph(tree).w.value * x)
    h = jax.jit(lambda static, x: x * 2.0)
    for _ in range(3):
        for m in (model, good, clone(model)):
            assert f(m, one) == 1.0
            assert g(graph_to_tree(m)[0], one) == 1.0
        assert h(Static(array), one) == 2.0


@each("array", [jnp.arange(3.0), (jnp.ones(2),), np.float32(2)], ids=["array", "in a tuple", "scalar"])
def test_an_array_as_metadata(array):
    model = Gadget(w=Param(one, scale=array))
    tree = treefy_states(model)
    f = jax.jit(lambda t: jax.tree.map(lambda x: x * 2, t))
    for _ in range(2):
        assert f(tree)["w"].value == 2.0
        assert f(treefy_states(clone(model)))["w"].value == 2.0
    jax.tree.map(lambda a, b: a + b, tree, treefy_states(model))
    assert graphdef(model) is graphdef(clone(model))


def test_errors_name_the_attribute():
    for bad in ({"k": {State(1.0)}}, [Bag(Bag({State(1.0)}))]):
        with pytest.raises(GraphError, match=r"at deep\.(0\.0\.0|k)"):
            graphdef(Gadget(deep=bad))

    def traced(x):
        with pytest.raises(GraphError, match=r"at a\.0\.k: a traced value.*State"):
            treefy_split(Gadget(a=[{"k": x}]))
        return x

    jax.jit(traced)(1.0)


@BUG(strict=True, reason="a tracer in the metadata of a state is refused at the split, without the path of the state")
def test_a_tracer_as_metadata_is_refused_by_path():
    def traced(x):
        with pytest.raises((GraphError, TypeError), match=r"held"):
            treefy_split(Gadget(held=State(1.0, scale=x)))
        return x

    jax.jit(traced)(1.0)
