"""``Node``: an object whose attributes are edges of the graph."""

from __future__ import annotations

from typing import Any, Self

from .._show.looks import Shown, look_of_node
from .._show.text import page, show
from . import journal as journals
from .clock import clock, fields_of, new_node, record_of, stamp
from .copying import Copied

__all__ = ["Node"]


class Node(Copied):
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
        if isinstance(cls.graph_invisible_attrs, str):
            raise TypeError(
                f"{cls.__name__}.graph_invisible_attrs is a tuple of names: write `({cls.graph_invisible_attrs!r},)`"
            )
        for name, value in vars(cls).items():
            if isinstance(value, Node) or getattr(type(value), "_graph_is_state", False):
                kind = type(value).__name__
                raise TypeError(
                    f"{cls.__name__}.{name} is a {kind} of the class, which no split of an object sees: set it in the "
                    f"constructor, `self.{name} = ...`"
                )

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        # Whoever asks for the dictionary may write to it, and we would not be told.
        record_of(self).exposed = True
        stamp(self)
        return fields_of(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if journals.open_count:
            journals.note_edit(self, name)
        object.__setattr__(self, name, value)
        clock.stamp(self)

    def __delattr__(self, name: str) -> None:
        if journals.open_count:
            journals.note_edit(self, name)
        object.__delattr__(self, name)
        clock.stamp(self)

    __repr__ = show
    __treescope_repr__ = page

    def _shown_(self) -> Shown:
        kind, fields = type(self), fields_of(self).copy()
        if kind.graph_invisible_attrs:
            fields = {name: value for name, value in fields.items() if name not in kind.graph_invisible_attrs}
        return look_of_node(kind, fields)
