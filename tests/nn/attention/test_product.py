"""What changes the weights: scale, softcap, windows, biases; and the weights themselves."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import brainstate_nn as nn
from brainstate_transform import grad
from tests.nn.attention.test_attention import MASK, made, same, sample
from tests.tables import each

X = sample(3, 5, 8)
BACK = np.arange(5)[:, None] - np.arange(5)[None]


def logits_of(layer, x):
    """The products of queries and keys, as NumPy has them, with as many keys as queries have heads."""
    q, k = np.asarray(layer.query(x)), np.asarray(layer.key(x))
    return np.einsum("bqhk,bshk->bhqs", q, np.repeat(k, q.shape[2] // k.shape[2], axis=2))


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


@each(
    ("options", "change"),
    [
        ({}, lambda z: z / np.sqrt(2)),
        ({"scale": 0.1}, lambda z: 0.1 * z),
        ({"softcap": 0.5}, lambda z: 0.5 * np.tanh(z / np.sqrt(2) / 0.5)),
        ({"softcap": 3, "scale": 2.0}, lambda z: 3 * np.tanh(2 * z / 3)),
        ({"window": 2}, lambda z: np.where(abs(BACK) < 2, z / np.sqrt(2), -np.inf)),
        ({"window": 1}, lambda z: np.where(BACK == 0, z, -np.inf)),
    ],
)
def test_weights_are_the_formula(options, change):
    layer = made(num_kv_heads=2, **options)
    out, weights = layer(X, return_weights=True)
    same(weights, softmax(change(logits_of(layer, X))))
    same(out, layer(X))  # by JAX's function, where that can
    heads = np.einsum("bhqs,bshk->bqhk", weights, np.repeat(layer.value(X), 2, axis=2))
    same(out, layer.out(jnp.asarray(heads)))


def test_causal_windows_see_what_comes_before():
    layer = made(window=3)
    same(layer(X, is_causal=True), made()(X, mask=nn.causal_mask(5, window=3)))
    _, weights = layer(X, is_causal=True, return_weights=True)
    assert ((np.asarray(weights) > 0) == ((BACK >= 0) & (BACK < 3))).all()


def test_a_window_goes_with_other_keys_as_with_ones_own():
    layer, keys = made(window=2), sample(3, 7, 8, seed=1)
    away = np.abs(np.arange(5)[:, None] - np.arange(7)[None])
    same(layer(X, keys), made()(X, keys, mask=jnp.asarray(away < 2)))


@each("leading", [(), (2, 2)])
def test_weights_have_the_axes_in_front(leading):
    layer, x = made(dropout=0.5), sample(*leading, 5, 8)
    _, weights = layer(x, mask=MASK[0] if not leading else None, return_weights=True)
    assert weights.shape == (*leading, 4, 5, 5)
    same(weights.sum(-1), jnp.ones(weights.shape[:-1]))  # as they are before dropout
    assert not weights[~jnp.broadcast_to(MASK[0], weights.shape)].any() or leading


@each("options", [{}, {"softcap": 1.0}])
def test_a_bias_is_that_of_jax_and_masks_where_it_is_low(options):
    layer = made(num_kv_heads=2, **options)
    run = lambda **how: layer(X, **how)
    bias = sample(3, 4, 5, 5, seed=2)
    if not options:
        theirs = made(num_kv_heads=2, attention_fn=lambda q, k, v, **o: jax.nn.dot_product_attention(
            q, k, v, bias, **o))  # fmt: skip
        same(run(bias=bias), theirs(X))
    same(run(bias=bias, mask=MASK), run(bias=jnp.where(MASK, bias, -jnp.inf)))
    same(run(bias=bias[:, 0]), run(bias=jnp.broadcast_to(bias[:, :1], bias.shape)))
    same(run(bias=bias[0, 0]), run(bias=jnp.broadcast_to(bias[0, 0], bias.shape)))
    same(run(bias=jnp.ones((5, 5), int)), run())
    hidden = MASK.at[1].set(False)  # a whole sequence sees nothing
    for low in (-jnp.inf, float(jnp.finfo(jnp.float32).min)):
        how = {"bias": jnp.where(hidden, 0.0, low)}
        same(run(**how), run(mask=hidden))
        assert jnp.isfinite(jax.grad(lambda bias: run(bias=bias).sum())(how["bias"])).all()


def test_a_bias_of_half_precision_and_gradients():
    layer = made()
    bias = nn.ParamState(sample(1, 4, 5, 5).astype(jnp.bfloat16))
    found = grad(lambda: jnp.sin(layer(X, bias=bias.value)).sum(), bias)()
    wide = jax.grad(lambda b: jnp.sin(layer(X, bias=b)).sum())(bias.value.astype(jnp.float32))
    same(found, wide.astype(jnp.bfloat16), 1e-2)
    assert abs(wide).max() > 1e-2


def test_alibi():
    layer = made(num_kv_heads=2)
    slopes = 2.0 ** (-8 * jnp.arange(1.0, 5.0) / 4)  # of 4 heads, Press et al., arXiv:2108.12409
    line = slopes[None, :, None, None] * jnp.arange(5)[None, None, None]
    _, weights = layer(X, bias=line, is_causal=True, return_weights=True)
    logits = logits_of(layer, X) / np.sqrt(2) - np.asarray(slopes)[None, :, None, None] * BACK
    same(weights, softmax(np.where(BACK >= 0, logits, -np.inf)))


def int8(x, y, numbers, precision=None, preferred_element_type=None):
    """The product of whole numbers that quantisers put here, rounded to 255 steps, and its gradient passed through."""

    def rounded(a):
        step = jnp.max(jnp.abs(a)) / 127
        return a + jax.lax.stop_gradient(jnp.round(a / step) * step - a)

    assert x.dtype == y.dtype
    return jax.lax.dot_general(rounded(x), rounded(y), numbers)


def test_both_products_can_be_those_of_a_quantiser():
    layer, plain = made(attention_dot_general=int8), made()

    def theirs(x):
        q, k, v = plain.query(x), plain.key(x), plain.value(x)
        return plain.out(linen.dot_product_attention(q, k, v, einsum_dot_general=int8))

    ours, want = (jax.jit(jax.value_and_grad(lambda x, f=f: jnp.sin(f(x)).sum()))(X) for f in (layer, theirs))
    jax.tree.map(same, ours, want)
    assert abs(layer(X) - plain(X)).max() > 1e-4
    # with all that goes with it, a function that is JAX's own changes nothing
    usual = {"num_kv_heads": 2, "window": 3, "softcap": 1.0, "dtype": "bfloat16"}
    run = lambda **options: made(**usual, **options)(X, is_causal=True, bias=jnp.ones((5, 5)))
    same(run(attention_dot_general=jax.lax.dot_general), run(), 0)


def test_a_product_of_another_shape_is_told():
    net = nn.Sequential(made(attention_dot_general=lambda x, y, *args, **options: x))
    with pytest.raises(
        ValueError, match=r"^`attention_dot_general` of \w+ at Sequential\.layers\.0 must return an array"
    ):
        net(X)


def test_another_function_is_told_what_is_asked_for_and_no_more():
    told = {}

    def attend(q, k, v, **options):
        told.update(options)
        return q

    made(attention_fn=attend)(X)
    assert told == {"mask": None, "is_causal": False}
    made(attention_fn=attend, scale=2.0, window=3)(X, bias=jnp.ones((5, 5)), is_causal=True)
    assert {name: told[name] for name in ("scale", "local_window_size", "is_causal")} == {
        "scale": 2.0, "local_window_size": (2, 0), "is_causal": True,
    }  # fmt: skip
    assert told["bias"].shape == (1, 1, 5, 5)
    net = nn.Sequential(made(attention_fn=functools.partial(attend)))
    with pytest.raises(ValueError, match=r"at Sequential\.layers\.0 cannot return the weights of its `attention_fn`"):
        net.layers[0](X, return_weights=True)
