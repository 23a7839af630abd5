from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from tests.nn.oracle import sample

CASES = [
    ((2,), None, "VALID"),
    ((3,), (1,), "SAME"),
    ((2, 2), None, "VALID"),
    ((3, 2), (2, 1), "SAME"),
    ((3, 3), (1, 2), ((1, 1), (0, 2))),
    ((2, 2, 2), None, "VALID"),
]
SPATIAL = {1: (9,), 2: (8, 7), 3: (4, 6, 4)}


@pytest.mark.parametrize(("window", "strides", "padding"), CASES, ids=str)
@pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
def test_is_that_of_flax_forward_and_backward(name, window, strides, padding):
    x = sample(2, *SPATIAL[len(window)], 3)
    ours, theirs = getattr(nn, name), getattr(nnx, name)
    steps = window if strides is None else strides  # theirs has 1 for None
    np.testing.assert_allclose(ours(x, window, strides, padding), theirs(x, window, steps, padding), rtol=1e-6)
    layer = {"max_pool": nn.MaxPool, "avg_pool": nn.AvgPool}[name](window, strides, padding)
    np.testing.assert_array_equal(layer(x), ours(x, window, strides, padding))
    np.testing.assert_allclose(
        jax.grad(lambda x: jnp.sin(ours(x, window, strides, padding)).sum())(x),
        jax.grad(lambda x: jnp.sin(theirs(x, window, steps, padding)).sum())(x),
        rtol=1e-5,
        atol=1e-6,
    )


def test_padding_may_count_or_not():
    x = sample(2, 8, 7, 3)
    got = nn.avg_pool(x, (3, 3), 2, "SAME", count_include_pad=False)
    np.testing.assert_allclose(got, nnx.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False), rtol=1e-5)
    np.testing.assert_array_equal(nn.AvgPool((3, 3), 2, "SAME", count_include_pad=False)(x), got)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)], ids=str)
def test_any_number_of_leading_axes(leading):
    x = jnp.ones((*leading, 8, 6, 3))
    assert nn.max_pool(x, (2, 2)).shape == nn.avg_pool(x, (2, 2)).shape == (*leading, 4, 3, 3)


def test_dtypes():
    assert nn.max_pool(jnp.arange(-4, 0).reshape(4, 1), (2,)).ravel().tolist() == [-3, -1]
    assert nn.max_pool(jnp.array([[True], [False]]), (2,)).dtype == bool
    assert nn.avg_pool(jnp.arange(4).reshape(4, 1), (2,)).dtype == jnp.float32
    assert nn.avg_pool(jnp.ones((4, 1), jnp.bfloat16), (2,)).dtype == jnp.bfloat16


def test_global_average_and_flatten():
    x = sample(2, 5, 4, 3)
    np.testing.assert_allclose(nn.GlobalAvgPool()(x), x.mean((1, 2)), rtol=1e-5, atol=1e-6)
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Flatten(0)(x).shape == (120,)
    assert nn.Flatten(2)(x).shape == (2, 5, 12)
    assert nn.Flatten()(jnp.ones((0, 3, 2))).shape == (0, 6)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.MaxPool(2), r"window=2 does not say how many spatial axes there are: write `window=\(2, 2\)`"),
        (lambda: nn.MaxPool((2, 0)), r"window must be a positive whole number, not 0"),
        (lambda: nn.AvgPool((2, 2), (1,)), r"strides must be one number or 2 of them"),
        (lambda: nn.AvgPool((2, 2), padding=1), r"padding=1 must be 'SAME', 'VALID', or 2 pairs \(low, high\)"),
        (lambda: nn.max_pool(jnp.ones((4, 3)), (2, 2)), r"pooling over 2 axes .* the input has shape \(4, 3\)"),
    ],
)
def test_errors(make, text):
    with pytest.raises(ValueError, match=text):
        make()
