"""``Renewal``: new states in the place of others, made by a compiled call that makes them at each call.

What is hidden of a batch is made anew by each call of a step that begins with ``init_all_states``.  The caller knows
then what the graph is: the same, with other states in some attributes.  So the snapshot of the call before is brought
up to date where it is, which takes 4 microseconds for as many states; to find out what has changed takes 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .._core import hooks
from .._core import overlay as overlays
from .._core.clock import clock, raw_fields, record_of
from .._core.graphdef import GraphDef
from .._core.overlay import untraced
from .._core.snapshot import Snapshot
from .._core.state import State

__all__ = ["Renewal"]


class Renewal(NamedTuple):
    """Where states are put in a graph of one shape.

    Attributes:
        names: For each state the row of the node, and the attribute.
        rows: For each state the row of the one in whose place it is put.
        nodes: The indices of the nodes among those of the graph.
        indices: For each state its index among those of the graph.
    """

    names: Sequence[tuple[int, str]]
    rows: Sequence[int]
    nodes: Sequence[int]
    indices: Sequence[int]

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
        return Renewal([(number, str(name)) for number, name in names], rows, nodes, indices)

    def put(self, snapshot: Snapshot, states: Sequence[State[Any]]) -> bool:
        """Put states in their places, and bring the snapshot up to date; tell whether that was done.

        Args:
            snapshot: A snapshot of the shape. It is brought up to date only if nothing, anywhere, has changed since it
                was last asked whether it is current.
            states: The states.
        """
        if snapshot._tick != clock.now or overlays.stack.journal is not None or not (Snapshot.enabled and untraced()):
            return False
        if hooks.ever and hooks.hooks_key(states) != hooks.hooks_key([snapshot.states[i] for i in self.indices]):
            return False
        objects, nodes = snapshot.objects, snapshot._live_nodes()
        if nodes is None:
            return False
        records = [record_of(nodes[index]) for index in self.nodes]
        for (number, name), state in zip(self.names, states, strict=True):
            dict.__setitem__(raw_fields(objects[number]), name, state)
        tick = clock.next()
        # In this order: another thread that sees the clock move must find the nodes changed.
        for record in records:
            record.tick = tick
        clock.now = tick
        for row, index, state in zip(self.rows, self.indices, states, strict=True):
            objects[row] = snapshot.states[index] = state
        for index in self.nodes:
            snapshot._ticks[index] = tick
            snapshot._fields[index] = tuple(raw_fields(nodes[index]).values())
        snapshot._other = None  # which had the states of before
        # Its time stays the old one, so that the next call asks each node: another thread may have set one meanwhile.
        return True
