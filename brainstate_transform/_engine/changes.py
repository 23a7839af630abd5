"""Changes of structure: what a function does to its graph while it is traced.

It sets an attribute, fills a list, or leaves a new state in the graph.  Such a change has one of three fates:

- `Kept`: where nothing is compiled it stays, as in Python.
- `Refused`: a loop, branch, jaxpr or custom rule cannot do it each time that it runs.
- `Carried`: a compiled program runs without Python.  So what it sets is part of what it returns: undone after the
trace, and done again after each call.

Most functions change nothing.  Then none of this runs.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import jax
from jax.core import Tracer

from brainstate_graph import GraphError, Overlay, Snapshot, State, StructureError, TraceContextError
from brainstate_graph.extend import ABSENT, Edit, at_once, dotted, filling, locate, read_values, static_key

from .results import Carriage, seal_result
from .touched import TouchedGraph

__all__ = ["Carried", "Changes", "Containers", "Kept", "Refused"]

Left = tuple[Any, bool, list[tuple[State[Any], Any]]]  # the result as data, whether nodes are in it, the states kept


class User(Protocol):
    """The user's function, its name, and the graph that it touches by now."""

    fun: Any
    __qualname__: str

    def graph_now(self, graph: TouchedGraph | None) -> TouchedGraph: ...


class Changes(abc.ABC):
    """The changes of one run, and what becomes of them.

    Args:
        user: The user's function.
        containers: The lists and dicts of the touched graph as they were; None where there are none, or nobody asks.
    """

    def __init__(self, user: User, containers: Containers | None) -> None:
        self.fun = user.fun
        self.user = user.__qualname__
        self.graph_now = user.graph_now
        self.containers = containers

    @abc.abstractmethod
    def leave(self, out: Any, overlay: Overlay, graph: TouchedGraph | None) -> Left:
        """Take the result apart, while the overlay is open.

        Args:
            out: What the user's function returned.
            overlay: The overlay that it ran in.
            graph: The touched graph whose rows the result may name, where the program is of one.
        """

    def _filled(self, overlay: Overlay) -> list[tuple[int, Any, Any]]:
        """Return the lists and dicts that hold something made inside, see `Containers.changed`."""
        return [] if self.containers is None else self.containers.changed(overlay)

    def _edits(self, overlay: Overlay, kept: bool = False) -> list[Edit]:
        """Return what was set, but for what cached properties keep for later, which is put back.

        They will compute it again, and this trace is the last one that its value is good for; where nothing is
        compiled, as `kept` says, it may be a value that stays right.
        """
        others: list[Edit] = []
        cached: list[Edit] = []
        for edit in overlay.journal.edits():
            (cached if _is_cached(edit) and (not kept or _holds_tracer(edit.new)) else others).append(edit)
        overlay.journal.undo(cached)
        return others

    def _refuse_tracers(self, edits: Sequence[Edit]) -> None:
        for path in [] if self.containers is None else self.containers.with_tracers():
            raise GraphError(
                f"`{self.user}` puts a traced value into {path}, which would outlive its trace. Put a State there: "
                "`State(value)`."
            )
        for edit in edits:
            if _holds_tracer(edit.new):
                name = f"{type(edit.node).__name__}.{edit.name}"
                raise GraphError(
                    f"`{self.user}` sets {name} to a traced value, which would outlive its trace. Hold it in a State: "
                    f"`self.{edit.name} = State(value)`."
                )


class Kept(Changes):
    """They stay; the states made inside that the graph holds now leave with their values."""

    def leave(self, out: Any, overlay: Overlay, graph: TouchedGraph | None) -> Left:
        self._refuse_tracers(self._edits(overlay, kept=True))
        out, sealed = seal_result(out, overlay, graph, self.fun)
        made = overlay.made()
        held = set(self.graph_now(graph).snapshot.states) if made else set()
        return out, sealed, [(state, value) for state, value in made if state in held]


class Refused(Changes):
    """There must be none."""

    def leave(self, out: Any, overlay: Overlay, graph: TouchedGraph | None) -> Left:
        edits = self._edits(overlay)
        self._refuse_tracers(edits)
        reason = "a loop, branch, jaxpr or custom rule cannot do that each time that it runs"
        for edit in _visible(edits):
            raise StructureError(
                f"`{self.user}` sets {_spelt(edit)}; {reason}. Set it before, or hold what changes in a State that is "
                "made before."
            )
        for _, live, _ in self._filled(overlay):
            made = next(state for state in Snapshot(live).states if overlay.created(state))
            raise StructureError(f"`{self.user}` makes {locate(made)}; {reason}. Make it before.")
        return *seal_result(out, overlay, graph, self.fun), []


class Carried(Changes):
    """They leave as data with the result, and are undone."""

    def leave(self, out: Any, overlay: Overlay, graph: TouchedGraph | None) -> Left:
        edits = self._edits(overlay)
        self._refuse_tracers(edits)
        edits = _visible(edits)
        assert graph is not None  # a program is of one
        row_of = graph.row_of() if edits else {}
        for edit in edits:
            if id(edit.node) not in row_of:
                raise StructureError(
                    f"`{self.user}` sets {_spelt(edit)}, of an object that it reaches in a way that cannot be seen "
                    "beforehand. Pass the object as an argument, or set the attribute outside."
                )
        filled = self._filled(overlay)
        carried = [Carriage(row_of[id(e.node)], e.name, e.new) for e in edits]
        carried += [Carriage(row, None, live) for row, live, _ in filled]
        out, sealed = seal_result(out, overlay, graph, self.fun, carried)
        overlay.journal.undo(edits)
        _refill(filled)
        return out, sealed, []


CONTAINERS = frozenset({list, dict, OrderedDict, defaultdict})  # those that can change


class Containers:
    """The lists and dicts of a touched graph as they were when a trace began; row 0 is the root, which is ours."""

    def __init__(self, graph: TouchedGraph) -> None:
        self._shape = graph.shape
        items = list(enumerate(graph.objects))[1:]
        self._before = [(row, item, item.copy()) for row, item in items if type(item) in CONTAINERS]

    @staticmethod
    def touched_by(user: User) -> Containers | None:
        """Return those that a function reaches; None where there are none, or its graph cannot be taken apart now."""
        with contextlib.suppress(GraphError):
            found = Containers(user.graph_now(None))
            return found if found else None
        return None

    def __len__(self) -> int:
        return len(self._before)

    def restore(self, overlay: Overlay | None = None) -> None:
        """Give back what they held to those that were changed.

        Who has changed a list is not known beside other threads: then to those that hold something made inside.

        Args:
            overlay: The overlay that the function runs in; None where it has ended.
        """
        if threading.active_count() == 1:
            _refill([entry for entry in self._before if not _same_items(*entry[1:])])
        else:
            _refill(self.changed(overlay))

    def changed(self, overlay: Overlay | None) -> list[tuple[int, Any, Any]]:
        """Return those that hold something made inside: their rows, themselves, and what they held."""
        made = _is_lost if overlay is None else overlay.created
        return [
            (row, live, old)
            for row, live, old in self._before
            if not _same_items(live, old) and (_holds_tracer(live) or any(map(made, Snapshot(live).states)))
        ]

    def with_tracers(self) -> list[str]:
        """Return the paths of those that hold a traced value."""
        changed = [(row, live) for row, live, old in self._before if not _same_items(live, old)]
        return [dotted(self._shape.path(row)) for row, live in changed if _holds_tracer(live)]


def _refill(changed: Sequence[tuple[int, Any, Any]]) -> None:
    at_once(*[loop for _, live, old in changed for loop in filling(live, old)])


def _is_lost(state: State[Any]) -> bool:
    """Tell whether a state was made in a trace that has ended, and has no value."""
    try:
        read_values((state,), False)
    except TraceContextError:
        return True
    return False


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


def _is_cached(edit: Edit) -> bool:
    """Tell whether a cached property has kept its value in an attribute."""
    kind = getattr(type(edit.node), edit.name, None)
    return edit.old is ABSENT and isinstance(kind, functools.cached_property)


def _equal(edit: Edit) -> bool:
    """Tell whether an attribute was set to what it was."""
    try:
        return type(edit.old) is type(edit.new) and static_key(edit.old) == static_key(edit.new)
    except GraphError:  # not static
        return False


def _spelt(edit: Edit) -> str:
    return f"{type(edit.node).__name__}.{edit.name} to {'nothing' if edit.new is ABSENT else repr(edit.new)}"
