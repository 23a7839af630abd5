from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import brainstate_nn as nn
from tests.tables import each

SIZES = st.integers(1, 6)


@settings(max_examples=10)
@given(SIZES, SIZES, st.none() | SIZES)
def test_a_causal_mask_is_a_band_below_the_diagonal(queries, keys, window):
    want = np.tri(queries, keys, dtype=bool)
    if window is not None:
        want &= ~np.tri(queries, keys, -window, dtype=bool)
    np.testing.assert_array_equal(nn.causal_mask(queries, keys, window=window), want)


def test_a_square_causal_mask_is_that_of_nnx():
    theirs = nnx.make_causal_mask(jnp.ones((1, 5)), dtype=bool)
    np.testing.assert_array_equal(nn.causal_mask(5), theirs[0, 0])


@each("shape", [(), (3,), (2, 3)], ids=str)
def test_a_padding_mask_is_that_of_nnx(shape):
    lengths = jnp.asarray(np.random.default_rng(0).integers(0, 5, shape))
    mask = nn.padding_mask(lengths, 4)
    there = jnp.asarray(np.arange(4) < np.asarray(lengths)[..., None])
    theirs = nnx.make_attention_mask(jnp.ones_like(there), there, dtype=bool)
    assert mask.shape == (*shape, 1, 1, 4)
    np.testing.assert_array_equal(jnp.broadcast_to(mask, theirs.shape), theirs)


def test_combined_masks_are_those_of_nnx():
    causal, padding = nn.causal_mask(3), nn.padding_mask(jnp.array([1, 3]), 3)
    heads = jnp.asarray(np.random.default_rng(0).random((2, 4, 3, 3)) < 0.5)
    theirs = nnx.combine_masks(causal[None, None], padding, heads, dtype=bool)
    for masks in ((causal, None, padding, heads), (heads, padding, causal)):
        np.testing.assert_array_equal(nn.combine_masks(*masks), theirs)
    assert nn.combine_masks() is nn.combine_masks(None, None) is None


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match=r"^a mask must be boolean, True where a query may see a key, not float32$"):
        nn.combine_masks(jnp.ones((2, 2)))
    with pytest.raises(ValueError, match=r"^masks of shapes \[\(2, 2\), \(3, 3\)\] do not fit each other$"):
        nn.combine_masks(jnp.ones((2, 2), bool), jnp.ones((3, 3), bool))
    # of three axes, the first might be the batch or the heads
    with pytest.raises(
        ValueError, match=r"do not fit each other: give each an axis for the heads, as in `mask\[:, None"
    ):
        nn.combine_masks(jnp.ones((4, 3, 3), bool), jnp.ones((4, 1, 3, 3), bool))


@each("size", [0, 1.5, True])
def test_sizes_are_checked(size):
    for name, call in {
        "length": lambda: nn.causal_mask(size),
        "key_length": lambda: nn.causal_mask(2, size),
        "window": lambda: nn.causal_mask(2, window=size),
        "max_length": lambda: nn.padding_mask(jnp.array([1]), size),
    }.items():
        with pytest.raises(ValueError, match=f"^{name} must be a positive whole number, not"):
            call()
    with pytest.raises(TypeError, match=r"^lengths must be whole numbers, not float32$"):
        nn.padding_mask(jnp.array([1.0]), 3)
