"""The touched graph of each call, split once and remembered while it stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from brainstate_graph import Node, Snapshot, State
from brainstate_graph.extend import fields_of, new_node, notes, read_values, write_values

from ._capture import Capture
from ._values import Rows, StateValues, Written

__all__ = ["Plan", "Touched"]


class Plan:
    """One touched graph, and which of its states the call passes on.

    Attributes:
        table: The states of the graph in the order of its shape, then the strays.
        inputs: The states that are passed.
        nodes: The nodes among the arguments.
        snapshot: The graph taken apart.
    """

    __slots__ = ("__weakref__", "_targets", "inputs", "is_current", "nodes", "rows", "snapshot", "table", "which")

    def __init__(
        self,
        snapshot: Snapshot,
        strays: Sequence[State[Any]],
        nodes: Sequence[Node],
        chosen: tuple[int, ...] | None = None,
        donated: int = 0,
    ) -> None:
        self.snapshot = snapshot
        self.is_current = snapshot.is_current
        self.table = [*snapshot.states, *strays]
        self.inputs = self.table if chosen is None else [self.table[i] for i in chosen]
        self.nodes = nodes
        self.which = Rows(snapshot.graphdef, len(strays), chosen, donated, self)
        self.rows: dict[int, int] | None = None
        self._targets: tuple[Any, list[State[Any]], list[State[Any]]] = (None, [], [])

    def choosing(self, chosen: tuple[int, ...] | None, donated: int = 0) -> Plan:
        """Return the same graph with another choice of the states to pass, the first of them donated."""
        strays = self.table[len(self.snapshot.states) :]
        return Plan(self.snapshot, strays, self.nodes, chosen, donated)

    def values(self) -> StateValues:
        """Read the states to pass.  Whether they are really used is known, and recorded, after the call."""
        return StateValues(self.which, read_values(self.inputs, False))

    def write(self, written: Written) -> None:
        """Assign what came back to the live states, or to the enclosing trace; all or none."""
        which = written.which
        targets = self._targets
        if targets[0] is not which:  # one object per compiled program
            places, used = which
            if used is None:
                write_values(places, written.values)
                return
            targets = (which, [self.table[i] for i in places], [self.table[i] for i in used])
            self._targets = targets
        write_values(targets[1], written.values, targets[2])

    def row_of(self) -> dict[int, int]:
        """The row of each object of the graph by ``id``; the snapshot keeps them alive."""
        if self.rows is None:
            self.rows = {id(item): row for row, item in enumerate(self.snapshot.objects)}
        return self.rows


class _Roots(Node):
    """What a call starts from, by the names under which the function knows it."""

    __slots__ = ()


class Touched:
    """The touched graphs of the calls of one function.

    Args:
        fun: The user's function.
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun
        self.strays: tuple[State[Any], ...] = ()  # states met while tracing, beyond the captured graph
        # For each shape met: the places of the states to pass, and how many of them are donated.
        self.chosen: dict[Any, tuple[tuple[int, ...] | None, int]] = {}
        self.current: Plan | None = None  # of calls without nodes among the arguments: the usual case
        self._token = _Token()

    def plan(self, nodes: Sequence[Node] = ()) -> Plan:
        """Return the touched graph of a call with these nodes among its arguments."""
        if not nodes:
            plan = self.current
            if plan is not None and plan.is_current():
                return plan
            self.current = plan = self._make(nodes)
            return plan
        # Remembered with the first node, so that this function keeps no model alive.
        plans = notes(nodes[0]).setdefault(self._token, {})
        key = tuple(map(id, nodes))  # the plan holds the nodes: the ids stay theirs
        plan = plans.get(key)
        if plan is not None and plan.is_current():
            return plan
        plans[key] = plan = self._make(nodes)
        return plan

    def _make(self, nodes: Sequence[Node]) -> Plan:
        capture = Capture(self.fun)
        roots = new_node(_Roots)
        fields = fields_of(roots)
        fields.update(capture.roots)
        fields.update((f"argument {number}", node) for number, node in enumerate(nodes))
        snapshot = Snapshot(roots, capture.slots)
        strays = self.strays
        if strays:
            inside = set(snapshot.states)
            strays = tuple(s for s in strays if s not in inside)
        return Plan(snapshot, strays, nodes, *self.chosen.get((snapshot.graphdef, len(strays)), (None, 0)))

    def choose(self, old: Plan, chosen: tuple[int, ...], donated: int) -> Plan:
        """Pass only the `chosen` states from now on, where the touched graph has the shape of `old`."""
        new = old.choosing(chosen, donated)
        self.chosen[new.which.shape, new.which.strays] = (chosen, donated)
        if self.current is old:
            self.current = new
        elif old.nodes:
            notes(old.nodes[0]).setdefault(self._token, {})[tuple(map(id, old.nodes))] = new
        return new

    def counting(self, strays: Sequence[State[Any]], nodes: Sequence[Node] = ()) -> Plan:
        """Count these states in from now on, and return the touched graph of a call with them."""
        self.strays = tuple(dict.fromkeys((*self.strays, *strays)))
        self.forget()
        return self.plan(nodes)

    def forget(self) -> None:
        """Drop what is remembered of earlier calls."""
        self.current = None
        self._token = _Token()
        self.chosen.clear()


class _Token:
    """Whose notes on a node these are; a new one makes the old notes worthless."""

    __slots__ = ("__weakref__",)
