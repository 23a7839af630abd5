"""The audit: is the program that a call would run still what its function is?

A program depends on every place that its functions read while they were traced.  Not all of these can be looked at in
each call: what an array holds that is changed in place, an environment variable, the time.  An audited function is
traced anew before each call, and this trace is compared with that of the program, as listings (`listing.py`).

The new trace is thrown away: it changes no state, and stands in no log.  A function that is not audited pays nothing,
as an audit is put before its program once, when it is made.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from brainstate_graph.extend import locate

from .._engine.core import ANEW, Core, StagedCore, trace_of, without_jit
from .._engine.errors import StaleProgramError
from .._engine.retry import Moved, Unpassed
from .._engine.touched import Inputs, TouchedGraph
from .._engine.values import GraphKey, Outcome, StateValues
from .explain import NamedTrace
from .listing import Line, checks_numbered, difference_of, has_kept_traces, listing, tree_key
from .program import Program

__all__ = ["ALWAYS", "Audit"]

ALWAYS = os.environ.get("BRAINSTATE_AUDIT", "") not in ("", "0")  # whether all functions of this process are audited

_NAMED = 10  # places that an error names

_anew = itertools.count(1)


class _Kept(NamedTuple):
    """What is compared of a trace.

    Attributes:
        outcome: What it does to states.
        result: The structure of its result, and of the values that it writes.
        lines: Its listing.
        inside: Whether there are traces in it that JAX keeps.
    """

    outcome: Outcome
    result: Any
    lines: list[Line]
    inside: bool

    @staticmethod
    def of(traced: Any, outcome: Outcome) -> _Kept:
        """Return what is compared of a trace."""
        out, (values, _) = traced.out_info
        jaxpr = traced.jaxpr
        return _Kept(outcome, jax.tree.structure((out, values)), list(listing(jaxpr)), has_kept_traces(jaxpr))

    def difference(self, new: _Kept, names: NamedTrace, checks: range = range(0)) -> str | None:
        """Say what is different first in another trace; None for nothing.

        Args:
            new: The other trace.
            names: The trace in words.
            checks: As for `difference_of`.
        """
        return (
            _of_states(self.outcome, new.outcome, names)
            or difference_of(self.lines, new.lines, checks)
            or (None if tree_key(self.result) == tree_key(new.result) else f"{self.result} is now {new.result}")
        )


class Audit:
    """Compares a program with a new trace of its function, before it runs.

    Args:
        program: The program.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._kept: weakref.WeakKeyDictionary[Any, _Kept] = weakref.WeakKeyDictionary()  # by jaxpr
        self._passed = 0  # how many audits have found nothing

    def before(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return `run`, which calls the program, with an audit before it."""

        def audited(states: StateValues, /, *args: Any, **kwargs: Any) -> Any:
            # In the new trace of another audit all is traced anew as it is.
            if ANEW.value is None and not without_jit() and isinstance(states.key, GraphKey):
                self.check(states.key.inputs.whole(), args, kwargs)
            return run(states, *args, **kwargs)

        return audited

    def see(self, inputs: Inputs, args: Any, kwargs: Any) -> _Kept:
        """Trace, or find the trace that is kept.

        Args:
            inputs: All states of the touched graph.
            args: The positional arguments, nodes sealed.
            kwargs: The keyword arguments, nodes sealed.

        Returns:
            What it was when it was seen first, which is when it was made.
        """
        traced, outcome = self._program.look(inputs, args, kwargs)
        kept = self._kept.get(traced.jaxpr)
        if kept is None:
            kept = self._kept[traced.jaxpr] = _Kept.of(traced, outcome)
        return kept

    def check(self, inputs: Inputs, args: Any, kwargs: Any) -> None:
        """Compare the program of a call with a new trace; a program that was traced just now too.

        JAX may have taken an inner function from an older trace.

        Args:
            inputs: As for `see`.
            args: As for `see`.
            kwargs: As for `see`.

        Raises:
            StaleProgramError: They differ.
        """
        kept = self.see(inputs, args, kwargs)
        user = self._program.core.core
        names = NamedTrace(trace_of(StateValues(inputs.key, ()), args, kwargs, kept.outcome), user)
        try:
            difference = kept.difference(self._anew(kept, inputs, args, kwargs), names)
            if difference is not None:
                first = checks_numbered() + 1
                new = self._anew(kept, inputs, args, kwargs)
                checks = range(first, checks_numbered())
                difference = kept.difference(new, names, checks) if checks else difference
        except Moved:  # another thread changes the graph meanwhile; the next call is compared again
            return
        if difference is not None:
            raise _stale(user, inputs.graph, difference)
        self._passed += 1

    def _anew(self, kept: _Kept, inputs: Inputs, args: Any, kwargs: Any) -> _Kept:
        """Trace the function, and keep nothing of it.

        Nor is a trace to be found that JAX keeps of a function in it: this one has a context of its own.  That leaves
        behind what JAX traces there of its own functions too, some 0.5 MB for a training step.  So it is done where a
        function of the user's is seen, and from time to time elsewhere: ``jax.jit(f, inline=True)`` is not seen.

        Raises:
            StaleProgramError: It fails, or uses states that the program is not passed.
            Moved: Another thread has changed the graph meanwhile.
        """
        user, graph, number = self._program.core.core, inputs.graph, self._passed + 1
        core, states = StagedCore(copy.copy(user)), StateValues(inputs.key, self._program.shapes(inputs))
        own = kept.inside or number & (number - 1) == 0  # 1, 2, 4, 8, ...
        try:
            with ANEW(next(_anew)) if own else contextlib.nullcontext():
                traced: Any = jax.jit(core).trace(states, *args, **kwargs)
        except (StaleProgramError, Moved):  # of an audited function in it; by another thread
            raise
        except Unpassed as more:
            raise _stale(user, graph, f"it uses {', '.join(map(locate, more.states))} now") from None
        except Exception as error:
            raise _stale(user, graph, f"it raises {type(error).__name__} now: {error}") from error
        return _Kept.of(traced, core.outcome(traced.out_info[1][1]))


def _stale(user: Core, graph: TouchedGraph, difference: str) -> StaleProgramError:
    unwatched = graph.places.unwatched
    more = f" and {len(unwatched) - _NAMED} more" if len(unwatched) > _NAMED else ""
    places = f" It reads {', '.join(unwatched[:_NAMED])}{more}, which no call compares." if unwatched else ""
    return StaleProgramError(
        f"the program of `{user.__qualname__}` is out of date. A new trace differs: {difference}.{places} "
        "Hold what changes in a State, or pass it as an argument; after `clear_cache()` the next call compiles again.",
        difference,
        unwatched,
    )


def _of_states(old: Outcome, new: Outcome, trace: NamedTrace) -> str | None:
    """Say which states one trace alone uses or writes."""
    if old == new:
        return None
    names = trace.names()
    for verb, before, now in (("uses", old.used or (), new.used or ()), ("writes", old.states, new.states)):
        more = [names[index] for index in now if index not in before]
        less = [names[index] for index in before if index not in now]
        if more or less:
            return f"it {verb} {', '.join(more or less)} {'now' if more else 'no more'}"
    return None
