"""A decode step of a GPT with a cache: one token in, the logits of the next one out, keys and values kept.

633 blocks with twelve parameters each, a table and a norm: 7,599 parameter states.  The cache has three: the keys and
the values of all blocks, and the length.  The blocks run in one ``lax.scan`` over their stacked parameters, as XLA
would compile 633 of them for minutes; so a step computes little, and what it costs is to pass the states.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .steps import Part, Step

__all__ = ["BLOCKS", "decoding"]

BLOCKS, WIDTH, HEADS, LENGTH, VOCABULARY = 633, 8, 2, 16, 32
SHAPES = (
    (WIDTH,), (WIDTH,), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH),
    (WIDTH,), (WIDTH,), (WIDTH, 2 * WIDTH), (2 * WIDTH,), (2 * WIDTH, WIDTH), (WIDTH,),
)  # fmt: skip


def _norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    mean = x.mean()
    return (x - mean) * jax.lax.rsqrt(jnp.square(x - mean).mean() + 1e-5) * scale + bias


def _stacked(arrays: list[jax.Array]) -> jax.Array:
    """Stack arrays of one shape, as flat ones: XLA takes seven times as long to compile ``jnp.stack``."""
    return jnp.concatenate([array.reshape(-1) for array in arrays]).reshape(len(arrays), *arrays[0].shape)


def _block(x: jax.Array, at: jax.Array, params: list[jax.Array], keys: jax.Array, values: jax.Array) -> list[jax.Array]:
    """A block on a vector, with its keys and values of shape ``(LENGTH, WIDTH)``."""
    scale, bias, query, key, value, out, scale_2, bias_2, up, up_bias, down, down_bias = params
    h = _norm(x, scale, bias)
    keys = jax.lax.dynamic_update_index_in_dim(keys, h @ key, at, 0)
    values = jax.lax.dynamic_update_index_in_dim(values, h @ value, at, 0)
    heads = (h @ query).reshape(HEADS, -1)
    scores = jnp.einsum("hd,lhd->hl", heads, keys.reshape(LENGTH, HEADS, -1)) / heads.shape[-1] ** 0.5
    scores = jnp.where(jnp.arange(LENGTH)[None] <= at, scores, -jnp.inf)
    mixed = jnp.einsum("hl,lhd->hd", jax.nn.softmax(scores), values.reshape(LENGTH, HEADS, -1))
    x = x + mixed.reshape(-1) @ out
    h = _norm(x, scale_2, bias_2)
    return [x + jax.nn.gelu(h @ up + up_bias) @ down + down_bias, keys, values]


def decoding(blocks: int = BLOCKS) -> Step:
    """Return the step; its parts are the table with the norm and the cache, then the blocks."""
    rng = np.random.default_rng(0)

    def drawn(shape: tuple[int, ...]) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape) / WIDTH**0.5, jnp.float32)

    count = len(SHAPES)

    def pure(params: Any, hidden: Any, token: Any) -> tuple[jax.Array, list[jax.Array]]:
        table, scale, bias = params[:3]
        at = hidden[0] % LENGTH
        stacked = [_stacked(params[3 + number :: count]) for number in range(count)]

        def body(x: jax.Array, layer: tuple[list[jax.Array], list[jax.Array]]) -> tuple[jax.Array, list[jax.Array]]:
            x, *kept = _block(x, at, layer[0], *layer[1])
            return x, kept

        x, cache = jax.lax.scan(body, table[token], (stacked, list(hidden[1:])))
        return _norm(x, scale, bias) @ table.T, [hidden[0] + 1, *cache]

    cache = [jnp.zeros((blocks, LENGTH, WIDTH)) for _ in range(2)]
    first = Part([drawn((VOCABULARY, WIDTH)), jnp.ones(WIDTH), jnp.zeros(WIDTH)], [jnp.array(0), *cache])
    return Step(pure, [first, *(Part([drawn(shape) for shape in SHAPES], []) for _ in range(blocks))], jnp.array(1))
