"""The sizes of the layers in the table."""

from __future__ import annotations

from typing import NamedTuple


class Sizes(NamedTuple):
    """Sizes that fit each other; the laws draw them at random."""

    batch: int = 4
    length: int = 6
    heads: int = 2
    head: int = 4
    out: int = 3

    @property
    def width(self) -> int:
        """The number of features."""
        return self.heads * self.head


# What all laws take, so that each initialiser is compiled once; all axes of an input differ.
USUAL = Sizes()
