"""Arguments and states that give their buffers away."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State
from brainstate_transform import jit
from tests.laws.transforms import Net
from tests.tables import each

one = jnp.float32(1.0)


@pytest.mark.parametrize("options", [{}, {"donate_states": True}], ids=["plain", "donating"])
def test_negative_donated_positions_are_those_of_the_user(options):
    m = Net()
    f = jit(lambda x, y: (m(x), y + 1.0), donate_argnums=-1, **options)
    x, y, w = jnp.ones(3), jnp.ones(3), m.w.value
    f(x, y)
    assert (x.is_deleted(), y.is_deleted(), w.is_deleted()) == (False, True, False)
    assert m.w.value is w


@each("options", [{"donate_argnums": 1}, {"donate_argnames": "y"}, {"donate_argnums": -1}, {"donate_argnums": (1,)}])
@each("by_name", [False, True])
def test_donated_arguments(options, by_name):
    w = State(jnp.ones(4))
    f = jit(lambda x, y: (x + w.value, y + 1.0), **options)
    x, y = jnp.ones(4), jnp.ones(4)
    f(x, y=y) if by_name else f(x, y)
    assert (x.is_deleted(), y.is_deleted(), w.value.is_deleted()) == (False, True, False)


def test_donated_states():
    class Two(Node):
        def __init__(self):
            self.w, self.h = State(jnp.ones(4)), State(jnp.ones(4))

    m = Two()

    @jit(donate_states=True)
    def f(x):
        m.h.value = m.h.value + m.w.value * x
        return x

    for n in (2.0, 3.0, 4.0):
        w, h = m.w.value, m.h.value
        f(one)
        assert h.is_deleted()
        assert not w.is_deleted()
        assert m.w.value is w
        np.testing.assert_allclose(m.h.value, np.full(4, n))


def test_donated_states_that_share_a_buffer():
    shared = jnp.ones(4)
    a, b = State(shared, name="first"), State(shared, name="second")

    @jit(donate_states=True)
    def f():
        a.value, b.value = a.value + 1.0, b.value + 2.0

    with pytest.raises(ValueError, match=r"same array.*Copy it"):
        f()
    assert not shared.is_deleted()
    b.value = jnp.array(shared)
    f()
    np.testing.assert_allclose(b.value, 3.0 * np.ones(4))


def test_donated_states_with_equal_python_numbers():
    a, b = State(0), State(0)

    @jit(donate_states=True)
    def f():
        a.value, b.value = a.value + 1, b.value + 2

    f()
    f()
    assert (a.value, b.value) == (2, 4)


def test_donated_states_when_the_call_fails_to_trace():
    w = State(jnp.ones(4))

    @jit(donate_states=True)
    def f(x):
        w.value = w.value + 1.0
        return jnp.ones(2) @ jnp.ones(x)

    with pytest.raises(TypeError):
        jit(lambda: f(one))()
    assert not w.value.is_deleted()


def test_donated_states_within_an_outer_jit():
    w = State(jnp.ones(4))

    @jit(donate_states=True)
    def inner():
        w.value = w.value + 1.0

    @jit
    def outer():
        inner()
        inner()
        return w.value

    np.testing.assert_allclose(outer(), 3.0 * np.ones(4))
    np.testing.assert_allclose(w.value, 3.0 * np.ones(4))
