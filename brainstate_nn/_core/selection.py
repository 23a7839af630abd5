"""Selections of states: those that a selector names in a model, and those that an optimizer is given by path.

Users name states in one grammar (see `brainstate_transform.select`): a class, a tag, a path or glob, a filter, a live
State or Node. Here it is answered for a model that is at hand, by path, and with errors when it names nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainstate_graph import Node, State, states
from brainstate_graph.extend import locate
from brainstate_transform import Core, place

from .paths import Path, dotted_names

__all__ = ["parameters_by_path", "selected_states", "states_at"]


def selected_states(node: Any, selector: Any, argument: str) -> dict[Path, State[Any]]:
    """Return the live states of `node` that a selector names, by their paths in `node`.

    Args:
        node: A Node, or a container of them.
        selector: A class of states, a tag, path or glob, another filter, a State, a Node, or a container of these.
        argument: What the user calls the selector, for messages.

    Raises:
        TypeError: It is not a selector.
        ValueError: It selects no state, or one that the node does not hold.
    """

    def reach(model: Any = node) -> Any:
        return model

    # `place` looks at what a function reaches, and its messages name that function. It takes a state that two parts of
    # the selector name, as a model and its optimizer do.
    reach.__qualname__ = type(node).__name__
    wanted = set(place(selector, Core(reach), argument, None, lambda _: False))
    found = {path: state for path, state in states(node).items() if state in wanted}
    for state in wanted.difference(found.values()):
        raise ValueError(f"{argument} names {locate(state)}, which {type(node).__name__} does not hold")
    return found


def parameters_by_path(params: Any, wrt: Any, example: str) -> dict[Path, State[Any]]:
    """Return the states that an Optimizer or EMA is given: all that `wrt` names in a model, or those by path.

    Args:
        params: A Node, a list, tuple or dict of them, or a mapping from path to State.
        wrt: The selector, for a model.
        example: What to write, for messages.

    Raises:
        TypeError: `params` is something else.
        ValueError: There is no such state, or one State has two paths.
    """
    if isinstance(params, Node) or (isinstance(params, (list, tuple, dict)) and _holds_a_node(params)):
        return selected_states(params, wrt, "wrt")
    if not isinstance(params, Mapping) or not all(
        isinstance(path, tuple) and isinstance(state, State) for path, state in params.items()
    ):
        raise TypeError(
            f"params must be a Module or live states by path, not {type(params).__name__}: write `{example}`"
        )
    if not params:
        raise ValueError("params is an empty mapping, which names no state")
    # A State under two names would be moved twice in one step.
    first: dict[State[Any], str] = {}
    for name, state in zip(dotted_names(list(params)), params.values(), strict=True):
        if state in first:
            raise ValueError(f"{first[state]} and {name} are one State: give it once")
        first[state] = name
    return dict(params.items())


def states_at(model: Any, paths: tuple[Path, ...], user: str) -> list[State[Any]]:
    """Return the live states of a model at paths.

    Raises:
        ValueError: There is none at one of them; the message lists all.
    """
    found = states(model)
    missing = [path for path in paths if path not in found]
    if missing:
        raise ValueError(
            f"{type(model).__name__} has no {', '.join(dotted_names(missing))}, for which the {user} was made"
        )
    return [found[path] for path in paths]


def _holds_a_node(container: Any) -> bool:
    parts = container.values() if isinstance(container, dict) else container
    return any(isinstance(part, Node) for part in parts)
