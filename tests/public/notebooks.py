"""The code cells of a page that is a notebook of MyST-NB."""

from __future__ import annotations

import itertools

from tests.public.test_docs import blocks_of

__all__ = ["cells_of"]


def cells_of(text: str) -> list[str]:
    """Return the code of the cells of a page, in order, without the options that a cell may begin with."""
    cells = [block.code.splitlines() for block in blocks_of(text) if block.info.startswith("{code-cell}")]
    return ["\n".join(itertools.dropwhile(lambda line: line.startswith(":"), lines)) for lines in cells]
