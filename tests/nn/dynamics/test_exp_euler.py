from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_nn._dynamics.exp_euler import exprel


def test_a_linear_equation_is_solved_exactly():
    y = nn.exp_euler_step(lambda y, x, tau: (x - y) / tau, jnp.array([1.0, -2.0]), 3.0, 7.0, dt=20.0)
    np.testing.assert_allclose(y, 3.0 + (np.array([1.0, -2.0]) - 3.0) * np.exp(-20 / 7), rtol=1e-6)


def test_of_second_order_elsewhere():
    # dy/dt = y (1 - y) is the logistic curve
    def error(steps):
        y = jnp.float32(0.1)
        for _ in range(steps):
            y = nn.exp_euler_step(lambda y: y * (1 - y), y, dt=2.0 / steps)
        return abs(float(y) - 1 / (1 + 9 * np.exp(-2.0)))

    assert error(4) / error(8) > 3.2


def test_without_any_slope_it_is_the_step_of_euler():
    assert float(nn.exp_euler_step(lambda y: 0 * y + 3.0, 1, dt=0.5)) == 2.5


def test_exprel_and_its_derivative_near_zero():
    z = np.array([0.0, 1e-6, -1e-3, 9.99e-3, 1.01e-2, 0.5, -3.0, 20.0])
    want = np.where(z == 0, 1.0, np.expm1(z) / np.where(z == 0, 1, z))
    np.testing.assert_allclose(exprel(jnp.float32(z)), want, rtol=1e-6)
    slope = [0.5 + t / 3 + t * t / 8 if abs(t) < 0.02 else (t * np.exp(t) - np.expm1(t)) / t**2 for t in z]
    np.testing.assert_allclose(jax.vmap(jax.grad(exprel))(jnp.float32(z)), slope, rtol=1e-3)


def test_what_is_no_equation_is_told():
    with pytest.raises(ValueError, match=r"fun must return an array of the shape of y, \(2,\), not \(\)"):
        nn.exp_euler_step(lambda y: y.sum(), jnp.ones(2), dt=1.0)
    with pytest.raises(ValueError, match="dt must be a number greater than 0"):
        nn.exp_euler_step(lambda y: y, jnp.ones(2), dt=0.0)
