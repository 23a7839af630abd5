"""Loops, branches and lanes under ``jax.disable_jit``: the same rules and errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import State
from brainstate_transform import BatchAxisError, cond, for_loop, grad, vmap
from tests.laws.transforms import Net, same, twin


def test_the_rules_of_loops_and_branches_hold():
    s = State(jnp.zeros(()), name="s")

    def grow(*_):
        s.value = jnp.zeros(2)

    def attempts():
        for call in (lambda: for_loop(grow, jnp.arange(2.0)), lambda: cond(True, grow, lambda x: None, 1.0)):
            with pytest.raises(TypeError, match="'s'") as caught:
                call()
            yield str(caught.value)

    want = list(attempts())
    with jax.disable_jit():
        assert list(attempts()) == want
    assert s.value == 0.0


def test_grad_of_a_mapped_loop():
    def make():
        m = twin(Net(0.5))
        f = grad(lambda xs: jnp.sum(vmap(lambda x: jnp.sum(for_loop(lambda y: m.w.value**2 * y, x)))(xs)), m.w)
        return f(jnp.arange(6.0).reshape(2, 3))

    want = make()
    with jax.disable_jit():
        assert same(make(), want)


def test_errors_name_the_states():
    m = Net()

    def grow(x):
        m.n.value = jnp.stack([m.n.value, m.n.value])

    with jax.disable_jit():
        with pytest.raises(TypeError, match=r"Net\.n"):
            for_loop(grow, jnp.arange(2.0))
        with pytest.raises(TypeError, match=r"Net\.n"):
            cond(True, grow, lambda x: None, 1.0)
        with pytest.raises(BatchAxisError, match=r"Net\.n"):
            vmap(lambda x: setattr(m.n, "value", x))(jnp.arange(2.0))
    assert m.n.value == 0.0
