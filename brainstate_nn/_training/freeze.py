"""``freeze`` and ``unfreeze``: parameters that are held, and not trained.

A frozen parameter is a state of another kind in the place of the trained one. So every filter for parameters leaves it
out, and no optimizer or transform needs a list of what to skip.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, TypeVar

from brainstate_graph import Node, State, states
from brainstate_graph.extend import locate, make_state, read_values, write_values

from .._core.selection import selected_states
from .._core.states import LongTermState, ParamState
from .._models.surgery import parts_at, replace_parts

__all__ = ["FrozenParam", "freeze", "unfreeze"]

N = TypeVar("N")


class FrozenParam(LongTermState):
    """A parameter that is not trained, made by `freeze`. It is not a `ParamState`, so filters for those leave it out.

    Its metadata are those of the parameter, with `kind` for its class where that is another one than ParamState.

    Example:
        >>> from brainstate_nn import FrozenParam, Linear, freeze
        >>> list(freeze(Linear(2, 3), "weight").states(FrozenParam))
        [('weight',)]
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        """Find what the class of the trained parameter has beyond a value, as `constrained`."""
        part: Any = None if name.startswith("_") else getattr(self.metadata.get("kind"), name, None)
        if not hasattr(part, "__get__"):
            raise AttributeError(f"a {type(self).__name__} has no attribute {name!r}")
        return part.__get__(self)


# The trained state of each frozen one, so that `unfreeze` puts the very same back, and an optimizer goes on with it.
_trained: weakref.WeakKeyDictionary[FrozenParam, ParamState] = weakref.WeakKeyDictionary()


def freeze(node: N, /, *which: Any) -> N:
    """Take parameters out of training: a FrozenParam with the same value replaces each, in all its places.

    What differentiates or moves ParamStates leaves them alone from then on, and their names in a checkpoint stay the
    same. An Optimizer that was made before refuses to go on, for the model has other parameters: make one for those
    that are left. After `unfreeze` the first one continues. Statistics and dropout are not parameters: for those see
    `mode`.

    Args:
        node: The whole model, or a list of what holds the parameters: a place outside keeps the trained one.
        *which: Selectors of the parameters: a module in the model, for all that it holds; a tag, path or glob; or
            another filter. All parameters by default.

    Returns:
        The node.

    Raises:
        ValueError: A selector selects no state, or all of them no parameter.
        TypeError: The class of a parameter computes its value from another one.

    Example:
        >>> from brainstate_nn import Linear, ParamState, Sequential, freeze
        >>> net = Sequential(Linear(2, 3), Linear(3, 1))
        >>> list(freeze(net, net.layers[0]).states(ParamState))
        [('layers', 1, 'bias'), ('layers', 1, 'weight')]
    """
    _replace_states(node, which, ParamState, _frozen)
    return node


def unfreeze(node: N, /, *which: Any) -> N:
    """Train parameters again that `freeze` took out: the very states from before, with the values of today.

    In a copy of a model that was made in between, they are new states of the same class.

    Args:
        node: The whole model, or a list of what holds the parameters.
        *which: Selectors, as for `freeze`. All frozen parameters by default.

    Returns:
        The node.

    Raises:
        ValueError: A selector selects no state, or all of them no frozen parameter.

    Example:
        >>> from brainstate_nn import Linear, freeze, unfreeze
        >>> layer = Linear(2, 3)
        >>> weight = layer.weight
        >>> unfreeze(freeze(layer)).weight is weight
        True
    """
    _replace_states(node, which, FrozenParam, _thawed)
    return node


def _replace_states(node: Any, which: tuple[Any, ...], kind: type[State[Any]], other: Any) -> None:
    named = [state for selector in which or (kind,) for state in _states_named(node, selector)]
    chosen = {state for state in named if isinstance(state, kind)}
    if not chosen:
        raise ValueError(f"{', '.join(map(repr, which))} selects no {kind.__name__} of {type(node).__name__}")
    replace_parts(node, lambda _, part: isinstance(part, kind) and part in chosen, lambda part, _: other(part))


def _states_named(node: Any, selector: Any) -> Iterable[State[Any]]:
    """Return the states that a selector names; text may be any path of a state, not only its first one."""
    parts = parts_at(node, selector) if isinstance(selector, str) else []
    if parts:
        return states([part if isinstance(part, Node) else [part] for part in parts]).values()
    return selected_states(node, selector, "which").values()


def _frozen(state: ParamState) -> FrozenParam:
    kind, meta = type(state), dict(state.metadata)
    # Its class overrides `value`, so what is stored is not what the layer reads.
    if kind.value is not State.value:
        raise TypeError(f"{locate(state)} cannot be frozen: its class computes the value from another one")
    if kind is not ParamState:
        meta["kind"] = kind
    frozen: Any = make_state(FrozenParam, read_values([state])[0], tuple(sorted(meta.items())))
    _trained[frozen] = state
    return frozen


def _thawed(frozen: FrozenParam) -> ParamState:
    value = read_values([frozen])[0]
    state = _trained.get(frozen)
    if state is None:
        meta = dict(frozen.metadata)
        made: Any = make_state(meta.pop("kind", ParamState), value, tuple(sorted(meta.items())))
        return made
    write_values([state], [value])
    return state
