"""``EMA``: the moving average of parameters, beside the model that is trained.

It follows the parameters, as an optimizer's moments do, and is used for evaluation: in a copy of the model, or for a
block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from brainstate_graph import State, clone
from brainstate_graph.extend import locate, write_values

from .._core.arguments import as_fraction
from .._core.follower import Follower, StateLeaf
from .._core.inputs import wide_dtype
from .._core.paths import dotted_names
from .._core.selection import parameters_by_path, states_at
from .._core.sharded import beside
from .._core.states import LongTermState, ParamState

__all__ = ["EMA", "AverageState"]

M = TypeVar("M")


class AverageState(LongTermState):
    """A moving average of parameters, or the number of its updates.

    Example:
        >>> from brainstate_graph import states
        >>> from brainstate_nn import EMA, AverageState, Linear
        >>> list(states(EMA(Linear(2, 3), 0.99), AverageState))
        [('averages', 'bias'), ('averages', 'weight'), ('count',)]
    """

    __slots__ = ()


class EMA(Follower):
    """The exponential moving average of parameters: ``average = decay * average + (1 - decay) * value``.

    It starts from the values when it is made. The averages are float32 where the parameters have half precision, which
    cannot hold a step of 0.001: bfloat16 has 8 bits.

    Args:
        params: A module, or a list, tuple or dict of them; or a mapping from path to State.
        decay: The weight of the old average, between 0 and 1.
        debias: Whether to start from zeros, and to divide by ``1 - decay ** count`` where the average is used, so that
            the first values count no more than others (Kingma and Ba, arXiv:1412.6980, section 3).
        wrt: Which states of a module: a class of states, a tag, path or glob, or another filter.

    Attributes:
        params: The live states, by dotted path.
        averages: An AverageState for each.
        count: The number of updates, an AverageState of int32.

    Raises:
        ValueError: There is no such state, or `decay` is not between 0 and 1.
        TypeError: A state does not hold floats.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import EMA, Linear
        >>> model = Linear(1, 1)
        >>> ema = EMA(model, 0.9)
        >>> model.bias.value = jnp.array([1.0])
        >>> ema.update()
        >>> ema.apply_to(model).bias.value, model.bias.value
        (Array([0.1], dtype=float32), Array([1.], dtype=float32))
    """

    def __init__(self, params: Any, decay: float, *, debias: bool = False, wrt: Any = ParamState) -> None:
        self.decay = as_fraction("decay", decay, "the weight of the old average")
        self.debias = bool(debias)
        chosen = parameters_by_path(params, wrt, "EMA(model.states(ParamState), 0.999)")
        for state in chosen.values():
            _check_has_average(state)
        self._paths = tuple(chosen)
        self.params = dict(zip(dotted_names(self._paths), chosen.values(), strict=True))
        # A copy, since both may be donated to one compiled step.
        start = jnp.zeros_like if self.debias else jnp.array
        self.averages = {
            name: AverageState(jax.tree.map(lambda x: start(x, _averaging_dtype(x)), state.value))
            for name, state in self.params.items()
        }
        self.count = AverageState(beside(jnp.int32(0), [state.value for state in self.params.values()]))

    def update(self) -> None:
        """Move the averages towards the values that the parameters have now."""
        averages = [self.averages[name] for name in self.params]
        new = [
            jax.tree.map(lambda old, x: self.decay * old + (1.0 - self.decay) * x.astype(old.dtype), a.value, s.value)
            for a, s in zip(averages, self.params.values(), strict=True)
        ]
        write_values([*averages, self.count], [*new, self.count.value + 1])

    def values(self) -> dict[str, Any]:
        """Return the averages by dotted path, each of the dtype of its parameter."""
        weight: Any = 1.0
        if self.debias:
            # 1 - decay ** count by expm1: float32 would miss it by 1 part in 2000 after one step with 0.9999. Before
            # the first update it is 0, and the averages are zeros.
            weight = -jnp.expm1(self.count.value * math.log(max(self.decay, 1e-300)))
            # Before the first update there is nothing to divide by, and nothing to divide.
            weight = jnp.where(weight == 0.0, 1.0, weight)
        return {
            name: jax.tree.map(lambda a, x: (a / weight).astype(x.dtype), self.averages[name].value, state.value)
            for name, state in self.params.items()
        }

    def apply_to(self, model: M) -> M:
        """Return a copy of a model that has the averages, for evaluation; the model stays as it is.

        Args:
            model: The model, or another one with states at the same paths.

        Returns:
            A model of the same structure that shares no state with it.

        Raises:
            ValueError: The model has no state at one of the paths.
        """
        copy = clone(model)
        write_values(states_at(copy, self._paths, "EMA"), list(self.values().values()))
        return copy

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the averages to the parameters themselves inside a ``with`` block, for functions that close over them.

        What the block writes to these parameters is lost. The averages do not change.
        """
        before = [state.value for state in self.params.values()]
        write_values(list(self.params.values()), list(self.values().values()))
        try:
            yield
        finally:
            write_values(list(self.params.values()), before)

    def followed(self) -> Iterator[tuple[StateLeaf, StateLeaf]]:
        """Iterate over the arrays of the averages, each with the array of the parameter that it averages."""
        for name, average in self.averages.items():
            for i in range(len(jax.tree.leaves(average.value))):
                yield (average, i), (self.params[name], i)


def _averaging_dtype(x: Any) -> Any:
    return wide_dtype(jnp.result_type(x))


def _check_has_average(state: State[Any]) -> None:
    for leaf in jax.tree.leaves(state.value):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(f"{locate(state)} has no average, for it holds {jnp.result_type(leaf)}: choose by `wrt`")
