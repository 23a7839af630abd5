"""``Snapshot``: a graph taken apart once, and the cheap question whether that is still true.

Where it is not, little may have changed: attributes that were set to what they were leave a snapshot current, and one
that is not current may be *patched*.

Removing the cache (``Snapshot.enabled = False``) changes speed, never results.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import jax

from . import foreign, hooks
from .clock import clock, fields_of, raw_fields, record_of
from .flatten import flatten
from .foreign import foreign_type_of
from .graphdef import GraphDef
from .node import Node
from .patch import Form, Patch, same_fields
from .state import State
from .watch import watch_dict

__all__ = ["Snapshot", "snapshot"]


class Snapshot:
    """The structure of a graph at one moment, with its live objects.

    Args:
        root: A node, or a container that holds nodes or states.
        tests: Further tests, without arguments, that must hold for the snapshot to be current.
        own_root: Whether nobody but the snapshot has the root, a dict, so that it need not be watched.
        digests: Whether large containers and arrays go in as digests, see `Large`. Then the shape is a key, from which
            the graph cannot be built, and not all changes of these in place are seen.

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
        "_exposed",
        "_fields",
        "_forms",
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
        self, root: Any, tests: Iterable[Callable[[], bool]] = (), own_root: bool = False, digests: bool = False
    ) -> None:
        # The time is taken before looking: a change while we look must show.
        self._root: Callable[[], Any] = lambda: root
        self._tick = clock.now if Snapshot.enabled else -1
        flat = flatten(root, None, own_root, digests)
        self.graphdef = flat.graphdef
        self.objects = flat.objects
        self.states = [flat.objects[i] for i in flat.graphdef.state_rows]
        self.hooks = hooks.hooks_key(self.states) if hooks.ever else ()
        self._registered = foreign.registered
        self._nodes = flat.nodes
        self._ticks, self._forms, self._fields = flat.ticks, flat.forms, flat.fields
        self._exposed, self._larges = flat.exposed, flat.larges
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
                if ticks != self._ticks and not self._as_it_was(nodes, _changed(ticks, self._ticks)):
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

    def changed_nodes(self) -> list[Any]:
        """Return the nodes whose attributes were set since, even if to what they were."""
        nodes = self._live_nodes() or ()
        return [nodes[index] for index in _changed([node.__graph__.tick for node in nodes], self._ticks)]

    def patched(self) -> Snapshot | None:
        """Return the snapshot of what the graph is now, where it need not be taken apart to know that; else None.

        It need not where only plain attributes have changed, or States were put in the place of others of their kind.

        Example:
            >>> from brainstate_graph import Node, Snapshot
            >>> model = Node()
            >>> model.rate, model.table = 0.5, []
            >>> snapshot = Snapshot(model)
            >>> model.rate = 0.1
            >>> snapshot.patched().graphdef is Snapshot(model).graphdef
            True
            >>> model.table = {}
            >>> snapshot.patched() is None
            True
        """
        new = object.__new__(Snapshot)
        new._tick = clock.now  # before looking, as in the constructor
        nodes = self._live_nodes()
        if nodes is None or not Snapshot.enabled or self._registered != foreign.registered:
            return None
        new._ticks = [node.__graph__.tick for node in nodes]
        other = self._other
        if other is not None and other.is_current():
            self._other, other._other = None, self
            return other
        changed = _changed(new._ticks, self._ticks)
        exposed = {
            index: watch_dict(fields_of(nodes[index]), raw_fields(nodes[index]).copy())
            for index in changed
            if nodes[index].__graph__.exposed
        }
        patch = Patch(self.graphdef, self.objects)
        found = patch.result() if patch.add(changed, *self._held(nodes, changed)) else None
        if found is None:
            return None
        new.graphdef, new.objects = found
        new.states = self.states
        self._other, new._other = None, self
        if new.objects is not self.objects:
            new._other = None  # which would hold the states of before
            new.states = [new.objects[i] for i in new.graphdef.state_rows]
        new.hooks = hooks.hooks_key(new.states) if hooks.ever else ()
        new._root, new._registered = self._root, self._registered
        new._nodes, new._larges = self._nodes, self._larges
        new._forms, new._fields = self._forms.copy(), self._fields.copy()
        for index, form in patch.forms.items():
            new._forms[index], new._fields[index] = form, patch.fields[index]
        new._stale = -1
        new._exposed, new._watches = {**self._exposed, **exposed}, self._watches
        if exposed:
            gone = {id(self._exposed[index]) for index in exposed if index in self._exposed}
            new._watches = [*(watch for watch in self._watches if id(watch) not in gone), *exposed.values()]
        return new if new.is_current() else None

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

    def _held(self, nodes: Sequence[Any], indices: Sequence[int]) -> tuple[list[Any], list[Form], list[Any]]:
        """Return some of the nodes, and what they held."""
        return [nodes[i] for i in indices], [self._forms[i] for i in indices], [self._fields[i] for i in indices]

    def _as_it_was(self, nodes: Sequence[Any], indices: Sequence[int]) -> bool:
        if any([nodes[index].__graph__.exposed and index not in self._exposed for index in indices]):
            return False  # its dictionary was handed out since, and has to be watched
        return same_fields(*self._held(nodes, indices))


def _changed(now: Sequence[int], before: Sequence[int]) -> list[int]:
    """Return the indices of the nodes whose attributes were set."""
    return [index for index, tick in enumerate(now) if tick != before[index]]


def snapshot(root: Any) -> Snapshot:
    """Return the structure of the graph below `root`: the cached one of a node where it still holds.

    Raises:
        ValueError: `root` is a State or another single value.
    """
    if isinstance(root, Node):
        cached: Snapshot | None = root.__graph__.snapshot
        if cached is not None and Snapshot.enabled and cached.is_current():
            return cached
        fresh = None if cached is None else cached.patched()
        if fresh is None:
            fresh = Snapshot(root)
            fresh._hold_weakly(root)
        record_of(root).snapshot = fresh
        return fresh
    if isinstance(root, State):
        raise ValueError("a bare State is not a graph: hold it in a Node, list or dict, or use its `.value`")
    if root is None or (foreign_type_of(type(root)) is None and jax.tree_util.all_leaves([root])):
        raise ValueError(f"{root!r} is not a graph: expected a Node, or a container of nodes or states")
    return Snapshot(root)
