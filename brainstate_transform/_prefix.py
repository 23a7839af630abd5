"""What a prefix of axes or specs, in the form in which JAX takes it, says about each array of the arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.tree_util import DictKey, SequenceKey, keystr

Path = tuple[Any, ...]

__all__ = ["argument_name", "by_name", "spread"]


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


def by_name(
    places: Mapping[str, Any],
    fun: Callable[..., Any],
    count: int,
    keywords: Mapping[str, Any],
    argument: str,
    rest: Any,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn places by parameter name into those of the positional and of the keyword arguments.

    Args:
        places: The places by name.
        fun: The user's function.
        count: The number of positional arguments.
        keywords: The keyword arguments.
        argument: Where the user gave the places, for messages.
        rest: The place of arguments that are not named.

    Raises:
        ValueError: A name is not that of a parameter.
    """
    parameters = _parameters(fun)
    known = [p.name for p in parameters]
    unknown = [name for name in places if name not in known and name not in keywords]
    if unknown:
        user = getattr(fun, "__qualname__", fun)
        raise ValueError(f"{argument} names {unknown}, but the parameters of `{user}` are {known}")
    names = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    names += [p.name for p in parameters if p.kind == p.VAR_POSITIONAL] * max(0, count - len(names))
    return tuple(places.get(name, rest) for name in names[:count]), {k: places.get(k, rest) for k in keywords}
