"""``Snapshot``: a graph taken apart once, and the cheap question whether that is still true.

Attributes that were set to what they were leave a snapshot current.  One that is not current may be *patched*, see
`brainstate_graph._kept.patch`.

Removing the cache (``Snapshot.enabled = False``) changes speed, never results.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import is_
from typing import Any, ClassVar

from .._records import hooks
from .._records.clock import clock, raw_fields
from . import foreign
from .flatten import Larges, flatten
from .graphdef import Const, GraphDef, Row
from .node import Node
from .state import State

__all__ = ["Form", "Snapshot", "changed", "visible_fields"]


_FEW = 16  # nodes that are compared one by one, which ends at the first one that has changed
Form = tuple[type[Any], tuple[str, ...]]  # the class of a node, and the names of its attributes


class Snapshot:
    """The structure of a graph at one moment, with its live objects.

    Args:
        root: A node, or a container that holds nodes or states.
        tests: Further tests, without arguments, that must hold for the snapshot to be current.
        own_root: Whether nobody but the snapshot has the root, a dict, so that it need not be watched.
        larges: Tells the containers and arrays that go in as digests, see `Larges`; None for none. Then the shape is a
            key, from which the graph cannot be built, and not all changes of these in place are seen.

    Attributes:
        graphdef: The shape.
        objects: The live object of each row of the shape.
        states: The live states, in the order of the shape.
        hooks: What tells the hooks of the states from others.

    Example:
        >>> from brainstate_graph import Snapshot, State
        >>> model = [State(1.0)]
        >>> snapshot = Snapshot(model)
        >>> model[0].value = 2.0
        >>> snapshot.is_current()
        True
        >>> model.append(State(3.0))
        >>> snapshot.is_current()
        False
    """

    __slots__ = (
        "_fields",
        "_forms",
        "_kept",
        "_larges",
        "_nodes",
        "_other",
        "_registered",
        "_root",
        "_stale",
        "_tick",
        "_ticks",
        "_watches",
        "graphdef",
        "hooks",
        "objects",
        "states",
    )

    enabled: ClassVar[bool] = True

    graphdef: GraphDef
    objects: list[Any]
    states: list[State[Any]]

    def __init__(
        self, root: Any, tests: Iterable[Callable[[], bool]] = (), own_root: bool = False, larges: Larges | None = None
    ) -> None:
        # The time is taken before looking: a change while we look must show.
        self._root: Callable[[], Any] = lambda: root
        self._tick = clock.now if Snapshot.enabled else -1
        flat = flatten(root, None, own_root, larges)
        self.graphdef = flat.graphdef
        self.objects = flat.objects
        self.states = [flat.objects[i] for i in flat.graphdef.state_rows]
        self.hooks = hooks.hooks_key(self.states) if hooks.ever else ()
        self._registered = foreign.registered
        self._nodes = flat.nodes
        self._ticks, self._forms, self._fields = flat.ticks, flat.forms, flat.fields
        self._larges, self._kept = flat.larges, larges  # which lives as long as a snapshot of these
        # The one of before, as some attributes change to and fro: `train()` and `eval()`.
        self._other: Snapshot | None = None
        self._stale = -1  # the time at which a node was found changed: a call asks three times
        self._watches = [*tests, *flat.watches]

    def is_current(self, cached: bool = True) -> bool:
        """Tell whether the graph still has this structure; about 0.1 microseconds where nothing changed.

        Args:
            cached: Whether to say no while the cache is off, so that the graph is taken apart anew.
        """
        now = clock.now
        try:
            if self._tick != now or not Snapshot.enabled:
                nodes = self._live_nodes()
                if nodes is None or self._stale == now or (cached and not Snapshot.enabled):
                    return False
                ticks = [node.__graph__.tick for node in nodes]
                if ticks != self._ticks and not self._as_it_was(nodes, changed(ticks, self._ticks)):
                    self._stale = now
                    return False
                if self.hooks != hooks.hooks_key(self.states) or self._registered != foreign.registered:
                    return False
                # The ticks were taken before the attributes were looked at, and the time before the ticks.
                self._ticks = ticks
                self._tick = now
            for unchanged in self._watches:
                if not unchanged():
                    return False
        except (RuntimeError, LookupError):  # another thread changed a container while we looked
            return False
        return True

    def add(self, tests: Iterable[Callable[[], bool]], constants: Mapping[str, Const] | None = None) -> None:
        """Add what must hold from now on for the snapshot to be current.

        Args:
            tests: Tests without arguments.
            constants: Static values beside what is in the root, which is a dict that nobody but the snapshot has.
        """
        self._watches += tests
        if constants:
            row = self.graphdef.rows[0]
            consts = {**dict(zip(row.keys, row.consts, strict=True)), **constants}
            names = sorted(consts)  # in the order of a node's attributes
            self.graphdef = self.graphdef.with_rows({0: Row.of(row.kind, row.type, names, map(consts.get, names))})

    def changed_nodes(self) -> list[Any]:
        """Return the nodes whose attributes were set since, even if to what they were."""
        nodes = self._live_nodes() or ()
        return [nodes[index] for index in changed([node.__graph__.tick for node in nodes], self._ticks)]

    @property
    def large(self) -> tuple[tuple[tuple[Any, ...], str], ...]:
        """The path of each thing that went in as a digest, and in words what it is."""
        return tuple((self.graphdef.path(row) + path, text) for row, path, text in self._larges)

    @property
    def root(self) -> Any:
        """What it was made from."""
        return self._root()

    def object_at(self, row: int) -> Any:
        """Return the live object of a row; also that of the root, which the snapshot kept by a node does not hold."""
        return self.objects[row] if row else self._root()

    def _hold_weakly(self, root: Node) -> None:
        """Let the root go: it holds this snapshot, and a model without cycles shall be freed at once when dropped."""
        self._root = weakref.ref(root)
        self._nodes = self._nodes[1:]
        self.objects[0] = None

    def _live_nodes(self) -> Sequence[Any] | None:
        if not isinstance(self._root, weakref.ref):
            return self._nodes
        root = self._root()
        return None if root is None else [root, *self._nodes]

    def held(self, nodes: Sequence[Any], indices: Sequence[int]) -> tuple[list[Any], list[Form], list[Any]]:
        """Return some of the nodes, and what they held."""
        return [nodes[i] for i in indices], [self._forms[i] for i in indices], [self._fields[i] for i in indices]

    def _as_it_was(self, nodes: Sequence[Any], indices: Sequence[int]) -> bool:
        if 2 * len(indices) > len(nodes):  # not worth the sorting out
            return _same_fields(nodes, self._forms, self._fields)
        return _same_fields(*self.held(nodes, indices))


def changed(now: Sequence[int], before: Sequence[int]) -> list[int]:
    """Return the indices of the nodes whose attributes were set."""
    return [index for index, tick in enumerate(now) if tick != before[index]]


def visible_fields(node: Node) -> dict[str, Any]:
    """Return a copy of the attributes of a node that are part of the graph."""
    fields = raw_fields(node).copy()  # one look, for another thread may be changing it
    for name in type(node).graph_invisible_attrs:
        fields.pop(name, None)
    return fields


def _same_fields(nodes: Sequence[Node], forms: Sequence[Form], values: Sequence[tuple[Any, ...]]) -> bool:
    """Tell whether nodes have the very attributes that they had.

    Args:
        nodes: The nodes.
        forms: For each its class, and the names of the attributes that it had.
        values: For each the values of these.
    """
    if len(nodes) < _FEW:
        for node, form, before in zip(nodes, forms, values, strict=True):
            now = visible_fields(node)
            if not all(map(is_, now.values(), before)) or (type(node), tuple(now)) != form:
                return False
        return True
    # All nodes at once, so that the loops run in C: half of the time.
    hidden = any([kind.graph_invisible_attrs for kind in {kind for kind, _ in forms}])
    fields = list(map(visible_fields if hidden else raw_fields, nodes))
    now = list(zip(map(type, nodes), map(tuple, fields), strict=True))
    return now == forms and all(map(is_, _values_of(fields), chain.from_iterable(values)))


def _values_of(fields: Iterable[dict[str, Any]]) -> Iterable[Any]:
    return chain.from_iterable(map(dict.values, fields))
