"""Exceptions of the package, and those that a compiled program raised."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NoReturn

from brainstate_graph import BrainStateError

__all__ = ["BatchAxisError", "ConformanceError", "LostStateError", "NonFiniteError", "note_raised", "raise_users"]


class BatchAxisError(BrainStateError, ValueError):
    """A mapped function wrote a value that differs per lane to a state that is not mapped."""


class ConformanceError(BrainStateError, AssertionError):
    """A transform breaks laws that `check_transform` looks at.

    Attributes:
        broken: What was expected and found, by the name of the law.
    """

    def __init__(self, message: str, broken: Mapping[str, str]) -> None:
        super().__init__(message, broken)
        self.broken = dict(broken)

    def __str__(self) -> str:
        return self.args[0]


class LostStateError(BrainStateError, RuntimeError):
    """A state's array is deleted: it was donated to a call that failed, or by other code."""


class NonFiniteError(BrainStateError, FloatingPointError, RuntimeError):
    """A value that was to be finite is NaN or infinite."""


_raised: deque[tuple[str, Exception]] = deque(maxlen=16)  # by compiled programs, of late


def note_raised(error: Exception) -> None:
    """Remember an exception that a compiled program is about to raise."""
    _raised.append((f"{type(error).__name__}: {error}", error))


def raise_users(error: Exception) -> NoReturn:
    """Raise the exception that was raised inside a compiled program, of which JAX passes on the text only.

    Args:
        error: What came out of JAX; raised itself where no exception of its text was noted.
    """
    shown = str(error)
    for text, raised in reversed(_raised.copy()):
        if text in shown:
            raise raised.with_traceback(None) from None
    raise error
