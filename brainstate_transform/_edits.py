"""What a function does to the structure of its graph while it is traced: carried out of the trace, or refused.

A compiled program runs without Python, so an attribute that its function sets is part of what it returns: undone
after the trace, and done again after each call.  States made inside come out alive with it.  A loop or branch cannot
return a structure, and refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.core import Tracer

from brainstate_graph import GraphError, Overlay, Snapshot, State, StructureError
from brainstate_graph.extend import ABSENT, Edit, dotted, locate, static_key

from ._seal import Carried, fill
from ._touched import Plan

__all__ = ["Containers", "carry", "kept_states", "refuse_edits", "refuse_tracers"]


class Containers:
    """The lists and dicts of a touched graph as they were when a trace began."""

    def __init__(self, plan: Plan) -> None:
        objects, self._shape = plan.snapshot.objects, plan.snapshot.graphdef
        rows = [row for row in self._shape.containers if isinstance(objects[row], (list, dict))]
        self._before = [(row, objects[row], objects[row].copy()) for row in rows]

    def restore(self, overlay: Overlay) -> None:
        """Give those back what they held that hold something made inside."""
        _refill(self.changed(overlay))

    def changed(self, overlay: Overlay) -> list[tuple[int, Any, Any]]:
        """Return those that hold something made inside: their rows, themselves, and what they held."""
        return [
            (row, live, old)
            for row, live, old in self._before
            if not _same_items(live, old) and (_holds_tracer(live) or any(map(overlay.created, Snapshot(live).states)))
        ]

    def with_tracers(self) -> list[str]:
        """Return the paths of those that hold a traced value."""
        changed = [(row, live) for row, live, old in self._before if not _same_items(live, old)]
        return [dotted(self._shape.path(row)) for row, live in changed if _holds_tracer(live)]


def _refill(changed: Sequence[tuple[int, Any, Any]]) -> None:
    for _, live, old in changed:
        fill(live, old)


def _holds_tracer(tree: Any) -> bool:
    stack, seen = [tree], set[int]()
    while stack:  # by hand: JAX would sort the keys of dicts, and not come back from a list that holds itself
        item = stack.pop()
        if isinstance(item, (dict, list, tuple)):
            if id(item) not in seen:
                seen.add(id(item))
                stack.extend(list(item.values()) if isinstance(item, dict) else item)
        elif isinstance(item, Tracer) or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(item)):
            return True
    return False


def _same_items(live: Any, old: Any) -> bool:
    live = live.copy()  # at once, beside another thread that changes it
    if isinstance(live, dict):
        return list(live) == list(old) and all(live[key] is old[key] for key in live)
    return len(live) == len(old) and all(a is b for a, b in zip(live, old, strict=True))


def _visible(edits: Sequence[Edit]) -> list[Edit]:
    return [edit for edit in edits if edit.name not in type(edit.node).graph_invisible_attrs and not _equal(edit)]


def _equal(edit: Edit) -> bool:
    """Tell whether an attribute was set to what it was."""
    try:
        return type(edit.old) is type(edit.new) and static_key(edit.old) == static_key(edit.new)
    except GraphError:  # not static
        return False


def carry(user: str, overlay: Overlay, plan: Plan, containers: Containers) -> tuple[list[Carried], Callable[[], None]]:
    """Find what a traced function has changed.

    Args:
        user: The name of the user's function.
        overlay: The overlay that it ran in.
        plan: The touched graph.
        containers: Its lists and dicts as they were.

    Returns:
        The changes, and a function that undoes them.

    Raises:
        StructureError: An attribute was set of a node beyond the touched graph.
    """
    edits = _visible(overlay.journal.edits())
    row_of = plan.row_of() if edits else {}
    for edit in edits:
        if id(edit.node) not in row_of:
            raise StructureError(
                f"`{user}` sets {_spelt(edit)}, of an object that it reaches in a way that cannot be seen beforehand. "
                "Pass the object as an argument, or set the attribute outside."
            )
    changed = containers.changed(overlay)
    carried = [Carried(row_of[id(e.node)], e.name, e.new) for e in edits]
    carried += [Carried(row, None, live) for row, live, _ in changed]

    def undo() -> None:
        overlay.journal.undo(edits)
        _refill(changed)

    return carried, undo


def refuse_tracers(user: str, overlay: Overlay, containers: Containers | None) -> None:
    """Refuse a traced value in an attribute, list or dict, which would outlive its trace there.

    Raises:
        GraphError: There is one.
    """
    for path in () if containers is None else containers.with_tracers():
        raise GraphError(
            f"`{user}` puts a traced value into {path}, which would outlive its trace. Put a State there: "
            "`State(value)`."
        )
    for edit in overlay.journal.edits():
        if _holds_tracer(edit.new):
            name = f"{type(edit.node).__name__}.{edit.name}"
            raise GraphError(
                f"`{user}` sets {name} to a traced value, which would outlive its trace. Hold it in a State: "
                f"`self.{edit.name} = State(value)`."
            )


def refuse_edits(user: str, overlay: Overlay, containers: Containers) -> None:
    """Refuse a change of structure where none can be carried.

    Raises:
        StructureError: There is one.
    """
    reason = "a loop, branch, jaxpr or custom rule cannot do that each time that it runs"
    for edit in _visible(overlay.journal.edits()):
        raise StructureError(
            f"`{user}` sets {_spelt(edit)}; {reason}. Set it before, or hold what changes in a State that is made "
            "before."
        )
    for _, live, _ in containers.changed(overlay):
        made = next(state for state in Snapshot(live).states if overlay.created(state))
        raise StructureError(f"`{user}` makes {locate(made)}; {reason}. Make it before.")


def kept_states(overlay: Overlay, plan_of: Callable[[], Plan]) -> list[tuple[State[Any], Any]]:
    """Return the states made inside that the touched graph has come to hold, and their values."""
    made = overlay.made()
    if not made:
        return []
    held = set(plan_of().snapshot.states)
    return [(state, value) for state, value in made if state in held]


def _spelt(edit: Edit) -> str:
    return f"{type(edit.node).__name__}.{edit.name} to {'nothing' if edit.new is ABSENT else repr(edit.new)}"
