"""``Optimizer``: an optax transformation with its state and the parameters that it moves, as a part of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from brainstate_graph import FlattedDict, GraphError, NestedDict, Node, State, states
from brainstate_graph.extend import write_values

from ._module import Module
from ._names import dotted_names
from ._states import LongTermState, ParamState

if TYPE_CHECKING:
    import optax

__all__ = ["OptState", "Optimizer"]

Path = tuple[Any, ...]


class OptState(LongTermState):
    """The state of an optimiser: the pytree that optax returns.

    Example:
        >>> import optax
        >>> from brainstate_nn import Linear, Optimizer, OptState
        >>> list(Optimizer(Linear(2, 3), optax.adam(1e-3)).states(OptState))
        [('opt_state',)]
    """

    __slots__ = ()


class Optimizer(Module):
    """Moves parameters by gradients, with any transformation of optax.

    Parameters and optimiser state are read and written as all states are, so `update` works inside a traced function.
    A parameter that a model holds in several places is one state: it is moved once.

    Args:
        params: A module, whose ParamStates are taken, or a mapping from path to State, such as
            ``model.states(ParamState)`` or a part of it.
        tx: The transformation, such as ``optax.adam(1e-3)``.

    Attributes:
        params: The live states, by dotted path.
        opt_state: The OptState; optax sees the parameters as a NestedDict.
        tx: The transformation.

    Raises:
        ValueError: There is no parameter, or one State stands under two paths.
        TypeError: An argument is something else.

    Example:
        >>> import jax, optax
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import treefy_merge, treefy_split
        >>> from brainstate_nn import Linear, Optimizer, ParamState
        >>> model = Linear(1, 1)
        >>> optimizer = Optimizer(model, optax.sgd(0.1))
        >>> shape, params = treefy_split(model)
        >>> loss = lambda params: jnp.mean((treefy_merge(shape, params)(jnp.ones((4, 1))) - 3.0) ** 2)
        >>> before = loss(params)
        >>> optimizer.update(jax.grad(loss)(params))
        >>> bool(loss(model.states(ParamState).to_dict_values()) < before)
        True
    """

    def __init__(self, params: Node | Mapping[Path, State[Any]], tx: optax.GradientTransformation) -> None:
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise TypeError(f"tx must be a transformation of optax, not {type(tx).__name__}: write `optax.adam(1e-3)`")
        chosen = _chosen_states(params)
        self._paths = tuple(chosen)
        self.params = dict(zip(dotted_names(self._paths), chosen.values(), strict=True))
        self.tx = tx
        self.opt_state = OptState(tx.init(self._values()))

    def update(self, grads: Any, **extra: Any) -> None:
        """Move the parameters by one step; all of them or, where something does not fit, none.

        Args:
            grads: A gradient for each parameter, of the same shape: a state tree, or a mapping by path or nested.
            **extra: What the transformation takes besides, such as ``value=loss``.

        Raises:
            GraphError: A gradient is missing, unexpected or of another shape; the message lists all of them.
        """
        import optax

        values = self._values()
        updates, state = optax.with_extra_args_support(self.tx).update(
            self._fitted(grads), self.opt_state.value, values, **extra
        )
        moved = FlattedDict(optax.apply_updates(values, updates)).to_dict_values()  # type: ignore[arg-type]
        # one call, so that a value that is refused leaves the others as they were; without a look at dtypes, for the
        # first step may widen those of the optimiser
        write_values([*self.params.values(), self.opt_state], [*(moved[p] for p in self._paths), state])

    def _values(self) -> NestedDict:
        return NestedDict.from_flat(zip(self._paths, [s.value for s in self.params.values()], strict=True))

    def _fitted(self, grads: Any) -> NestedDict:
        """Return the gradients as optax sees the parameters."""
        given = _by_path(grads)
        problems = [f"unexpected: {name}" for name in dotted_names([p for p in given if p not in self._paths])]
        for path, (name, state) in zip(self._paths, self.params.items(), strict=True):
            if given.get(path) is None:
                problems.append(f"missing: {name}")
            elif _shapes(given[path]) != _shapes(state.value):
                problems.append(f"{name} has shape {_shapes(state.value)}, its gradient {_shapes(given[path])}")
        if problems:
            raise GraphError(
                "the gradients do not fit the parameters of the optimizer: " + "; ".join(problems)
                + ". Differentiate with respect to the same states: `Optimizer(model.states(ParamState), tx)`."
            )  # fmt: skip
        return NestedDict.from_flat([(path, given[path]) for path in self._paths])


def _chosen_states(params: Any) -> dict[Path, State[Any]]:
    found = states(params, ParamState) if isinstance(params, Node) else params
    if not isinstance(found, Mapping) or not all(
        isinstance(path, tuple) and isinstance(state, State) for path, state in found.items()
    ):
        raise TypeError(
            "params must be a Module or live states by path, not "
            f"{type(params).__name__}: write `Optimizer(model.states(ParamState), tx)`"
        )
    if not found:
        raise ValueError("there is nothing to optimize: the model holds no ParamState")
    first: dict[State[Any], str] = {}
    for name, state in zip(dotted_names(list(found)), found.values(), strict=True):
        if state in first:
            raise ValueError(f"{first[state]} and {name} are one State: give it once")
        first[state] = name
    return dict(found.items())


def _shapes(value: Any) -> Any:
    return jax.tree.map(jnp.shape, value)


def _by_path(grads: Any) -> dict[Path, Any]:
    if not isinstance(grads, Mapping):
        raise TypeError(
            f"grads must be a state tree or a mapping from path to gradient, not {type(grads).__name__}: "
            "write `optimizer.update(jax.grad(loss)(params))`"
        )
    if not isinstance(grads, FlattedDict):
        by_path = bool(grads) and all(isinstance(key, tuple) for key in grads)
        grads = FlattedDict(grads) if by_path else NestedDict(grads).to_flat()
    return grads.to_dict_values()
