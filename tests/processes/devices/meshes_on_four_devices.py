"""All transforms on a mesh: explicit axes or automatic ones, states whole or spread, shared or mapped.

`test_several_devices.py` runs this file in a process with four devices.
"""

from __future__ import annotations

import contextlib
import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import Node, State
from brainstate_transform import (
    StatefulFunction,
    bounded_while_loop,
    checkpoint,
    checkpointed_for_loop,
    cond,
    custom_jvp,
    custom_vjp,
    for_loop,
    fori_loop,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jit,
    jvp,
    lift,
    linearize,
    map,
    scan,
    shard_map,
    switch,
    vjp,
    vmap,
    while_loop,
)
from tests.tables import each

MESHES = {
    "default": jax.make_mesh((4,), ("d",)),  # with explicit axes
    "auto": jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,)),
    "none": None,
}
LAYOUTS = {"whole": P(), "spread": P("d")}
STEPS = 3


def _with_rule(f):
    made = custom_vjp(lambda x: f(x))
    made.defvjp(lambda x: (f(x), None), lambda residuals, ct: (ct,))
    return made


def _with_tangents(f):
    made = custom_jvp(lambda x: f(x))
    made.defjvp(lambda primals, tangents: (f(*primals), tangents[0]))
    return made


def _last(ys):
    return ys[-1]


# How often each runs its function, one after the other; it returns the last result.
ONCE = {
    "jit": jit,
    "lift": lambda f: lift(jax.jit, f, inputs="touched"),
    "stateful": StatefulFunction,
    "checkpoint": checkpoint,
    "vjp": lambda f: lambda x: vjp(f, x)[0],
    "jvp": lambda f: lambda x: jvp(f, (x,), (jnp.ones_like(x),))[0],
    "linearize": lambda f: lambda x: linearize(f, x)[0],
    "custom_vjp": _with_rule,
    "custom_jvp": _with_tangents,
    "cond": lambda f: lambda x: cond(jnp.sum(x) == jnp.sum(x), f, lambda x: x, x),
    "switch": lambda f: lambda x: switch(jnp.int32(1), [lambda x: x, f, f], x),
}
OFTEN = {
    "for_loop": lambda f: lambda x: _last(for_loop(f, jnp.stack([x] * STEPS))),
    "scan": lambda f: lambda x: scan(lambda carry, x: (f(x), None), jnp.zeros(x.shape), jnp.stack([x] * STEPS))[0],
    "checkpointed": lambda f: lambda x: _last(checkpointed_for_loop(f, jnp.stack([x] * STEPS), base=2)),
    "map": lambda f: lambda x: _last(map(f, jnp.stack([x] * STEPS))),
    "fori_loop": lambda f: lambda x: fori_loop(0, STEPS, lambda i, y: f(x), jnp.zeros(x.shape)),
    "while_loop": lambda f: (
        lambda x: while_loop(lambda c: c[0] < STEPS, lambda c: (c[0] + 1, f(x)), (0, jnp.zeros(x.shape)))[1]
    ),
    "bounded": lambda f: (
        lambda x: bounded_while_loop(
            lambda c: c[0] < STEPS, lambda c: (c[0] + 1, f(x)), (0, jnp.zeros(x.shape)), max_steps=4
        )[1]
    ),
}
TRANSFORMS = {**ONCE, **OFTEN}


class Model(Node):
    """A parameter that is read, and a hidden state that takes a part of each input."""

    def __init__(self, w, h):
        self.w, self.h = State(w), State(h)

    def __call__(self, x, common=lambda part: part):
        self.h.value = 0.5 * self.h.value + common(jnp.mean(self.w.value) * x)
        return jnp.tanh(x + jnp.mean(self.h.value))


def by_hand(w, h, x, common=lambda part: part):
    h = 0.5 * h + common(jnp.mean(w) * x)
    return jnp.tanh(x + jnp.mean(h)), h


W = jnp.arange(8.0) / 8
H = jnp.reshape(jnp.arange(32.0), (8, 4)) / 32
X = jnp.cos(jnp.reshape(jnp.arange(32.0), (8, 4)))


def in_python(states, steps, w, h, x):
    """Return what all of it computes in plain Python, shard by shard: the last results, and the hidden state."""
    shards = [x] if states == "none" else jnp.split(x, 4)
    ys = shards
    for _ in range(steps):
        if states == "mapped":
            pairs = [by_hand(w, part, x) for part, x in zip(jnp.split(h, 4), shards, strict=True)]
            ys, h = [y for y, _ in pairs], jnp.concatenate([part for _, part in pairs])
        else:
            mean = sum(shards) / len(shards)
            pairs = [by_hand(w, h, x, lambda _, mean=mean: jnp.mean(w) * mean) for x in shards]
            ys, h = [y for y, _ in pairs], pairs[0][1]
    return jnp.concatenate(ys), h


def first(states):
    """Return the hidden state before the call: a shard has a part of it, or all shards one of its size."""
    return H[:2] if states == "shared" else H


@functools.cache
def wanted(states, steps):
    return jax.tree.map(np.asarray, in_python(states, steps, W, first(states), X))


@functools.cache
def slopes(states, steps):
    loss = lambda w, x: jnp.sum(in_python(states, steps, w, first(states), x)[0] ** 2)
    return jax.tree.map(np.asarray, jax.grad(loss, (0, 1))(W, X))


def put(mesh, value, spec):
    return value if mesh is None else jax.device_put(value, NamedSharding(mesh, spec))


def placed(mesh, spec, states):
    return Model(put(mesh, W, spec), put(mesh, first(states), P() if states == "shared" else spec))


def around(mesh):
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def runs(mesh, model, name, states):
    """The transform of the model alone, or on the shards of the mesh, its hidden state shared or mapped."""
    if states == "none":
        return TRANSFORMS[name](model)
    common = (lambda part: jax.lax.pmean(part, "d")) if states == "shared" else (lambda part: part)
    spread = {P("d"): model.h} if states == "mapped" else None
    f = TRANSFORMS[name](lambda x: model(x, common))
    return shard_map(f, mesh=mesh, in_specs=P("d"), out_specs=P("d"), in_states=spread)


CASES = [
    (mesh, layout, states)
    for mesh in MESHES
    for layout in LAYOUTS
    for states in ("none", "shared", "mapped")
    if not (mesh == "none" and (layout, states) != ("whole", "none"))
]


# One of each sort is run in all cases; the others differ from one of these in what they hand to JAX.
SORTS = ("jit", "checkpoint", "custom_vjp", "cond", "for_loop", "checkpointed", "while_loop", "bounded")
FEW = [case for case in CASES if case[:2] == ("default", "spread")]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_results_and_writes_are_those_of_python(name):
    each("mesh, layout, states", CASES if name in SORTS else FEW)(check_case)(name=name)


def check_case(name, mesh, layout, states):
    mesh, spec = MESHES[mesh], LAYOUTS[layout]
    model = placed(mesh, spec, states)
    want = wanted(states, STEPS if name in OFTEN else 1)
    before = model.w.value
    run = runs(mesh, model, name, states)
    with around(mesh):
        got = run(put(mesh, X, spec if states == "none" else P("d")))
    np.testing.assert_allclose(got, want[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.h.value, want[1], rtol=1e-5, atol=1e-6)
    assert model.w.value is before


@each("mesh", ["default", "auto"])
@each("arguments", LAYOUTS)
@each("states", [None, *LAYOUTS])
def test_lanes_along_an_axis_that_is_spread(mesh, arguments, states):
    mesh, xs, h = MESHES[mesh], X, H
    for _ in range(2):
        ys, h = jax.vmap(by_hand, (None, 0, 0))(W, h, xs)
    model = Model(put(mesh, W, P("d")), H if states is None else put(mesh, H, LAYOUTS[states]))
    with around(mesh):
        xs = put(mesh, X, LAYOUTS[arguments])
        got = for_loop(lambda _: vmap(model, in_states=model.h)(xs), jnp.arange(2))[1]
        np.testing.assert_allclose(got, ys, rtol=1e-5)
        np.testing.assert_allclose(model.h.value, h, rtol=1e-5)
        made = State(jnp.zeros(()))
        vmap(lambda x: setattr(made, "value", jnp.sum(x) + jnp.mean(model.w.value)), out_states=made)(xs)
        np.testing.assert_allclose(made.value, X.sum(1) + W.mean(), rtol=1e-4, atol=1e-5)
        rng = nn.RandomState(0)
        draws = vmap(lambda _: rng.uniform())(xs)
    assert len(np.unique(draws)) == 8


@each("mesh", ["default", "auto"])
def test_branches_may_be_spread_differently(mesh):
    mesh = MESHES[mesh]
    with around(mesh):
        xs, s = put(mesh, jnp.arange(8.0), P("d")), State(jnp.zeros(8))
        for flag in (False, True):
            out = cond(flag, lambda: xs, lambda: jnp.zeros(8))
            cond(flag, lambda: setattr(s, "value", xs), lambda: None)
            np.testing.assert_allclose(out, np.arange(8.0) * flag)
            np.testing.assert_allclose(s.value, np.arange(8.0) * flag)


# --------------------------------------------------------------------------------------------- derivatives and layouts

# Under `jit` all that is read is an argument already; without, JAX has to be passed a state that lies on the mesh.
ROWS = [
    (False, "for_loop", "auto", "whole", "shared"),
    (False, "for_loop", "default", "spread", "mapped"),
    (True, "for_loop", "default", "spread", "shared"),
    (True, "bounded", "default", "whole", "mapped"),
    (True, "cond", "auto", "spread", "shared"),
    (True, "checkpoint", "default", "spread", "none"),
]


@each("compiled, name, mesh, layout, states", ROWS)
def test_gradients_through_shards_and_loops(compiled, name, mesh, layout, states):
    mesh, spec = MESHES[mesh], LAYOUTS[layout]
    model = placed(mesh, spec, states)
    with around(mesh):
        x = put(mesh, X, spec if states == "none" else P("d"))
        run = runs(mesh, model, name, states)
        gradient = grad(lambda x: jnp.sum(run(x) ** 2), wrt=model.w, argnums=0)
        by_state, by_argument = (jit(gradient) if compiled else gradient)(x)
    want_w, want_x = slopes(states, STEPS if name in OFTEN else 1)
    np.testing.assert_allclose(by_state, want_w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_argument, want_x, rtol=1e-4, atol=1e-5)


def given(loop, xs, around):
    """Return what the body of a loop is given, each time that it is traced."""
    seen = []

    def body(x):
        seen.append(jax.typeof(x))
        return x * 2.0

    around(lambda xs: loop(body, xs))(xs)
    return seen


@each("mesh", ["default", "auto"])
@each("loop", [for_loop, map, lambda f, xs: scan(lambda c, x: (c, f(x)), None, xs)[1]])
@each("spec", [P(), P(None, "d")])
def test_the_body_is_given_what_that_of_jax_is_given_and_traced_once(mesh, loop, spec):
    mesh = MESHES[mesh]
    xs, on_shards = put(mesh, jnp.ones((3, 8, 4)), spec), {"mesh": mesh, "in_specs": spec, "out_specs": spec}
    for ours, plain in ((jit, jax.jit), (partial(shard_map, **on_shards), partial(jax.shard_map, **on_shards))):
        assert given(loop, xs, ours) == given(jax.lax.map, xs, plain)[:1]


@each("mesh", ["default", "auto"])
def test_what_a_loop_or_branch_sets_to_a_constant_varies_as_the_rest_does(mesh):
    mesh = MESHES[mesh]
    xs = put(mesh, jnp.arange(8.0), P("d"))
    h = State(put(mesh, jnp.zeros(8), P("d")))

    def f(x):
        def step(i):
            h.value = h.value + x
            h.value = switch(i % 3, [lambda: h.value, lambda: jnp.zeros(2), lambda: h.value + 1.0])

        h.value = jnp.zeros(2)
        for_loop(step, jnp.arange(4))
        return h.value

    run = shard_map(f, mesh=mesh, in_specs=P("d"), out_specs=P("d"), in_states={P("d"): h})
    np.testing.assert_allclose(run(xs), 2 * np.arange(8.0) + 1.0)
    last = lambda x: scan(lambda carry, y: (jnp.zeros(2), carry), x, jnp.arange(3.0))[0]
    np.testing.assert_allclose(shard_map(last, mesh=mesh, in_specs=P("d"), out_specs=P("d"))(xs), np.zeros(8))


@each("mesh", ["default", "auto"])
def test_a_state_goes_where_its_spec_says(mesh):
    mesh = MESHES[mesh]
    xs, h = put(mesh, jnp.arange(8.0), P("d")), State(jnp.zeros(8))

    def f(x):
        h.value = h.value + x

    for compiled in (False, True):
        for start in (jnp.ones(8), put(mesh, jnp.ones(8), P()), put(mesh, jnp.ones(8), P("d"))):
            h.value = start
            run = shard_map(f, mesh=mesh, in_specs=P("d"), out_specs=P(), in_states={P("d"): h})
            (jit(run) if compiled else run)(xs)
            np.testing.assert_allclose(h.value, 1.0 + np.arange(8.0))
            assert h.value.sharding.spec == P("d")


DERIVATIVES = {
    "jacrev": (lambda f, x: jacrev(f)(x), lambda f, x: jax.jacrev(f)(x)),
    "jacfwd": (lambda f, x: jacfwd(f)(x), lambda f, x: jax.jacfwd(f)(x)),
    "hessian": (lambda f, x: hessian(lambda x: jnp.sum(f(x)))(x), lambda f, x: jax.hessian(lambda x: jnp.sum(f(x)))(x)),
}


@each("name", DERIVATIVES)
@each("mesh", ["default", "auto"])
def test_derivatives_lie_as_those_of_jax(name, mesh):
    mesh, (ours, plain) = MESHES[mesh], DERIVATIVES[name]
    w, calls = State(put(mesh, W, P("d"))), State(jnp.zeros(()))

    def f(x):
        calls.value = calls.value + 1.0
        return jnp.tanh(x * w.value)

    with around(mesh):
        x = put(mesh, X[:, 0], P("d"))
        got, want = ours(f, x), plain(lambda x: jnp.tanh(x * w.value), x)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert got.sharding.is_equivalent_to(want.sharding, got.ndim)
    assert calls.value == 1.0
