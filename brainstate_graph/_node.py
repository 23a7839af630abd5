"""``Node``: an object whose attributes are edges of the graph, and the clock of structural change.

Setting or deleting an attribute of a node stamps the node with the next tick of one process-wide
clock.  "Has anything changed since?" is then one comparison for a whole model, and one comparison per
node when something, somewhere, did.  Assigning ``State.value`` is not structural and does not tick.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any, Self

from ._looks import Shown, look_of_node
from ._print import page, show

__all__ = ["Node", "born_after", "clock", "fields_of", "new_node", "notes", "now", "stamp"]


class _Clock:
    """Counts structural changes; `now` never again shows a tick that it has shown before."""

    __slots__ = ("_ticks", "now")

    def __init__(self) -> None:
        self._ticks = itertools.count(1)
        self.now = 0

    def stamp(self, node: Node) -> None:
        tick = next(self._ticks)  # next() on a count is atomic
        _set(node, "_graph_tick", tick)  # before it shows: who compares the clock first must find the node changed
        self.now = tick


clock = _Clock()


class _Slots:
    # Beside the attributes, not among them: the ticks of birth and of the last change, whether the dictionary was
    # handed out, the cached snapshot, and what others remember.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_graph_born",
        "_graph_exposed",
        "_graph_notes",
        "_graph_snapshot",
        "_graph_tick",
    )


_fields = _Slots.__dict__["__dict__"].__get__
_set = object.__setattr__


def fields_of(node: Node) -> dict[str, Any]:
    """Return the attribute dictionary of a node, for reading: no tick."""
    return _fields(node)


def now() -> int:
    """Return the current tick of the clock of structural change."""
    return clock.now


def born_after(node: Node, tick: int) -> bool:
    """Tell whether `node` was made after the clock showed `tick`."""
    born: int = node._graph_born
    return born > tick


def notes(node: Node) -> weakref.WeakKeyDictionary[Any, Any]:
    """Return room for what others remember about a node, by who remembers it; it goes when either goes."""
    found: weakref.WeakKeyDictionary[Any, Any] | None = node._graph_notes
    if found is None:
        found = weakref.WeakKeyDictionary()
        _set(node, "_graph_notes", found)
    return found


def stamp(node: Node) -> None:
    """Record that the structure of `node` changed; for code that goes past its attributes."""
    clock.stamp(node)


class Node(_Slots):
    """An object whose attributes are edges to states, other nodes, containers of them, and static values.

    Subclass it and set attributes; ``super().__init__()`` is not needed.  Attributes named in the class
    attribute ``graph_invisible_attrs`` are not part of the graph.

    Example:
        >>> from brainstate_graph import Node, State, treefy_split
        >>> class Gain(Node):
        ...     def __init__(self):
        ...         self.k = State(2.0)
        >>> graphdef, tree = treefy_split(Gain())
        >>> tree["k"].value
        2.0
    """

    __slots__ = ()

    graph_invisible_attrs: tuple[str, ...] = ()
    graph_in_paths = True  # whether error messages name the class; not for nodes that a library makes for itself

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return new_node(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if vars(cls).get("__slots__"):
            raise TypeError(f"{cls.__name__} is a Node, whose attributes must be in its dictionary: remove `__slots__`")

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        # Whoever asks for the dictionary may write to it, and we would not be told.
        _set(self, "_graph_exposed", True)
        stamp(self)
        return _fields(self)

    def __setattr__(self, name: str, value: Any) -> None:
        _set(self, name, value)
        clock.stamp(self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        clock.stamp(self)

    __repr__ = show
    __treescope_repr__ = page

    def _shown_(self) -> Shown:
        kind = type(self)
        hidden, fields = kind.graph_invisible_attrs, dict(_fields(self))
        if hidden:
            fields = {name: value for name, value in fields.items() if name not in hidden}
        return look_of_node(kind, fields)

    def __getstate__(self) -> dict[str, Any]:
        return dict(_fields(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        _fields(self).update(state)
        stamp(self)


def new_node(kind: type[Any]) -> Any:
    """Make a node without calling its constructor, as merging does."""
    node = object.__new__(kind)
    _set(node, "_graph_exposed", False)
    clock.stamp(node)
    _set(node, "_graph_born", node._graph_tick)
    _set(node, "_graph_snapshot", None)
    _set(node, "_graph_notes", None)
    return node
