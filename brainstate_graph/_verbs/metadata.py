"""``declare`` and ``with_metadata``: more metadata for states that are just made, or to be made of a shape.

What a state declares is part of every shape that holds it, and no node tells that it has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._core import foreign
from .._core.graphdef import GraphDef, Row
from .._core.state import State, redeclared
from .._records.clock import clock

__all__ = ["declare", "declare_late", "with_metadata"]


def declare(state: State[Any], **metadata: Any) -> None:
    """Add to the metadata of a state that was just made, so that no graph with it was taken apart; None takes away."""
    state._meta = redeclared(state._meta, metadata)


def declare_late(state: State[Any], **metadata: Any) -> None:
    """Add to the metadata of a state that graphs have been taken apart with: every graph is taken apart anew once."""
    declare(state, **metadata)
    foreign.registered += 1
    clock.tick()


def with_metadata(graphdef: GraphDef, metas: Iterable[tuple[tuple[str, Any], ...]]) -> GraphDef:
    """Return a shape with other metadata of its states, given for each of ``graphdef.state_rows``."""
    rows = list(graphdef.rows)
    for number, meta in zip(graphdef.state_rows, metas, strict=True):
        rows[number] = Row.of("state", rows[number].type, (), (), meta)
    return GraphDef.of(graphdef.root, rows, graphdef.targets, graphdef.first_edges)
