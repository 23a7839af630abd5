from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from tests.nn.oracle import sample
from tests.tables import each

CASES = [
    ((2,), None, "VALID"),
    ((3,), (1,), "SAME"),
    ((2, 2), None, "VALID"),
    ((3, 2), (2, 1), "SAME"),
    ((3, 3), (1, 2), ((1, 1), (0, 2))),
    ((2, 2, 2), None, "VALID"),
]
SPATIAL = {1: (9,), 2: (8, 7), 3: (4, 6, 4)}


@each(("window", "strides", "padding"), CASES, ids=str)
@each("name", ["max_pool", "avg_pool"])
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


def test_the_least_of_each_window():
    x = sample(2, 8, 7, 3)
    for options in ({}, {"strides": 2, "padding": "SAME"}, {"strides": (1, 2), "padding": (1, (0, 2))}):
        np.testing.assert_array_equal(nn.min_pool(x, (2, 3), **options), -nn.max_pool(-x, (2, 3), **options))
    assert nn.min_pool(jnp.array([[3], [0]], jnp.uint8), (2,), padding=1, strides=1).ravel().tolist() == [3, 0, 0]
    assert nn.min_pool(jnp.array([[True], [False]]), (2,)).tolist() == [[False]]


def test_numbers_pad_both_sides():
    x = sample(2, 8, 7, 3)
    np.testing.assert_array_equal(nn.max_pool(x, (3, 3), 2, (1, 0)), nn.max_pool(x, (3, 3), 2, ((1, 1), (0, 0))))
    np.testing.assert_array_equal(nn.AvgPool((3, 3), 2, 1)(x), nn.avg_pool(x, (3, 3), 2, ((1, 1), (1, 1))))


def test_a_long_half_precision_window_has_the_right_mean():
    assert float(nn.avg_pool(jnp.full((4096, 1), 0.5, jnp.bfloat16), (4096,))[0, 0]) == 0.5


@each("leading", [(), (2,), (2, 3)], ids=str)
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
    assert nn.Flatten(-3, -2)(x).shape == nn.Flatten(1, 2)(x).shape == (2, 20, 3)
    assert (nn.Flatten(0, 1)(x) == x.reshape(10, 4, 3)).all()
    assert nn.Flatten()(jnp.ones((0, 3, 2))).shape == (0, 6)


@each(
    ("make", "text"),
    [
        (lambda: nn.MaxPool(2), r"window=2 does not say how many spatial axes there are: write `window=\(2, 2\)`"),
        (lambda: nn.MaxPool((2, 0)), r"window must be a positive whole number, not 0"),
        (lambda: nn.AvgPool((2, 2), (1,)), r"strides must be one number or 2 of them"),
        (lambda: nn.AvgPool((2, 2), padding=(1,)), r"padding=\(1,\) does not fit 2 .*: give one of VALID, SAME"),
        (lambda: nn.AvgPool((2, 2), padding="CAUSAL"), r"padding='CAUSAL' does not fit 2 spatial axes"),
        (lambda: nn.MaxPool((2, 2), strides=0), r"strides must be a positive whole number, not 0"),
        (lambda: nn.MaxPool("22"), r"window='22' does not say how many spatial axes there are"),
        (lambda: nn.max_pool(jnp.ones((1, 4, 3)), (2, 2)),
         r"^max_pool has a window of \(2, 2\), which is longer than `x`, f32\[1,4,3\]$"),
        (lambda: nn.Flatten(1.5), r"first_axis must be the number of an axis, not 1\.5"),
        (lambda: nn.Flatten(1, None), r"last_axis must be the number of an axis, not None"),
        (lambda: nn.max_pool(jnp.ones((4, 3)), (2, 2)), r"over 2 axes .* then the channels, not shape \(4, 3\)"),
    ],
)  # fmt: skip
def test_errors(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@each(
    ("layer", "text"),
    [
        (nn.MaxPool((2, 2)), r"MaxPool at Sequential\.layers\.0 needs at least 3 axes of `x`, which is f32\[4,3\]"),
        (nn.AvgPool((5,)), r"AvgPool at Sequential\.layers\.0 has a window of \(5,\), which is longer than `x`"),
        (nn.GlobalAvgPool(), r"GlobalAvgPool at Sequential\.layers\.0 takes an array for `x`, not a str"),
        (nn.Flatten(1, 2), r"Flatten at Sequential\.layers\.0 cannot join the axes 1 to 2 of `x`, which is f32\[4,3\]"),
    ],
)  # fmt: skip
def test_a_wrong_input_is_told_with_the_path_of_the_layer(layer, text):
    x = "text" if isinstance(layer, nn.GlobalAvgPool) else jnp.ones((4, 3))
    with pytest.raises((ValueError, TypeError), match=text):
        nn.Sequential(layer)(x)
