"""``nested_scan``: a scan in blocks of blocks, of which the backward pass recomputes one instead of storing its steps.

It knows nothing of states: the step that it gets carries them already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["any_lane", "check_base", "joined", "nested_scan", "split"]

_Block = Callable[[Any, Any], tuple[Any, Any]]


def nested_scan(
    step: _Block,
    carry: Any,
    xs: Any,
    length: int,
    base: int,
    *,
    reverse: bool = False,
    unroll: int | bool = 1,
    wrap: Callable[[_Block], _Block] = lambda block: block,
    watch: Callable[[_Block, int], _Block] = lambda block, _: block,
) -> tuple[Any, Any]:
    """Run ``jax.lax.scan`` in blocks of blocks of `base` steps, each under ``jax.checkpoint``.

    Of n steps, about ``base * log(n) / log(base)`` carries are stored, and a step is run ``log(n) / log(base)`` times
    more (Griewank 1992, "Achieving logarithmic growth of temporal and spatial complexity in reverse automatic
    differentiation").

    Args:
        step: As for ``jax.lax.scan``.
        carry: The first carry.
        xs: The inputs.
        length: The number of steps.
        base: The number of steps in a block, and of blocks in a larger one.
        reverse: As in ``jax.lax.scan``.
        unroll: As in ``jax.lax.scan``, for the innermost loops.
        wrap: Applied to each block.
        watch: Applied to what is never recomputed, with its number of steps.

    Returns:
        The last carry and the stacked results.
    """
    if length <= base:
        return jax.lax.scan(watch(step, 1), carry, xs, length=length, reverse=reverse, unroll=unroll)
    size = base
    while size * base < length:
        size *= base

    def block(carry: Any, xs: Any, length: int = size) -> tuple[Any, Any]:
        return nested_scan(step, carry, xs, length, base, reverse=reverse, unroll=unroll, wrap=wrap)

    count, rest = divmod(length, size)
    # XLA would merge the forward run of a block and the one that computes it again, and so store all after all.  A scan
    # around a block keeps it from that; the last block is outside of one, and needs the barrier of `prevent_cse`.
    whole = watch(wrap(jax.checkpoint(block, prevent_cse=False)), size)
    last = watch(wrap(jax.checkpoint(lambda carry, xs: block(carry, xs, rest))), rest)
    blocks, remainder = split(xs, size)

    ys_last: Any = None
    if rest and reverse:
        carry, ys_last = last(carry, remainder)
    carry, ys = jax.lax.scan(whole, carry, blocks, length=count, reverse=reverse)
    ys = joined(ys)
    if not rest:
        return carry, ys
    if not reverse:
        carry, ys_last = last(carry, remainder)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, ys_last)


def split(xs: Any, size: int) -> tuple[Any, Any]:
    """Split arrays along their first axis into blocks of this size, stacked, and the rest."""

    def blocks(x: Any) -> Any:
        count = x.shape[0] // size
        return jnp.reshape(x[: count * size], (count, size, *x.shape[1:]))

    return jax.tree.map(blocks, xs), jax.tree.map(lambda x: x[x.shape[0] // size * size :], xs)


def joined(blocks: Any) -> Any:
    """Put stacked blocks one after the other."""
    return jax.tree.map(lambda y: jnp.reshape(y, (y.shape[0] * y.shape[1], *y.shape[2:])), blocks)


def check_base(base: Any) -> int:
    """Return the base of a nested scan that a user gave.

    Raises:
        ValueError: It is no whole number of at least 2.
    """
    if isinstance(base, bool) or not isinstance(base, int) or base < 2:
        raise ValueError(f"base={base!r}: give the number of steps in a block, a whole number of at least 2")
    return base


@jax.custom_batching.custom_vmap
def any_lane(flag: Any) -> Any:
    """Tell whether a flag holds in any of the mapped lanes; one answer for all of them."""
    return flag


@any_lane.def_vmap
def _(_: int, __: list[bool], flag: Any) -> tuple[Any, bool]:
    return any_lane(jnp.any(flag, axis=0)), False
