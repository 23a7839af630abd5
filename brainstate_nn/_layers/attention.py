"""``MultiHeadAttention``: each position gathers from the others what it looks for.

It is made of four `LinearGeneral` projections and JAX's own `dot_product_attention`, with what decoders need besides:
rotary positions, a cache of keys and values, fewer heads for these. Masks are made in `masks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph.extend import describe, locate

from .._core.arguments import as_dtype, as_fraction, as_size
from .._core.inputs import as_input, as_mask, common_dtype, promote
from .._core.module import Module
from .._core.parameters import Initializer, lecun_normal
from .._core.random import Draws, Rng
from .._core.states import LongTermState
from .dropout import Dropout
from .kv_cache import KVCache
from .layer_norm import LayerNorm
from .linear_general import LinearGeneral
from .masks import causal_mask
from .rotary import RotaryEmbedding

__all__ = ["MultiHeadAttention"]


class MultiHeadAttention(Module):
    """Attention with several heads (Vaswani et al., arXiv:1706.03762): ``softmax(q k^T / sqrt(head_size)) v`` for each.

    The product is computed by `jax.nn.dot_product_attention`. With fewer heads for keys and values than for queries,
    each of them serves a group of heads (grouped queries, Ainslie et al., arXiv:2305.13245).

    Args:
        num_heads: The number of heads.
        in_size: The number of features of the queries.
        num_kv_heads: The number of heads of keys and values, which divides `num_heads`; None for as many.
        head_size: The number of features of a head; None for ``in_size / num_heads``.
        out_size: The number of output features; None for `in_size`.
        kv_size: The number of features of the inputs for keys and values; None for `in_size`.
        dropout: The probability to drop an attention weight while training.
        use_bias: Whether the four projections add a bias.
        rotary: What turns queries and keys by their positions; None for nothing.
        normalize_qk: Whether the features of each query and key are normalised, to keep large models stable
            (Dehghani et al., arXiv:2302.05442).
        attention_fn: What is called as ``(query, key, value, mask=, is_causal=)`` in place of JAX's function.
        w_init: The initialiser of the weights, any callable ``(key, shape, dtype) -> array``; not kept.
        b_init: The initialiser of the biases.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters.
        precision: The precision of the projections, as `jnp.dot` takes it; None for JAX's default.
        rng: The stream that gives the keys, or streams with `params` and `dropout`; None for the default one.

    Attributes:
        query: LinearGeneral whose weight has the shape ``(in_size, num_heads, head_size)``.
        key: LinearGeneral with a weight of ``(kv_size, num_kv_heads, head_size)``.
        value: LinearGeneral with a weight of the same shape.
        out: LinearGeneral with a weight of ``(num_heads, head_size, out_size)``.
        query_norm: LayerNorm of a head's features, or None.
        key_norm: LayerNorm of a head's features, or None.
        dropout: Dropout of the attention weights, or None.
        cache: KVCache made by `init_cache`, or None.

    Raises:
        ValueError: A size is not positive, heads do not divide, or `dropout` is given with another `attention_fn`,
            whose weights are not seen.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import MultiHeadAttention
        >>> attention = MultiHeadAttention(4, 16, num_kv_heads=2)
        >>> attention(jnp.ones((3, 10, 16)), is_causal=True).shape
        (3, 10, 16)
        >>> attention.key.weight
        ParamState(f32[16,2,4])
    """

    def __init__(
        self,
        num_heads: int,
        in_size: int,
        *,
        num_kv_heads: int | None = None,
        head_size: int | None = None,
        out_size: int | None = None,
        kv_size: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        rotary: RotaryEmbedding | None = None,
        normalize_qk: bool = False,
        attention_fn: Callable[..., jax.Array] = jax.nn.dot_product_attention,
        w_init: Initializer = lecun_normal,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        rng: Rng = None,
    ) -> None:
        self.num_heads = as_size("num_heads", num_heads)
        self.in_size = as_size("in_size", in_size)
        self.num_kv_heads = num_heads if num_kv_heads is None else as_size("num_kv_heads", num_kv_heads)
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads={num_kv_heads} must divide num_heads={num_heads} without rest")
        if head_size is None and self.in_size % self.num_heads:
            raise ValueError(
                f"num_heads={num_heads} must divide in_size={in_size} without rest, or give the size of a head: "
                "write `head_size=64`"
            )
        self.head_size = in_size // num_heads if head_size is None else as_size("head_size", head_size)
        self.out_size = self.in_size if out_size is None else as_size("out_size", out_size)
        self.kv_size = self.in_size if kv_size is None else as_size("kv_size", kv_size)
        _refuse_misfits(self.head_size, rotary, dropout, attention_fn)
        self.attention_fn = attention_fn
        self.rotary = rotary
        self.dtype = as_dtype(dtype)
        shared: dict[str, Any] = {
            "use_bias": use_bias, "w_init": w_init, "b_init": b_init, "dtype": dtype, "param_dtype": param_dtype,
            "precision": precision, "rng": rng,
        }  # fmt: skip
        self.query = LinearGeneral(self.in_size, (self.num_heads, self.head_size), **shared)
        self.key = LinearGeneral(self.kv_size, (self.num_kv_heads, self.head_size), **shared)
        self.value = LinearGeneral(self.kv_size, (self.num_kv_heads, self.head_size), **shared)
        self.out = LinearGeneral((self.num_heads, self.head_size), self.out_size, axis=(-2, -1), **shared)
        self.query_norm: LayerNorm | None = None
        self.key_norm: LayerNorm | None = None
        if normalize_qk:
            # With the epsilon of flax, whose checkpoints of normalised attention are to compute the same.
            self.query_norm, self.key_norm = (
                LayerNorm(self.head_size, epsilon=1e-6, use_bias=False, dtype=dtype, param_dtype=param_dtype, rng=rng)
                for _ in range(2)
            )
        self.dropout = Dropout(dropout, rng=rng) if dropout else None
        self.cache: KVCache | None = None

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        *,
        mask: jax.Array | None = None,
        is_causal: bool = False,
        positions: jax.Array | None = None,
        decode: bool = False,
        training: bool | None = None,
        rngs: Draws = None,
        qkv_sharding: Any = None,
        out_sharding: Any = None,
    ) -> jax.Array:
        """Apply the layer.

        With `decode`, the positions of `query` follow those that the cache has, see all of these, and each other as far
        as they come before; they are then in the cache too. Where the cache is full, nothing is computed: a ValueError
        or, under `jit`, where none can be raised, NaN as the result.

        Args:
            query: An array of shape ``(..., queries, in_size)``.
            key: An array of shape ``(..., keys, kv_size)``; None for `query`.
            value: An array of the shape of `key`; None for `key`.
            mask: A boolean array, True where a query may see a key, of shape ``(..., num_heads, queries, keys)`` with 1
                where it is the same along an axis, ``(..., queries, keys)`` or ``(queries, keys)``. With `decode`, the
                keys are all those of the cache. A query that may see nothing gets the mean of all values.
            is_causal: Whether a query sees only the keys up to its own position.
            positions: Whole numbers of shape ``(queries,)`` or ``(..., queries)`` for `rotary`; None to count from 0
                or, with `decode`, from the length of the cache.
            decode: Whether to use the cache.
            training: Overrides the attribute `training` for this call.
            rngs: What the dropout draws from, instead of its stream: a key, a stream, or streams.
            qkv_sharding: The sharding of projected queries, keys and values, where JAX cannot tell it.
            out_sharding: The sharding of the result, where JAX cannot tell it.

        Returns:
            An array of shape ``(..., queries, out_size)``.
        """
        for name, flag in (("is_causal", is_causal), ("decode", decode)):
            if not isinstance(flag, (bool, np.bool_)):
                raise TypeError(
                    f"{locate(self)} takes True or False for `{name}`, not {describe(flag)}: where a function is "
                    "compiled, write it inside, or name it in `static_argnames`"
                )
        inputs = self._inputs(query, key, value, positions, decode)
        cache = self._cache_for(inputs[0]) if decode else None
        *batch, count, _ = inputs[0].shape
        keys = inputs[1].shape[-2] if cache is None else cache.max_length
        mask = self._with_all_axes(mask, (*batch, self.num_heads, count, keys))
        projections = (self.query, self.key, self.value)
        q, k, v = (f(x, out_sharding=qkv_sharding) for f, x in zip(projections, inputs, strict=True))
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary is not None:
            if positions is None and cache is not None:
                positions = cache.length.value + jnp.arange(count)
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        if cache is None:
            x = self._attend(q, k, v, mask, is_causal, training, rngs)
        else:
            x = self._attend_with_cache(cache, q, k, v, mask, training, rngs)
        return self.out(x, out_sharding=out_sharding)

    def init_cache(
        self, batch_size: int | Sequence[int] | None, max_length: int, *, dtype: Any = None, out_sharding: Any = None
    ) -> None:
        """Make an empty cache, with which `decode` continues a sequence.

        Args:
            batch_size: The sizes of the axes in front of the positions, one or several; None for none.
            max_length: The number of positions that there is room for.
            dtype: The dtype of what is kept; None for that of the keys.
            out_sharding: The sharding of the arrays ``(*batch_size, max_length, num_kv_heads, head_size)``.
        """
        if dtype is None:
            # of any long-term state, for the projection may be under a LoRA, or frozen
            values = [state.value for state in self.key.states(LongTermState).values()]
            dtype = self.dtype or common_dtype(*values or [jnp.zeros(())])
        self.cache = KVCache(
            batch_size, max_length, num_heads=self.num_kv_heads, head_size=self.head_size, dtype=dtype,
            out_sharding=out_sharding,
        )  # fmt: skip

    def init_state(
        self,
        batch_size: int | Sequence[int] | None = None,
        max_length: int | None = None,
        *,
        out_sharding: Any = None,
        **kwargs: Any,
    ) -> None:
        """Make the cache, as ``init_all_states(model, batch_size=4, max_length=100)`` does in a whole model.

        Args:
            batch_size: As for `init_cache`.
            max_length: As for `init_cache`; None for no cache.
            out_sharding: As for `init_cache`.
            **kwargs: What other modules take.
        """
        if max_length is not None:
            self.init_cache(batch_size, max_length, out_sharding=out_sharding)

    def reset_state(self, *args: Any, **kwargs: Any) -> None:
        """Empty the cache, if there is one."""
        if self.cache is not None:
            self.cache.reset()

    def _inputs(self, query: Any, key: Any, value: Any, positions: Any, decode: bool) -> tuple[Any, Any, Any]:
        """Return the three inputs as arrays that fit each other."""
        query = as_input(query, self, "query", size=self.in_size, rank=2)
        if key is None and value is not None:
            raise ValueError(f"{locate(self)} was given `value` without `key`: give both, or `key` for both")
        if key is not None and (decode or positions is not None):
            used = "decode" if decode else "positions"
            raise ValueError(f"{locate(self)} takes `{used}` where a sequence sees itself, without a `key` of its own")
        name = "query" if key is None else "key"
        key = as_input(query if key is None else key, self, name, size=self.kv_size, rank=2)
        value = key if value is None else as_input(value, self, "value", size=self.kv_size, rank=2)
        for name, given, wanted in (("key", key.shape[:-2], query.shape[:-2]), ("value", value.shape, key.shape)):
            if given != wanted:
                other = "query" if name == "key" else "key"
                raise ValueError(
                    f"{locate(self)} takes a `{name}` whose axes fit those of `{other}`, which is "
                    f"{describe(query if name == 'key' else key)}, not {describe(key if name == 'key' else value)}"
                )
        if positions is not None and self.rotary is None:
            raise ValueError(f"{locate(self)} has no `rotary` that would use `positions`")
        return query, key, value

    def _cache_for(self, query: jax.Array) -> KVCache:
        """Return the cache, or raise where there is none, or no room in it for these queries."""
        cache, count = self.cache, query.shape[-2]
        batch = query.shape[:-2]
        if cache is None:
            raise ValueError(f"{locate(self)} has no cache for `decode`: call `init_cache({batch}, max_length)` first")
        if cache.key.value.shape[:-3] != batch:
            raise ValueError(
                f"{locate(self)} has a cache for a batch of {cache.key.value.shape[:-3]}, which does not fit `query`, "
                f"{describe(query)}: call `init_cache({batch}, {cache.max_length})`"
            )
        if count > cache.max_length or cache.has_room(count) is False:
            raise ValueError(
                f"{locate(self)} has room for {cache.max_length} positions in its cache, of which "
                f"{cache.length.value} are filled: `query` with {count} more is too long"
            )
        return cache

    def _with_all_axes(self, mask: Any, full: tuple[int, ...]) -> jax.Array | None:
        """Return a mask with all axes, or raise where it does not fit."""
        if mask is None:
            return None
        mask = as_mask(mask, self, "a boolean `mask`, True where a query may see a key, which is {}")
        shape = mask.shape
        if len(shape) == len(full) - 1 > 2:
            shape = (*shape[:-2], 1, *shape[-2:])
        elif len(shape) == 2:
            shape = (1,) * (len(full) - 2) + shape
        if len(shape) != len(full) or any(a not in (1, b) for a, b in zip(shape, full, strict=True)):
            raise ValueError(
                f"{locate(self)} takes a `mask` of shape {full}, with 1 where it is the same along an axis, or of "
                f"{full[-2:]}, and not {describe(mask)}"
            )
        return mask.reshape(shape)

    def _attend_with_cache(self, cache: KVCache, q: Any, k: Any, v: Any, mask: Any, *draws: Any) -> jax.Array:
        """Return the heads of the result for positions behind those of the cache, which then has them too."""
        count = q.shape[-3]
        keys, values = cache.extended(k, v)
        # Each new position sees all positions up to its own: those of the cache, and of the new ones the earlier.
        seen = jnp.arange(cache.max_length)[None, :] <= (cache.length.value + jnp.arange(count))[:, None]
        seen = seen.reshape((1,) * (q.ndim - 2) + seen.shape)
        x = self._attend(q, keys, values, seen if mask is None else seen & mask, False, *draws)
        # Asked before the new positions are counted.
        room = cache.has_room(count)
        cache.assign(keys, values, count)
        # Under `jit` no error can be raised: an update beyond the end would silently overwrite the last positions.
        return x if room is True else jnp.where(room, x, jnp.nan)

    def _attend(self, q: Any, k: Any, v: Any, mask: Any, is_causal: bool, training: Any, rngs: Draws) -> jax.Array:
        """Return the heads of the result; what is called has exactly one axis in front, so others are joined."""
        q, k, v = promote(q, k, v, dtype=self.dtype)
        leading = q.shape[:-3]
        # `jax.nn.dot_product_attention` takes exactly one axis in front.
        if len(leading) != 1:
            q, k, v = (x.reshape((math.prod(leading), *x.shape[-3:])) for x in (q, k, v))
            if mask is not None:
                # A mask that is the same for the whole batch stays one mask, and is not repeated in memory.
                front = leading if any(size != 1 for size in mask.shape[:-3]) else (1,) * len(leading)
                mask = jnp.broadcast_to(mask, (*front, *mask.shape[-3:])).reshape((math.prod(front), *mask.shape[-3:]))
        # JAX keeps the weights of attention for itself. Dropout needs them, so they are computed here.
        if self.dropout is not None and (self.training if training is None else training):
            weights = _weights(q, k, mask, is_causal)
            x = _weighted_sum(self.dropout(weights, training=True, rngs=rngs), v)
        else:
            x = self.attention_fn(q, k, v, mask=mask, is_causal=is_causal)
        return x if len(leading) == 1 else x.reshape((*leading, *x.shape[1:]))


def _refuse_misfits(head_size: int, rotary: Any, dropout: Any, attention_fn: Any) -> None:
    """Refuse arguments of a constructor that do not go with each other."""
    if rotary is not None and getattr(rotary, "head_size", None) != head_size:
        raise ValueError(
            f"rotary must turn heads of {head_size} features, and is {rotary!r}: write "
            f"`rotary=RotaryEmbedding({head_size})`"
        )
    if as_fraction("dropout", dropout, "the probability to drop an attention weight") and not _is_usual(attention_fn):
        raise ValueError("dropout needs the usual attention_fn, for the weights of another are not seen")
    if not callable(attention_fn):
        raise TypeError(
            "attention_fn must be a function (query, key, value, *, mask, is_causal) -> array, not "
            f"{type(attention_fn).__name__}"
        )


def _is_usual(attention_fn: Any) -> bool:
    return attention_fn is jax.nn.dot_product_attention


def _weights(query: jax.Array, key: jax.Array, mask: jax.Array | None, is_causal: bool) -> jax.Array:
    """Return the weights that `jax.nn.dot_product_attention` computes and keeps for itself.

    Args:
        query: An array of shape ``(batch, queries, heads, head_size)``.
        key: An array of shape ``(batch, keys, kv_heads, head_size)``.
        mask: A boolean array that goes with ``(batch, heads, queries, keys)``.
        is_causal: Whether a query sees only the keys up to its own position.

    Returns:
        An array of shape ``(batch, heads, queries, keys)`` in the dtype of `key`.
    """
    batch, queries, heads, size = query.shape
    keys, groups = key.shape[1], key.shape[2]
    grouped = query.reshape((batch, queries, groups, heads // groups, size))
    wide = jnp.promote_types(jnp.float32, query.dtype)
    logits = jnp.einsum("bqgnh,bkgh->bgnqk", grouped, key, preferred_element_type=wide) / math.sqrt(size)
    logits = logits.reshape((batch, heads, queries, keys))
    # A finite number and not -inf, so that a query that may see nothing gets equal weights and not NaN; 0.7 of the
    # least one, so that adding a bias cannot make it infinite. JAX's function does the same.
    lowest = jnp.asarray(0.7 * jnp.finfo(wide).min, wide)
    if is_causal:
        logits = jnp.where(causal_mask(queries, keys)[None, None], logits, lowest)
    if mask is not None:
        logits = jnp.where(mask, logits, lowest)
    return jax.nn.softmax(logits, axis=-1).astype(key.dtype)


def _weighted_sum(weights: jax.Array, value: jax.Array) -> jax.Array:
    """Return the sums of values by weights, of shape ``(batch, queries, heads, head_size)``."""
    batch, heads, queries, keys = weights.shape
    groups = value.shape[2]
    weights = weights.reshape((batch, groups, heads // groups, queries, keys))
    x = jnp.einsum("bgnqk,bkgh->bqgnh", weights, value)
    return x.reshape((batch, queries, heads, value.shape[-1]))
