from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef
from tests.nn.attention.test_attention import made, same, sample
from tests.tables import each

X = sample(2, 5, 8)


def unit(y, axes=-1):
    y = np.asarray(y)
    return y / np.sqrt(np.mean(y**2, axes, keepdims=True) + 1e-6)


def own(size):
    return nn.RMSNorm(size, use_scale=False)


@each(
    ("given", "of_query", "of_key"),
    [
        (nn.RMSNorm, -1, -1),
        (functools.partial(nn.RMSNorm, epsilon=1e-6, scale_offset=1.0), -1, -1),
        (own, -1, -1),
        (lambda size, **options: nn.RMSNorm(size, **options), -1, -1),
        (nn.RMSNorm(2), -1, -1),
        ((nn.RMSNorm((4, 2)), nn.RMSNorm((2, 2))), (-2, -1), (-2, -1)),
        ([nn.RMSNorm((4, 2)), functools.partial(nn.RMSNorm, use_scale=False)], (-2, -1), -1),
        ((nn.RMSNorm, None), -1, ()),
        (nn.Lambda(lambda y: y / jnp.sqrt(jnp.mean(y**2, -1, keepdims=True) + 1e-6)), -1, -1),
    ],
)
def test_queries_and_keys_are_normalised(given, of_query, of_key):
    layer, plain = made(num_kv_heads=2, normalize_qk=given), made(num_kv_heads=2)
    q, k = (np.asarray(f(X)) if axes == () else unit(f(X), axes)
            for f, axes in ((plain.query, of_query), (plain.key, of_key)))  # fmt: skip
    shares = np.exp(np.einsum("bqhk,bshk->bhqs", q, np.repeat(k, 2, axis=2)) / np.sqrt(2))
    same(layer(X, return_weights=True)[1], shares / shares.sum(-1, keepdims=True))


def test_what_is_said_of_the_layer_holds_for_norms_that_take_it():
    layer = made(normalize_qk=nn.RMSNorm, param_dtype="bfloat16", dtype="float32")
    assert layer.query_norm is not layer.key_norm
    assert layer.key_norm.weight.value.dtype == jnp.bfloat16
    assert layer.key_norm.dtype == jnp.float32
    kept = functools.partial(nn.RMSNorm, param_dtype="float32")
    assert made(normalize_qk=kept, param_dtype="bfloat16").query_norm.weight.value.dtype == jnp.float32
    assert isinstance(made(normalize_qk=True).query_norm, nn.LayerNorm)
    assert made(normalize_qk=False).query_norm is made(normalize_qk=None).query_norm is None
    assert graphdef(made(normalize_qk=lambda size: nn.RMSNorm(size))) is graphdef(made(normalize_qk=nn.RMSNorm))


@each(
    ("given", "told"),
    [
        ("rms", "not 'rms'"),
        (2.0, "not 2.0"),
        (lambda size: jnp.ones(size), "not a function that returns a ArrayImpl"),
        ((nn.RMSNorm, 1), "not 1"),
    ],
)
def test_what_makes_no_norm_is_refused(given, told):
    with pytest.raises(TypeError, match=rf"^normalize_qk must be True, a norm, .*, {told}: write `normalize_qk="):
        made(normalize_qk=given)


def test_a_norm_that_does_not_fit_is_told_with_its_path():
    for norm, message in [
        (nn.RMSNorm(8), r"^RMSNorm at Sequential\.layers\.0\.query_norm expects 8 features .* f32\[2,5,4,2\]"),
        (
            nn.Lambda(jnp.sum, -1),
            r"^MultiHeadAttention at Sequential\.layers\.0 has a `query_norm` that turns f32",
        ),
    ]:
        net = nn.Sequential(made(normalize_qk=norm))
        with pytest.raises(ValueError, match=message):
            net(X)
