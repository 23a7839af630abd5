"""The touched graph of a call, taken apart once and remembered while it stays as it is.

*Touched graph*: every node and state that a call reaches, by the names in its function (`Capture`) and among its
arguments; and the *strays*, states that the function was seen to use beyond those while it was traced.
*Inputs*: the states of a touched graph that a program is passed.  All of them, unless whoever compiles chooses fewer:
that choice is no matter of this file, see `brainstate_transform._jit.program`.

`Touched` finds the graphs of the calls of one function.
"""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from brainstate_graph import GraphDef, Node, Overlay, Snapshot, State, diff
from brainstate_graph.extend import (
    Larges,
    Remembered,
    Renewal,
    born_after,
    dotted,
    hooks_key,
    patched,
    read_values,
    refuse_away,
    write_results,
    write_values,
)  # fmt: skip

from .._places.capture import Capture
from .._places.findings import VARIABLE
from .._places.places import Known, Places
from .values import GraphKey, Outcome, Passing, StateValues, Written

__all__ = ["Inputs", "Touched", "TouchedGraph", "root_name", "same_objects", "where_changed"]


class TouchedGraph:
    """One touched graph.

    Attributes:
        snapshot: The graph taken apart.
        shape: Its shape.
        objects: The live object of each row of the shape.
        states: Its states in the order of its shape, then the strays.
        strays: The states met beyond the graph, by number.
        nodes: The nodes among the arguments.
        tested: All states that are known beyond the graph; the snapshot has a test of these.
        hooks: What tells the hooks of the states from others.
        is_current: Tells whether the call would touch the same graph now.
        places: The places that the function reads.
        renewal: Where the last call put new states, after the changes that said so.
    """

    __slots__ = (
        "__weakref__", "_rows", "hooks", "is_current", "nodes", "objects", "places", "renewal", "shape", "snapshot",
        "states", "strays", "tested",
    )  # fmt: skip

    def __init__(
        self,
        snapshot: Snapshot,
        strays: dict[int, State[Any]],
        nodes: Sequence[Node],
        places: Places,
        tested: Sequence[State[Any]] = (),
    ) -> None:
        self.places = places
        self.snapshot = snapshot
        self.tested = tested
        self.shape: GraphDef = snapshot.graphdef
        self.objects: Sequence[Any] = snapshot.objects
        self.is_current = snapshot.is_current
        self.strays = strays
        self.states = [*snapshot.states, *strays.values()]
        self.nodes = nodes
        self.hooks = hooks_key(self.states) if snapshot.hooks or strays else ()
        self._rows: dict[int, int] | None = None
        self.renewal: tuple[Any, Renewal | None] = (None, None)

    @property
    def root(self) -> Any:
        """What the call starts from, by the names under which the function knows it."""
        return self.snapshot.root

    def row_of(self) -> dict[int, int]:
        """Return the row of each object by ``id``; the snapshot keeps them alive."""
        if self._rows is None:
            self._rows = {id(item): row for row, item in enumerate(self.snapshot.objects)}
        return self._rows

    def renewed(self, renewal: Renewal, states: Sequence[State[Any]], since: int) -> bool:
        """Bring it up to date where a call has put states in the place of those of before; tell whether it is."""
        if not renewal.end(states, since):
            return False
        for index in renewal.renewed:
            self.states[index] = self.snapshot.states[index]
        self._rows = None
        return True


def where_changed(before: TouchedGraph, now: TouchedGraph) -> str | None:
    """Return the path of something that differs between two touched graphs of a function; None where nothing does."""
    for change in diff(before.shape, now.shape):
        return dotted(change.path).removeprefix(VARIABLE)
    changed = {id(node) for node in before.snapshot.changed_nodes()}  # some to what they were
    for row, (old, new) in enumerate(zip(before.objects, now.objects, strict=False)):
        if row and (id(old) in changed or (old is not new and not isinstance(old, tuple))):  # which is made anew
            return dotted(before.shape.path(row))
    return None


def same_objects(one: TouchedGraph, other: TouchedGraph) -> bool:
    """Tell whether two touched graphs have the same live objects."""
    # Without the roots themselves, and without tuples, which may be made anew: what they hold is among the objects.
    objects = [[item for item in graph.objects[1:] if not isinstance(item, tuple)] for graph in (one, other)]
    return len(objects[0]) == len(objects[1]) and all(map(operator.is_, *objects))


class Inputs:
    """The states of one touched graph that a program is passed, and what its results mean.

    Args:
        graph: The touched graph.
        passing: The choice among its states; None for all.

    Attributes:
        states: The states that are passed.
        key: The states that are passed, as JAX sees them.
        is_current: Tells whether the call would touch the same graph now.
        settled: Whether it is known that these are the states to pass, see `Program.settle`.
        last: The outcome of the last call, the states that it wrote, and those that it used: the next call most likely
            has the same one.
        write_results: Writes what a call with that outcome returned.
    """

    __slots__ = (
        "__weakref__", "_others", "_untouched", "graph", "is_current", "key", "last", "settled", "states",
        "write_results",
    )  # fmt: skip

    def __init__(self, graph: TouchedGraph, passing: Passing | None = None, settled: bool = False) -> None:
        self.graph = graph
        self.is_current = graph.is_current
        self.states = graph.states
        self._others: list[State[Any]] | None = None
        # Where a call put states none of which is passed, and its outcome.
        self._untouched: tuple[Renewal | None, Outcome | None] = (None, None)
        if passing is not None:
            self._choose(passing)
        self.key = GraphKey(graph.shape, graph.hooks, tuple(graph.strays), passing, self)
        self.settled = settled
        self.last: tuple[Outcome | None, list[State[Any]], list[State[Any]]] = (None, [], [])
        self.write_results: Any = write_results

    @property
    def indices(self) -> Sequence[int]:
        """The indices of the states that are passed, among those of the graph."""
        passing = self.key.passing
        return range(len(self.states)) if passing is None else passing.indices

    def whole(self) -> Inputs:
        """Return the inputs that are all states of the same graph."""
        return self if self.key.passing is None else Inputs(self.graph)

    def values(self) -> StateValues:
        """Read the states to pass.  Whether they are really used is known, and recorded, after the call."""
        return StateValues(self.key, read_values(self.states, False))

    def renewed(self, renewal: Renewal, states: Sequence[State[Any]], since: int) -> None:
        """Bring these up to date where a call has put states in the place of those of before, see `Renewal.end`."""
        if not self.graph.renewed(renewal, states, since):
            return
        self._others = None
        renewal.ended()
        if self._untouched == (renewal, self.last[0]):  # found out before: 0.8 microseconds
            return
        # As a rule none of them is passed: what a call makes at its beginning is nobody's before.
        table, passing, others = self.graph.states, self.key.passing, renewal.renewed.isdisjoint
        untouched, outcome = True, self.last[0]
        if passing is not None and not others(passing.indices):
            self._choose(passing)
            untouched = False
        if outcome is not None and not (others(outcome.states) and others(outcome.used or ())):
            self.last = outcome, [table[i] for i in outcome.states], [table[i] for i in outcome.used or ()]
            untouched = False
        if untouched:
            self._untouched = renewal, outcome

    def _choose(self, passing: Passing) -> None:
        self.states = [self.graph.states[i] for i in passing.indices]

    @property
    def others(self) -> list[State[Any]]:
        """The states that are not passed."""
        if self._others is None:
            passed = set(self.indices)
            self._others = [state for i, state in enumerate(self.graph.states) if i not in passed]
        return self._others

    def write(self, written: Written, also: Sequence[Iterable[Any]] = ()) -> None:
        """Assign what came back to the live states, or to the enclosing trace; all or none.

        Args:
            written: What came back.
            also: What is stored in the same step, see `write_values`.
        """
        outcome = written.outcome
        before, states, used = self.last
        if outcome is not before:  # 1.5 microseconds
            if outcome.used is None:
                write_values(outcome.states, written.values, also=also)
                return
            table = self.graph.states
            states = [table[i] for i in outcome.states]
            if outcome.possible:  # rare, and noted on the long way only
                outcome.note_reads(table)
                write_values(states, written.values, also=also)
                return
            used = [table[i] for i in outcome.used]
            self.last = (outcome, states, used)
            streams = [state for state in states if state.graph_at_home]
            self.write_results = functools.partial(_write_at_home, streams[0]) if streams else write_results
            if streams:
                refuse_away(streams[0])  # before it is said of another state that it takes no traced value
        write_values(states, written.values, used, also=also)


def _write_at_home(stream: State[Any], *results: Any) -> None:
    refuse_away(stream)
    write_results(*results)


def root_name(number: int) -> str:
    """Return the name of an argument that is a node in the touched graph: arguments are known there by number alone."""
    return f"argument {number}"


def _stray_tests(strays: Sequence[State[Any]]) -> list[Callable[[], bool]]:
    """Return the test of what must stay as it is about the states beyond the graph: their hooks."""
    key = hooks_key(strays)
    return [lambda: hooks_key(strays) == key]


_counting = threading.RLock()


class Touched:
    """The touched graphs of the calls of one function.

    Args:
        fun: The user's function.
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun
        self.strays: tuple[State[Any], ...] = ()  # states met while tracing, beyond the captured graph
        self.known = Known()
        self.unwatched: tuple[str, ...] = ()  # what the function reads and what is not watched, in words
        self._graphs = Remembered[TouchedGraph]()
        self._before: TouchedGraph | None = None  # of the same objects as the last one

    def graph(self, nodes: Sequence[Node] = ()) -> TouchedGraph:
        """Return the touched graph of a call with these nodes among its arguments."""
        found = self._graphs.find(nodes)
        if found is None:
            last = self._graphs.last(nodes)
            found = self._changed_back(nodes) or self._patched(nodes) or self._taken_apart(nodes)
            if not nodes:  # of other objects it would keep a model alive
                self._before = last if last is not None and last is not found and same_objects(last, found) else None
            self._graphs.keep(nodes, found)
        return found

    def _changed_back(self, nodes: Sequence[Node]) -> TouchedGraph | None:
        """Return the touched graph of before the last one, if it holds again: a place was changed and changed back."""
        before = None if nodes else self._before
        return before if before is not None and before.tested is self.strays and before.is_current() else None

    def _patched(self, nodes: Sequence[Node]) -> TouchedGraph | None:
        """Return the touched graph of a call, made of what it was; None where it has to be taken apart."""
        last = self._graphs.last(nodes)
        if last is None or last.tested is not self.strays:
            return None
        snapshot = patched(last.snapshot)
        return None if snapshot is None else self._with_strays(snapshot, self.strays, nodes, last.places)

    def _taken_apart(self, nodes: Sequence[Node]) -> TouchedGraph:
        capture = Capture(self.fun, self.known)
        arguments = {root_name(number): node for number, node in enumerate(nodes)}
        larges = Larges()
        while True:
            # What a call starts from, by the names under which the function knows it, in the order of a node's
            # attributes.
            roots = {**arguments, **capture.found.objects}
            known = self.strays
            snapshot = Snapshot({name: roots[name] for name in sorted(roots)}, own_root=True, larges=larges)
            if not capture.follow_nodes(snapshot):
                break
        larges.tell(snapshot)
        places, tests = capture.found.places()
        for path, text in snapshot.large:
            places.unwatched += (f"{dotted(path)} ({text}, of which a few items are looked at)",)
        snapshot.add([*tests, *(_stray_tests(known) if known else ())], capture.found.consts())
        self.unwatched = places.unwatched
        return self._with_strays(snapshot, known, nodes, places)

    def _with_strays(
        self, snapshot: Snapshot, known: Sequence[State[Any]], nodes: Sequence[Node], places: Places
    ) -> TouchedGraph:
        inside = set(snapshot.states) if known else ()
        strays = {number: state for number, state in enumerate(known) if state not in inside}
        return TouchedGraph(snapshot, strays, nodes, places, known)

    def ask_again(self, graph: TouchedGraph, overlay: Overlay) -> None:
        """Find out, when a trace has ended, which of the places that the function reads it has changed itself."""

        def made(item: Any) -> bool:
            if isinstance(item, State):
                return overlay.created(item)
            return isinstance(item, Node) and born_after(item, overlay.since)

        graph.snapshot.add(graph.places.ask_again(self.known, made))

    def count_in(self, strays: Iterable[State[Any]], nodes: Sequence[Node] = ()) -> TouchedGraph:
        """Count these states in from now on, and return the touched graph of a call with them."""
        with _counting:  # no thread loses what another one met
            self.strays = tuple(dict.fromkeys((*self.strays, *strays)))
        self.forget()
        graph = self._taken_apart(nodes)  # not looked up: a thread that began before may put back what it made without
        if not nodes:
            self._graphs.keep(nodes, graph)
        return graph

    def forget(self) -> None:
        """Drop what is remembered of earlier calls."""
        self._before = None
        self._graphs.forget()
