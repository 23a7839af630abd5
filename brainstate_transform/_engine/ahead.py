"""Looking ahead: a function is traced once, before a rule runs it, to know which states it writes.

A loop carries what its body writes, and the branches of a `cond` must return the same states.  JAX wants to know that
before it traces the body itself.  `look_ahead` traces the function with ``jax.jit`` and the whole touched graph;
calling the result again costs a thirtieth of a trace, so the user's function runs once.

It is no cache between calls: what was found is of the values and the graph of one call.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from brainstate_graph import State
from brainstate_graph.extend import tokenless

from .results import hold_known
from .retry import RETRIES, Retry, never_settled
from .touched import Inputs, TouchedGraph
from .values import StateValues, Written

if TYPE_CHECKING:
    from .core import Core

__all__ = ["Looked", "look_ahead"]


class Looked(NamedTuple):
    """A function that was traced to know what it writes.

    Attributes:
        traced: The function as JAX traced it.
        graph: The touched graph.
        jaxpr: The trace.
        out: The shapes and dtypes of the result.
        written: The states that it writes.
        values: The shapes and dtypes of their new values.
    """

    traced: Any
    graph: TouchedGraph
    jaxpr: Any
    out: Any
    written: Sequence[State[Any]]
    values: Sequence[Any]

    def call(self, states: StateValues, args: Any, kwargs: Any) -> tuple[Any, Written, bool]:
        """Evaluate the trace again; the user's function does not run.

        Args:
            states: Values for some of its states; the others have those of now.
            args: Positional arguments, like those that it was traced with.
            kwargs: Keyword arguments, likewise.

        Returns:
            The result, what was written, and whether there are placeholders for nodes in the result.
        """
        graph = self.graph
        inputs = Inputs(graph)  # held while the call lasts: its key does not hold it
        values, given = inputs.values(), dict(zip(states.states, states.values, strict=True))
        values.values = [given.get(s, v) for s, v in zip(graph.states, values.values, strict=True)]
        with tokenless():
            out, written = self.traced(values, *args, **kwargs)
        outcome = written.outcome
        outcome.note_reads(graph.states)  # the enclosing trace reads what the function reads
        out = hold_known(out, graph.objects) if outcome.sealed else out
        return out, written.named(graph.states), outcome.sealed


def look_ahead(core: Core, args: Any, kwargs: Any) -> Looked:
    """Trace a function for arguments like these."""
    graph = core.touched.graph()
    twin = copy.copy(core)  # which does not hold what is found, and so is let go of at once
    tried: list[Retry] = []
    for attempt in range(RETRIES):
        # What is found is kept with this call alone, so in the end it may be what Python would do beside the other
        # thread.  Whether the call itself is kept is decided where all of it is traced.
        twin.heeds_threads = attempt < RETRIES // 2
        inputs = Inputs(graph)
        staged: Any = jax.jit(twin)
        try:
            with tokenless():  # where `call` finds it, whatever is assigned meanwhile
                traced = staged.trace(inputs.values(), *args, **kwargs)
            break
        except Retry as another:
            tried.append(another.alone())
            graph = core.graph_again(tried[-1], graph)
    else:
        raise never_settled(core.__qualname__, tried)
    out, written = traced.out_info
    out = hold_known(out, graph.objects) if written.outcome.sealed else out
    states = written.named(graph.states).outcome.states  # under `jax.disable_jit` they are States already
    return Looked(staged, graph, traced.jaxpr.jaxpr, out, states, written.values)
