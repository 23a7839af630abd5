"""Derivatives of programs: how many of them the bytes of a program hold, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import export as jax_export

__all__ = ["as_order", "call_or_tell"]


def as_order(vjp_order: Any) -> int:
    """Return how many times a program can be differentiated, or raise."""
    if not hasattr(vjp_order, "__index__") or isinstance(vjp_order, bool) or vjp_order.__index__() < 0:
        raise ValueError(
            f"vjp_order must be how many times the program can be differentiated, 0 or more, not {vjp_order!r}"
        )
    return int(vjp_order.__index__())


def call_or_tell(exported: jax_export.Exported, name: str) -> Callable[..., Any]:
    """Return the call of a program of ``(states, args, kwargs)``; a derivative that it has not is told by its name."""
    if exported.has_vjp():
        return exported.call

    @jax.custom_vjp
    def call(states: Any, args: Any, kwargs: Any) -> Any:
        return exported.call(states, args, kwargs)

    def forward(states: Any, args: Any, kwargs: Any) -> tuple[Any, None]:
        return exported.call(states, args, kwargs), None

    def backward(_: None, cotangents: Any) -> Any:
        raise ValueError(
            f"`{name}` was saved without this derivative: write `save_program(path, ..., vjp_order=1)`, or "
            "`exported.serialize(vjp_order=1)`, and one more for each further derivative"
        )

    call.defvjp(forward, backward)
    return call
