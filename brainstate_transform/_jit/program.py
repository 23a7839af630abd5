"""What ``jit`` hands to JAX: the core, given the states that it uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import NamedSharding

from .._engine.core import StagedCore, Unpassed, without_jit
from .._engine.touched import Plan
from .._engine.values import Choice, Rows, StateValues

__all__ = ["UNUSED", "Program"]

# A program with this many unused states among its inputs is given only the ones that it uses: each input costs
# 0.3 to 1 microsecond per call, a second look at the traced program costs a third of a trace, once.
UNUSED = 16


class Program:
    """What JAX compiles: the core, given the states that it uses.

    Args:
        core: The core.

    Attributes:
        always_look: Whether to look at small graphs too.
        shapes: What the states of a touched graph are traced as.
    """

    def __init__(self, core: StagedCore) -> None:
        self.core = core
        self.whole: Any = jax.jit(core)  # the user's function is traced here, once for each kind of arguments
        self.always_look = False
        self.shapes: Callable[[Plan], Sequence[Any]] = lambda plan: plan.values().values
        self.__name__, self.__qualname__ = core.__name__, core.__qualname__
        signature = getattr(core, "__signature__", None)
        if signature is not None:
            self.__signature__ = signature

    def __repr__(self) -> str:  # stands in messages of JAX
        return f"`{self.__qualname__}`"

    def __call__(self, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        states = _states_  # named so that a user's argument may be called `states`
        which = states.which
        if without_jit() or not isinstance(which, Rows):
            return self.core(states, *args, **kwargs)
        choice = which.choice
        if choice is None:
            return self.whole(states, *args, **kwargs)
        plan = which.plan.choosing(None)
        traced, (_, used, _) = self.look(plan, args, kwargs)
        if not set(choice.places).issuperset(used):
            raise Unpassed([plan.table[place] for place in used])
        values = self._filled(plan, choice, states)
        outs = jaxpr_as_fun(traced.jaxpr)(*jax.tree.leaves((values, args, kwargs)))
        return jax.tree.unflatten(jax.tree.structure(traced.out_info), outs)

    def looks_at(self, plan: Plan) -> bool:
        """Tell whether it is worth while to find out which states of a touched graph are used."""
        return self.always_look or len(plan.inputs) > UNUSED

    def _filled(self, plan: Plan, choice: Choice, states: StateValues) -> list[Any]:
        """The values of the whole table: those given, and something in the places that are not used."""
        pairs = zip(plan.values().values, self.shapes(plan), strict=True)
        values = [jax.tree.map(_unused, value, shape) for value, shape in pairs]
        for place, value in zip(choice.places, states.values, strict=True):
            values[place] = value
        return values

    def look(self, plan: Plan, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Trace with the whole touched graph, or find that trace; return it, and what it writes, see `Written`."""
        traced = self.whole.trace(StateValues(plan.which, self.shapes(plan)), *args, **kwargs)
        return traced, self.core.whiches[len(traced.out_info[1][1])]


def _unused(leaf: Any, shape: Any) -> Any:
    """Something of the right shape and dtype in a place where nobody looks, without memory behind it."""
    dtype = jax.numpy.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        return leaf
    zeros = np.broadcast_to(np.zeros((), dtype), np.shape(leaf))
    where = getattr(shape, "sharding", None)  # part of what a trace is found by, with the type of array it makes
    return jax.device_put(zeros, where) if isinstance(where, NamedSharding) else zeros
