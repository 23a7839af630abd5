"""Filters: questions about a state (or node) at a path, answered yes or no."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Sequence
from typing import Any as AnyType
from typing import Union, cast, get_args, get_origin

from ._node import Node
from ._show import dotted
from ._static import static_key

__all__ = [
    "All",
    "Any",
    "Everything",
    "Filter",
    "Not",
    "Nothing",
    "OfType",
    "PathContains",
    "WithTag",
    "partition",
    "to_predicate",
]

Filter = (
    AnyType  # a type, `A | B`, a tag, a predicate `(path, state) -> bool`, `...`, a bool, None, or a list of filters
)
Predicate = Callable[[tuple[AnyType, ...], AnyType], bool]


class _Base:
    """Filters compare by contents, so that what they select can be remembered."""

    __slots__ = ("parts",)

    parts: tuple[AnyType, ...]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and static_key(self.parts) == static_key(other.parts)

    def __hash__(self) -> int:
        return hash((type(self), static_key(self.parts)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"

    def __reduce__(self) -> tuple[AnyType, ...]:
        return type(self), self.parts


class Everything(_Base):
    """Accepts all; ``...`` and True are short for it.

    Example:
        >>> from brainstate_graph import Everything
        >>> Everything()(("w",), None)
        True
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.parts = ()

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        return True


class Nothing(_Base):
    """Accepts none; None and False are short for it.

    Example:
        >>> from brainstate_graph import Nothing
        >>> Nothing()(("w",), None)
        False
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.parts = ()

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        return False


class OfType(_Base):
    """Accepts a state or node of this class, and the plain-data form of one; a class is short for it.

    Example:
        >>> from brainstate_graph import OfType, State, TreefyState
        >>> OfType(State)(("w",), TreefyState(State, 1.0))
        True
    """

    __slots__ = ()

    def __init__(self, kind: type) -> None:
        self.parts = (kind,)

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        if isinstance(item, self.parts[0]):
            return True
        kind = None if isinstance(item, Node) else getattr(item, "type", None)
        return isinstance(kind, type) and issubclass(kind, self.parts[0])


class WithTag(_Base):
    """Accepts a state that has this tag; a string is short for it.

    Example:
        >>> from brainstate_graph import State, WithTag
        >>> WithTag("frozen")(("w",), State(1.0, tag="frozen"))
        True
    """

    __slots__ = ()

    def __init__(self, tag: str) -> None:
        if not isinstance(tag, str):
            raise TypeError(f"a tag is a string, not {tag!r}; for several tags write Any('a', 'b')")
        self.parts = (tag,)

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        tags = getattr(item, "tag", None)
        return isinstance(tags, frozenset) and self.parts[0] in tags


class PathContains(_Base):
    """Accepts what has this key as one step of its path.

    Example:
        >>> from brainstate_graph import PathContains
        >>> PathContains("head")(("head", "w"), None)
        True
    """

    __slots__ = ()

    def __init__(self, key: AnyType) -> None:
        self.parts = (key,)

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        key = self.parts[0]
        return any(type(step) is type(key) and step == key for step in path)


class _Combined(_Base):
    __slots__ = ()

    def __init__(self, *filters: Filter) -> None:
        self.parts = tuple(map(to_predicate, filters))


class Any(_Combined):
    """Accepts what one of the filters accepts; a list or tuple is short for it.

    Example:
        >>> from brainstate_graph import Any, PathContains
        >>> Any("frozen", PathContains("head"))(("head", "w"), None)
        True
    """

    __slots__ = ()

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        return any(f(path, item) for f in self.parts)


class All(_Combined):
    """Accepts what every one of the filters accepts.

    Example:
        >>> from brainstate_graph import All, PathContains
        >>> All(PathContains("head"), PathContains("w"))(("head", "b"), None)
        False
    """

    __slots__ = ()

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        return all(f(path, item) for f in self.parts)


class Not(_Combined):
    """Accepts what the filter does not.

    Example:
        >>> from brainstate_graph import Not, PathContains
        >>> Not(PathContains("head"))(("body", "w"), None)
        True
    """

    __slots__ = ()

    def __init__(self, filter: Filter) -> None:
        super().__init__(filter)

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        return not self.parts[0](path, item)


def to_predicate(filter: Filter) -> Predicate:
    """Turn a filter in its short form into a predicate ``(path, state) -> bool``.

    Raises:
        TypeError: It is not a filter.

    Example:
        >>> from brainstate_graph import State, to_predicate
        >>> to_predicate([State, "frozen"])
        Any(OfType(<class 'brainstate_graph.State'>), WithTag('frozen'))
    """
    if filter is ... or filter is True:
        return Everything()
    if filter is None or filter is False:
        return Nothing()
    if isinstance(filter, str):
        return WithTag(filter)
    if isinstance(filter, type) and not isinstance(filter, types.GenericAlias):
        return OfType(filter)
    if isinstance(get_origin(filter), type) and get_origin(filter) is not types.UnionType:  # State[jax.Array]
        return OfType(get_origin(filter))
    if get_origin(filter) in (Union, types.UnionType):
        return Any(*get_args(filter))
    if isinstance(filter, (list, tuple)):
        return Any(*filter)
    if callable(filter):
        return cast(Predicate, filter)
    raise TypeError(
        f"{filter!r} is not a filter: use a State class, a tag, `...`, a predicate "
        "(path, state) -> bool, or a list of those"
    )


def partition(
    filters: Sequence[Filter],
    path_of: Callable[[int], tuple[AnyType, ...]],
    item_of: Callable[[int], AnyType],
    count: int,
    exhaustive: bool,
) -> tuple[list[int], ...]:
    """Give each of `count` items to the first filter that accepts it.

    Raises:
        ValueError: `exhaustive`, and no filter accepts some item; or ``...`` stands before another filter.
    """
    for earlier, later in itertools.pairwise(filters):
        if (earlier is ... or earlier is True) and not (later is ... or later is True):
            raise ValueError("`...` takes all that is left, so it stands last among the filters")
    predicates = [to_predicate(f) for f in filters]
    by_path = not all(isinstance(p, (OfType, WithTag, Everything, Nothing)) for p in predicates)
    groups: tuple[list[int], ...] = tuple([] for _ in predicates)
    rest: list[int] = []
    for i in range(count):
        item = item_of(i)
        path = path_of(i) if by_path else ()
        for predicate, group in zip(predicates, groups, strict=True):
            if predicate(path, item):
                group.append(i)
                break
        else:
            rest.append(i)
    if rest and exhaustive:
        names = ", ".join(dotted(path_of(i)) for i in rest[:8]) + (", ..." if len(rest) > 8 else "")
        raise ValueError(
            f"Non-exhaustive filters: no filter accepts {names}. Add `...` as the last filter to take the rest."
        )
    return groups
