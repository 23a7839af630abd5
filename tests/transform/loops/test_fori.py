"""`fori_loop`: that of JAX, with states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State
from brainstate_transform import fori_loop, grad, jit, vmap
from tests.laws.transforms import Param, same
from tests.tables import each

disabled = pytest.mark.parametrize("disabled", [False, True], ids=["jit", "disabled"])


@each(
    ("bounds", "unroll"),
    [
        ((-2, 3), None),
        ((-2, 3), 2),
        ((4, 1), None),
        ((4, 1), True),
        ((np.int8(1), np.int8(4)), None),
        ((np.int8(1), np.int8(4)), 2),
        ((0, jnp.int8(3)), None),
    ],
    ids=str,
)
@disabled
def test_fori_is_that_of_jax(bounds, unroll, disabled):
    s = State(jnp.int32(10))

    def body(i, val):
        s.value += i
        return val * 2.0 + i

    want = jax.lax.fori_loop(*bounds, lambda i, v: (v[0] + i, v[1] * 2.0 + i), (jnp.int32(10), 1.0))
    with jax.disable_jit(disabled):
        got = fori_loop(*bounds, body, 1.0, unroll=unroll)
    assert same((s.value, got), want)


def test_traced_bounds():
    s = State(jnp.int32(0))
    f = jit(lambda n: fori_loop(1, n, lambda i, v: (setattr(s, "value", s.value + i), v + 1)[1], 0))
    assert (f(5), s.value) == (4, 10)
    assert (f(3), s.value) == (2, 13)
    with jax.disable_jit():
        assert (f(3), s.value) == (2, 16)
    lanes = vmap(lambda n: fori_loop(0, n, lambda i, v: v + i, 0))
    assert lanes(jnp.array([1, 4, 0])).tolist() == [0, 6, 0]
    with jax.disable_jit():
        assert lanes(jnp.array([1, 4, 0])).tolist() == [0, 6, 0]


def test_the_gradient_of_fori_with_known_bounds():
    w = Param(jnp.float32(2.0))
    assert grad(lambda x: fori_loop(0, 3, lambda i, v: v * w.value, x), w)(1.0) == 12.0
    assert grad(jit(lambda x: fori_loop(0, 3, lambda i, v: v * w.value, x)), w)(1.0) == 12.0
