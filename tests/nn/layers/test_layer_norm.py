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


@pairs(
    shape=by_text([(4,), (6, 4), (2, 3, 4)]),
    options=by_text([{}, {"use_scale": False}, {"use_bias": False}, {"epsilon": 0.1}]),
)
def test_layer_norm_is_that_of_nnx(shape, options):
    ours = nn.LayerNorm(4, w_init=NORMAL, b_init=NORMAL, rng=nn.RandomState(0), **options)
    theirs = nnx.LayerNorm(4, use_fast_variance=False, rngs=nnx.Rngs(0), **{"epsilon": 1e-5, **options})
    assert_same(ours, theirs, 2.0 * sample(*shape) + 1.0, NAMES)


@pairs(shape=by_text([(4,), (2, 3, 4)]), options=by_text([{}, {"use_scale": False}, {"epsilon": 0.1}]))
def test_rms_norm_is_that_of_nnx(shape, options):
    ours = nn.RMSNorm(4, w_init=NORMAL, rng=nn.RandomState(0), **options)
    theirs = nnx.RMSNorm(4, use_fast_variance=False, rngs=nnx.Rngs(0), **options)
    assert_same(ours, theirs, 2.0 * sample(*shape) + 1.0, {"weight": "scale"})


@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm"])
def test_a_mask_is_that_of_nnx(name):
    ours = getattr(nn, name)(4, epsilon=1e-5, w_init=NORMAL, rng=nn.RandomState(0))
    theirs = getattr(nnx, name)(4, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(0))
    give_parameters(ours, theirs, {"weight": "scale"})
    x, mask = sample(5, 4), jnp.ones((5, 4), bool).at[0, 2:].set(False).at[3, 0].set(False)
    np.testing.assert_allclose(ours(x, mask=mask), theirs(x, mask=mask), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours(x[0], mask=mask[0]), theirs(x[0], mask=mask[0]), rtol=1e-5, atol=1e-6)
    assert jnp.isfinite(ours(x, mask=jnp.zeros((5, 4), bool))).all()
    far = x.at[0, 2:].set(jnp.inf)
    np.testing.assert_allclose(ours(far, mask=mask)[0, :2], ours(x, mask=mask)[0, :2], rtol=1e-6)


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_several_axes_are_one_long_one(kind):
    several, one = kind((3, 4), w_init=NORMAL, rng=nn.RandomState(0)), kind(12)
    assert several.weight.value.shape == (3, 4)
    one.weight.value = several.weight.value.reshape(-1)
    x = sample(2, 5, 3, 4)
    np.testing.assert_allclose(several(x), one(x.reshape(2, 5, 12)).reshape(x.shape), rtol=1e-5, atol=1e-6)
    assert (several.num_features, one.num_features) == ((3, 4), 12)
    assert graphdef(kind((12,))) is graphdef(kind(12))


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_half_precision_is_summed_in_single(kind):
    norm = kind(4096, dtype=jnp.bfloat16)
    x = 1.0 + 0.1 * sample(4096, dtype=jnp.bfloat16)
    assert norm(x).dtype == jnp.bfloat16
    np.testing.assert_allclose(norm(x).astype(float), kind(4096)(x.astype(jnp.float32)), atol=2e-2)


@each("kind", [nn.LayerNorm, nn.RMSNorm])
def test_errors(kind):
    name = kind.__name__
    with pytest.raises(ValueError, match=rf"^{name} expects 4 features along axis -1 of `x`, which is f32\[4,2\]$"):
        kind(4)(jnp.ones((4, 2)))
    with pytest.raises(ValueError, match=rf"^{name} expects 3 features along axis -2 of `x`, which is f32\[2,4\]$"):
        kind((3, 4))(jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=rf"^{name} expects 3 features along axis -2 of `x`, which is f32\[4\]$"):
        kind((3, 4))(jnp.ones(4))
    for wrong in ((3, 0), 0, None, ()):
        with pytest.raises(ValueError, match="num_features must be a positive whole number, not"):
            kind(wrong)
    for wrong in (0, -1e-5, "small"):
        with pytest.raises(ValueError, match="epsilon must be a number greater than 0, not"):
            kind(4, epsilon=wrong)


def test_an_offset_of_the_scale():
    ours, plain = nn.RMSNorm(4, scale_offset=1.0), nn.RMSNorm(4)
    x = sample(3, 4)
    np.testing.assert_array_equal(ours.weight.value, np.zeros(4))  # so that it begins with a scale of 1
    np.testing.assert_allclose(ours(x), plain(x), rtol=1e-6)
    ours.weight.value, plain.weight.value = jnp.arange(4.0), jnp.arange(4.0) + 1
    np.testing.assert_allclose(ours(x), plain(x), rtol=1e-6)
    # 1 + 2 ** -9 is 1 in bfloat16: the sum is taken in single precision
    small = nn.RMSNorm(4, scale_offset=1.0, w_init=jax.nn.initializers.constant(2.0**-9), param_dtype="bfloat16")
    np.testing.assert_allclose(small(x), nn.RMSNorm(4)(x) * (1 + 2.0**-9), rtol=1e-6)
    with pytest.raises(ValueError, match=r"^scale_offset=1.0 needs `weight`, which use_scale=False leaves out$"):
        nn.RMSNorm(4, scale_offset=1.0, use_scale=False)
    with pytest.raises(ValueError, match=r"^scale_offset must be a finite number, not 'one'$"):
        nn.RMSNorm(4, scale_offset="one")
