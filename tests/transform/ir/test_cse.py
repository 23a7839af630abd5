"""Equal expressions are computed once, but for those that must run each time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from brainstate_transform.ir import cse, optimize_jaxpr
from tests.transform.ir.programs import names, same, size

x = jnp.array([1.0, -2.0, 3.0])


def traced(f, *args):
    return jax.make_jaxpr(f)(*args)


n = jnp.array([1, -2, 3])


def test_equal_expressions_are_computed_once():
    def f(x, y):
        a, b = jnp.sin(x) * y, y * jnp.sin(x)
        return a + b, jax.nn.relu(x) + jax.nn.relu(x), jax.jit(jnp.cos)(x) * jax.jit(jnp.cos)(x)

    old = traced(f, x, x + 1.0)
    new = cse(old)
    same(new, old, x, x + 1.0)
    assert size(new) <= size(old) - 4
    assert names(new).count("sin") == 1
    assert cse(new) is new


def test_equal_in_bodies():
    def f(x):
        y, zs = lax.scan(lambda c, _: (jnp.sin(c) + jnp.sin(c), jnp.sin(c)), x, None, length=3)
        return lax.cond(y[0] > 0, lambda v: jnp.exp(v) - jnp.exp(v), lambda v: v, y), zs

    old = traced(f, x)
    new = cse(old)
    same(new, old, x)
    assert (names(new).count("sin"), names(new).count("exp")) == (1, 1)


def test_what_differs_is_not_merged():
    def f(x, n):
        return (
            x + 0.0, x + (-0.0), n + 1, n - 1, x.astype(jnp.int32), x.astype(jnp.int16), lax.round(x, 0),
            lax.round(x, 1), x - n, n - x, jnp.full(3, 0.0), jnp.full(3, -0.0), jnp.full(3, 1), jnp.full(3, 1.0),
            jnp.full(3, True),            x.sum(), x[None].sum(0),
        )  # fmt: skip

    old = traced(f, x, n)
    new = cse(old)
    same(new, old, x, n)
    assert len(new.jaxpr.eqns) >= len(old.jaxpr.eqns) - 1  # n converted to float


def test_what_must_run_each_time_is_not_merged():
    def f(x):
        a, b = (lax.rng_uniform(0.0, 1.0, (3,)) for _ in range(2))
        c, d = (lax.optimization_barrier(x) for _ in range(2))
        e, g = (jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), jnp.float32), x) for _ in range(2))
        step = jax.checkpoint(jnp.sin)
        return a, b, c, d, e, g, step(x), step(x)

    old = traced(f, x)
    assert cse(old) is old


def test_the_compiled_body_stays_one():
    @jax.jit
    def g(x):
        return jnp.sin(x) * 1.0 + jnp.float32(2) * 3

    new = optimize_jaxpr(traced(lambda x: g(g(x)), x))
    first, second = (e.params["jaxpr"] for e in new.jaxpr.eqns)
    assert first is second
    assert size(first) == 2
