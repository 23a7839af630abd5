"""Selecting states: a State, a Node, a mapping or iterable of selectors, or a filter on the touched graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from brainstate_graph import FlattedDict, Node, State, states
from brainstate_graph.extend import dotted

from ._core import Core

__all__ = ["Selection", "select"]


class Selection:
    """Some states under some keys.

    Attributes:
        states: The states, each once.
        names: For each a name for messages.
        gather: Puts one value for each state into the structure of the selector.
    """

    def __init__(self, states: list[State[Any]], names: list[str], gather: Callable[[list[Any]], Any]) -> None:
        self.states = states
        self.names = names
        self.gather = gather


def _unique(found: Iterable[tuple[str, State[Any]]]) -> tuple[list[State[Any]], list[str], list[int]]:
    places: dict[State[Any], int] = {}
    names: list[str] = []
    order: list[int] = []
    for name, state in found:
        if state not in places:
            places[state] = len(places)
            names.append(name)
        order.append(places[state])
    return list(places), names, order


def _of_paths(found: FlattedDict) -> Selection:
    live, names, _ = _unique((dotted(path), state) for path, state in found.items())
    return Selection(live, names, lambda values: FlattedDict(dict(zip(found, values, strict=True))))


def select(selector: Any, core: Core, argument: str) -> Selection:
    """Resolve a selector.

    Args:
        selector: A State; a Node (all its states); a mapping or iterable of States, at any depth; or a filter, asked
            about the states of the touched graph.
        core: The function whose touched graph a filter looks at.
        argument: The user's argument, for messages.

    Returns:
        The selection; its structure is that of the selector.

    Raises:
        TypeError: It is none of these.
        ValueError: It selects no state.
    """
    if isinstance(selector, Node):
        chosen = _of_paths(states(selector))
    elif isinstance(selector, (State, Mapping, list, tuple, set)) and not _is_filter_list(selector):
        if isinstance(selector, set):
            selector = list(selector)
        pairs, treedef = jax.tree_util.tree_flatten_with_path(selector)
        for path, leaf in pairs:
            if not isinstance(leaf, State):
                raise TypeError(
                    f"{argument}{jax.tree_util.keystr(path)} is {leaf!r}: expected a State. Write e.g. "
                    f"`{argument}=model.states(ParamState)`."
                )
        live, names, order = _unique((jax.tree_util.keystr(path) or argument, leaf) for path, leaf in pairs)
        chosen = Selection(live, names, lambda values: jax.tree.unflatten(treedef, [values[i] for i in order]))
    elif selector is ... or isinstance(selector, (type, str, list, tuple)) or callable(selector):
        chosen = _of_paths(states(core.touched.plan(core.nodes).snapshot.root, selector))
    else:
        raise TypeError(f"{argument}={selector!r} selects no states: give a State, a Node, states by path, or a filter")
    if not chosen.states:
        raise ValueError(f"{argument}={selector!r} selects no state of what the function touches")
    return chosen


def _is_filter_list(selector: Any) -> bool:
    return (
        isinstance(selector, (list, tuple))
        and bool(selector)
        and all(isinstance(s, (type, str)) or s is ... for s in selector)
    )
