"""How an object of a GraphDef looks: like the live one, without values."""

from __future__ import annotations

from typing import Any

from .looks import Part, Shown, attribute, look_of_node, look_of_state, mapping, position

__all__ = ["RowView", "view_of"]


def view_of(shape: Any, edge: Any) -> Any:
    """Return what an edge of the GraphDef `shape` leads to: a static value, or an object to be looked at."""
    return RowView(shape, edge) if isinstance(edge, int) else edge.value


class RowView:
    """An object of a GraphDef, to be looked at.

    Args:
        shape: The GraphDef.
        number: The number of the row.
    """

    __slots__ = ("number", "shape")

    def __init__(self, shape: Any, number: int) -> None:
        self.shape = shape
        self.number = number

    def _shown_(self) -> Shown:
        row, mark = self.shape.rows[self.number], (id(self.shape), self.number)
        kind, name = row.type, row.type.__name__
        if row.kind == "state":
            return look_of_state(kind, None, row.extra, ())._replace(mark=mark)
        if row.kind == "known":
            return Shown(kind, tuple[Part], (), f"<known {row.extra}: {name}", ">", mark=mark)
        held = [view_of(self.shape, edge) for edge in self.shape.edges(self.number)]
        if row.kind == "node":
            return look_of_node(kind, dict(zip(row.keys, held, strict=True)), mark)
        if row.kind == "dict":
            return mapping(kind, row.keys, held)._replace(mark=mark)
        line = attribute if row.kind in ("namedtuple", "foreign") else position
        opening, closing = {"list": "[]", "tuple": "()"}.get(row.kind, (f"{name}(", ")"))
        shared = row.kind not in ("tuple", "namedtuple")
        return Shown(
            kind, lambda: map(line, row.keys, held), held, opening, closing, len(held), mark=mark, shared=shared
        )
