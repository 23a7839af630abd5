"""``MultiHeadAttention``: each position gathers from the others what it looks for.

It is made of four `LinearGeneral` projections and JAX's own `dot_product_attention`, with what decoders need besides:
rotary positions, norms of queries and keys, a window, a cache of keys and values, fewer heads for these. Masks are made
in `masks`; where the weights themselves are needed, `product` computes them.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brainstate_graph.extend import describe, locate

from .._core.arguments import as_dtype, as_positive, as_size
from .._core.inputs import common_dtype, promote
from .._core.module import Module
from .._core.parameters import Initializer, lecun_normal
from .._core.products import DotGeneral, as_function, multiply
from .._core.random import Draws, Rng
from .._core.states import LongTermState
from .._layers.dropout import Dropout
from .._layers.linear_general import LinearGeneral
from .calls import (
    as_bias,
    as_flag,
    as_heads,
    as_inputs,
    as_pattern,
    is_usual,
    refuse_misfits,
    with_one_axis_in_front,
)
from .kv_cache import KVCache
from .product import attention_weights, finite_bias, sides_of, weighted_sum
from .qk_norm import normalised, norms_of
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
        normalize_qk: What normalises queries and keys before they are rotated, to keep large models stable. True for
            a LayerNorm of each head (Dehghani et al., arXiv:2302.05442). Or a class or function, such as RMSNorm,
            that makes a norm of `head_size`; it makes one for queries and one for keys. Or a norm for both, or a pair
            of these. A norm is called with an array of shape ``(..., heads, head_size)``.
        scale: What products of queries and keys are multiplied by; None for ``1 / sqrt(head_size)``.
        softcap: The bound of logits, which are ``softcap * tanh(scale * q k^T / softcap)``; None for no bound.
        window: How many positions a query sees to each side, its own among them; with `is_causal` and `decode` these
            are the last ones (Beltagy et al., arXiv:2004.05150). None for all.
        attention_fn: What is called as ``(query, key, value, mask=, is_causal=)`` in place of JAX's function, and with
            its names `bias`, `scale` and `local_window_size` where there is a bias, a scale or a window.
        w_init: The initialiser of the weights, a function ``(key, shape, dtype) -> array``; LeCun normal by default.
        b_init: The initialiser of the biases; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the projections, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that the projections add up in and return; None for `dtype`.
        dot_general: The function that computes the projections, such as a quantiser's; None for `jax.lax.dot_general`.
        attention_dot_general: The same for the two products between them, of queries with keys and of weights with
            values, which are then computed step by step; None for those of `attention_fn`.
        rng: The stream that gives the keys, or streams with `params` and `dropout`; None for the default one.

    Attributes:
        query: LinearGeneral whose weight has the shape ``(in_size, num_heads, head_size)``.
        key: LinearGeneral with a weight of ``(kv_size, num_kv_heads, head_size)``.
        value: LinearGeneral with a weight of the same shape.
        out: LinearGeneral with a weight of ``(num_heads, head_size, out_size)``.
        query_norm: The norm of queries, or None.
        key_norm: The norm of keys, or None.
        dropout: Dropout of the attention weights, or None.
        cache: KVCache made by `init_cache`, or None.

    Raises:
        TypeError: `normalize_qk` does not make a norm, or another argument is not a function.
        ValueError: A size, `scale`, `softcap` or `window` is not positive, heads do not divide, or `dropout`, `softcap`
            or `attention_dot_general` is given with another `attention_fn`, whose weights are not seen.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import MultiHeadAttention
        >>> attention = MultiHeadAttention(4, 16, num_kv_heads=2)
        >>> attention(jnp.ones((3, 10, 16)), is_causal=True).shape
        (3, 10, 16)
        >>> attention.key.weight
        ParamState(f32[16,2,4])
    """

    # Those of a model that is read from an older file, which has not these attributes.
    scale: float | None = None
    softcap: float | None = None
    window: int | None = None
    attention_dot_general: DotGeneral | None = None

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
        normalize_qk: bool | Callable[..., Any] | Sequence[Any] = False,
        scale: float | None = None,
        softcap: float | None = None,
        window: int | None = None,
        attention_fn: Callable[..., jax.Array] = jax.nn.dot_product_attention,
        w_init: Initializer = lecun_normal,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        dot_general: DotGeneral | None = None,
        attention_dot_general: DotGeneral | None = None,
        rng: Rng = None,
    ) -> None:
        sizes = as_heads(num_heads, in_size, num_kv_heads, head_size)
        self.num_heads, self.in_size, self.num_kv_heads, self.head_size = sizes
        self.out_size = self.in_size if out_size is None else as_size("out_size", out_size)
        self.kv_size = self.in_size if kv_size is None else as_size("kv_size", kv_size)
        self.scale = None if scale is None else as_positive("scale", scale)
        self.softcap = None if softcap is None else as_positive("softcap", softcap)
        self.window = None if window is None else as_size("window", window)
        self.attention_dot_general = as_function("attention_dot_general", attention_dot_general)
        refuse_misfits(
            self.head_size, rotary, attention_fn, dropout, softcap=softcap, attention_dot_general=attention_dot_general
        )
        self.attention_fn = attention_fn
        self.rotary = rotary
        self.dtype = as_dtype(dtype)
        shared: dict[str, Any] = {
            "use_bias": use_bias, "w_init": w_init, "b_init": b_init, "dtype": dtype, "param_dtype": param_dtype,
            "precision": precision, "preferred_element_type": preferred_element_type, "dot_general": dot_general,
            "rng": rng,
        }  # fmt: skip
        self.query = LinearGeneral(self.in_size, (self.num_heads, self.head_size), **shared)
        self.key = LinearGeneral(self.kv_size, (self.num_kv_heads, self.head_size), **shared)
        self.value = LinearGeneral(self.kv_size, (self.num_kv_heads, self.head_size), **shared)
        self.out = LinearGeneral((self.num_heads, self.head_size), self.out_size, axis=(-2, -1), **shared)
        self.query_norm, self.key_norm = norms_of(
            normalize_qk, self.head_size, dtype=dtype, param_dtype=param_dtype, rng=rng
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
        bias: jax.Array | None = None,
        is_causal: bool = False,
        positions: jax.Array | None = None,
        decode: bool = False,
        return_weights: bool = False,
        training: bool | None = None,
        rngs: Draws = None,
        qkv_sharding: Any = None,
        out_sharding: Any = None,
    ) -> Any:
        """Apply the layer.

        With `decode`, the positions of `query` follow those that the cache has, see all of these, or as many as fit in
        the window, and each other as far as they come before; they are then in the cache too. Where the cache is full,
        nothing is computed: a ValueError or, under `jit`, where none can be raised, NaN as the result.

        Args:
            query: An array of shape ``(..., queries, in_size)``.
            key: An array of shape ``(..., keys, kv_size)``; None for `query`.
            value: An array of the shape of `key`; None for `key`.
            mask: A boolean array, True where a query may see a key, of shape ``(..., num_heads, queries, keys)`` with 1
                where it is the same along an axis, ``(..., queries, keys)`` or ``(queries, keys)``. With `decode`, the
                keys are all those of the cache. A query that may see nothing gets the mean of all values.
            bias: Numbers of such a shape, which are added to the logits, after their softcap; -inf hides a key.
            is_causal: Whether a query sees only the keys up to its own position.
            positions: Whole numbers of shape ``(queries,)`` or ``(..., queries)`` for `rotary`; None to count from 0
                or, with `decode`, from the length of the cache.
            decode: Whether to use the cache.
            return_weights: Whether to return the weights too, as they are before any is dropped.
            training: Overrides the attribute `training` for this call.
            rngs: What the dropout draws from, instead of its stream: a key, a stream, or streams.
            qkv_sharding: The sharding of projected queries, keys and values, where JAX cannot tell it.
            out_sharding: The sharding of the result, where JAX cannot tell it.

        Returns:
            An array of shape ``(..., queries, out_size)``; with `return_weights`, the pair of it and the weights, an
            array of shape ``(..., num_heads, queries, keys)``.
        """
        is_causal, decode, return_weights = (
            as_flag(self, name, flag)
            for name, flag in (("is_causal", is_causal), ("decode", decode), ("return_weights", return_weights))
        )
        self._refuse_call(key, positions, decode, return_weights)
        inputs = as_inputs(self, query, key, value, (self.in_size, self.kv_size))
        cache = self._cache_for(inputs[0]) if decode else None
        *batch, count, _ = inputs[0].shape
        full = (*batch, self.num_heads, count, inputs[1].shape[-2] if cache is None else cache.max_length)
        mask, bias = as_pattern(self, mask, full), as_bias(self, bias, full)
        projections = (self.query, self.key, self.value)
        q, k, v = (f(x, out_sharding=qkv_sharding) for f, x in zip(projections, inputs, strict=True))
        q = normalised(self, "query_norm", self.query_norm, q)
        k = normalised(self, "key_norm", self.key_norm, k)
        if self.rotary is not None:
            if positions is None and cache is not None:
                positions = cache.new_positions(count)
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        call = _Call(mask, bias, is_causal, training, return_weights, rngs)
        x, weights = (
            self._attend(q, k, v, call, self.window) if cache is None else self._attend_with_cache(cache, q, k, v, call)
        )
        out = self.out(x, out_sharding=out_sharding)
        return (out, weights) if return_weights else out

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
            batch_size, max_length, num_heads=self.num_kv_heads, head_size=self.head_size, window=self.window,
            dtype=dtype, out_sharding=out_sharding,
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

    def _refuse_call(self, key: Any, positions: Any, decode: bool, return_weights: bool) -> None:
        """Refuse arguments of a call that do not go with each other, or with the layer."""
        if key is not None and (decode or positions is not None):
            used = "decode" if decode else "positions"
            raise ValueError(
                f"{locate(self)} takes `{used}` in self-attention only: leave out `key`, or leave out `{used}`"
            )
        if positions is not None and self.rotary is None:
            raise ValueError(
                f"{locate(self)} has no `rotary` to use `positions`: leave them out, or make the layer with `rotary=`"
            )
        if return_weights and not is_usual(self.attention_fn):
            raise ValueError(
                f"{locate(self)} cannot return the weights of its `attention_fn`: leave out `return_weights`, or make "
                "the layer without `attention_fn`"
            )

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
        if cache.room < min(cache.max_length, self.window or cache.max_length):
            raise ValueError(
                f"{locate(self)} has a cache of the last {cache.room} positions, which does not fit "
                f"`window={self.window}`: call `init_cache({batch}, {cache.max_length})`"
            )
        if count > cache.max_length or cache.has_room(count) is False:
            raise ValueError(
                f"{locate(self)} has room for {cache.max_length} positions in its cache, of which {cache.length.value} "
                f"are filled, and `query` has {count} more: call `reset_state()`, or make a longer cache with "
                "`init_cache`"
            )
        return cache

    def _attend_with_cache(self, cache: KVCache, q: Any, k: Any, v: Any, call: _Call) -> tuple[jax.Array, Any]:
        """Return heads and weights for positions behind those of the cache, which then has them too."""
        count = q.shape[-3]
        keys, values = cache.extended(k, v)
        # Each new position sees all positions up to its own: those of the cache, and of the new ones the earlier.
        seen = cache.seen(count, self.window)
        seen = seen.reshape((1,) * (q.ndim - 2) + seen.shape)
        mask, bias = (None if pattern is None else cache.of_keys(pattern, count) for pattern in (call.mask, call.bias))
        near = call._replace(mask=seen if mask is None else seen & mask, bias=bias, is_causal=False)
        x, weights = self._attend(q, keys, values, near, None)
        found = x, cache.of_positions(weights, count) if call.return_weights else None
        # Asked before the new positions are counted.
        room = cache.has_room(count)
        cache.assign(keys, values, count)
        # Under `jit` no error can be raised: an update beyond the end would silently overwrite the last positions.
        return found if room is True else jax.tree.map(lambda x: jnp.where(room, x, jnp.nan), found)

    def _attend(self, q: Any, k: Any, v: Any, call: _Call, window: int | None) -> tuple[jax.Array, Any]:
        """Return the heads of the result, and the weights where they were computed.

        Args:
            q: Queries of shape ``(..., queries, num_heads, head_size)``.
            k: Keys.
            v: Values.
            call: What the layer was called with.
            window: How many positions a query sees, counted by their places in the arrays; None for all.
        """
        q, k, v = promote(q, k, v, dtype=self.dtype)
        leading = q.shape[:-3]
        # `jax.nn.dot_product_attention` takes exactly one axis in front.
        if len(leading) != 1:
            q, k, v = (x.reshape((math.prod(leading), *x.shape[-3:])) for x in (q, k, v))
        mask, bias = with_one_axis_in_front(call.mask, leading), with_one_axis_in_front(call.bias, leading)
        bias = None if bias is None else finite_bias(bias, q.dtype)
        drops = self.dropout is not None and (self.training if call.training is None else call.training)
        weights = None
        changes = self.softcap is not None or self.attention_dot_general is not None
        # JAX keeps the weights of attention for itself, bounds no logits, and multiplies by itself.
        if drops or call.return_weights or changes:
            product = functools.partial(multiply, self, "attention_dot_general")
            weights = attention_weights(
                product, q, k, bias, mask,
                is_causal=call.is_causal, window=window, scale=self.scale, softcap=self.softcap,
            )  # fmt: skip
            kept = self.dropout(weights, training=True, rngs=call.rngs) if drops and self.dropout else weights
            x = weighted_sum(product, kept, v)
            weights = weights.reshape((*leading, *weights.shape[1:]))
        else:
            asked = {"bias": bias, "scale": self.scale, "local_window_size": sides_of(window, call.is_causal)}
            # Only what is there: another function need not know all names of JAX's.
            options = {name: value for name, value in asked.items() if value is not None}
            # JAX's function itself mixes dtypes, and is refused in half precision where promotion is strict.
            freely = jax.numpy_dtype_promotion("standard") if is_usual(self.attention_fn) else contextlib.nullcontext()
            with freely:
                x = self.attention_fn(q, k, v, mask=mask, is_causal=call.is_causal, **options)
        return x if len(leading) == 1 else x.reshape((*leading, *x.shape[1:])), weights


class _Call(NamedTuple):
    """What the layer was called with, once it is checked; masks and biases have all axes."""

    mask: jax.Array | None
    bias: jax.Array | None
    is_causal: bool
    training: bool | None
    return_weights: bool
    rngs: Draws
