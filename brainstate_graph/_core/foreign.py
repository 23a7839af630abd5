"""Nodes of classes that are not ours: five functions tell how one is taken apart and put together.

A registered class takes part in a graph as a `Node` does, but for one thing: nobody tells when it changes.  So it is
watched: its ``flatten`` is called each time when somebody asks whether the graph is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from .._records.clock import clock
from .errors import GraphError
from .node import Node
from .state import State
from .static import static_key

__all__ = ["ForeignType", "foreign_type_of", "refuse_equal_keys", "register_graph_node_type", "registered"]


class ForeignType(NamedTuple):
    """How nodes of one class are handled; see `register_graph_node_type`."""

    flatten: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Hashable]]
    set_key: Callable[[Any, Any, Any], None]
    pop_key: Callable[[Any, Any], Any]
    create_empty: Callable[[Any], Any]
    clear: Callable[[Any], None]

    def parts(self, node: Any) -> tuple[list[Any], list[Any], Hashable]:
        """Return the keys, the children and the static part of a node.

        Raises:
            GraphError: Two children have one key.
        """
        items, extra = self.flatten(node)
        pairs = list(items)
        keys = [key for key, _ in pairs]
        refuse_equal_keys(type(node), keys)
        return keys, [child for _, child in pairs], extra

    def create(self, cls: type[Any], extra: Any) -> Any:
        """Return an empty node of class `cls`, which may be a subclass of the registered one.

        Raises:
            GraphError: The function makes another class.
        """
        made = self.create_empty(extra)
        # The function was written for the class that was registered, and knows none of those derived from it.
        if type(made) is not cls:
            try:
                made.__class__ = cls
            except TypeError:
                raise GraphError(
                    f"a {cls.__name__} cannot be made: `create_empty` of its base class gives a {type(made).__name__}. "
                    f"Write `register_graph_node_type({cls.__name__}, ...)`."
                ) from None
        return made


def refuse_equal_keys(kind: type[Any], keys: Sequence[Any]) -> None:
    """Raise if two children of an object have one key: an edge is known by its key."""
    if len({static_key(key) for key in keys}) < len(keys):
        raise GraphError(f"a {kind.__name__} flattens to children with equal keys {keys}")


_registry: dict[type[Any], ForeignType] = {}
registered = 0  # grows with each, and with metadata that is declared late: then no graph is what it was


def register_graph_node_type(
    type: type[Any],
    flatten: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Hashable]],
    set_key: Callable[[Any, Any, Any], None],
    pop_key: Callable[[Any, Any], Any],
    create_empty: Callable[[Any], Any],
    clear: Callable[[Any], None],
) -> None:
    """Make the objects of a class nodes of the graph, and those of its subclasses.

    Args:
        type: The class.
        flatten: From a node to pairs of key and child, and something hashable and static to make it from.
        set_key: ``set_key(node, key, child)`` puts a child in.
        pop_key: ``pop_key(node, key)`` takes a child out and returns it.
        create_empty: From the static part to a node without children.
        clear: Takes all children out of a node.

    Raises:
        TypeError: `type` is not a class, or is registered already.

    Example:
        >>> from brainstate_graph import State, register_graph_node_type, states
        >>> class Box:
        ...     pass
        >>> register_graph_node_type(
        ...     Box,
        ...     flatten=lambda box: (vars(box).items(), None),
        ...     set_key=setattr,
        ...     pop_key=lambda box, key: vars(box).pop(key),
        ...     create_empty=lambda _: Box(),
        ...     clear=lambda box: vars(box).clear(),
        ... )
        >>> box = Box()
        >>> box.w = State(1.0)
        >>> list(states(box))
        [('w',)]
    """
    global registered
    if not isinstance(type, _type):
        raise TypeError(f"register_graph_node_type takes a class first, not {type!r}")
    if type in _registry:
        raise TypeError(f"{type.__name__} is registered already")
    if type.__module__ == "builtins" or issubclass(type, (State, Node)):
        raise TypeError(f"{type.__name__} is a built-in type of graphs: register a class of your own")
    foreign = ForeignType(flatten, set_key, pop_key, create_empty, clear)
    for name, function in foreign._asdict().items():
        if not callable(function):
            raise TypeError(f"{name} of {type.__name__} must be a function, not {function!r}")
    _registry[type] = foreign
    registered += 1
    clock.tick()  # what was split before is looked at again


_type = type


def foreign_type_of(cls: type[Any]) -> ForeignType | None:
    """Return how nodes of a class are handled, as registered for it or for a base class."""
    if not _registry:
        return None
    return next((_registry[base] for base in cls.__mro__ if base in _registry), None)
