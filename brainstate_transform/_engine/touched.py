"""The touched graph of each call, split once and remembered while it stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from brainstate_graph import Node, Snapshot, State
from brainstate_graph.extend import fields_of, hooks_key, new_node, notes, read_values, write_values

from .capture import Capture
from .values import Choice, Rows, StateValues, Written

__all__ = ["Plan", "Touched"]


class Plan:
    """One touched graph, and which of its states the call passes on.

    Attributes:
        table: The states of the graph in the order of its shape, then the strays.
        others: Those of them that are not passed.
        inputs: The states that are passed.
        which: The same in structure, as JAX sees it.
        nodes: The nodes among the arguments.
        strays: The states met beyond the graph, by number.
        snapshot: The graph taken apart.
        is_current: Tells whether the call would touch the same graph now.
        looked: Whether it is settled which states are passed.
        targets: The structure of what came back last time, and what it means: the states written, and those used.
    """

    __slots__ = (
        "__weakref__", "_rows", "inputs", "is_current", "looked", "nodes", "others", "snapshot", "strays", "table",
        "targets", "which",
    )  # fmt: skip

    def __init__(
        self, snapshot: Snapshot, strays: dict[int, State[Any]], nodes: Sequence[Node], choice: Choice | None
    ) -> None:
        self.snapshot = snapshot
        self.is_current = snapshot.is_current
        self.strays = strays
        self.table = [*snapshot.states, *strays.values()]
        self.inputs, self.others = self.table, list[State[Any]]()
        if choice is not None:
            self.inputs, left = [self.table[i] for i in choice.places], set(choice.places)
            self.others = [state for i, state in enumerate(self.table) if i not in left]
        self.nodes = nodes
        self.looked = False
        hooks = hooks_key(self.table) if snapshot.hooks or strays else ()
        self.which = Rows(snapshot.graphdef, hooks, tuple(strays), choice, self)
        self.targets: tuple[Any, list[State[Any]], list[State[Any]]] = (None, [], [])
        self._rows: dict[int, int] | None = None

    def choosing(self, choice: Choice | None) -> Plan:
        """Return the same graph with another choice of the states to pass."""
        return Plan(self.snapshot, self.strays, self.nodes, choice)

    def values(self) -> StateValues:
        """Read the states to pass.  Whether they are really used is known, and recorded, after the call."""
        return StateValues(self.which, read_values(self.inputs, False))

    def write(self, written: Written) -> None:
        """Assign what came back to the live states, or to the enclosing trace; all or none."""
        places, used, _ = which = written.which
        if used is None:
            write_values(places, written.values)
        else:
            self.targets = (which, [self.table[i] for i in places], [self.table[i] for i in used])
            write_values(self.targets[1], written.values, self.targets[2])

    def row_of(self) -> dict[int, int]:
        """The row of each object of the graph by ``id``; the snapshot keeps them alive."""
        if self._rows is None:
            self._rows = {id(item): row for row, item in enumerate(self.snapshot.objects)}
        return self._rows


_counting = threading.RLock()
_KEPT = 2  # plans with one first node: each holds the other nodes of its call


class _Roots(Node):
    """What a call starts from, by the names under which the function knows it."""

    __slots__ = ()

    graph_in_paths = False


class Touched:
    """The touched graphs of the calls of one function.

    Args:
        fun: The user's function.
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun
        self.strays: tuple[State[Any], ...] = ()  # states met while tracing, beyond the captured graph
        self.choices: dict[Any, Choice | None] = {}  # by shape and strays
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
        if key not in plans:
            for old in tuple(plans)[: 1 - _KEPT]:  # a copy: other threads drop and add as well
                plans.pop(old, None)
        plan = plans.get(key)
        if plan is not None and plan.is_current():
            return plan
        plans[key] = plan = self._make(nodes)
        return plan

    def _make(self, nodes: Sequence[Node]) -> Plan:
        capture = Capture(self.fun)
        roots = new_node(_Roots)
        fields = fields_of(roots)
        fields.update((f"argument {number}", node) for number, node in enumerate(nodes))
        while True:
            fields.update(capture.roots)
            # A function on the way to a model is part of what the program is made from, though nothing is in it.
            fields["functions"] = tuple(capture.functions)
            snapshot = Snapshot(roots, [*capture.tests, *self._stray_tests()])
            if not capture.follow_methods({type(item) for item in snapshot.objects if isinstance(item, Node)}):
                break
        inside = set(snapshot.states)
        strays = {number: s for number, s in enumerate(self.strays) if s not in inside}
        key = (snapshot.graphdef, tuple(strays))
        plan = Plan(snapshot, strays, nodes, self.choices.get(key))
        plan.looked = key in self.choices
        return plan

    def _stray_tests(self) -> list[Callable[[], bool]]:
        """What must stay as it is about the states beyond the graph: their hooks."""
        strays = self.strays
        if not strays:
            return []
        key = hooks_key(strays)
        return [lambda: hooks_key(strays) == key]

    def choose(self, old: Plan, choice: Choice | None) -> Plan:
        """Pass these states from now on, or all, where the touched graph has the shape of `old`."""
        new = old.choosing(choice)
        new.looked = True
        self.choices[new.which.shape, new.which.strays] = choice
        if self.current is old:
            self.current = new
        elif old.nodes:
            notes(old.nodes[0]).setdefault(self._token, {})[tuple(map(id, old.nodes))] = new
        return new

    def passing(self, plan: Plan, used: Sequence[State[Any]]) -> Plan:
        """Return the touched graph of a call like `plan` that passes these states as well."""
        places = {state: place for place, state in enumerate(plan.table)}
        strays = [state for state in used if state not in places]
        if strays:
            return self.counting(strays, plan.nodes)
        before = plan.which.choice
        if before is None:
            return plan
        # A signature whose trace was given up stays on the slow path of ``jax.jit`` for good (150 microseconds a call);
        # what is called afterwards has another choice in its key.
        more = sorted({places[state] for state in used}.difference(before.places))
        return self.choose(plan, before._replace(places=(*before.places, *more)))

    def counting(self, strays: Sequence[State[Any]], nodes: Sequence[Node] = ()) -> Plan:
        """Count these states in from now on, and return the touched graph of a call with them."""
        with _counting:  # no thread loses what another one met
            self.strays = tuple(dict.fromkeys((*self.strays, *strays)))
        self.forget()
        plan = self._make(nodes)  # not looked up: a thread that began before may put back what it made without them
        if not nodes:
            self.current = plan
        return plan

    def forget(self) -> None:
        """Drop what is remembered of earlier calls."""
        self.current = None
        self._token = _Token()
        self.choices.clear()


class _Token:
    """Whose notes on a node these are; a new one makes the old notes worthless."""

    __slots__ = ("__weakref__",)
