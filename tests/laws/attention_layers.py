"""The rows of attention, of what turns queries and keys, and of a norm of Gemma: a part of the table in `layers`."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import brainstate_nn as nn
from tests.laws.layer import NORMAL, Called, Layer, dtypes_of, rows, series
from tests.laws.sizes import Sizes
from tests.nn.peers import flax, formula

# in flax the four projections have kernels
ATTENTION = {
    f"{part}.{ours}": f"{part}.{theirs}"
    for part in ("query", "key", "value", "out")
    for ours, theirs in (("weight", "kernel"), ("bias", "bias"))
}


def attention(s: Sizes, **options: Any) -> nn.MultiHeadAttention:
    return nn.MultiHeadAttention(s.heads, s.width, b_init=NORMAL, **options)


def their_attention(m: nn.MultiHeadAttention) -> nnx.MultiHeadAttention:
    return nnx.MultiHeadAttention(
        m.num_heads, m.in_size, m.num_heads * m.head_size, m.out_size, m.num_kv_heads, m.kv_size, decode=False,
        normalize_qk=m.query_norm is not None, **dtypes_of(m),
    )  # fmt: skip


def attention_of(
    m: nn.MultiHeadAttention,
    v: dict[str, jax.Array],
    x: jax.Array,
    *,
    mask: Any = None,
    bias: Any = None,
    norms: Any = None,
    at: str = "",
) -> tuple[jax.Array, jax.Array]:
    """Attention written out with as many keys as queries have heads: the result, and the weights."""  # fmt: skip
    q, k, u = (
        jnp.einsum("btd,dhk->bthk", x, v[f"{at}{part}.weight"]) + v[f"{at}{part}.bias"][None, None]
        for part in ("query", "key", "value")
    )
    q, k = (norm(y).astype(x.dtype) for norm, y in zip(norms or (lambda y: y,) * 2, (q, k), strict=True))
    k, u = (jnp.repeat(y, m.num_heads // m.num_kv_heads, axis=2) for y in (k, u))
    logits = jnp.einsum("bqhk,bshk->bhqs", q, k, preferred_element_type=jnp.float32)
    logits = logits * (m.head_size**-0.5 if m.scale is None else m.scale)
    if m.softcap is not None:
        logits = m.softcap * jnp.tanh(logits / m.softcap)
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    if mask is not None:
        logits = jnp.where(mask, logits, -1e30)
    weights = jax.nn.softmax(logits).astype(x.dtype)
    heads = jnp.einsum("bhqs,bshk->bqhk", weights, u)
    out = jnp.einsum("bqhk,hkd->bqd", heads, v[f"{at}out.weight"]) + v[f"{at}out.bias"][None, None]
    return out, weights


def rms(y: jax.Array, weight: jax.Array, axes: tuple[int, ...] = (-1,)) -> jax.Array:
    y = y.astype(jnp.float32)
    return y / jnp.sqrt(jnp.mean(y**2, axes, keepdims=True) + 1e-6) * weight.astype(jnp.float32)


def _of_gemma(c: Called, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    back = np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])[None]
    norms = [lambda y, n=n: rms(y, 1 + v[f"layer.{n}_norm.weight"][None, None, None]) for n in ("query", "key")]
    return attention_of(c.layer, v, x, mask=((back >= 0) & (back < 3))[None, None], norms=norms, at="layer.")[0]


def _of_olmo(m: nn.MultiHeadAttention, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    norms = [lambda y, n=n: rms(y, v[f"{n}_norm.weight"][None, None], (-2, -1)) for n in ("query", "key")]
    return attention_of(m, v, x, norms=norms)[0]


def _in_a_window(c: Called, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    back = np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])[None]
    return attention_of(c.layer, v, x, mask=((back >= 0) & (back < 3))[None, None], at="layer.")[0]


def _stack(s: Sizes, **options: Any) -> Called:
    options = {"rotary": nn.RotaryEmbedding(s.head), "normalize_qk": partial(nn.RMSNorm, w_init=NORMAL), **options}
    return Called(nn.Stack(2, lambda: attention(s, **options)), is_causal=True)


def _one_after_another(c: Called, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    layer, half = c.layer.layers, c.layer.layers.head_size // 2
    angle = np.exp(1j * np.arange(x.shape[1])[:, None] * 1e4 ** (-np.arange(half) / half)).astype(np.complex64)

    def turned(y: jax.Array) -> jax.Array:
        z = (y[..., :half] + 1j * y[..., half:]) * angle[None, :, None]
        return jnp.concatenate([z.real, z.imag], -1)

    for i in range(c.layer.n):
        own = {name.removeprefix("layer.layers."): value[i] for name, value in v.items()}
        norms = [
            lambda y, n=n, own=own: turned(rms(y, own[f"{n}_norm.weight"][None, None, None]).astype(y.dtype))
            for n in ("query", "key")
        ]
        x, _ = attention_of(layer, own, x, mask=np.tri(x.shape[1], dtype=bool)[None, None], norms=norms)
    return x


def _turned_by_yarn(m: nn.RotaryEmbedding, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    half = m.head_size // 4
    x, rest = jnp.split(x, 2, -1)
    # of 100 positions: 32 turns need a pair before the first, one turn the one behind 0.3 * half
    last = int(np.ceil(half * np.log(100 / (2 * np.pi)) / np.log(10_000)))
    divided = np.minimum(np.arange(half) / last, 1)
    angle = np.arange(x.shape[1])[:, None] * 1e4 ** (-np.arange(half) / half) * (1 - divided * 0.75)
    z = (x[..., ::2] + 1j * x[..., 1::2]) * (1.5 * np.exp(1j * angle)).astype(np.complex64)[None, :, None]
    return jnp.concatenate([jnp.stack([z.real, z.imag], -1).reshape(x.shape).astype(x.dtype), rest], -1)


ATTENTION_LAYERS: list[Layer] = [
    Layer("MultiHeadAttention", attention, series, flax(their_attention, ATTENTION)),
    Layer("MultiHeadAttention causal", lambda s, **o: Called(attention(s, **o), is_causal=True), series,
          flax(lambda m: their_attention(m.layer), {f"layer.{a}": b for a, b in ATTENTION.items()},
               lambda theirs, x: theirs(x, is_causal=True))),
    Layer("MultiHeadAttention grouped, normalised, dropout", lambda s, **o: attention(
          s, num_kv_heads=1, normalize_qk=True, dropout=0.5, out_size=s.out, **o), series,
          flax(their_attention,
               {**ATTENTION, "query_norm.weight": "query_ln.scale", "key_norm.weight": "key_ln.scale"}),
          modes=(False,)),
    Layer("MultiHeadAttention across", lambda s, **o: attention(s, kv_size=s.out, **o),
          lambda s: ((s.batch, s.length, s.width), (s.batch, s.length + 1, s.out)), flax(their_attention, ATTENTION)),
    Layer("RotaryEmbedding", lambda s, rng: nn.RotaryEmbedding(s.head),
          lambda s: ((s.batch, s.length, s.heads, s.head),),
          formula(lambda m, v, x: jax.vmap(jax.vmap(
              eqx.nn.RotaryPositionalEmbedding(m.head_size, dtype=jnp.float32), 1, 1))(x)), plain=True),
    Layer("MultiHeadAttention of Gemma", lambda s, **o: Called(attention(
          s, num_kv_heads=1, normalize_qk=partial(nn.RMSNorm, scale_offset=1.0, w_init=NORMAL), scale=0.3, softcap=2.0,
          window=3, **o), is_causal=True), series, formula(_of_gemma)),
    Layer("MultiHeadAttention normalised over all heads", lambda s, **o: attention(
          s, num_kv_heads=1, normalize_qk=[nn.RMSNorm((n, s.head), w_init=NORMAL, **o) for n in (s.heads, 1)], **o),
          series, formula(_of_olmo)),
    Layer("MultiHeadAttention with a bias, and its weights",
          lambda s, **o: Called(attention(s, **o), ("bias",), return_weights=True),
          lambda s: ((s.batch, s.length, s.width), (s.batch, s.heads, s.length, s.length)),
          formula(lambda c, v, x, bias: attention_of(c.layer, v, x, bias=bias, at="layer."))),
    Layer("MultiHeadAttention decoding in a window",
          lambda s, **o: Called(attention(s, num_kv_heads=1, window=3, **o), decode=True), series,
          formula(_in_a_window), start=lambda c, s: c.layer.init_cache(s.batch, 4 * s.length)),
    Layer("Stack of attention", _stack, series, formula(_one_after_another)),
    Layer("RotaryEmbedding of a part, by YaRN", lambda s, rng: nn.RotaryEmbedding(
          2 * s.head, rotary_size=s.head, interleaved=True,
          scaling=nn.YarnRotaryScaling(4.0, original_length=100, attention_factor=1.5)),
          lambda s: ((s.batch, s.length, s.heads, 2 * s.head),), formula(_turned_by_yarn), plain=True),
    Layer("RMSNorm with an offset", lambda s, **o: nn.RMSNorm(s.width, scale_offset=1.0, w_init=NORMAL, **o), rows,
          formula(lambda m, v, x: rms(x, 1 + v["weight"].astype(jnp.float32)[None]).astype(x.dtype))),
]  # fmt: skip
