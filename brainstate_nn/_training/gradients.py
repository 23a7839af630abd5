"""Gradients as an optimizer is given them: by path, in any form, and of the states that it moves.

`grad` keys its result as its caller names the parameters, and other code builds dictionaries of its own.  So gradients
are matched with parameters by path.  Two models of one class have the same paths; what comes from `grad` knows whose it
is (see `owners_of`), and is refused where that is another state.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brainstate_graph import FlattedDict, GraphError, Node, State, states
from brainstate_graph.extend import StateTree, deleted_leaf, locate, owners_of

from .._core.paths import Path, dotted_name, dotted_names

__all__ = ["matched_gradients"]


class _Gradient(NamedTuple):
    """One gradient, and the state of which it is; None where that is not known."""

    value: Any
    owner: State[Any] | None


def matched_gradients(grads: Any, params: Mapping[Path, State[Any]]) -> list[Any]:
    """Return the gradients of parameters, in the order of these.

    Args:
        grads: What `grad` returns, a state tree, or a mapping by path or nested. Paths may have more in front, if it is
            the same for all.
        params: The states by path.

    Raises:
        GraphError: A gradient is missing, unexpected, of another shape or of another state, or was deleted; the message
            lists all of them.
        TypeError: It is something else.
    """
    given = _without_common_prefix(dict(_pairs_by_path(grads)), tuple(params))
    _refuse_others(given, params)
    names = dict(zip(params, dotted_names(list(params)), strict=True))
    problems = [f"unexpected: {name}" for name in dotted_names([p for p in given if p not in params])]
    for path, state in params.items():
        gradient = given[path].value if path in given else None
        if gradient is None:
            problems.append(f"missing: {names[path]}")
        elif _shapes(gradient) != _shapes(state.value):
            problems.append(f"{names[path]} has shape {_shapes(state.value)}, its gradient {_shapes(gradient)}")
        elif deleted_leaf(gradient) is not None:
            problems.append(f"{names[path]} is given a gradient that was deleted, as it was donated to a compiled call")
    if problems:
        raise GraphError(
            "the gradients do not fit the parameters of the optimizer: " + "; ".join(problems)
            + ". Differentiate with respect to the same states: `Optimizer(model.states(ParamState), tx)`."
        )  # fmt: skip
    return [given[path].value for path in params]


def _refuse_others(given: Mapping[Path, _Gradient], params: Mapping[Path, State[Any]]) -> None:
    """Raise if a gradient is known to be that of a state which the optimizer does not move at this path."""
    for path, state in params.items():
        owner = given[path].owner if path in given else None
        if owner is not None and owner is not state:
            raise GraphError(
                f"these gradients are of another model: the one for {dotted_name(path)} is of {_named(owner)}, but the "
                f"optimizer moves {_named(state)}. Differentiate with respect to what it moves, or make an Optimizer "
                "for the other model. To use them anyway, give them by path alone: "
                "`optimizer.update(grads.to_pure_dict())`."
            )


def _named(state: State[Any]) -> str:
    """Say which state this is, with the variable of the user's by which its model is reached."""
    frame = inspect.currentframe()
    while frame is not None:
        if not str(frame.f_globals.get("__name__")).startswith(("brainstate_", "jax.")):
            for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
                if isinstance(value, Node) and value.graph_in_paths and not hasattr(value, "followed"):
                    path = next((path for path, held in states(value).items() if held is state), None)
                    if path is not None:
                        return f"{locate(state)} (`{dotted_name((name, *path))}`)"
        frame = frame.f_back
    return f"{locate(state)} (of a model to which no variable leads here)"


def _shapes(value: Any) -> Any:
    return jax.tree.map(jnp.shape, value)


def _pairs_by_path(grads: Any) -> Iterator[tuple[Path, _Gradient]]:
    """Take gradients apart, in whatever containers `grad` has put them."""
    if isinstance(grads, (list, tuple)):
        grads = dict(enumerate(grads))
    if not isinstance(grads, Mapping):
        raise TypeError(
            f"grads must be a state tree or a mapping from path to gradient, not {type(grads).__name__}: "
            "write `optimizer.update(jax.grad(loss)(params))`"
        )
    by_path = bool(grads) and all(isinstance(key, tuple) for key in grads)
    if by_path or isinstance(grads, StateTree):
        known = owners_of(grads) if isinstance(grads, StateTree) else None
        owners = {} if known is None else dict(known.to_flat().items())
        for path, value in FlattedDict(grads).to_dict_values().items():
            yield path, _Gradient(value, owners.get(path))
    else:
        for key, part in grads.items():
            inner = _pairs_by_path(part) if isinstance(part, (Mapping, list, tuple)) else [((), _Gradient(part, None))]
            for path, gradient in inner:
                yield (key, *path), gradient


def _without_common_prefix(given: dict[Path, _Gradient], paths: tuple[Path, ...]) -> dict[Path, _Gradient]:
    """Drop what all paths have in front of those of the parameters, as ``model`` where a function closes over it."""
    first = next(iter(given), ())
    # The shortest prefix that all paths share and without which they are those of the parameters.
    for length in range(1, len(first)):
        if {path[length:] for path in given} == set(paths) and {path[:length] for path in given} == {first[:length]}:
            return {path[length:]: gradient for path, gradient in given.items()}
    return given
