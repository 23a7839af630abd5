"""``Renewal``: new states in the place of others, made by a compiled call that makes them at each call.

What is hidden of a batch is made anew by each call of a step that begins with ``init_all_states``.  The caller knows
then what the graph is: the same, with other states in some attributes.  So the snapshot of the call before is brought
up to date where it is, which takes 4 microseconds for as many states; to find out what has changed takes 50.

Where nobody but the snapshot and the nodes holds the states of before, nobody can tell new ones from them.  Then these
get the new values, and the graph is what it was: that takes 1 microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import starmap
from sys import getrefcount
from typing import Any, NamedTuple

from .._core import foreign, overlay
from .._core.door import set_value, value_of
from .._core.overlay import untraced
from .._core.snapshot import Snapshot
from .._core.state import State, untraced_states
from .._records import hooks, journal
from .._records.clock import clock, raw_fields, stamping
from .._tools.arrays import PLAIN
from .._tools.at_once import for_all

__all__ = ["Renewal"]


class _Place(NamedTuple):
    """Where one state is put.

    Attributes:
        row: The row of the state in whose place it is put.
        state: Its index among the states of the graph.
        node: The index of the node that holds it, among those of the graph.
        position: The position of the attribute among those of the node.
    """

    row: int
    state: int
    node: int
    position: int


class Renewal:
    """Where states are put in one graph.

    Attributes:
        renewed: The indices of these among the states of the graph.
    """

    __slots__ = (
        "_alone", "_kinds", "_metas", "_names", "_owners", "_places", "_plain", "_snapshot", "_states",
        "renewed",
    )  # fmt: skip

    def __init__(
        self, snapshot: Snapshot, places: Sequence[_Place], edits: Sequence[tuple[int, str]],
        kinds: Sequence[type[State[Any]]],
    ) -> None:  # fmt: skip
        self._snapshot = snapshot
        self._places = places
        self._owners = [snapshot.object_at(number) for number, _ in edits]
        self._names = [name for _, name in edits]
        self._kinds = kinds
        self._metas = [()] * len(kinds)
        self.renewed = frozenset([place.state for place in places])
        # The states that the last call has put there, and how often each is held where nobody else holds it.
        self._states: Sequence[State[Any]] = ()
        self._alone: list[int] | None = None
        self._plain = not any(kind.__dictoffset__ for kind in kinds)  # nothing can be put on these beside a value

    @staticmethod
    def of(
        snapshot: Snapshot, edits: Sequence[tuple[int, str | None]], kinds: Sequence[type[State[Any]]]
    ) -> Renewal | None:
        """Find where states are put.

        Args:
            snapshot: The graph, which holds its root.
            edits: For each state the row of the node, and the attribute.
            kinds: For each its class; it has no metadata.

        Returns:
            None where the shape would be another one, or a state is in some other place as well.
        """
        shape, named = snapshot.graphdef, list[tuple[int, str]]()
        places: list[_Place] = []
        nodes = {number: index for index, number in enumerate(shape.node_rows)}
        for (number, name), kind in zip(edits, kinds, strict=True):
            row = shape.rows[number]
            if name is None or row.kind != "node" or name not in row.edge_keys:
                return None
            target = shape.targets[shape.starts[number] + row.edge_keys.index(name)]
            before = shape.rows[target]
            if before.kind != "state" or before.type is not kind or before.extra or shape.targets.count(target) > 1:
                return None
            node = nodes[number]
            position = snapshot._forms[node][1].index(name)
            places.append(_Place(target, shape.state_rows.index(target), node, position))
            named.append((number, name))
        if len({place.row for place in places}) < len(places):
            return None
        return Renewal(snapshot, places, named, kinds)

    def begin(self) -> int | None:
        """Tell since when the snapshot is current; None where something has changed since it was last asked."""
        if self._snapshot._tick != clock.now or not (Snapshot.enabled and untraced()):
            return None
        return clock.now

    def again(self, values: Sequence[Any], others: Sequence[State[Any]], news: Sequence[Any]) -> bool:
        """Give the states of before new values, in one step with others; tell whether nobody else may hold them.

        Args:
            values: What a compiled call has made.
            others: States that it has written. The caller holds their values from before until this has ended.
            news: What it has written.
        """
        states, snapshot = self._states, self._snapshot
        if (
            self._alone is None
            or overlay.busy
            or journal.open_journals
            or snapshot._tick != clock.now
            or not Snapshot.enabled
            or type(values[0]) not in PLAIN  # one tells for all of them: a tracer is of a trace of JAX alone
            or list(map(getrefcount, states)) != self._alone
        ):
            return False
        before = list(map(value_of, states))  # held until all are stored
        if others:  # one may be among both, with a last value
            states, values = [*others, *states], [*news, *values]
        for_all(starmap(set_value, zip(states, values)))  # noqa: RUF058, B905
        del before
        return True

    def ended(self) -> None:
        """Note how often the states are held now, where the caller and all that it keeps hold them and nobody else."""
        if not self._plain:
            return
        held = list(map(getrefcount, self._states))
        # Another thread may have taken one already; then it is held more often than ever before.
        self._alone = held if self._alone is None else list(map(min, held, self._alone))

    def new_states(self, values: Sequence[Any]) -> list[State[Any]]:
        """Make the states, after `begin` has returned that nothing is traced."""
        return untraced_states(self._kinds, self._metas, values)

    def storing(self, states: Sequence[State[Any]]) -> list[Iterable[Any]]:
        """Return what puts the states in their places, for `at_once`; the snapshot holds those of before.

        As `journal.storing` does, which takes twice as long to sort out what is set and what is deleted.
        """
        owners = self._owners
        if journal.open_journals:
            for node, name in zip(owners, self._names, strict=True):
                journal.note_edit(node, name)
        fields: Any = raw_fields
        return [map(dict.__setitem__, map(fields, owners), self._names, states), stamping(owners)]

    def end(self, states: Sequence[State[Any]], since: int) -> bool:
        """Bring the snapshot up to date, the states being in their places; tell whether it is.

        Args:
            states: The states.
            since: What `begin` returned. If one of the nodes was changed again since, nothing is done; a change of
                another one is found by the next `is_current`.
        """
        now, snapshot, mine = clock.now, self._snapshot, since + 1
        ticks = [node.__graph__.tick for node in snapshot._nodes]
        for place in self._places:
            if ticks[place.node] != mine:
                return False
        table, objects, fields = snapshot.states, snapshot.objects, snapshot._fields
        if hooks.ever and hooks.hooks_key(states) != hooks.hooks_key([table[place.state] for place in self._places]):
            return False
        for (row, index, node, position), state in zip(self._places, states, strict=True):
            objects[row] = table[index] = state
            # Not what the node holds by now: another thread may have set something, and stamp the node next.
            held = fields[node]
            fields[node] = (*held[:position], state, *held[position + 1 :])
            snapshot._ticks[node] = mine
        snapshot._other = None  # which had the states of before
        if ticks == snapshot._ticks and not hooks.ever and snapshot._registered == foreign.registered:
            # The time was taken before the ticks, so the next call need not ask each node. It has work for JAX the
            # sooner: a thread of JAX that gets none for 3 microseconds falls asleep, and takes 20 to wake.
            snapshot._tick = now
        self._states = states
        return True
