"""An axis that `in_axes` or `out_axes` gives to a module maps its states, as in flax.nnx."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import Node, State
from brainstate_transform import BatchAxisError, grad, jit, shard_map, vmap
from tests.tables import each

X = jnp.arange(5.0)
W = jnp.arange(15.0).reshape(5, 3)


class Cell(Node):
    """A weight, a memory that is written, and a part; `n` is the size of the axis at the given place."""

    def __init__(self, w=W, n=5):
        self.w, self.h = State(w), State(jnp.zeros(n))
        self.part = [Node()]
        self.part[0].b = State(jnp.ones(n))

    def __call__(self, x):
        self.h.value = self.h.value + x
        return (self.w.value * x).sum() + self.h.value + self.part[0].b.value


class Theirs(nnx.Module):
    def __init__(self):
        self.w, self.h, self.b = nnx.Param(W), nnx.Variable(jnp.zeros(5)), nnx.Variable(jnp.ones(5))

    def __call__(self, x):
        self.h[...] = self.h[...] + x
        return (self.w[...] * x).sum() + self.h[...] + self.b[...]


WAYS = {
    # how the axis is given, and how the module is passed
    "by position": lambda t, m, x: t(lambda m, x: m(x), in_axes=(0, 0))(m, x),
    "for all": lambda t, m, x: t(lambda m, x: m(x), in_axes=0)(m, x),
    "default": lambda t, m, x: t(lambda m, x: m(x))(m, x),
    "inside a tuple": lambda t, m, x: t(lambda p: p[0](p[1]), in_axes=((0, 0),))((m, x)),
    "of a tuple": lambda t, m, x: t(lambda p: p[0](p[1]), in_axes=(0,))((m, x)),
}
OURS = {
    "list": lambda t, m, x: t(lambda m, x: m(x), in_axes=[0, 0])(m, x),
    "by name": lambda t, m, x: t(lambda m, x: m(x), in_axes={"m": 0, "x": 0})(m, x),
    "keyword by name": lambda t, m, x: t(lambda m, x: m(x), in_axes={"m": 0, "x": 0})(x=x, m=m),
    "keyword": lambda t, m, x: t(lambda x, m: m(x), in_axes=(0,))(x, m=m),
    "in a dict": lambda t, m, x: t(lambda p, x: p["m"](x), in_axes=({"m": 0}, 0))({"m": m}, x),
    "with in_states": lambda t, m, x: t(lambda m, x: m(x), in_axes=(0, 0), in_states=m)(m, x),
    "twice": lambda t, m, x: t(lambda m, same, x: same(x), in_axes=(0, 0, 0))(m, m, x),
    "as method": lambda t, m, x: t(Cell.__call__, in_axes=(0, 0))(m, x),
    "in jit": lambda t, m, x: jit(lambda m, x: t(lambda m, x: m(x), in_axes=(0, 0))(m, x))(m, x),
    "returned": lambda t, m, x: t(lambda m, x: (m(x), m), in_axes=(0, 0), out_axes=(0, 0))(m, x)[0],
}


@each("way", {**WAYS, **OURS}.values(), ids={**WAYS, **OURS})
def test_the_axis_of_a_module_maps_its_states(way):
    m, theirs = Cell(), Theirs()
    wanted = nnx.vmap(lambda m, x: m(x), in_axes=(0, 0))(theirs, X)
    np.testing.assert_allclose(way(vmap, m, X), wanted)
    np.testing.assert_allclose(m.h.value, theirs.h[...])
    assert m.w.value.shape == W.shape


@each("way", WAYS.values(), ids=WAYS)
def test_they_are_the_ways_of_flax(way):
    m, theirs = Cell(), Theirs()
    np.testing.assert_allclose(way(vmap, m, X), way(nnx.vmap, theirs, X))


@each("axis", [0, 1, -1, -2])
def test_any_axis(axis):
    class Two(Node):
        def __init__(self):
            self.w, self.v = State(W), State(W + 1.0)

    m = Two()
    wanted = jax.vmap(lambda w, v: w @ v, in_axes=axis)(W, W + 1.0)
    np.testing.assert_allclose(vmap(lambda m: m.w.value @ m.v.value, in_axes=(axis,))(m), wanted)


def test_none_leaves_them_to_in_states():
    m = Cell()
    m.w.value = W[1]
    m.part[0].b.value = jnp.float32(1.0)
    wanted = W[1].sum() * X + X + 1.0
    for in_axes in ((None, 0), {"x": 0}, 0):
        m.h.value = jnp.zeros(5)
        np.testing.assert_allclose(vmap(lambda m, x: m(x), in_axes, in_states=m.h)(m, X), wanted)
        np.testing.assert_allclose(m.h.value, X)
    m.h.value = jnp.float32(0.0)
    out = vmap(lambda m, x: (m.w.value * x).sum(), in_axes=(None, 0))(m, X)
    np.testing.assert_allclose(out, W[1].sum() * X)


def test_an_ensemble_learns_as_its_members_do():
    ensemble = vmap(lambda: nn.Linear(2, 3), axis_size=5, new_states=0)()
    x = jnp.ones((5, 4, 2))
    params = ensemble.states(nn.ParamState)
    total = lambda: vmap(lambda m, x: (m(x) ** 2).sum(), in_axes=(0, 0))(ensemble, x).sum()
    plain = jax.vmap(jax.grad(lambda w, b, x: ((x @ w + b[None]) ** 2).sum(), (0, 1)))
    w, b = plain(ensemble.weight.value, ensemble.bias.value, x)
    found = grad(total, params)()
    np.testing.assert_allclose(found[("weight",)], w, rtol=1e-5)
    np.testing.assert_allclose(found[("bias",)], b, rtol=1e-5)


def test_random_streams_of_modules():
    """One that is split has a stream per lane, and one that is not draws differently all the same."""
    net = nn.Dropout(0.5, rng=nn.RandomState(0))
    masks = np.asarray(vmap(lambda m, x: m(x), in_axes=(0, 0))(net, jnp.ones((4, 64))))
    assert len({mask.tobytes() for mask in masks}) == 4
    assert int(net.rng.value[1]) == 1
    many = vmap(lambda key: nn.Dropout(0.5, rng=nn.RandomState(key)))(jax.random.split(jax.random.key(0), 4))
    masks = np.asarray(vmap(lambda m, x: m(x), in_axes=(0, 0))(many, jnp.ones((4, 64))))
    assert len({mask.tobytes() for mask in masks}) == 4
    assert many.rng.value[1].tolist() == [1, 1, 1, 1]


def test_an_axis_in_out_axes_is_that_of_what_is_written():
    m = Cell(W[0], 5)
    m.h.value, m.part[0].b.value = jnp.float32(0.0), jnp.float32(1.0)

    def f(m, x):
        m.h.value = m.h.value + x
        return x, m

    _, found = vmap(f, in_axes=(None, 0), out_axes=(0, 0))(m, X)
    assert found is m
    np.testing.assert_allclose(m.h.value, X)
    assert m.w.value.shape == (3,)
    with pytest.raises(ValueError, match=r"^out_axes has 1 for result\[1\] of `.*f`, and State at Cell.h in it"):
        vmap(f, in_axes=(None, 0), in_states=m.h, out_axes=(0, 1))(m, X)
    np.testing.assert_allclose(m.h.value, X)
    vmap(f, in_axes=(None, 0), in_states=m.h, out_states=m.h, out_axes=(0, None))(m, X)
    np.testing.assert_allclose(m.h.value, 2 * X)


def call(m, x):
    return m(x)


CONTRADICTIONS = {
    "in_states": (
        lambda m: vmap(call, in_axes=(0, 0), in_states={1: m.w})(m, X),
        r"^in_axes has 0 for argument 'm' of `call`, and in_states has 1 for State at Cell.w in it: leave",
    ),
    "in_states None": (
        lambda m: vmap(call, in_axes=(0, 0), in_states={None: m.w})(m, X),
        r"^in_axes has 0 for argument 'm' of `call`, and in_states has None for State at Cell.w in it",
    ),
    "two arguments": (
        lambda m: vmap(lambda a, b: a(b.h.value), in_axes=(0, 1))(m, m),
        r"^in_axes has 0 for argument 'a' of `.*<lambda>` and 1 for argument 'b' of .*, and both hold State at Cell",
    ),
    "two arguments, one shared": (
        lambda m: vmap(lambda a, b: a(1.0), in_axes=(0, None))(m, m),
        r"^in_axes has 0 for argument 'a' of `.*<lambda>` and None for argument 'b' of .*, and both hold State at Cell",
    ),
    "no such axis": (
        lambda m: vmap(call, in_axes=(3, 0))(m, X),
        r"^State at Cell.h \(of argument 'm' of `call`\) has shape \[5\], without an axis 3: give None for it",
    ),
    "no such axis from the end": (lambda m: vmap(call, in_axes=(-7, 0))(m, X), r"without an axis -7: give None for it"),
    "scalars": (
        lambda m: vmap(call, in_axes=(0, 0))(Cell(n=()), X),
        r"^State at Cell.h \(of argument 'm' of `call`\) is a scalar, without an axis to map: give None for it",
    ),
    "other lanes": (
        lambda m: vmap(call)(m, jnp.ones(4)),
        r"not the same everywhere: 4 in argument 'x' of `call`, 5 in State at Cell.h \(of argument 'm' of `call`\)\. A",
    ),
    "a bool": (lambda m: vmap(call, in_axes=(True, 0))(m, X), "holds True: axes must be whole numbers or None"),
}  # fmt: skip


@each("run, message", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_contradicts_is_refused_and_changes_nothing(run, message):
    m = Cell()
    before = [m.w.value, m.h.value]
    with pytest.raises((TypeError, ValueError), match=message):
        run(m)
    assert all(a is b for a, b in zip([m.w.value, m.h.value], before, strict=True))


MESH = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
SPLIT, WHOLE = P("i"), P()


def sharded(fun, **options):
    return shard_map(fun, mesh=MESH, out_specs=SPLIT, **options)


SHARDS = {
    "by position": lambda m: sharded(call, in_specs=(SPLIT, SPLIT))(m, X),
    "by name": lambda m: sharded(call, in_specs={"m": SPLIT, "x": SPLIT})(m, X),
    "keyword by name": lambda m: sharded(call, in_specs={"m": SPLIT, "x": SPLIT})(x=X, m=m),
    "in a dict": lambda m: sharded(lambda p, x: p["m"](x), in_specs=({"m": SPLIT}, SPLIT))({"m": m}, X),
    "with in_states": lambda m: sharded(call, in_specs=(SPLIT, SPLIT), in_states={SPLIT: m})(m, X),
    "left to in_states": lambda m: sharded(call, in_specs=(WHOLE, SPLIT), in_states={SPLIT: m})(m, X),
}


class Spread(Cell):
    """A shard of it has several lanes."""

    def __call__(self, x):
        self.h.value = self.h.value + x
        return self.h.value + self.w.value[:, 0]


@each("run", SHARDS.values(), ids=SHARDS)
def test_the_spec_of_a_module_spreads_its_states(run):
    m = Spread()
    np.testing.assert_allclose(run(m), X + W[:, 0])
    np.testing.assert_allclose(m.h.value, X)


def test_specs_that_contradict_are_refused():
    m = Spread()
    with pytest.raises(
        ValueError, match=r"^in_specs has P\S*\('i',?\) for argument 'm' of `call`, and in_states has P"
    ):
        sharded(call, in_specs=(SPLIT, SPLIT), in_states={P(None, "i"): m.w})(m, X)
    with pytest.raises(
        BatchAxisError, match=r"writes a value that differs per shard over \['i'\] to State at Spread\.h"
    ):
        sharded(call, in_specs=(WHOLE, SPLIT))(m, X)
    assert (m.h.value == 0.0).all()
