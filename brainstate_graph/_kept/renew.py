"""``Renewal``: new states in the place of others, made by a compiled call that makes them at each call.

What is hidden of a batch is made anew by each call of a step that begins with ``init_all_states``.  The caller knows
then what the graph is: the same, with other states in some attributes.  So the snapshot of the call before is brought
up to date where it is, which takes 4 microseconds for as many states; to find out what has changed takes 50.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .._core.graphdef import GraphDef
from .._core.overlay import untraced
from .._core.snapshot import Snapshot
from .._core.state import State, untraced_states
from .._records import hooks, journal
from .._records.clock import clock, raw_fields, stamping

__all__ = ["Renewal"]


class Renewal(NamedTuple):
    """Where states are put in a graph of one shape.

    Attributes:
        owners: For each state the row of the node that holds it.
        names: For each the attribute.
        rows: For each the row of the one in whose place it is put.
        nodes: The indices of the nodes among those of the graph.
        indices: For each state its index among those of the graph.
        renewed: The same as a set.
        kinds: For each its class.
    """

    owners: Sequence[int]
    names: Sequence[str]
    rows: Sequence[int]
    nodes: Sequence[int]
    indices: Sequence[int]
    renewed: frozenset[int]
    kinds: Sequence[type[State[Any]]]

    @staticmethod
    def of(
        shape: GraphDef, names: Sequence[tuple[int, str | None]], kinds: Sequence[type[State[Any]]]
    ) -> Renewal | None:
        """Find where states are put.

        Args:
            shape: The shape of the graph.
            names: For each state the row of the node, and the attribute.
            kinds: For each its class; it has no metadata.

        Returns:
            None where the shape would be another one, or a state is in some other place as well.
        """
        rows: list[int] = []
        for (number, name), kind in zip(names, kinds, strict=True):
            row = shape.rows[number]
            if name is None or row.kind != "node" or name not in row.edge_keys:
                return None
            target = shape.targets[shape.starts[number] + row.edge_keys.index(name)]
            before = shape.rows[target]
            if before.kind != "state" or before.type is not kind or before.extra or shape.targets.count(target) > 1:
                return None
            rows.append(target)
        if len(set(rows)) < len(rows):
            return None
        found = {number: index for index, number in enumerate(shape.node_rows)}
        nodes = list(dict.fromkeys([found[number] for number, _ in names]))
        indices = [shape.state_rows.index(row) for row in rows]
        attributes = [str(name) for _, name in names]
        return Renewal([number for number, _ in names], attributes, rows, nodes, indices, frozenset(indices), kinds)

    def begin(self, snapshot: Snapshot) -> int | None:
        """Tell since when the snapshot is current; None where something has changed since it was last asked."""
        if snapshot._tick != clock.now or not (Snapshot.enabled and untraced()):
            return None
        return clock.now

    def new_states(self, values: Sequence[Any]) -> list[State[Any]]:
        """Make the states, after `begin` has told that nothing is traced."""
        return untraced_states(self.kinds, [()] * len(values), values)

    def storing(self, snapshot: Snapshot, states: Sequence[State[Any]]) -> list[Iterable[Any]]:
        """Return what puts the states in their places, for `at_once`; the snapshot holds those of before."""
        owners = [snapshot.object_at(number) for number in self.owners]
        if journal.open_journals:
            for node, name in zip(owners, self.names, strict=True):
                journal.note_edit(node, name)
        fields: Any = raw_fields
        return [map(dict.__setitem__, map(fields, owners), self.names, states), stamping(owners)]

    def end(self, snapshot: Snapshot, states: Sequence[State[Any]], since: int) -> bool:
        """Bring a snapshot up to date, the states being in their places; tell whether it is.

        Args:
            snapshot: The snapshot.
            states: The states.
            since: What `begin` returned. If anything else has changed since, nothing is done.
        """
        nodes = snapshot._live_nodes()
        if nodes is None or any([nodes[index].__graph__.tick != since + 1 for index in self.nodes]):
            return False
        if hooks.ever and hooks.hooks_key(states) != hooks.hooks_key([snapshot.states[i] for i in self.indices]):
            return False
        for row, index, state in zip(self.rows, self.indices, states, strict=True):
            snapshot.objects[row] = snapshot.states[index] = state
        for index in self.nodes:
            snapshot._ticks[index] = since + 1
            snapshot._fields[index] = tuple(raw_fields(nodes[index]).values())
        snapshot._other = None  # which had the states of before
        # Its time stays the old one, so that the next call asks each node: another thread may have set one meanwhile.
        return True
