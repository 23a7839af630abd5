"""Windows that move over spatial axes, and the padding around these, as convolutions and pooling take them.

They are brought to one form here: a window has one size per axis, and padding is one of a layer's names or a pair per
axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from brainstate_graph import Node
from brainstate_graph.extend import describe, locate

from .._core.arguments import is_whole

__all__ = ["Padding", "as_padding", "caller_name", "rank_of_window", "refuse_short_input"]

Padding = str | int | Sequence[int | tuple[int, int]]


def rank_of_window(name: str, window: Any, write: str) -> int:
    """Return how many spatial axes there are, or raise with the name of the argument and what to write."""
    if isinstance(window, str) or not isinstance(window, Sequence) or not window:
        raise ValueError(f"{name}={window!r} does not say how many spatial axes there are: write {write}")
    return len(window)


def as_padding(padding: Any, rank: int, names: Sequence[str]) -> str | tuple[tuple[int, int], ...]:
    """Bring a padding to one of the known names or to one pair for each spatial axis."""
    if isinstance(padding, str):
        name = padding.upper()
        if name in names and (name != "CAUSAL" or rank == 1):
            return name
    elif _is_count(padding):
        return ((int(padding), int(padding)),) * rank
    elif isinstance(padding, Sequence) and len(padding) == rank:
        pairs = [(p, p) if _is_count(p) else p for p in padding]
        if all(isinstance(p, Sequence) and len(p) == 2 and all(map(_is_count, p)) for p in pairs):
            return tuple((int(low), int(high)) for low, high in pairs)
    known = ", ".join(f"{name} (one axis only)" if name == "CAUSAL" else name for name in names)
    raise ValueError(
        f"padding={padding!r} does not fit {rank} spatial axes: give one of {known}, a whole number that is not "
        f"negative, or {rank} numbers or pairs (low, high)"
    )


def _is_count(value: Any) -> bool:
    return is_whole(value) and value.__index__() >= 0


def refuse_short_input(window: Sequence[int], x: jax.Array, y: jax.Array, rank: int, caller: Node | str) -> None:
    """Raise if a window fits nowhere, of which JAX makes an array without elements.

    Args:
        window: The window, for the message.
        x: The input.
        y: The result.
        rank: How many spatial axes are before the last one.
        caller: The layer, or the name of the function.
    """
    # JAX makes an empty array of it, which fails far from here.
    if 0 in y.shape[-rank - 1 : -1] and 0 not in x.shape[-rank - 1 : -1]:
        raise ValueError(
            f"{caller_name(caller)} has a window of {tuple(window)}, which is longer than `x`, {describe(x)}"
        )


def caller_name(caller: Node | str) -> str:
    """Return the path of a layer in its model, or the name of a function, for messages."""
    return caller if isinstance(caller, str) else locate(caller)
