"""Axes and specs of arguments and results, as *prefixes*: in JAX, pytrees that say one thing of whole subtrees.

*Spec* here is what maps one array: a number or None for `vmap`, a PartitionSpec for `shard_map`.  Users give specs by
position, by the names of parameters, or one for all; `ArgumentSpecs` turns that into prefixes that JAX takes.
`each_argument` and `each_result` go through the arrays one by one, each with its spec and a name for errors, so that
what does not fit is refused in the words of the user's function.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from jax.tree_util import DictKey, SequenceKey, keystr

from brainstate_graph.extend import describe

from .._engine.core import Core
from .._engine.placeholders import Held, is_placeholder
from .._engine.user_function import name_of

__all__ = ["ArgumentSpecs", "each_argument", "each_result"]

Path = tuple[Any, ...]
Arrays = list[tuple[Callable[[], str], Any, Any]]  # what it is called, itself, its spec; names are made for errors only


class ArgumentSpecs(NamedTuple):
    """The specs of arguments that users may give in several ways.

    Attributes:
        argument: The argument in which the user gives them, such as ``in_axes``.
        keyword: The spec of keyword arguments, where specs are given by position.
        rest: The spec of arguments that are not named, where they are given by name.
    """

    argument: str
    keyword: Any
    rest: Any

    def prefixes(self, specs: Any, core: Core, count: int, keywords: Iterable[str]) -> tuple[Any, Any]:
        """Return the specs of the positional and of the keyword arguments of a call.

        Args:
            specs: What the user gave: specs by the names of parameters, a tuple by position, or one for all.
            core: The user's function.
            count: The number of positional arguments, without those that a call as a method has filled in.
            keywords: The names of the keyword arguments.

        Raises:
            ValueError: A name is not that of a parameter, or the tuple has another length.
        """
        if isinstance(specs, dict):
            return self._by_name(specs, core, count, keywords)
        if not isinstance(specs, tuple):
            return specs, self.keyword
        if len(specs) != count + core.bound:  # users count those too that a method call fills in
            raise ValueError(
                f"{self.argument}={specs!r} has {len(specs)} entries, but `{name_of(core.fun)}` was called with "
                f"{count + core.bound} positional arguments"
            )
        return specs[core.bound :], self.keyword

    def _by_name(
        self, specs: dict[str, Any], core: Core, count: int, keywords: Iterable[str]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        parameters = _parameters(core.fun)
        known = [p.name for p in parameters]
        unknown = [name for name in specs if name not in known and name not in keywords]
        if unknown:
            raise ValueError(
                f"{self.argument} names {unknown}, but the parameters of `{name_of(core.fun)}` are {known}"
            )
        names = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
        names += [p.name for p in parameters if p.kind == p.VAR_POSITIONAL] * max(0, count - len(names))
        return tuple(specs.get(name, self.rest) for name in names[:count]), {
            name: specs.get(name, self.rest) for name in keywords
        }


def each_argument(
    argument: str,
    arguments: Iterable[tuple[Any, Any]],
    core: Core,
    is_spec: Callable[[Any], bool],
    nodes: bool = False,
) -> Arrays:
    """Go through the arrays of the arguments.

    Args:
        argument: The argument in which the user gave the specs.
        arguments: Pairs of a prefix and a tree: the positional arguments, and the keyword arguments.
        core: The user's function.
        is_spec: Tells a spec from a container of specs.
        nodes: Whether to go through the nodes instead.

    Raises:
        ValueError: A prefix does not fit its tree.
    """
    found: Arrays = []
    for prefix, tree in arguments:
        try:
            arrays = _spread(prefix, tree, is_spec, nodes) if tree else []
        except ValueError as error:
            raise ValueError(
                f"{argument}={prefix!r} does not fit the arguments of `{core.__qualname__}`: {error}"
            ) from None
        found += [(functools.partial(_argument_name, path, core), leaf, spec) for path, leaf, spec in arrays]
    return found


def each_result(
    argument: str, prefix: Any, out: Any, core: Core, is_spec: Callable[[Any], bool], nodes: bool = False
) -> Arrays:
    """Go through the arrays of the result, as `each_argument` does through those of the arguments."""
    user = core.__qualname__
    try:
        arrays = _spread(prefix, out, is_spec, nodes)
    except ValueError:
        raise ValueError(
            f"{argument}={prefix!r} does not fit the result of `{user}`, which is {describe(out)}"
        ) from None
    return [(lambda path=path: f"result{keystr(path)} of `{user}`", leaf, spec) for path, leaf, spec in arrays]


def _spread(prefix: Any, tree: Any, is_spec: Callable[[Any], bool], nodes: bool) -> list[tuple[Path, Any, Any]]:
    """Give each array of a tree its spec, or each node; ValueError where the structures do not fit."""

    def leaves(tree: Any) -> list[tuple[Path, Any]]:
        if not nodes:
            return jax.tree_util.tree_leaves_with_path(tree)
        held = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_placeholder)
        return [(path, leaf.item) for path, leaf in held if isinstance(leaf, Held)]

    if is_spec(prefix):
        return [(path, leaf, prefix) for path, leaf in leaves(tree)]
    found: list[tuple[Path, Any, Any]] = []

    def note(path: Path, spec: Any, part: Any) -> None:
        found.extend((path + inner, leaf, spec) for inner, leaf in leaves(part))

    jax.tree_util.tree_map_with_path(note, prefix, tree, is_leaf=is_spec)
    return found


def _parameters(fun: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):  # some builtins have none
        return []


def _argument_name(path: Path, core: Core) -> str:
    """Name an argument as the user's function does, with the way inside it."""
    key = path[0]
    name: Any = key.key if isinstance(key, DictKey) else None
    if isinstance(key, SequenceKey):
        named = [p.name for p in _parameters(core.fun) if p.kind <= p.POSITIONAL_OR_KEYWORD]
        name = named[key.idx] if key.idx < len(named) else key.idx
    keyword = "keyword " if isinstance(key, DictKey) else ""
    return f"{keyword}argument {name!r}{keystr(path[1:])} of `{core.__qualname__}`"
