"""Kinds of state: the names by which filters tell the states of a model apart.

A kind is a class of `State` that adds a name and no behaviour. A filter for one kind accepts those below it too, so the
classes form a tree, and users add kinds of their own to it. Its two main branches are `LongTermState`, which outlives a
sequence or a batch (parameters, statistics), and `ShortTermState`, which is made anew for each. Kinds that belong to
one layer or tool are defined beside that (`CacheState`, `MetricState`, `OptState`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from brainstate_graph import State

__all__ = ["BatchState", "HiddenState", "LongTermState", "ParamState", "ShortTermState"]


class LongTermState(State[Any]):
    """A state that is kept between calls and belongs in a checkpoint.

    Example:
        >>> from brainstate_nn import LongTermState, ParamState
        >>> issubclass(ParamState, LongTermState)
        True
    """

    __slots__ = ()


class ShortTermState(State[Any]):
    """A state that lives for one sequence or one batch, and is made anew for the next.

    Example:
        >>> from brainstate_nn import HiddenState, ShortTermState
        >>> issubclass(HiddenState, ShortTermState)
        True
    """

    __slots__ = ()


class ParamState(LongTermState):
    """A trainable parameter.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ParamState
        >>> ParamState(jnp.ones((2, 3)))
        ParamState(f32[2,3])
    """

    __slots__ = ()


class BatchState(LongTermState):
    """A statistic that is gathered over batches, such as the running mean of a normalisation.

    Example:
        >>> from brainstate_nn import BatchNorm, BatchState
        >>> list(BatchNorm(3).states(BatchState))
        [('running_mean',), ('running_var',)]
    """

    __slots__ = ()


class HiddenState(ShortTermState):
    """The hidden state of a recurrent model: one array.

    Only the constructor checks the value: copying, splitting and merging put back whatever the state held, so that a
    state tree may carry shapes, gradients or shardings in its place.

    Args:
        value: An array of any shape and dtype.
        name: A name that travels with the state.
        tag: A tag or several, for filters.
        **metadata: Anything hashable to travel with the state.

    Raises:
        TypeError: The value is not an array of NumPy or JAX.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import HiddenState
        >>> HiddenState(jnp.zeros(4))
        HiddenState(f32[4])
    """

    __slots__ = ()

    def __init__(
        self, value: Any, name: str | None = None, *, tag: str | Iterable[str] | None = None, **metadata: Any
    ) -> None:
        # A State is taken for its value, as the constructor of State does.
        if isinstance(value, State):
            value = value.value
        if not isinstance(value, (jax.Array, np.ndarray)):
            raise TypeError(
                f"a HiddenState holds one array, not {type(value).__name__}: write "
                "`HiddenState(jnp.asarray(value))`; for a tree of arrays make one HiddenState for each"
            )
        super().__init__(value, name, tag=tag, **metadata)
