"""A decode step of a GPT with experts and a cache: one token in, the logits of the next one out, keys and values kept.

71 blocks with eight parameters of attention and norms and 33 experts of three parameters each, a table and a norm:
7,600 parameter states.  A token goes to the expert of its number in each block.  The cache has three states: the keys
and the values of all blocks, and the length.  The blocks run in one ``lax.scan`` over their stacked parameters, as XLA
would compile 71 of them for minutes; so a step computes little, and what it costs is to pass the states.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .steps import Part, Step

__all__ = ["BLOCKS", "EXPERTS", "decoding"]

BLOCKS, EXPERTS, WIDTH, HEADS, LENGTH, VOCABULARY = 71, 33, 8, 2, 16, 32
SHAPES = ((WIDTH,), (WIDTH,), *((WIDTH, WIDTH),) * 4, (WIDTH,), (WIDTH,))
EXPERT = ((WIDTH, WIDTH), (WIDTH,), (WIDTH, WIDTH))


def _norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    mean = x.mean()
    return (x - mean) * jax.lax.rsqrt(jnp.square(x - mean).mean() + 1e-5) * scale + bias


def _stacked(arrays: list[jax.Array], *axes: int) -> jax.Array:
    """Stack arrays of one shape, as flat ones: XLA takes seven times as long to compile ``jnp.stack``."""
    return jnp.concatenate([array.reshape(-1) for array in arrays]).reshape(*axes, *arrays[0].shape)


def _block(
    x: jax.Array, at: jax.Array, params: Any, expert: Any, keys: jax.Array, values: jax.Array
) -> list[jax.Array]:
    """A block on a vector, with its keys and values of shape ``(LENGTH, WIDTH)``."""
    scale, bias, query, key, value, out, scale_2, bias_2 = params
    h = _norm(x, scale, bias)
    keys = jax.lax.dynamic_update_index_in_dim(keys, h @ key, at, 0)
    values = jax.lax.dynamic_update_index_in_dim(values, h @ value, at, 0)
    heads = (h @ query).reshape(HEADS, -1)
    scores = jnp.einsum("hd,lhd->hl", heads, keys.reshape(LENGTH, HEADS, -1)) / heads.shape[-1] ** 0.5
    scores = jnp.where(jnp.arange(LENGTH)[None] <= at, scores, -jnp.inf)
    mixed = jnp.einsum("hl,lhd->hd", jax.nn.softmax(scores), values.reshape(LENGTH, HEADS, -1))
    x = x + mixed.reshape(-1) @ out
    up, up_bias, down = expert
    return [x + jax.nn.gelu(_norm(x, scale_2, bias_2) @ up + up_bias) @ down, keys, values]


def decoding(blocks: int = BLOCKS, experts: int = EXPERTS) -> Step:
    """Return the step; its parts are the table with the norm and the cache, then the blocks."""
    rng = np.random.default_rng(0)

    def drawn(shape: tuple[int, ...]) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape) / WIDTH**0.5, jnp.float32)

    shapes = [*SHAPES, *(shape for shape in EXPERT for _ in range(experts))]

    def pure(params: Any, hidden: Any, token: Any) -> tuple[jax.Array, list[jax.Array]]:
        table, scale, bias = params[:3]
        at, expert = hidden[0] % LENGTH, token % experts
        of_block = [params[3 + number * len(shapes) :][: len(shapes)] for number in range(blocks)]
        shared = [_stacked([block[number] for block in of_block], blocks) for number in range(len(SHAPES))]
        begins = range(len(SHAPES), len(shapes), experts)
        chosen = [
            _stacked([array for block in of_block for array in block[begin : begin + experts]], blocks, experts)[
                :, expert
            ]
            for begin in begins
        ]

        def body(x: jax.Array, layer: Any) -> tuple[jax.Array, list[jax.Array]]:
            x, *kept = _block(x, at, layer[0], layer[1], *layer[2])
            return x, kept

        x, cache = jax.lax.scan(body, table[token], (shared, chosen, list(hidden[1:])))
        return _norm(x, scale, bias) @ table.T, [hidden[0] + 1, *cache]

    cache = [jnp.zeros((blocks, LENGTH, WIDTH)) for _ in range(2)]
    first = Part([drawn((VOCABULARY, WIDTH)), jnp.ones(WIDTH), jnp.zeros(WIDTH)], [jnp.array(0), *cache])
    return Step(pure, [first, *(Part([drawn(shape) for shape in shapes], []) for _ in range(blocks))], jnp.array(1))
