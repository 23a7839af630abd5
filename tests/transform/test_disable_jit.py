"""With jit disabled: the same results, writes and errors."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import State, StateArgumentError, clone
from brainstate_transform import BatchAxisError, cond, for_loop, jit, vmap
from tests.laws.transforms import DERIVATIVES, Net, Stack, same, transforms, twin, values

one = jnp.float32(1.0)


@transforms()
def test_the_same_results_and_writes(wrap):
    m = Net()
    other = twin(m)

    def make(m):
        def f(x):
            m.w.value = m.w.value + x
            return clone(m)(x) + m(x)

        return wrap(f)

    enabled, disabled = make(m), make(other)
    for _ in range(2):
        want = enabled(one)
        with jax.disable_jit():
            assert same(disabled(one), want)
        assert same(values(m), values(other))


@transforms()
def test_one_function_with_and_without(wrap):
    m = Stack(*map(float, range(1, 30)))
    f = wrap(lambda x: m.layers[2](x))
    for _ in range(2):
        assert f(one) == 3.0
        with jax.disable_jit():
            assert f(one) == 3.0
    assert m.layers[2].n.value == 4.0


@transforms()
def test_the_same_errors(wrap):
    m = Net()

    def f(x):
        m.w.value = m.w.value + x
        raise KeyError("no")

    with jax.disable_jit():
        with pytest.raises(KeyError):
            wrap(f)(one)
        with pytest.raises(StateArgumentError):
            wrap(lambda x: m.w)(one)
    assert m.w.value == 2.0


@transforms(without=[*DERIVATIVES, "vmap", "shard_map", "checkpoint"])  # JAX itself traces in these
def test_user_code_sees_concrete_values(wrap):
    m, seen = Net(), []

    def f(x):
        seen.append(float(x) + float(m.w.value))
        return x

    with jax.disable_jit():
        wrap(f)(one)
    assert seen == [3.0]


@transforms()
def test_states_beyond_the_captured_graph(wrap):
    sys.modules["disable-jit-strays"] = nets = [Net()]
    try:
        f = wrap(lambda x: sys.modules["disable-jit-strays"][0](x))
        with jax.disable_jit():
            assert f(one) == 2.0
        assert nets[0].n.value == 1.0
        nets[0].w.value = jnp.array(3.0)
        assert f(one) == 3.0
    finally:
        del sys.modules["disable-jit-strays"]


def test_errors_about_states():
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


def test_static_and_donated():
    s = State(jnp.ones(2))

    @jit(static_argnums=0, donate_states=True)
    def f(n):
        s.value = s.value * n

    with jax.disable_jit():
        f(2)
        f(n=3)
    assert same(s.value, jnp.full(2, 6.0))
