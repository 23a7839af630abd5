from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
import brainstate_nn._layers.activations as module
from tests.nn.oracle import sample
from tests.tables import each


@each("name", [name for name in module.__all__ if name != "PReLU"])
def test_is_the_function_of_jax(name):
    assert getattr(nn, name) is getattr(jax.nn, name, None) or getattr(nn, name) is getattr(jnp, name)


def test_none_of_jax_is_missing():
    others = {  # no activations
        "dot_product_attention", "get_scaled_dot_general_config", "scaled_dot_general", "scaled_matmul", "initializers",
        "log1mexp", "logmeanexp",
    }  # fmt: skip
    public = {name for name in dir(jax.nn) if not name.startswith("_")}
    assert public - others <= set(module.__all__)


def test_initialisers_are_those_of_jax():
    assert nn.initializers is jax.nn.initializers


# ---------------------------------------------------------------------------------------------------------------- PReLU


def test_one_slope_for_any_shape():
    layer = nn.PReLU()
    assert layer.weight.value.tolist() == [0.25]
    for shape in [(), (5,), (2, 0, 3), (4, 1)]:
        x = sample(*shape)
        np.testing.assert_allclose(layer(x), np.where(x > 0, x, 0.25 * np.asarray(x)), rtol=1e-6)


@pytest.mark.parametrize("axis", [1, -1])
def test_a_slope_for_each_feature_along_any_axis(axis):
    layer = nn.PReLU(3, axis=axis, w_init=jax.nn.initializers.normal(1.0))
    x = np.asarray(sample(2, 3, 3))
    slope = np.expand_dims(layer.weight.value, (0, 2) if axis == 1 else (0, 1))
    np.testing.assert_allclose(layer(x), np.where(x > 0, x, slope * x), rtol=1e-6)


def test_with_a_slope_of_zero_it_is_relu_where_it_is_differentiable():
    layer = nn.PReLU(w_init=nn.initializers.zeros)
    x = sample(9)
    np.testing.assert_array_equal(jax.vmap(jax.grad(layer))(x), jax.vmap(jax.grad(jax.nn.relu))(x))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="num_parameters must be a positive whole number, not 0"):
        nn.PReLU(0)
    with pytest.raises(ValueError, match="axis must be the number of an axis, not None"):
        nn.PReLU(axis=None)
    with pytest.raises(ValueError, match=r"^PReLU at Sequential\.layers\.0 expects 3 features along axis 0 of `x`"):
        nn.Sequential(nn.PReLU(3, axis=0))(jnp.ones((2, 3)))
