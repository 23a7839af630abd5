"""The pure face of one cell, and of several in a row: a `Sequential` with cells in it is a cell for `RNN`.

A cell is what has `step` and `initial_carry`, and such a `Sequential`. Its carry is the tuple of the carries of its
cells. Other layers between them, such as a Linear or a Dropout, are called in each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brainstate_graph import Node, nodes
from brainstate_graph.extend import describe, locate

from .._core.paths import dotted_name
from .._layers.containers import Sequential

__all__ = ["first_carry", "held", "is_cell", "num_feature_axes", "refuse_hidden_cells", "step"]


def is_cell(part: Any) -> bool:
    """Tell whether this has a carry."""
    return _has_faces(part) or (isinstance(part, Sequential) and any(map(is_cell, part)))


def _has_faces(part: Any) -> bool:
    return isinstance(part, Node) and all(callable(getattr(part, name, None)) for name in ("step", "initial_carry"))


def _is_chain(cell: Any) -> bool:
    return isinstance(cell, Sequential) and not _has_faces(cell)


def refuse_hidden_cells(cell: Any) -> None:
    """Refuse a chain with a part that holds a cell and is none: its hidden states would go on from call to call.

    Raises:
        TypeError: There is one.
    """
    for i, part in enumerate(cell if _is_chain(cell) else ()):
        if is_cell(part):
            refuse_hidden_cells(part)
        elif isinstance(part, Node) and (inside := [path for path, inner in nodes(part).items() if is_cell(inner)]):
            raise TypeError(
                f"layer {i} of the Sequential, {type(part).__name__}, holds a cell at {dotted_name(inside[0])!r} that "
                "is not seen from outside: give it `step` and `initial_carry`, or put the cell into the Sequential"
            )


def first_carry(cell: Any, batch: Sequence[int]) -> Any:
    """Return the carry before the first step."""
    if not _is_chain(cell):
        return cell.initial_carry(batch)
    return tuple(first_carry(part, batch) for part in cell if is_cell(part))


def num_feature_axes(cell: Any) -> int:
    """Return how many last axes of the input are features: in a chain those of its first cell."""
    return num_feature_axes(next(filter(is_cell, cell))) if _is_chain(cell) else getattr(cell, "num_feature_axes", 1)


def step(cell: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    """Compute one step of a cell, or of each in a row."""
    if not _is_chain(cell):
        return cell.step(carry, x)
    count = sum(map(is_cell, cell))
    if not isinstance(carry, tuple) or len(carry) != count:
        raise TypeError(f"{locate(cell)} takes a tuple of {count} carries, one for each cell, not {describe(carry)}")
    before, after = iter(carry), []
    for part in cell:
        if is_cell(part):
            new, x = step(part, next(before), x)
            after.append(new)
        else:
            x = part(x)
    return tuple(after), x


def held(cell: Any, before: Any, after: Any) -> Any:
    """Return the carry of a sequence that has ended, as `RecurrentCell.hold` says."""
    if _is_chain(cell):
        cells = filter(is_cell, cell)
        return tuple(held(part, old, new) for part, old, new in zip(cells, before, after, strict=True))
    hold = getattr(cell, "hold", None)
    return before if hold is None else hold(before, after)
