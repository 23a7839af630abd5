"""Arguments by number and by name, as ``static_argnums`` and ``donate_argnames`` tell them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["both_ways"]


def both_ways(
    fun: Callable[..., Any], numbers: int | Sequence[int] | None, names: str | Iterable[str] | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Complete argument numbers by names and names by numbers, from the signature, as ``jax.jit`` does.

    Raises:
        ValueError: The function has no such argument.
    """
    if numbers is None and names is None:
        return (), ()
    nums = () if numbers is None else (numbers,) if isinstance(numbers, int) else tuple(numbers)
    named = () if names is None else (names,) if isinstance(names, str) else tuple(names)
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        return nums, named
    kinds = {p.kind for p in parameters}
    ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    user = getattr(fun, "__qualname__", fun)
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        wrong = [n for n in nums if not -len(ordered) <= n < len(ordered)]
        if wrong:
            raise ValueError(f"`{user}` has {len(ordered)} positional arguments, and no number {wrong[0]}")
        nums = tuple(n % len(ordered) for n in nums)
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        unknown = [n for n in named if n not in {p.name for p in parameters}]
        if unknown:
            raise ValueError(f"`{user}` has no argument {unknown[0]!r}")
    if any(n < 0 for n in nums):
        raise ValueError(f"`{user}` takes any number of arguments: count them from the front, starting with 0")
    if numbers is None and named:
        nums = tuple(i for i, p in enumerate(ordered) if p.name in named)
    if names is None and nums:
        named = tuple(p.name for i, p in enumerate(ordered) if i in nums and p.kind is not p.POSITIONAL_ONLY)
    return nums, named
