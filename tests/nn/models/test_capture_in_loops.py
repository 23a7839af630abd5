"""Captures and what is sown in loops, branches and lanes: by hand, as in flax, and where nothing can leave."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import brainstate_nn as nn
from brainstate_graph import StructureError, TraceContextError, graphdef
from brainstate_transform import (
    associative_scan,
    bounded_while_loop,
    checkpoint,
    checkpointed_for_loop,
    cond,
    custom_vjp,
    for_loop,
    fori_loop,
    grad,
    ifelse,
    jit,
    scan,
    shard_map,
    switch,
    vmap,
    while_loop,
)
from brainstate_transform import (
    map as map_elements,
)
from tests.nn.models.test_capture import X, same
from tests.tables import each


class Parts(nn.Module):
    """Two layers, called as a function of them and the input says."""

    def __init__(self, how):
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        self.how = how

    def __call__(self, x):
        return self.how(self, x)


def stacked(run, xs):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(run, xs))


T = jnp.arange(1.0, 4.0)
# How a model runs its layers, and by hand what they return.
WAYS = {
    "for_loop": (lambda m, x: for_loop(m.a, x), lambda m, x: {"a": stacked(m.a, x)}),
    "sow": (
        lambda m, x: for_loop(lambda v: m.a(nn.sow(m, "in", 2 * v)), x),
        lambda m, x: {"a": stacked(m.a, 2 * x), "in": 2 * x},
    ),
    "scan": (
        lambda m, x: scan(lambda c, v: (c + m.a(v), m.b(v)), x[0], x, reverse=True),
        lambda m, x: {"a": stacked(m.a, x), "b": stacked(m.b, x)},
    ),
    "checkpointed": (lambda m, x: checkpointed_for_loop(m.a, x, base=2), lambda m, x: {"a": stacked(m.a, x)}),
    "loop in loop": (
        lambda m, x: for_loop(lambda v: for_loop(lambda t: m.a(v * t), T), x),
        lambda m, x: {"a": stacked(lambda v: stacked(lambda t: m.a(v * t), T), x)},
    ),
    "compiled in a loop": (
        lambda m, x: for_loop(lambda v: jit(m.a)(v) + checkpoint(m.a)(-v), x),
        lambda m, x: {"a": [stacked(m.a, x), stacked(m.a, -x)]},
    ),
    "before, in and after": (
        lambda m, x: m.a(for_loop(m.a, m.a(x))),
        lambda m, x: {"a": [m.a(x), stacked(m.a, m.a(x)), m.a(stacked(m.a, m.a(x)))]},
    ),
    "cond": (
        lambda m, x: cond(x.sum() > 0, m.a, lambda x: m.b(m.b(x)), x),
        lambda m, x: {"a": m.a(x), "b": [jnp.full((2, 2), jnp.nan)] * 2},
    ),
    "switch": (
        lambda m, x: switch(jnp.int32(2), [m.a, lambda x: x, m.b], x),
        lambda m, x: {"a": jnp.full((2, 2), jnp.nan), "b": m.b(x)},
    ),
    "ifelse": (
        lambda m, x: ifelse([x.sum() < 0, True], [m.a, m.a], x),
        lambda m, x: {"a": m.a(x)},
    ),
    "vmap": (lambda m, x: vmap(m.a)(x), lambda m, x: {"a": stacked(m.a, x)}),
    "vmap that makes states": (
        lambda m, x: vmap(lambda v: (m.a(v), nn.Linear(2, 2))[0], new_states=0)(x),
        lambda m, x: {"a": stacked(m.a, x)},
    ),
    "vmap of other axes": (
        lambda m, x: vmap(lambda v, w: (m.a(v), m.b(m.b(w))), in_axes=(0, None), out_axes=1)(x, x[0])[0],
        lambda m, x: {
            "a": stacked(m.a, x),
            "b": [stacked(lambda _: m.b(x[0]), x), stacked(lambda _: m.b(m.b(x[0])), x)],
        },
    ),
    "vmap in a loop, and a loop in vmap": (
        lambda m, x: for_loop(lambda t: vmap(lambda v: for_loop(lambda s: m.a(s * t * v), T))(x), T),
        lambda m, x: {"a": stacked(lambda t: stacked(lambda v: stacked(lambda s: m.a(s * t * v), T), x), T)},
    ),
    "map in blocks": (
        lambda m, x: map_elements(m.a, jnp.stack([*x, x[0]]), batch_size=2),
        lambda m, x: {"a": stacked(m.a, [*x, x[0]])},
    ),
    "fori_loop": (
        lambda m, x: fori_loop(1, 3, lambda i, v: m.a(v) * i, x),
        lambda m, x: {"a": jnp.stack([m.a(x), m.a(m.a(x))])},
    ),
    "no step": (lambda m, x: fori_loop(3, 1, lambda i, v: m.a(v), x), lambda m, x: {"a": jnp.zeros((0, 2, 2))}),
    "bounded_while_loop": (
        lambda m, x: bounded_while_loop(
            lambda n: n[1] < 3, lambda n: (m.a(n[0]), n[1] + 1), (x, 0), max_steps=5, base=2
        )[0],
        lambda m, x: {"a": jnp.stack([m.a(x), m.a(m.a(x)), m.a(m.a(m.a(x))), *[jnp.full((2, 2), jnp.nan)] * 2])},
    ),
    "branch in a loop": (
        lambda m, x: for_loop(lambda v: cond(v[0] > 0.7, lambda v: nn.sow(m, "n", jnp.int32(3)) * m.a(v), m.b, v), x),
        lambda m, x: {
            "a": jnp.stack([m.a(x[0]), jnp.full(2, jnp.nan)]),
            "b": jnp.stack([jnp.full(2, jnp.nan), m.b(x[1])]),
            "n": jnp.array([3, 0]),
        },
    ),
}


@each("way", list(WAYS), ids=list(WAYS))
def test_in_loops_and_branches(way):
    how, by_hand = WAYS[way]
    net = Parts(how)
    shape, plain = graphdef(net), net(X)
    for run in (lambda f: f, jit):
        for _ in range(2):
            out, inner = run(nn.capture(net))(X)
            assert same(out, plain)
            want = by_hand(net, X)
            assert list(inner) == list(want)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), inner, want)
        assert graphdef(net) is shape


def test_the_gradient_through_what_steps_return():
    net = Parts(WAYS["loop in loop"][0])
    by_hand = WAYS["loop in loop"][1]
    got = grad(lambda x: (nn.capture(net)(x)[1]["a"] ** 2).sum())(X)
    assert jnp.allclose(got, jax.grad(lambda x: (by_hand(net, x)["a"] ** 2).sum())(X), atol=1e-5)


def test_the_layers_of_a_stack():
    stack = nn.Stack(3, lambda: nn.Sequential(nn.Linear(2, 2), nn.tanh))
    captured = nn.capture(stack, "layers.layers.*")
    for run in (captured, jit(captured)):
        for _ in range(2):
            inner = run(X)[1]
            x, want = X, []
            for layer in stack:
                want.append(layer[0](x))
                x = layer(x)
            assert list(inner) == ["layers.layers.0"]
            assert jnp.allclose(inner["layers.layers.0"], jnp.stack(want), atol=1e-6)


def test_as_flax_sows_in_a_loop():
    class Theirs(linen.Module):
        @linen.compact
        def __call__(self, carry, x):
            self.sow("intermediates", "h", carry * x)
            return carry + x, carry

    class Ours(nn.Module):
        def __call__(self, xs):
            return scan(lambda carry, x: (nn.sow(self, "h", carry * x) * 0 + carry + x, carry), xs[0], xs)

    looped = linen.scan(Theirs, variable_axes={"intermediates": 0}, split_rngs={})
    _, kept = looped().apply({}, X[0], X, mutable=["intermediates"])
    assert jnp.array_equal(nn.capture(Ours())(X)[1]["h"], kept["intermediates"]["h"][0])


def test_sow_outside_of_a_capture_and_under_a_taken_name():
    net = Parts(lambda m, x: nn.sow(m, "h", x))
    assert net(X) is X
    assert list(nn.capture(net, "a", call=lambda x: net(x))(X)[1]) == []  # the model itself was not chosen
    with pytest.raises(ValueError, match="Parts has an attribute 'a', so a value cannot have this name"):
        nn.sow(net, "a", X)


def test_branches_that_return_other_shapes():
    net = Parts(lambda m, x: cond(x.sum() > 0, lambda: m.a(x).sum(), lambda: m.a(x[0]).sum()))
    with pytest.raises(TypeError, match=r"two branches give a as f32\[2,2\] and f32\[2\]"):
        nn.capture(net)(X)


MESH = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))


def with_rule(layer):
    @custom_vjp
    def run(x):
        return layer(x)

    run.defvjp(lambda x: (layer(x), None), lambda _, g: (g,))
    return run


ENDLESS = (
    r"`[^`]*` computes 'a', which is captured, but it cannot leave a loop whose number of steps is not known: write "
    r"`bounded_while_loop\(cond, body, init, max_steps=n\)`, or `scan`, or capture only other modules"
)


@each(
    ("how", "error", "words"),
    [
        (lambda m, x: while_loop(lambda x: x.sum() < 0, m.a, x), StructureError, ENDLESS),
        (
            lambda m, x: jit(lambda x: fori_loop(0, jnp.int32(x.sum()), lambda i, x: m.a(x), x))(x),
            StructureError,
            ENDLESS,
        ),
        (
            lambda m, x: while_loop(lambda x: m.a(x).sum() < 0, lambda x: x + 1, x),
            StructureError,
            "it cannot leave the condition of a loop: compute it in the body",
        ),
        (
            lambda m, x: associative_scan(lambda one, other: m.a(one) + other, x),
            StructureError,
            "it cannot leave associative_scan, which calls it in no order: write `scan`",
        ),
        (
            lambda m, x: shard_map(m.a, mesh=MESH, in_specs=jax.P("d"), out_specs=jax.P("d"))(x),
            StructureError,
            "it cannot leave shard_map, which has no spec for it: return it from the function",
        ),
        (
            lambda m, x: with_rule(m.a)(x),
            StructureError,
            "it cannot leave a function with a rule for its derivative: call the module outside of it",
        ),
        (
            lambda m, x: jax.vmap(lambda x: m.a(x))(x),
            TraceContextError,
            "cannot take a traced value here.* Use the transform of the same name from brainstate_transform",
        ),
        (lambda m, x: for_loop(lambda v: jax.jit(lambda v: m.a(v))(v), x), TraceContextError, "cannot take a traced"),
    ],
)
def test_what_no_value_can_leave_is_refused(how, error, words):
    net = Parts(how)
    shape = graphdef(net)
    for run in (lambda f: f, jit):
        with pytest.raises(error, match=words):
            run(nn.capture(net))(X)
        assert graphdef(net) is shape
