"""``Snapshot``: a graph taken apart once, and the cheap question whether that is still true.

Removing the cache (``Snapshot.enabled = False``) changes speed, never results.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import jax

from . import foreign, hooks
from .clock import clock, record_of
from .flatten import flatten
from .foreign import foreign_type_of
from .graphdef import GraphDef
from .node import Node
from .state import State

__all__ = ["Snapshot", "snapshot"]


class Snapshot:
    """The structure of a graph at one moment, with its live objects.

    Args:
        root: A node, or a container that holds nodes or states.
        tests: Further tests, without arguments, that must hold for the snapshot to be current.
        own_root: Whether nobody but the snapshot has the root, a dict, so that it need not be watched.

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
        "_nodes",
        "_registered",
        "_root",
        "_root_tick",
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

    def __init__(self, root: Any, tests: Iterable[Callable[[], bool]] = (), own_root: bool = False) -> None:
        # The time is taken before looking: a change while we look must show.
        self._root: Callable[[], Any] = lambda: root
        self._tick = clock.now if Snapshot.enabled else -1
        flat = flatten(root, None, own_root)
        self.graphdef = flat.graphdef
        self.objects = flat.objects
        self.states = [flat.objects[i] for i in flat.graphdef.state_rows]
        self.hooks = hooks.hooks_key(self.states) if hooks.ever else ()
        self._registered = foreign.registered
        self._nodes = flat.nodes
        self._ticks = flat.ticks
        self._watches = [*tests, *flat.watches]

    def is_current(self, cached: bool = True) -> bool:
        """Tell whether the graph still has this structure; about 0.1 microseconds where nothing changed.

        Args:
            cached: Whether to say no while the cache is off, so that the graph is taken apart anew.
        """
        now = clock.now
        if self._tick != now or not Snapshot.enabled:
            if (cached and not Snapshot.enabled) or [node.__graph__.tick for node in self._nodes] != self._ticks:
                return False
            root = self._root() if isinstance(self._root, weakref.ref) else None
            if root is not None and root.__graph__.tick != self._root_tick:
                return False
            if self.hooks != hooks.hooks_key(self.states) or self._registered != foreign.registered:
                return False
            self._tick = now
        try:
            for unchanged in self._watches:
                if not unchanged():
                    return False
        except RuntimeError:  # another thread changed a dictionary while we looked
            return False
        return True

    def add_test(self, test: Callable[[], bool]) -> None:
        """Add a test, without arguments, that must hold from now on for the snapshot to be current."""
        self._watches.append(test)

    def changed_nodes(self) -> list[Any]:
        """Return the nodes whose attributes were set since, even if to what they were."""
        return [node for node, tick in zip(self._nodes, self._ticks, strict=True) if node.__graph__.tick != tick]

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
        self._root_tick = self._ticks[0]
        self._nodes, self._ticks = self._nodes[1:], self._ticks[1:]
        self.objects[0] = None


def snapshot(root: Any) -> Snapshot:
    """Return the structure of the graph below `root`: the cached one of a node where it still holds.

    Raises:
        ValueError: `root` is a State or another single value.
    """
    if isinstance(root, Node):
        cached: Snapshot | None = root.__graph__.snapshot
        if cached is not None and Snapshot.enabled and cached.is_current():
            return cached
        fresh = Snapshot(root)
        fresh._hold_weakly(root)
        record_of(root).snapshot = fresh
        return fresh
    if isinstance(root, State):
        raise ValueError("a bare State is not a graph: hold it in a Node, list or dict, or use its `.value`")
    if root is None or (foreign_type_of(type(root)) is None and jax.tree_util.all_leaves([root])):
        raise ValueError(f"{root!r} is not a graph: expected a Node, or a container of nodes or states")
    return Snapshot(root)
