"""``Node``: an object whose attributes are edges of the graph; how it is set, copied and pickled.

A node is an ordinary Python object: attributes stand in its dictionary, and setting one stamps the node with the next
tick of the clock (see ``clock``).  Copies and pickles of graphs make all nodes first, empty, and then fill them: no
node is entered from inside another, so the depth of a graph is no limit to ``copy.deepcopy`` and ``pickle``.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator
from inspect import getattr_static
from types import FunctionType
from typing import Any, NoReturn, Self, SupportsIndex, final

import jax

from .._records import journal as journals
from .._records.clock import NodeBase, StateBase, clock, fields_of, new_node, raw_fields, stamp
from .._tools.containers import items_of
from .fields import handed_out

__all__ = ["Node"]


class Node(NodeBase):
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

    _graph_settings: tuple[str, ...] = ("graph_in_paths", "graph_invisible_attrs")  # class attributes of the library

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if (args or kwargs) and cls.__init__ is object.__init__:
            refuse_arguments(cls)
        return new_node(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if vars(cls).get("__slots__"):
            raise TypeError(f"{cls.__name__} is a Node, whose attributes must be in its dictionary: remove `__slots__`")
        if isinstance(cls.graph_invisible_attrs, str):
            raise TypeError(
                f"{cls.__name__}.graph_invisible_attrs must be a tuple of names: write "
                f"`({cls.graph_invisible_attrs!r},)`"
            )
        for name, value in vars(cls).items():
            if _is_part(value):
                kind = type(value).__name__
                raise TypeError(
                    f"{cls.__name__}.{name} is a {kind} of the class, and no split of an object finds it there: set it "
                    f"in the constructor, `self.{name} = ...`"
                )
        _reserve(cls)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return handed_out(self)

    def __setattr__(self, name: str, value: Any) -> None:
        # All in one frame: a constructor sets many attributes. Both tests together take a fifth of the time.
        if name in (fields := raw_fields(self)) and isinstance(fields[name], StateBase):
            fields[name].refuse_replacement(name, value)
        if name in _reserved:
            _refuse_to_hide(type(self), name, value)
        if journals.open_journals:
            journals.note_edit(self, name)
        try:
            object.__setattr__(self, name, value)
            if (record := self.__graph__).shared:
                clock.stamp(self)
            else:  # as `stamp` would
                record.tick = clock.now = clock.next()
        except BaseException:
            clock.stamp(self)  # a signal may have come in between, and what nobody sees is stale for good
            raise

    def __delattr__(self, name: str) -> None:
        if journals.open_journals:
            journals.note_edit(self, name)
        try:
            object.__delattr__(self, name)
            clock.stamp(self)
        except BaseException:
            clock.stamp(self)
            raise

    def __getstate__(self) -> dict[str, Any]:
        return fields_of(self).copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if journals.open_journals:
            for name in state:
                journals.note_edit(self, name)
        dict.update(fields_of(self), state)
        stamp(self)

    def __copy__(self) -> Self:
        new: Self = new_node(type(self))
        new.__setstate__(self.__getstate__())
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        nodes = [n for n in _nodes_below(self) if id(n) not in memo and type(n).__deepcopy__ is Node.__deepcopy__]
        nodes += [self] if self not in nodes else []  # of a class that calls this method from its own
        for node in nodes:
            memo[id(node)] = new_node(type(node))
        for node in nodes:
            memo[id(node)].__setstate__(copy.deepcopy(node.__getstate__(), memo))
        return memo[id(self)]

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        if type(self).__reduce__ is not object.__reduce__:  # the class has its own way
            return self.__reduce__()  # type: ignore[return-value]
        # Within a graph that is being pickled a node goes in empty: `_PickledGraph` fills it when all are there.
        if id(self) in _pickling.nodes:
            return new_node, (type(self),)
        return _root_of, (_PickledGraph(self),)


def refuse_arguments(cls: type[Any]) -> NoReturn:
    """Raise as Python does for a class without a constructor, and name what may have been meant for one.

    Raises:
        TypeError: Always.
    """
    meant = [name for name in vars(cls) if name.strip("_") in ("init", "int") and name != "__init__"]
    instead = f", in place of `{meant[0]}`" if meant else ""
    raise TypeError(f"{cls.__name__}() takes no arguments: define `def __init__(self, ...)` in the class{instead}")


# The names of methods and settings of all classes of nodes. One set for all, as a look into it takes 10 nanoseconds,
# and one into that of a class 50.
_reserved: set[str] = set()


def _reserve(cls: type[Node]) -> None:
    _reserved.update(cls._graph_settings)
    _reserved.update(name for name, member in vars(cls).items() if isinstance(member, _METHODS))


_METHODS = (FunctionType, classmethod)


def _refuse_to_hide(cls: type[Node], name: str, value: Any) -> None:
    """Raise where a state or node, or a container of them, would hide a method or setting of its class."""
    if isinstance(value, (bool, FunctionType)):  # a mode, as a rule
        return
    setting = name in cls._graph_settings
    if (setting or isinstance(getattr_static(cls, name, None), _METHODS)) and any(
        map(_is_part, jax.tree.leaves(value))
    ):
        raise TypeError(
            f"`{name}` of {cls.__name__} is {'a setting' if setting else 'a method'}, and this "
            f"{type(value).__name__} would hide it: give the attribute another name, such as `self.{name}_ = ...`"
        )


def _is_part(item: Any) -> bool:
    return isinstance(item, (Node, StateBase))


_reserve(Node)


class _Pickling(threading.local):
    """The nodes of the graphs that this thread is pickling, by id: such a node goes in empty."""

    def __init__(self) -> None:
        self.nodes: set[int] = set()


_pickling = _Pickling()


@final
class _PickledGraph:
    """A graph as pickle sees it: a mapping that it fills item by item, all nodes before what they hold."""

    def __init__(self, root: Node | None = None) -> None:
        self.root = root

    def __reduce__(self) -> tuple[Any, ...]:
        return _PickledGraph, (), None, None, self._items()

    def _items(self) -> Iterator[tuple[Any, Any]]:
        nodes = [n for n in _nodes_below(self.root) if id(n) not in _pickling.nodes]
        added = set(map(id, nodes))
        _pickling.nodes |= added
        try:
            yield from ((None, node) for node in nodes)
            yield from ((node, node.__getstate__()) for node in nodes)
            yield None, self.root  # pickle asks for an item before it has written the one before
        finally:
            _pickling.nodes -= added

    def __setitem__(self, node: Node | None, item: Any) -> None:
        if node is None:
            self.root = item
        else:
            node.__setstate__(item)


def _root_of(pickled: _PickledGraph) -> Node | None:
    return pickled.root


def _nodes_below(root: Any) -> Iterable[Node]:
    """Return the nodes that are reached through attributes and plain containers, `root` first."""
    found: dict[int, Node] = {}
    seen: set[int] = set()
    stack = [root]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Node):
            found[id(item)] = item
            stack.extend(fields_of(item).values())
        elif isinstance(item, (dict, list, tuple)):  # first, as most of what is here is none
            stack.extend([value for _, value in items_of(item)])
    return found.values()
