"""Exceptions of the package, and those that a compiled program raised."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NoReturn

from brainstate_graph import BrainStateError

__all__ = [
    "BatchAxisError", "ConformanceError", "LostStateError", "NonFiniteError", "StaleProgramError", "note_raised",
    "raise_users",
]  # fmt: skip


class BatchAxisError(BrainStateError, ValueError):
    """A mapped function writes a value that differs per lane or shard to a state that all lanes share."""


class ConformanceError(BrainStateError, AssertionError):
    """A transform breaks laws that `check_transform` checks.

    Attributes:
        broken: What was expected and found, by the name of the law.
    """

    def __init__(self, message: str, broken: Mapping[str, str]) -> None:
        super().__init__(message, broken)
        self.broken = dict(broken)

    def __str__(self) -> str:
        return self.args[0]


class LostStateError(BrainStateError, RuntimeError):
    """The array of a state is deleted: it was donated to a call that failed, or other code deleted it."""


class NonFiniteError(BrainStateError, FloatingPointError, RuntimeError):
    """A value that `debug_nan` checks is NaN or infinite."""


class StaleProgramError(BrainStateError, RuntimeError):
    """A compiled program is out of date: an audited function raises this instead of running it, see `jit`.

    Attributes:
        difference: The first difference to a new trace.
        unwatched: The places that the function reads and that calls do not compare, such as `cfg.table`.
    """

    def __init__(self, message: str, difference: str, unwatched: Sequence[str] = ()) -> None:
        super().__init__(message, difference, tuple(unwatched))
        self.difference = difference
        self.unwatched = tuple(unwatched)

    def __str__(self) -> str:
        return self.args[0]


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
