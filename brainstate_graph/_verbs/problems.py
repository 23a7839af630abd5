"""``Problems``: all that is wrong with what a caller gave, collected by path and raised as one error."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from .._core.errors import GraphError
from .._core.layout import Path
from .._tools.words import dotted

__all__ = ["Problems"]

_SHOWN = 100  # problems that an error spells out; paths of a deep graph are long


@final
class Problems:
    """A list of problems.

    Attributes:
        mild: Whether something is wrong that a caller may choose to overlook.
    """

    def __init__(self) -> None:
        self.mild = False
        self._count = 0
        self._texts: list[str] = []

    @property
    def room(self) -> bool:
        """Whether the next one will be spelled out."""
        return self._count < _SHOWN

    def note(self, path: Callable[[], Path], text: str, mild: bool = False) -> None:
        """Note a problem; ``{path}`` in the text stands for where it is."""
        self.mild = self.mild or mild
        if self.room:  # paths are made for those that are shown only
            self._texts.append(text.replace("{path}", dotted(path())))
        self._count += 1

    def refuse(self, what: str, remedy: str = "") -> None:
        """Raise a GraphError if there are any, with `what` before them and the remedy behind."""
        if self._count:
            more = f"; and {self._count - _SHOWN} more" if self._count > _SHOWN else ""
            raise GraphError(what + "; ".join(self._texts) + more + remedy)
