"""A graph as a drawing, in the language of Graphviz.

Nodes are boxes with their static attributes, states are ellipses, and a thing that is shared is drawn once.  A
container is no box but a part of the label, as in ``layers.0``, unless it is shared itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

from .._core.graphdef import CONTAINERS, Edge, GraphDef, visit_order
from .._kept.cached import snapshot
from .._tools.definition import definition_order
from .._tools.words import dotted
from .appearance import safe_appearance
from .objects import view_of
from .text import in_one_line

__all__ = ["to_dot"]

_STEPS = 4  # of a path through containers; a long one would cost the square of its length
_STATICS = 8  # lines of static attributes in a box
_COLORS = ("#dcedc8", "#ffe0b2", "#e1bee7", "#b2ebf2", "#f8bbd0", "#fff9c4")
_CONTAINER = ', style=filled, fillcolor="#eeeeee"'
_HEAD = """\
  rankdir=LR;
  node [shape=box, style="rounded,filled", fillcolor="#e3ecf9", color="#7a8aa0", fontname="Helvetica", fontsize=11];
  edge [color="#7a8aa0", fontname="Helvetica", fontsize=9];"""


def to_dot(graph: Any, *, max_nodes: int = 200) -> str:
    r"""Return a drawing of a graph, as text for Graphviz.

    Args:
        graph: A Node, a container of them, or a GraphDef, which knows no shapes of arrays.
        max_nodes: How many boxes and ellipses are drawn; those nearest to the root are.

    Returns:
        The text of a ``digraph``, the same for equal graphs: write it to a file for ``dot -Tsvg``.

    Raises:
        ValueError: `graph` is none, holds what the graph cannot follow, or `max_nodes` is not positive.

    Example:
        >>> from brainstate_graph import Node, State, to_dot
        >>> class Gain(Node):
        ...     def __init__(self):
        ...         self.k = State(1.0)
        >>> print(to_dot(Gain()))
        digraph "Gain" {
          ...
          n0 [label="Gain"];
          n1 [label="State\n1.0", shape=ellipse, fillcolor="#dcedc8"];
          n0 -> n1 [label="k"];
        }
        <BLANKLINE>
    """
    if max_nodes < 1:
        raise ValueError(f"max_nodes={max_nodes}: give the number of nodes to draw, at least 1")
    if isinstance(graph, GraphDef):
        return _Drawing(graph, {}).text(max_nodes)
    snap = snapshot(graph)
    return _Drawing(snap.graphdef, dict(zip(snap.graphdef.state_rows, snap.states, strict=True))).text(max_nodes)


@final
class _Drawing:
    """Draws one shape, with the live states where there are some."""

    def __init__(self, shape: GraphDef, live: dict[int, Any]) -> None:
        self.shape = shape
        self.live = live
        self.colors: dict[str, str] = {}
        rows, arrows = range(len(shape.rows)), [0] * len(shape.rows)
        for edge in (edge for number in rows for edge in shape.edges(number) if isinstance(edge, int)):
            arrows[edge] += 1
        # Containers that are reached once stand in a label: if all is static below them as a whole, else as a step. A
        # row that is reached once comes after the row that leads to it.
        once = [i > 0 and arrows[i] == 1 and shape.rows[i].kind in CONTAINERS for i in rows]
        self.plain = [False] * len(rows)
        for i in reversed(rows):
            self.plain[i] = once[i] and all(not isinstance(e, int) or self.plain[e] for e in shape.edges(i))
        self.steps = [0] * len(rows)  # of the path to a container within a label; 0 where it is a box of its own
        for i in rows:
            for edge in shape.edges(i):
                if isinstance(edge, int) and once[edge] and not self.plain[edge] and self.steps[i] < _STEPS:
                    self.steps[edge] = self.steps[i] + 1

    def text(self, most: int) -> str:
        """Return the drawing of the first `most` things, nearest first."""
        if not self.shape.rows:
            value = _escaped(in_one_line(view_of(self.shape, self.shape.root)))
            return f'digraph "value" {{\n{_HEAD}\n  n0 [label="{value}"];\n}}\n'
        drawn, arrows = {0: None}, list[tuple[int, str, int]]()
        order = [0]
        boxes: list[str] = []
        for number in order:  # grows while it is walked: breadth first
            statics: list[tuple[tuple[Any, ...], Any]] = []
            left_out = 0
            for path, edge in self._reached(number):
                if not isinstance(edge, int) or self.plain[edge]:
                    statics.append((path, view_of(self.shape, edge)))
                    continue
                if edge not in drawn and len(drawn) < most:
                    drawn[edge] = None
                    order.append(edge)
                if edge in drawn:
                    arrows.append((number, dotted(path), edge))
                else:
                    left_out += 1
            boxes.append(self._box(number, statics))
            if left_out:
                boxes.append(f'  m{number} [label="... (+{left_out:,} more)", shape=plaintext, style=""];')
                boxes.append(f"  n{number} -> m{number} [style=dashed];")
        lines = [f'  n{start} -> n{end} [label="{_escaped(label)}"];' for start, label, end in arrows]
        title = _escaped(self.shape.rows[0].type.__name__)
        return "\n".join([f'digraph "{title}" {{', _HEAD, *boxes, *lines, "}"]) + "\n"

    def _reached(self, number: int) -> Iterator[tuple[tuple[Any, ...], Edge]]:
        """What a thing leads to, through the containers that stand in its label."""
        stack: list[tuple[tuple[Any, ...], Edge]] = [((), number)]
        while stack:
            path, edge = stack.pop()
            if path and not (isinstance(edge, int) and self.steps[edge]):
                yield path, edge
            elif isinstance(edge, int):
                row, edges = self.shape.rows[edge], self.shape.edges(edge)
                stack.extend(((*path, row.keys[i]), edges[i]) for i in reversed(visit_order(row.kind, row.keys)))

    def _box(self, number: int, statics: list[tuple[tuple[Any, ...], Any]]) -> str:
        row = self.shape.rows[number]
        name = _escaped(row.type.__name__)
        if row.kind == "known":
            return f'  n{number} [label="{name}\\nheld by the caller", style="rounded,dashed"];'
        if row.kind == "state":
            shown = safe_appearance(self.live.get(number, view_of(self.shape, number)))
            texts = [line.label + in_one_line(line.value) for line in shown.members()] if shown is not None else []
            more = f"\\n{_escaped(', '.join(texts))}" if texts else ""
            color = self.colors.setdefault(name, _COLORS[len(self.colors) % len(_COLORS)])
            return f'  n{number} [label="{name}{more}", shape=ellipse, fillcolor="{color}"];'
        order = definition_order(row.type)
        statics = [(path, value) for path, value in statics if value is not None and not str(path[0]).startswith("_")]
        statics.sort(key=lambda entry: order.get(entry[0][0], len(order)))  # as the text has them
        texts = [f"{dotted(path)}={in_one_line(value)}" for path, value in statics[:_STATICS]]
        if len(statics) > _STATICS:
            texts.append(f"... (+{len(statics) - _STATICS:,} more)")
        lines = "\\n" * bool(texts) + "".join(f"{_escaped(text)}\\l" for text in texts)  # \\n centers, \\l does not
        return f'  n{number} [label="{name}{lines}"{_CONTAINER if row.kind in CONTAINERS else ""}];'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
