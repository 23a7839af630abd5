"""Filters: questions about a state (or node) at a path, answered yes or no.

They combine with ``&``, ``|`` and ``~``, with each other and with what is short for one.  Most of them ask for the
kind, the metadata or the path, which are part of every GraphDef: such a filter is *static*, and what it selects is
worked out once for a shape.
"""

from __future__ import annotations

import abc
import types
from collections.abc import Callable, Hashable, Set
from typing import Any as AnyType
from typing import ClassVar, Union, cast, get_args, get_origin

from .._core.errors import GraphError
from .._core.node import Node
from .._core.static import static_key
from .._tools.identity import ByIdentity
from .dotted_text import compiled, glob_to_regex, is_glob, text_of

__all__ = [
    "All",
    "Any",
    "BaseFilter",
    "Everything",
    "Filter",
    "Named",
    "Not",
    "Nothing",
    "OfType",
    "Predicate",
    "WithTag",
    "asks_for_path",
    "to_predicate",
]

Filter = (
    AnyType  # a type, `A | B`, a text, a predicate `(path, state) -> bool`, `...`, a bool, None, or a list of filters
)
Predicate = Callable[[tuple[AnyType, ...], AnyType], bool]


class BaseFilter(abc.ABC):
    """A base for filters: they do not change, compare by contents, and combine. Users may derive from any of them."""

    __slots__ = ("_key", "parts")

    static: ClassVar[bool] = True  # asks for kind, metadata and path only, which are part of every GraphDef
    by_path: ClassVar[bool] = False

    parts: tuple[AnyType, ...]

    def __init_subclass__(cls) -> None:
        # Of a filter that somebody derives from one of ours, we do not know what it asks for: it is asked each time.
        if cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
            cls.static, cls.by_path = False, True

    def key(self) -> Hashable:
        """Return what equal filters have in common."""
        try:
            return self._key
        except AttributeError:
            self._key: Hashable = (type(self), *map(_key_of, self.parts))
            return self._key

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(_code, self.parts))})"

    def __reduce__(self) -> tuple[AnyType, ...]:
        return type(self), self.parts

    @abc.abstractmethod
    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool: ...

    def __and__(self, other: Filter) -> All:
        return All(*_operands(All, self, other))

    def __rand__(self, other: Filter) -> All:
        return All(*_operands(All, other, self))

    def __or__(self, other: Filter) -> Any:
        return Any(*_operands(Any, self, other))

    def __ror__(self, other: Filter) -> Any:
        return Any(*_operands(Any, other, self))

    def __invert__(self) -> Predicate:
        return self.parts[0] if type(self) is Not and isinstance(self.parts[0], BaseFilter) else Not(self)


def _operands(kind: type[BaseFilter], *filters: Filter) -> list[Predicate]:
    """The predicates to combine: `a | b | c` is one Any of three."""
    predicates = map(to_predicate, filters)
    return [part for p in predicates for part in (p.parts if isinstance(p, BaseFilter) and type(p) is kind else (p,))]


def _key_of(part: AnyType) -> Hashable:
    if isinstance(part, BaseFilter):
        return part.key()
    try:
        return static_key(part)
    except GraphError:  # a bound method of a node, or the like
        try:
            return (type(part), part, hash(part))
        except TypeError:
            return ByIdentity(part)


def _code(part: AnyType) -> str:
    name = getattr(part, "__qualname__", "<") if isinstance(part, (type, types.FunctionType)) else "<"
    return repr(part) if "<" in name else name


class Everything(BaseFilter):
    """Accepts every state; ``...`` and True are short for it.

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


class Nothing(BaseFilter):
    """Accepts no state; None and False are short for it.

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


class OfType(BaseFilter):
    """Accepts a state or node of this class, and the plain-data form of one; a class is short for it.

    Example:
        >>> from brainstate_graph import OfType, State, TreefyState
        >>> OfType(State)(("w",), TreefyState(State, 1.0))
        True
    """

    __slots__ = ()

    def __init__(self, kind: type) -> None:
        found = _class_of(kind)
        if found is None:
            raise TypeError(f"OfType takes a class, not {kind!r}; for several classes write `Any(A, B)`")
        self.parts = (found,)

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        if isinstance(item, self.parts[0]):
            return True
        kind = None if isinstance(item, Node) else getattr(item, "type", None)
        return isinstance(kind, type) and issubclass(kind, self.parts[0])


class WithTag(BaseFilter):
    """Accepts a state that has this tag.

    Example:
        >>> from brainstate_graph import State, WithTag
        >>> WithTag("frozen")(("w",), State(1.0, tag="frozen"))
        True
    """

    __slots__ = ()

    def __init__(self, tag: str) -> None:
        if not isinstance(tag, str):
            raise TypeError(f"a tag must be a string, not {tag!r}; for several tags write Any('a', 'b')")
        self.parts = (tag,)

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        tags = getattr(item, "tag", None)
        return isinstance(tags, frozenset) and self.parts[0] in tags


class Named(BaseFilter):
    """Accepts a state by text: its tag, a path at or above it, or a glob that its path fits.

    Every function that takes a filter takes text for it. Text that is a tag of some states and the path of others is an
    error: then write `WithTag`, `PathPrefix` or `PathGlob`.

    Args:
        text: A tag, a dotted path, or a glob as for `PathGlob`.

    Raises:
        ValueError: It is a glob with a ``[`` without its ``]``, or with ``**`` as a part of a step.

    Example:
        >>> from brainstate_graph import Named, State
        >>> head, old = Named("layers.1"), Named("old")
        >>> head(("layers", 1, "weight"), State(1.0)), old(("layers", 1, "weight"), State(1.0, tag="old"))
        (True, True)
    """

    __slots__ = ("_below", "_match", "_tagged")
    by_path = True

    def __init__(self, text: str) -> None:
        self._tagged = WithTag(text)
        self._below = None if "" in text.split(".") else f"{text}."  # what has an empty step is no path
        globs = self._below is not None and is_glob(text)
        self._match = compiled("PathGlob", text, glob_to_regex(text)).fullmatch if globs else None
        self.parts = (text,)

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        return self._tagged(path, item) or self.is_at(path)

    @property
    def is_glob(self) -> bool:
        """Whether it may be a glob, and not a plain path."""
        return self._match is not None

    @property
    def is_path(self) -> bool:
        """Whether it may be a path: it has no empty step."""
        return self._below is not None

    def is_tag_of(self, item: AnyType) -> bool:
        """Tell whether it is a tag of a state."""
        return self._tagged((), item)

    def is_at(self, path: tuple[AnyType, ...]) -> bool:
        """Tell whether it is a path to what is at `path`, or a glob for it."""
        if self._match is not None:
            return self._match(f".{text_of(path)}" if path else "") is not None
        return self._below is not None and f"{text_of(path)}.".startswith(self._below)

    def one_meaning(self, tagged: Set[AnyType], placed: Set[AnyType]) -> Set[AnyType]:
        """Return the states that it names, from those with this tag and those at this path.

        Raises:
            ValueError: Those are not the same.
        """
        if tagged and placed and tagged != placed:
            text = self.parts[0]
            by_path = "PathGlob" if is_glob(text) else "PathPrefix"
            raise ValueError(
                f"{text!r} is the tag of some states ({len(tagged)}) and the path of others ({len(placed)}): write "
                f"`WithTag({text!r})` or `{by_path}({text!r})`"
            )
        return tagged or placed


def asks_for_path(predicate: Predicate) -> bool:
    """Tell whether a predicate looks at paths, or may do so."""
    return not isinstance(predicate, BaseFilter) or predicate.by_path


class _Combined(BaseFilter):
    __slots__ = ()

    def __init__(self, *filters: Filter) -> None:
        self.parts = tuple(map(to_predicate, filters))

    @property
    def static(self) -> bool:  # type: ignore[override]
        return all(isinstance(p, BaseFilter) and p.static for p in self.parts)

    @property
    def by_path(self) -> bool:  # type: ignore[override]
        return any(map(asks_for_path, self.parts))


class Any(_Combined):
    """Accepts a state that at least one of the filters accepts; a list or tuple is short for it.

    Example:
        >>> from brainstate_graph import Any, PathContains
        >>> Any("frozen", PathContains("head"))(("head", "w"), None)
        True
    """

    __slots__ = ()

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        return any(f(path, item) for f in self.parts)


class All(_Combined):
    """Accepts a state that every one of the filters accepts.

    Example:
        >>> from brainstate_graph import All, PathContains
        >>> All(PathContains("head"), PathContains("w"))(("head", "b"), None)
        False
    """

    __slots__ = ()

    def __call__(self, path: tuple[AnyType, ...], item: AnyType) -> bool:
        return all(f(path, item) for f in self.parts)


class Not(_Combined):
    """Accepts a state that the filter does not accept.

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


def _class_of(filter: Filter) -> type | None:
    """The class that a class, or a generic such as ``State[jax.Array]``, stands for."""
    origin = get_origin(filter)
    kind = filter if origin is None else origin
    return kind if isinstance(kind, type) and kind is not types.UnionType and kind is not AnyType else None


def to_predicate(filter: Filter) -> Predicate:
    """Turn a filter in its short form into a predicate ``(path, state) -> bool``.

    Args:
        filter: A class, a generic of one or a union of several; text, for a tag, a path or a glob; ``...``
            or True for all; None or False for none. A list or tuple accepts what any of its filters accepts. A
            predicate is returned unchanged.

    Raises:
        TypeError: It is not a filter.

    Example:
        >>> from brainstate_graph import State, to_predicate
        >>> to_predicate([State, "frozen"])
        Any(OfType(State), Named('frozen'))
    """
    if filter is ... or filter is True:
        return Everything()
    if filter is None or filter is False:
        return Nothing()
    if isinstance(filter, str):
        return Named(filter)
    if (kind := _class_of(filter)) is not None:
        return OfType(kind)
    if get_origin(filter) in (Union, types.UnionType):
        return Any(*get_args(filter))
    if isinstance(filter, (list, tuple)):
        return Any(*filter)
    if callable(filter) and get_origin(filter) is None and filter is not AnyType:
        return cast(Predicate, filter)
    raise TypeError(
        f"{filter!r} is not a filter: use a State class, a tag, path or glob, `...`, a predicate "
        "(path, state) -> bool, or a list of those"
    )
