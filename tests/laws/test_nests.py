"""Transforms inside transforms: made inside one another, beside raw JAX, without leaks, and traced once.

Two of them against the same computation by hand: test_products.py.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import TraceContextError
from brainstate_transform import jit
from tests.laws.law import BY_RULE
from tests.laws.transforms import CORE, ONE_OF_EACH, TRANSFORMS, Net, Runs, holds_tracer, same, values
from tests.tables import pairs

MAIN = {name: TRANSFORMS[name] for name in CORE}
RAW = {
    "jit": jax.jit,
    "vmap": lambda f: lambda x: jax.vmap(f)(jnp.reshape(x, (1,)))[0],
    "grad": lambda f: lambda x: jax.value_and_grad(f)(x)[0],
    "scan": lambda f: lambda x: jax.lax.scan(lambda c, x: (c, f(x)), 0.0, jnp.reshape(x, (1,)))[1][0],
}


def step(m, x):
    m.w.value = m.w.value + x * 0.5
    return m(x) + m.n.value


@pairs(outer=MAIN, inner=MAIN, whole=("jit",))
def test_the_inner_one_made_inside_the_outer_one(outer, inner):
    m, oracle = Net(), Net()

    def f(x):
        y = inner(lambda x: step(m, x))(x)
        m.w.value = m.w.value * 2.0
        return y + m.w.value

    def plain(x):
        y = step(oracle, x)
        oracle.w.value = oracle.w.value * 2.0
        return y + oracle.w.value

    x = jnp.float32(1.0)
    wrapped = outer(f)
    assert same(wrapped(x), plain(x))
    assert same(wrapped(x), plain(x))
    assert same(values(m), values(oracle))


@pairs(outer=MAIN, inner=MAIN, whole=("jit",))
def test_nothing_leaks(outer, inner):
    m = Net()
    with jax.checking_leaks():
        outer(inner(lambda x: step(m, x)))(jnp.float32(1.0))
    assert not holds_tracer(m)
    assert m.n.value == 1.0


@pairs(raw=RAW, wrap={name: wrap for name, wrap in MAIN.items() if name not in BY_RULE}, whole=("for_loop",))
def test_a_raw_transform_between_ours_and_a_write_is_refused(raw, wrap):
    m = Net()
    before = values(m)

    def add(x):
        m.w.value = m.w.value + x
        return x

    with pytest.raises(
        TraceContextError
    ):  # the tracer is of the raw trace, which the overlay of the outer jit does not know
        jit(lambda x: raw(wrap(add))(x) + m.w.value)(jnp.float32(1.0))
    assert same(values(m), before)
    assert not holds_tracer(m)


INNER = [
    pytest.param(name, marks=() if name in ONE_OF_EACH else pytest.mark.exhaustive)
    for name in TRANSFORMS
    if name != "shard_map"  # an axis is mapped once
]


@pytest.mark.counts_traces
@pytest.mark.parametrize("inner", INNER)
def test_the_innermost_function_is_traced_at_most_twice(inner):
    m, runs = Net(), Runs()

    def f(x):
        runs()
        return m(x)

    for _ in range(3):
        f = TRANSFORMS[inner](f)
    jit(f)(jnp.float32(1.0))
    assert runs.count <= 2
