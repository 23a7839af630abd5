from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import graphdef
from tests.nn.oracle import assert_same, by_text, give_parameters, sample
from tests.tables import each, pairs

NAMES = {"weight": "scale", "bias": "bias"}
NORMAL = jax.nn.initializers.normal(1.0)


def group_norms(groups, **options):
    ours = nn.GroupNorm(groups, 6, w_init=NORMAL, b_init=NORMAL, rng=nn.RandomState(0), **options)
    options = {"epsilon": 1e-5, **options}
    return ours, nnx.GroupNorm(6, groups, use_fast_variance=False, rngs=nnx.Rngs(0), **options)


@pairs(
    options=by_text([(1, {}), (2, {"epsilon": 0.1}), (3, {"use_bias": False})]),
    shape=by_text([(2, 6), (2, 5, 6), (2, 4, 3, 6)]),
)
def test_group_norm_is_that_of_nnx(options, shape):
    groups, options = options
    assert_same(*group_norms(groups, **options), 2.0 * sample(*shape) + 1.0, NAMES)


@pytest.mark.parametrize("options", [{}, {"use_scale": False, "use_bias": False}], ids=str)
def test_instance_norm_is_that_of_nnx(options):
    ours = nn.InstanceNorm(6, w_init=NORMAL, b_init=NORMAL, rng=nn.RandomState(0), **options)
    theirs = nnx.InstanceNorm(6, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(0), **options)
    assert_same(ours, theirs, 2.0 * sample(2, 4, 3, 6) + 1.0, NAMES)


def test_a_mask_is_that_of_nnx():
    x, mask = sample(2, 5, 6), jax.random.bernoulli(jax.random.key(1), 0.6, (2, 5, 6))
    ours, theirs = group_norms(2)
    give_parameters(ours, theirs, NAMES)
    np.testing.assert_allclose(ours(x, mask=mask), theirs(x, mask=mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [lambda: nn.GroupNorm(3, 6), lambda: nn.InstanceNorm(6)])
def test_a_padded_sequence_is_normalised_as_one_that_is_not(make):
    norm, x = make(), sample(2, 5, 6)
    mask = jnp.arange(5)[None] < jnp.array([5, 3])[:, None]
    padded = jnp.where(mask[..., None], x, jnp.nan)
    for given in (mask, mask[..., None]):
        out = norm(padded, mask=given)
        np.testing.assert_allclose(out[:1], norm(x[:1]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out[1:, :3], norm(x[1:, :3]), rtol=1e-5, atol=1e-6)


def test_half_precision_is_summed_in_single():
    norm = nn.InstanceNorm(1, param_dtype=jnp.bfloat16)
    x = 1.0 + 0.1 * sample(1, 4096, 1, dtype=jnp.bfloat16)
    assert norm(x).dtype == jnp.bfloat16
    np.testing.assert_allclose(norm(x).astype(float), nn.InstanceNorm(1)(x.astype(jnp.float32)), atol=3e-2)


def test_errors():
    with pytest.raises(ValueError, match="num_groups=4 must divide num_features=6 without a remainder"):
        nn.GroupNorm(4, 6)
    with pytest.raises(ValueError, match="num_groups must be a positive whole number, not 0"):
        nn.GroupNorm(0, 6)
    with pytest.raises(ValueError, match="num_features must be a positive whole number, not -6"):
        nn.GroupNorm(3, -6)
    with pytest.raises(ValueError, match="num_features must be a positive whole number, not 0"):
        nn.InstanceNorm(0)
    for make in (nn.InstanceNorm, lambda n, **options: nn.GroupNorm(2, n, **options)):
        with pytest.raises(ValueError, match="epsilon must be a number greater than 0, not 0"):
            make(6, epsilon=0)
    with pytest.raises(ValueError, match=r"^GroupNorm expects 6 features along axis -1 of `x`, which is f32\[2,4\]$"):
        nn.GroupNorm(2, 6)(jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"^GroupNorm needs at least 2 axes of `x`, which is f32\[6\]$"):
        nn.GroupNorm(2, 6)(jnp.ones(6))
    with pytest.raises(ValueError, match=r"^InstanceNorm needs at least 3 axes of `x`, which is f32\[2,6\]$"):
        nn.InstanceNorm(6)(jnp.ones((2, 6)))


def test_groups_by_their_size_are_those_of_nnx():
    ours = nn.GroupNorm(None, 6, group_size=np.int64(3), w_init=NORMAL, rng=nn.RandomState(0))
    theirs = nnx.GroupNorm(6, None, group_size=3, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(0))
    assert_same(ours, theirs, sample(2, 5, 6), NAMES)
    assert graphdef(ours) is graphdef(nn.GroupNorm(2, 6))


@each(
    "groups, size, told",
    [
        (2, 3, r"num_groups=2 excludes group_size=3: give one of them, as in `GroupNorm\(None, 6, group_size=3\)`"),
        (None, 4, "group_size=4 must divide num_features=6 without a remainder"),
        (None, 0, "group_size must be a positive whole number, not 0"),
        (None, None, "num_groups must be a positive whole number, not None"),
    ],
)
def test_wrong_groups_are_told(groups, size, told):
    with pytest.raises(ValueError, match=told):
        nn.GroupNorm(groups, 6, group_size=size)
