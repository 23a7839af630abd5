"""Penalties on parameters, declared on the state or for a model, and their sum, ``reg_loss``.

A loss adds the sum by itself: nothing is added behind its back. A rule that a parameter cannot break is in
`constraints`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from brainstate_graph import Node, State, nodes, states
from brainstate_graph.extend import describe, fields_of, locate
from brainstate_transform import each_lane, lane_axes

from .._core.arguments import is_number
from .._core.constraints import Constrained
from .._core.inputs import at_least_float32, squared_magnitude
from .._core.selection import selected_states
from .._core.sharded import replicated

__all__ = ["L1", "L2", "ElasticNet", "Orthogonal", "Penalty", "penalise", "reg_loss"]

N = TypeVar("N", bound=Node)
Penalty = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class L1:
    """The penalty ``weight * sum(abs(w))``, which draws parameters to 0 itself.

    Args:
        weight: The factor, 0 or more.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import L1
        >>> float(L1(0.5)(jnp.array([1.0, -3.0])))
        2.0
    """

    weight: float

    def __post_init__(self) -> None:
        _check_weight("weight", self.weight)

    def __call__(self, w: jax.Array) -> jax.Array:
        """Return the penalty of an array, a float32."""
        return self.weight * jnp.sum(jnp.abs(at_least_float32(w)))


@dataclass(frozen=True)
class L2:
    """The penalty ``weight * sum(abs(w) ** 2)``; its gradient is ``2 * weight * w``.

    Args:
        weight: The factor, 0 or more; half of what torch calls weight decay.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import L2
        >>> float(L2(0.5)(jnp.array([1.0, -3.0])))
        5.0
    """

    weight: float

    def __post_init__(self) -> None:
        _check_weight("weight", self.weight)

    def __call__(self, w: jax.Array) -> jax.Array:
        """Return the penalty of an array, a float32."""
        return self.weight * jnp.sum(squared_magnitude(at_least_float32(w)))


@dataclass(frozen=True)
class ElasticNet:
    """The penalties `L1` and `L2` together (Zou and Hastie, 2005).

    Args:
        l1: The factor of the sum of absolute values, 0 or more.
        l2: The factor of the sum of squares, 0 or more.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ElasticNet
        >>> float(ElasticNet(1.0, 0.5)(jnp.array([1.0, -3.0])))
        9.0
    """

    l1: float
    l2: float

    def __post_init__(self) -> None:
        _check_weight("l1", self.l1)
        _check_weight("l2", self.l2)

    def __call__(self, w: jax.Array) -> jax.Array:
        """Return the penalty of an array, a float32."""
        return L1(self.l1)(w) + L2(self.l2)(w)


@dataclass(frozen=True)
class Orthogonal:
    """The penalty ``weight * sum(abs(G - I) ** 2)`` on the products G of columns, or of rows where these are fewer.

    An array of more than two axes is taken for a matrix of all but the last axis by the last one, as a kernel is.

    Args:
        weight: The factor, 0 or more.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Orthogonal
        >>> float(Orthogonal(1.0)(jnp.eye(3))), float(Orthogonal(1.0)(2.0 * jnp.eye(3)))
        (0.0, 27.0)
    """

    weight: float

    def __post_init__(self) -> None:
        _check_weight("weight", self.weight)

    def __call__(self, w: jax.Array) -> jax.Array:
        """Return the penalty of an array, a float32."""
        if w.ndim < 2:
            raise ValueError(f"Orthogonal is a penalty of matrices, not of {describe(w)}")
        matrix = replicated(at_least_float32(w)).reshape(-1, w.shape[-1])
        # More columns than rows cannot be orthogonal to each other, so the rows are to be.
        if matrix.shape[0] < matrix.shape[1]:
            matrix = matrix.T
        products = jnp.matmul(matrix.conj().T, matrix, precision="highest")
        return self.weight * jnp.sum(squared_magnitude(products - jnp.eye(len(products))))


def penalise(model: N, where: Any, penalty: Penalty) -> N:
    """Declare a penalty for parameters of a model, for `reg_loss` to add.

    The states stay what they are, so that optimizers go on with them. The module keeps the rule as a part of its
    structure: it holds for parameters that are put in later, too.

    Args:
        model: A module.
        where: A class of states, a tag, path or glob such as ``"**.weight"``, or another filter.
        penalty: `L1` and the like; or a function of an array that returns a scalar.

    Returns:
        The model itself.

    Raises:
        ValueError: `where` selects no state of the model.
        TypeError: `penalty` cannot be called, or `where` names live states.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import L2, Linear, penalise, reg_loss
        >>> layer = penalise(Linear(2, 3), "weight", L2(0.5))
        >>> bool(reg_loss(layer) == 0.5 * jnp.sum(layer.weight.value**2))
        True
    """
    if not callable(penalty):
        raise TypeError(f"penalty must be a function of an array, not {type(penalty).__name__}: write `L2(1e-4)`")
    if not isinstance(model, Node):
        raise TypeError(f"model must be a Module, which keeps the rule, not {type(model).__name__}: penalise each part")
    if isinstance(where, (State, Node, list, tuple, dict)):
        raise TypeError(f"where must be a filter, text or a class of states, not {type(where).__name__}")
    selected_states(model, where, "where")
    # A tuple, which is static: equal rules make one structure.
    rules = (*fields_of(model).get("_penalties", ()), (where, penalty))
    model._penalties = rules
    return model


def reg_loss(model: Any) -> jax.Array:
    """Return the sum of all penalties of a model.

    They are those that states have as metadata, ``ParamState(value, penalty=L2(1e-4))``, and those of `penalise`, on
    the model and on modules in it. A state in several places counts once for each penalty. Of a Constrained state it is
    the constrained array that counts. The layers of a Stack, and the members of an ensemble, count one by one.

    Args:
        model: A module, or a container of them.

    Returns:
        A float32 scalar; 0 where there is no penalty.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import L1, Module, ParamState, reg_loss
        >>> class Gain(Module):
        ...     def __init__(self):
        ...         self.k = ParamState(jnp.array([1.0, -2.0]), penalty=L1(0.5))
        >>> float(reg_loss(Gain()))
        1.5
    """
    found = [(s, s.metadata["penalty"]) for s in states(model).values() if "penalty" in s.metadata]
    for node in nodes(model).values():
        if isinstance(node, Node):
            for where, penalty in fields_of(node).get("_penalties", ()):
                found += [(state, penalty) for state in selected_states(node, where, "where").values()]
    return sum((_penalty_of(state, penalty) for state, penalty in found), start=jnp.float32(0.0))


def _penalty_of(state: State[Any], penalty: Penalty) -> jax.Array:
    value = state.constrained if isinstance(state, Constrained) else state.value
    axes = lane_axes(state)
    each = each_lane(penalty, axes, out=[(0,) * len(axes)])
    try:
        parts = [jnp.sum(each(leaf)) if axes else penalty(leaf) for leaf in jax.tree.leaves(value)]
        return sum(parts, start=jnp.float32(0.0))
    except ValueError as error:
        raise ValueError(f"{locate(state)}: {error}") from error


def _check_weight(name: str, weight: Any) -> None:
    if not is_number(weight) or not weight >= 0.0:
        raise ValueError(f"{name} is a number, 0 or more, not {weight!r}")
