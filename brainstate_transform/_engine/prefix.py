"""What a prefix of axes or specs, in the form in which JAX takes it, says about each array of the arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from jax.tree_util import DictKey, SequenceKey, keystr

Path = tuple[Any, ...]

__all__ = ["OfArguments", "argument_name", "spread"]


def spread(prefix: Any, tree: Any, is_place: Callable[[Any], bool]) -> list[tuple[Path, Any, Any]]:
    """Give each leaf of a tree its place.

    Args:
        prefix: Places, in a structure that is that of `tree` from the root on.
        tree: A pytree.
        is_place: Tells a place from a container of places.

    Returns:
        For each leaf its path, itself, and its place.

    Raises:
        ValueError: The structures do not fit.
    """
    if is_place(prefix):
        return [(path, leaf, prefix) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    found: list[tuple[Path, Any, Any]] = []

    def note(path: Path, place: Any, part: Any) -> None:
        found.extend((path + inner, leaf, place) for inner, leaf in jax.tree_util.tree_leaves_with_path(part))

    jax.tree_util.tree_map_with_path(note, prefix, tree, is_leaf=is_place)
    return found


def _parameters(fun: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):  # some builtins have none
        return []


def argument_name(path: Path, fun: Callable[..., Any]) -> str:
    """Name an argument as the user's function does, with the way inside it."""
    key = path[0]
    name: Any = key.key if isinstance(key, DictKey) else None
    if isinstance(key, SequenceKey):
        named = [p.name for p in _parameters(fun) if p.kind <= p.POSITIONAL_OR_KEYWORD]
        name = named[key.idx] if key.idx < len(named) else key.idx
    return f"argument {name!r}{keystr(path[1:])}"


class OfArguments(NamedTuple):
    """What the places of arguments are.

    Attributes:
        argument: Where the user gives them, for messages.
        keyword: The place of keyword arguments, where places are given by position.
        rest: The place of arguments that are not named, where they are given by name.
    """

    argument: str
    keyword: Any
    rest: Any

    def find(self, places: Any, fun: Callable[..., Any], bound: int, count: int, keywords: Iterable[str]) -> Any:
        """Return the places of the positional and of the keyword arguments, as prefixes.

        Args:
            places: What the user gave: places by the names of parameters, a tuple by position, or one for all.
            fun: The user's function.
            bound: How many leading arguments a call as a method has filled in; the user counts them.
            count: The number of positional arguments.
            keywords: The names of the keyword arguments.

        Raises:
            ValueError: A name is not that of a parameter, or the tuple has another length.
        """
        if isinstance(places, dict):
            return _by_name(places, fun, count, keywords, self.argument, self.rest)
        if not isinstance(places, tuple):
            return places, self.keyword
        if len(places) != count + bound:
            user = getattr(fun, "__qualname__", fun)
            raise ValueError(
                f"{self.argument}={places!r} has {len(places)} entries, but `{user}` was called with {count + bound} "
                "positional arguments"
            )
        return places[bound:], self.keyword


def _by_name(
    places: dict[str, Any], fun: Callable[..., Any], count: int, keywords: Iterable[str], argument: str, rest: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    parameters = _parameters(fun)
    known = [p.name for p in parameters]
    unknown = [name for name in places if name not in known and name not in keywords]
    if unknown:
        user = getattr(fun, "__qualname__", fun)
        raise ValueError(f"{argument} names {unknown}, but the parameters of `{user}` are {known}")
    names = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    names += [p.name for p in parameters if p.kind == p.VAR_POSITIONAL] * max(0, count - len(names))
    return tuple(places.get(name, rest) for name in names[:count]), {k: places.get(k, rest) for k in keywords}
