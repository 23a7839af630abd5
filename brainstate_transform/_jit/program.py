"""The program of a function: the callable that ``jit`` passes to JAX, and the states that each call passes to it.

The user's function is traced with all states of the touched graph (`Program.whole`).  That trace shows which of them it
uses.  Where many are not used, the program is passed a choice of states instead, and evaluates the same trace: each
input costs a call 0.3 to 1 microsecond, used or not.

`Program.settle` finds the choice, and `Program.inputs_again` adds to it when a trace for other arguments uses more.
The choices are remembered by the shape of the graph, so that models of one shape share them.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import NamedSharding

from brainstate_graph import Node, State
from brainstate_graph.extend import PARTNERS, Remembered

from .._engine.core import StagedCore, without_jit
from .._engine.lost import refuse_lost
from .._engine.retry import RETRIES, Retry, Unpassed
from .._engine.touched import Inputs, TouchedGraph
from .._engine.values import GraphKey, Outcome, Passing, StateValues
from .state_options import Donation, Placement, with_placement

__all__ = ["Program"]

# A program with this many unused states among its inputs, or with fewer that are an eighth of them, is passed only the
# ones that it uses. A second look at the traced program costs a third of a trace, once.
MANY, FEW, SHARE = 16, 4, 8


class Program:
    """What JAX compiles: the core, given the states that it uses.

    Args:
        core: The core.
        donates: Whether states that are written give their buffers away.
        donation: Those that do; None for all.
        placement: Where states live; None for where they are.
    """

    def __init__(
        self,
        core: StagedCore,
        donates: bool = False,
        donation: Donation | None = None,
        placement: Placement | None = None,
    ) -> None:
        self.core = core
        self._user = core.core
        self.donates = donates
        self.donation = donation
        self.placement = placement
        # Whether some states cross apart from others, so that it must be known which are used of small graphs too.
        self.apart = donates or placement is not None
        self.whole: Any = jax.jit(core)  # the user's function is traced here, once for each kind of arguments
        self.remembered = Remembered[Inputs](PARTNERS)
        self._settled: dict[Any, Passing | None] = {}  # by shape and strays
        self.__name__, self.__qualname__, self.__code__ = core.__name__, core.__qualname__, core.__code__

    @property
    def __signature__(self) -> inspect.Signature | None:
        return self.core.__signature__

    def __repr__(self) -> str:  # stands in messages of JAX
        return f"`{self.__qualname__}`"

    def __call__(self, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        """Run the core with a choice of states; JAX traces this."""
        states = _states_  # named so that a user's argument may be called `states`
        key = states.key
        if without_jit() or not isinstance(key, GraphKey):
            return self.core(states, *args, **kwargs)
        if key.passing is None:
            return self.whole(states, *args, **kwargs)
        whole = key.inputs.whole()
        traced, outcome = self.look(whole, args, kwargs)
        used = outcome.used or ()
        if not set(key.passing.indices).issuperset(used):
            raise Unpassed([whole.states[index] for index in used])
        values = self._filled(whole, key.passing, states)
        outs = jaxpr_as_fun(traced.jaxpr)(*jax.tree.leaves((values, args, kwargs)))
        return jax.tree.unflatten(traced.out_tree, outs)

    def _filled(self, whole: Inputs, passing: Passing, states: StateValues) -> list[Any]:
        """Return the values of the whole graph: those given, and something in place of those that are not used."""
        pairs = zip(whole.values().values, self.shapes(whole), strict=True)
        values = [jax.tree.map(_unused, value, shape) for value, shape in pairs]
        for index, value in zip(passing.indices, states.values, strict=True):
            values[index] = value
        return values

    def shapes(self, whole: Inputs) -> Sequence[Any]:
        """Return what the states of a touched graph are traced as."""
        values = whole.values()
        return values.values if self.placement is None else self.placement.where(values, with_placement)[0]

    def look(self, whole: Inputs, args: Any, kwargs: Any) -> tuple[Any, Outcome]:
        """Trace with the whole touched graph, or find that trace; return it, and its outcome."""
        traced = self.whole.trace(StateValues(whole.key, self.shapes(whole)), *args, **kwargs)
        return traced, self.core.outcome_of(traced.out_tree)

    def donate(self, donation: Donation) -> None:
        """Let states give their buffers away from now on."""
        self.donates = self.apart = True
        self.donation = donation
        self._settled.clear()
        self.remembered.forget()

    # -- which states are passed ---------------------------------------------------------------------------------------

    def inputs(self, nodes: Sequence[Node], args: Any, kwargs: Any) -> Inputs:
        """Return the states to pass in a call with these arguments."""
        inputs = self.known(nodes)
        if not inputs.settled:
            with contextlib.suppress(TypeError):  # an error is for the call itself, which says more of it
                inputs, _ = self.settle(inputs, args, kwargs)
        return inputs

    def inputs_again(self, again: Retry, inputs: Inputs, args: Any, kwargs: Any) -> Inputs:
        """Return the states to pass after a trace was given up."""
        return self.settle(self._again(again, inputs), args, kwargs)[0]

    def known(self, nodes: Sequence[Node]) -> Inputs:
        """Return the states to pass in a call with these nodes among its arguments, as far as it is known."""
        found = self.remembered.find(nodes)
        return self._of(self._user.touched.graph(nodes)) if found is None else found

    def _of(self, graph: TouchedGraph) -> Inputs:
        if not self.apart and len(graph.states) <= FEW:
            inputs = Inputs(graph, None, settled=True)  # all are passed, whichever are used
        else:
            key = (graph.shape, tuple(graph.strays))
            inputs = Inputs(graph, self._settled.get(key), settled=key in self._settled)
        self.remembered.keep(graph.nodes, inputs)
        return inputs

    def _choose(self, graph: TouchedGraph, passing: Passing | None) -> Inputs:
        """Pass these states from now on, or all, where the touched graph has this shape."""
        self._settled[graph.shape, tuple(graph.strays)] = passing
        inputs = Inputs(graph, passing, settled=True)
        self.remembered.keep(graph.nodes, inputs)
        return inputs

    def settle(self, inputs: Inputs, args: Any, kwargs: Any) -> tuple[Inputs, Any]:
        """Find out which states are used, if it is worth while, before anything is compiled for all of them.

        Returns:
            The states to pass; and JAX's trace with all of them and its outcome, where it was made here.
        """
        found: Any = None
        for _ in range(RETRIES):
            if inputs.settled or without_jit():
                break
            inputs, found = self._settle_once(inputs, args, kwargs)
        return inputs, found

    def _settle_once(self, inputs: Inputs, args: Any, kwargs: Any) -> tuple[Inputs, Any]:
        whole = inputs.whole()
        said = [each for each in (self.donation, self.placement) if each is not None]
        for each in said:
            each.of(whole.graph)  # refuses a selector that selects nothing of this graph
        try:
            found = self.look(whole, args, kwargs)
        except Retry as again:
            return self._again(again.alone(), inputs), None
        except RuntimeError as error:
            refuse_lost(whole.states, self.__qualname__, error)
            raise
        for each in said:
            each.check(whole.graph)  # ... and states that the function, now that it is traced, is known not to use
        written, used = found[1][:2]
        before = inputs.key.passing or Passing(())
        indices = {*(used or ()), *before.indices}
        donated = sorted({*written, *before.indices[: before.donated]}) if self.donates else []
        unused = len(whole.states) - len(indices)
        if not self.apart and unused < MANY and (unused < FEW or unused * SHARE < len(whole.states)):
            return self._choose(whole.graph, None), found
        passing = Passing((*donated, *sorted(indices.difference(donated))), len(donated))
        return self._choose(whole.graph, passing), found

    def _again(self, again: Retry, inputs: Inputs) -> Inputs:
        """Return the states to pass after a trace was given up, or raise what no other states help against."""
        graph = self._user.graph_again(again, inputs.graph)
        if graph is not inputs.graph:
            return self._of(graph)
        return self._widen(inputs, again.states) if isinstance(again, Unpassed) else self._of(graph)

    def _widen(self, inputs: Inputs, used: Sequence[State[Any]]) -> Inputs:
        """Pass these states of the graph as well from now on."""
        passing = inputs.key.passing
        if passing is None:
            return inputs
        # A signature whose trace was given up stays on the slow path of ``jax.jit`` for good (150 microseconds a call);
        # what is called afterwards has another choice in its key.
        index_of = {state: index for index, state in enumerate(inputs.graph.states)}
        more = sorted({index_of[state] for state in used}.difference(passing.indices))
        return self._choose(inputs.graph, passing._replace(indices=(*passing.indices, *more)))

    def forget(self) -> None:
        """Drop what is known of earlier calls, and all that was compiled for the whole graph."""
        self.whole.clear_cache()
        self._settled.clear()
        self.remembered.forget()


def _unused(leaf: Any, shape: Any) -> Any:
    """Return something of the right shape and dtype where nobody looks, without memory behind it."""
    dtype = jax.numpy.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        return leaf
    zeros = np.broadcast_to(np.zeros((), dtype), np.shape(leaf))
    where = getattr(shape, "sharding", None)  # part of what a trace is found by, with the type of array it makes
    return jax.device_put(zeros, where) if isinstance(where, NamedSharding) else zeros
