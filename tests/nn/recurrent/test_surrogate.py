from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import for_loop, grad, jit, vmap
from tests.tables import each

KINDS = {
    # of each kind the smooth step whose derivative it has, at the usual slope
    "sigmoid": lambda x: jax.nn.sigmoid(4 * x),
    "arctan": lambda x: 0.5 + jnp.arctan(jnp.pi * x) / jnp.pi,
    "triangle": lambda x: jnp.where(x < 0, 0.5 * (1 + x) ** 2, 1 - 0.5 * (1 - x) ** 2),
    "fast_sigmoid": lambda x: 0.5 * (1 + 10 * x / (1 + jnp.abs(10 * x))),
}
X = jnp.linspace(-0.95, 0.9, 38)
each_kind = each("kind", KINDS)


@each_kind
def test_the_derivative_is_that_of_a_smooth_step(kind):
    value, push = jax.vjp(lambda x: nn.surrogate_spike(x, kind), X)
    np.testing.assert_array_equal(value, np.where(X >= 0, 1.0, 0.0))
    want = jax.vmap(jax.grad(KINDS[kind]))(X)
    np.testing.assert_allclose(push(jnp.ones_like(X))[0], want, rtol=1e-5)
    _, forward = jax.jvp(lambda x: nn.surrogate_spike(x, kind), (X,), (2 * jnp.ones_like(X),))
    np.testing.assert_allclose(forward, 2 * want, rtol=1e-5)


@each_kind
def test_the_area_is_one_at_any_slope(kind):
    x = jnp.linspace(-100, 100, 200_001)
    for slope in (2.0, 5.0):
        slopes = jax.grad(lambda x, slope=slope: nn.surrogate_spike(x, kind, slope).sum())(x)
        # of the tails beyond 100 the arctan has most, 1 / (pi**2 * 100)
        assert float(slopes.sum() * 0.001) == pytest.approx(1.0, abs=6e-3)


def test_a_derivative_of_ones_own():
    slopes = jax.grad(lambda x: nn.surrogate_spike(x, lambda x: jnp.exp(-x * x), 2.0).sum())(X)
    np.testing.assert_allclose(slopes, 2 * jnp.exp(-4 * X * X), rtol=1e-5)


def test_the_threshold_itself_is_a_spike():
    assert nn.surrogate_spike(0.0) == 1.0
    assert nn.surrogate_spike(-0.0) == 1.0
    assert nn.surrogate_spike(-1e-7) == 0.0
    assert nn.surrogate_spike(jnp.nan) == 0.0


@each("dtype", ["bfloat16", "float16", "float32"])
def test_dtype_is_kept(dtype):
    x = X.astype(dtype)
    y, push = jax.vjp(nn.surrogate_spike, x)
    assert y.dtype == push(y)[0].dtype == dtype
    assert nn.surrogate_spike(jnp.array([-1, 0, 1])).tolist() == [0.0, 1.0, 1.0]


def test_under_every_transform():
    w = State(jnp.float32(0.3))

    def loss(x):
        return for_loop(lambda x: nn.surrogate_spike(w.value * x - 0.1), x).sum()

    xs = jnp.stack([X, X[::-1]])
    want = jnp.sum(xs[0] * jax.vmap(jax.grad(KINDS["arctan"]))(0.3 * X - 0.1))
    got = jit(vmap(lambda x: grad(loss, w)(x)))(xs)
    np.testing.assert_allclose(got, jnp.stack([want, want]), rtol=1e-4)
    again = jit(grad(jax.checkpoint(lambda x: nn.surrogate_spike(x).sum())))(X)
    np.testing.assert_allclose(again, jax.vmap(jax.grad(KINDS["arctan"]))(X), rtol=1e-5)


def test_second_derivatives_are_those_of_the_surrogate():
    got = jax.grad(jax.grad(lambda x: nn.surrogate_spike(x, "sigmoid")))(0.2)
    assert float(got) == pytest.approx(float(jax.grad(jax.grad(KINDS["sigmoid"]))(0.2)), rel=1e-5)


def test_wrong_kinds_and_slopes():
    with pytest.raises(
        ValueError, match=r"^a surrogate is one of sigmoid, arctan, triangle, fast_sigmoid, or a function"
    ):
        nn.surrogate_spike(1.0, "relu")
    for slope in (0.0, -1.0, float("nan"), "steep", True):
        with pytest.raises(ValueError, match="slope must be a number greater than 0, not"):
            nn.surrogate_spike(1.0, slope=slope)
