"""Compiled functions under ``jax.disable_jit``."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import State
from brainstate_transform import StatefulFunction, jit
from tests.laws.transforms import Net, same

one = jnp.float32(1.0)


@pytest.mark.parametrize("disabled", [False, True], ids=["enabled", "disabled"])
def test_a_pure_call_stays_pure(disabled):
    m = Net()
    f = StatefulFunction(lambda x: m(x))
    f.make_jaxpr(one)
    n, w = (list(f.get_states(one)).index(s) for s in (m.n, m.w))
    given = [None, None]
    given[n], given[w] = jnp.float32(10.0), jnp.float32(5.0)
    with jax.disable_jit(disabled):
        new, out = f.jaxpr_call(given, one)
    assert out == 5.0
    assert new[n] == 11.0
    assert (m.n.value, m.w.value) == (0.0, 2.0)


def test_static_and_donated_arguments():
    s = State(jnp.ones(2))

    @jit(static_argnums=0, donate_states=True)
    def f(n):
        s.value = s.value * n

    with jax.disable_jit():
        f(2)
        f(n=3)
    assert same(s.value, jnp.full(2, 6.0))
