"""``vmap_new_states``: `vmap` for functions that make states, such as the one that makes a model.

It says in one word what `vmap` takes apart: an axis for what is made, and a tag to find it by afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

from brainstate_graph import Filter, Not, catch_new_states

from .._engine.user_function import decorator
from .vmap import vmap

__all__ = ["vmap_new_states"]


def vmap_new_states(
    fun: Callable[..., Any] | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    axis_name: Hashable | None = None,
    axis_size: int | None = None,
    spmd_axis_name: Hashable | None = None,
    tag: str | None = None,
    exclude: Filter = None,
) -> Any:
    """Map a function that makes states: each gets a leading axis with one value per lane.

    It is ``vmap(fun, new_states=0)``, with a tag for the states. Random initial values differ per lane. The states are
    those that `fun` leaves on a node that was there before, or returns in one; the nodes are made once.

    Args:
        fun: A function that makes states; without it, a decorator is returned.
        in_axes: As in `vmap`.
        out_axes: As in `vmap`, for results other than nodes.
        axis_name: As in ``jax.vmap``, for collectives.
        axis_size: The number of lanes, where no argument is mapped.
        spmd_axis_name: As in ``jax.vmap``.
        tag: A tag to add to each of the states.
        exclude: A filter for the states that all lanes share; they get neither axis nor tag.

    Returns:
        The mapped function.

    Raises:
        BatchAxisError: A state that is excluded, or that was there before, gets a value that differs per lane.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import Node, State
        >>> from brainstate_transform import vmap, vmap_new_states
        >>> class Scale(Node):
        ...     def __init__(self, factor):
        ...         self.factor = State(factor)
        >>> scales = vmap_new_states(Scale)(jnp.arange(3.0))
        >>> scales.factor.value.shape
        (3,)
        >>> vmap(lambda x: scales.factor.value * x, in_states=scales)(jnp.arange(3.0)).tolist()
        [0.0, 1.0, 4.0]
    """
    if fun is None:
        return decorator(vmap_new_states, locals())
    user = fun

    @functools.wraps(user)
    def making(*args: Any, **kwargs: Any) -> Any:
        with catch_new_states(tag, exclude):
            return user(*args, **kwargs)

    return vmap(
        making, in_axes, out_axes, new_states=0 if exclude is None else {0: Not(exclude)}, axis_name=axis_name,
        axis_size=axis_size, spmd_axis_name=spmd_axis_name,
    )  # fmt: skip
