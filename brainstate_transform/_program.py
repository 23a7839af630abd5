"""What ``jit`` hands to JAX: the core, given the states that it uses."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from brainstate_graph import Static
from brainstate_graph.extend import tracing

from ._core import Retry, StagedCore, without_jit
from ._touched import Plan
from ._values import Choice, Rows, StateValues

__all__ = ["UNUSED", "Look", "Program", "StaticCore", "Wider"]

# A program with this many unused states among its inputs is given only the ones that it uses: each input costs
# 0.3 to 1 microsecond per call, a second look at the traced program costs a third of a trace, once.
UNUSED = 16


class Look(Retry):
    """It is not known yet which states are used.

    Raised once for a shape of the touched graph: a signature whose trace was given up stays on the slow path of
    ``jax.jit`` for good (150 microseconds a call), so what is called afterwards has another choice in its key.
    """


class Wider(Retry):
    """A program for other arguments uses states beyond the choice."""


class StaticCore(StagedCore):
    """A core some of whose arguments are static."""

    def open(self, args: Any, kwargs: Any, plan: Plan | None) -> Any:
        args, kwargs = super().open(args, kwargs, plan)
        return (
            tuple(a.value if isinstance(a, Static) else a for a in args),
            {k: v.value if isinstance(v, Static) else v for k, v in kwargs.items()},
        )


class Program:
    """What JAX compiles: the core, given the states that it uses.

    Args:
        core: The core.
        always_look: Whether to look at small graphs too.
    """

    def __init__(self, core: StagedCore, always_look: bool) -> None:
        self.core = core
        self.whole: Any = jax.jit(core)  # the user's function is traced here, once for each kind of arguments
        self.always_look = always_look
        self.__name__, self.__qualname__ = core.__name__, core.__qualname__
        if hasattr(core, "__signature__"):
            self.__signature__ = core.__signature__

    def __call__(self, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        states = _states_  # named so that a user's argument may be called `states`
        which = states.which
        if without_jit() or not isinstance(which, Rows):
            return self.core(states, *args, **kwargs)
        choice = which.choice
        if choice is None:
            if self.always_look or len(states) > UNUSED:
                raise Look
            return self.core(states, *args, **kwargs)
        plan = which.plan.choosing(None)
        if choice.places is None:
            return self.whole(StateValues(plan.which, states.values), *args, **kwargs)
        if tracing():  # the trace may close over values of the one around it, which a replay would not find
            return self.whole(StateValues(plan.which, self._filled(plan, choice, states)), *args, **kwargs)
        traced, used, _ = self.look(plan, args, kwargs)
        if not set(choice.places).issuperset(used):
            raise Wider
        values = self._filled(plan, choice, states)
        outs = jaxpr_as_fun(traced.jaxpr)(*jax.tree.leaves((values, args, kwargs)))
        return jax.tree.unflatten(jax.tree.structure(traced.out_info), outs)

    def _filled(self, plan: Plan, choice: Choice, states: StateValues) -> list[Any]:
        """The values of the whole table: those given, and something in the places that are not used."""
        values = [jax.tree.map(_unused, value) for value in plan.values().values]
        for place, value in zip(choice.places or (), states.values, strict=True):
            values[place] = value
        return values

    def look(self, plan: Plan, args: Any, kwargs: Any) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
        """Trace with the whole touched graph, or find that trace; return it, and the places used and written."""
        traced = self.whole.trace(plan.values(), *args, **kwargs)
        written, used, _ = self.core.whiches[len(traced.out_info[1][1])]
        return traced, used, written


def _unused(leaf: Any) -> Any:
    """Something of the right shape and dtype in a place where nobody looks, without memory behind it."""
    dtype = jax.numpy.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        return leaf
    return np.broadcast_to(np.zeros((), dtype), np.shape(leaf))
