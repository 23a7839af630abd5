from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import checkpoint, for_loop, grad, jit, vmap
from tests.tables import each, pairs

normal = jax.scipy.stats.norm.cdf
KINDS = {
    # of each kind the smooth step whose derivative it has, at the usual slope
    "sigmoid": lambda x: jax.nn.sigmoid(4 * x),
    "arctan": lambda x: 0.5 + jnp.arctan(jnp.pi * x) / jnp.pi,
    "triangle": lambda x: jnp.where(x < 0, 0.5 * (1 + x) ** 2, 1 - 0.5 * (1 - x) ** 2),
    "fast_sigmoid": lambda x: 0.5 * (1 + 10 * x / (1 + jnp.abs(10 * x))),
    "inverse_square": lambda x: 0.5 + jnp.arctan(10 * x) / jnp.pi,
    "rectangle": lambda x: jnp.where(jnp.abs(x) <= 0.5, x + 0.5, (x > 0).astype(x.dtype)),
    "gaussian": lambda x: normal(2 * x),
    "multi_gaussian": lambda x: (1.15 * normal(2 * x) - 0.15 * (normal(2 * x, 1, 6) + normal(2 * x, -1, 6))) / 0.85,
    "exponential": lambda x: jnp.where(x < 0, 0.5 * jnp.exp(5 * x), 1 - 0.5 * jnp.exp(-5 * x)),
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
        ValueError, match=r"^a surrogate must be one of sigmoid, arctan, triangle, fast_sigmoid, .*, or a function"
    ):
        nn.surrogate_spike(1.0, "relu")
    for slope in (0.0, -1.0, float("nan"), "steep", True):
        with pytest.raises(ValueError, match="slope must be a number greater than 0, not"):
            nn.surrogate_spike(1.0, slope=slope)


# -- surrogates that read states and close over traced values ----------------------------------------------------------

STEEP = 1.5


def smooth(k):
    return lambda u: 1.0 / (1.0 + (k * u) ** 2)


# How a program gets the steepness: each runs ``f(kind, slope)`` with what `surrogate_spike` takes for that.
GIVEN = {
    "a number": lambda f: f(smooth(STEEP), None),
    "a state": lambda f: (lambda beta: f(lambda u: smooth(beta.value)(u), None))(State(jnp.float32(STEEP))),
    "a traced value": lambda f: jit(lambda k: f(smooth(k), None))(STEEP),
    "a value per lane": lambda f: jax.vmap(lambda k: f(smooth(k), None))(jnp.full(2, STEEP))[0],
    "a whole number in a state": lambda f: (
        lambda beta: f(lambda u: smooth(STEEP + beta.value)(u), None)
    )(State(jnp.int32(0))),
}  # fmt: skip
SLOPES = {
    "a number": lambda f: f("sigmoid", STEEP),
    "an array": lambda f: f("sigmoid", jnp.float32(STEEP)),
    "an array for each": lambda f: f("sigmoid", jnp.full(X.shape, STEEP)),
    "NumPy": lambda f: f("sigmoid", np.float32([STEEP])),
    "a state": lambda f: (lambda beta: f("sigmoid", beta.value))(State(jnp.float32(STEEP))),
    "traced": lambda f: jit(lambda k: f("sigmoid", k))(jnp.float32(STEEP)),
}
LOOPS = {
    "alone": lambda spike: spike(X),
    "for_loop": lambda spike: for_loop(spike, X[None])[0],
    "in loops": lambda spike: for_loop(lambda x: for_loop(spike, x[None])[0], X[None])[0],
    "checkpoint": lambda spike: checkpoint(spike)(X),
    "vmap": lambda spike: vmap(spike)(X[None])[0],
    "raw scan": lambda spike: jax.lax.scan(lambda c, x: (c, spike(x)), 0.0, X[None])[1][0],
    "jit": lambda spike: jit(spike)(X),
}


def slopes(loop, kind, slope):
    """The gradient by the weights of spikes, which is the stated derivative at each input."""
    w = State(jnp.ones_like(X))
    return grad(lambda: loop(lambda x: nn.surrogate_spike(w.value * x, kind, slope)).sum(), w)()


@pairs(whole=("for_loop", "a state"), given=GIVEN, loop=LOOPS)
def test_a_function_may_read_states_and_traced_values(given, loop):
    want = X * smooth(STEEP)(X)
    np.testing.assert_allclose(given(lambda *how: slopes(loop, *how)), want, rtol=1e-5)
    np.testing.assert_allclose(given(lambda *how: jit(lambda: slopes(loop, *how))()), want, rtol=1e-5)


@pairs(whole=("for_loop",), given=SLOPES, loop=LOOPS)
def test_slopes_in_arrays(given, loop):
    want = X * STEEP * jax.nn.sigmoid(STEEP * X) * jax.nn.sigmoid(-STEEP * X)
    np.testing.assert_allclose(given(lambda *how: slopes(loop, *how)), want, rtol=1e-5)


def test_the_steepness_changes_no_spike_and_has_no_gradient():
    w, beta = State(jnp.ones_like(X)), State(jnp.float32(STEEP))

    def loss():
        own = for_loop(lambda x: nn.surrogate_spike(w.value * x, lambda u: smooth(beta.value)(u)), X[None])
        return own.sum() + nn.surrogate_spike(w.value * X, "sigmoid", beta.value).sum()

    for around in (lambda f: f(), lambda f: jit(f)()):
        of_w, of_beta = around(lambda: grad(loss, [w, beta])())
        assert of_beta == 0.0
        assert (of_w > 0).any()


def test_neurons_whose_surrogate_is_annealed():
    w, beta = State(jnp.array([0.5, 0.9])), State(jnp.float32(STEEP))
    neurons = nn.LIF(2, surrogate=lambda u: smooth(beta.value)(u))
    fixed = nn.LIF(2, surrogate=smooth(STEEP))

    def slope(cell):
        nn.init_all_states(cell)
        return grad(lambda: for_loop(lambda x: cell(w.value * x), 3.0 * jnp.ones((5, 2))).sum(), w)()

    np.testing.assert_allclose(jit(lambda: slope(neurons))(), slope(fixed), rtol=1e-5)


def test_slopes_in_arrays_are_checked():
    for wrong in (jnp.array([1.0, 0.0]), jnp.array(-1.0), np.array([np.nan, 1.0])):
        with pytest.raises(ValueError, match="slope must be an array of numbers greater than 0, not"):
            nn.surrogate_spike(jnp.ones(2), slope=wrong)
