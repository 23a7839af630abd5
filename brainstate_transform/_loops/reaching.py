"""``Reaching``: a function that takes and returns the values of all states that it may use, whatever it does to them.

To know which states a function writes takes a trace.  JAX wants to know it before its own: what a loop carries, what a
branch returns.  But it also takes out of a loop's carry, and of what branches return, whatever is passed on as it was.
So the function is given all states that it reaches, it notes in JAX's trace what it does to them, and that trace is the
only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brainstate_graph import State
from brainstate_graph.extend import note_possible_reads, note_reads, read_values

from .._engine.core import Core
from .._engine.values import StateValues, Written

__all__ = ["Beyond", "Reaching", "reached_by"]


class Beyond(Exception):
    """A function does what needs a trace before: it writes a state that it was not given, or changes a type."""


def reached_by(cores: Sequence[Core]) -> StateValues:
    """Return the states that some functions reach, with the values of now; that is no read of any."""
    for core in cores:
        core.frozen = True
    states = tuple(dict.fromkeys(state for core in cores for state in core.states()))
    return StateValues.of(states, read_values(states, False))


class Reaching:
    """A function that takes and returns all states of `reached_by`.

    Args:
        core: The function.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._written: dict[State[Any], None] = {}
        self._used: dict[State[Any], bool] = {}  # whether by more than a derivative rule, which may never be run

    def __call__(self, states: StateValues, *args: Any) -> tuple[Any, StateValues]:
        """Call the function; return its result, and the states with their new values.

        Raises:
            Beyond: It writes a state that is not among these.
        """
        overlay = self._core.overlay()
        out, new = self._core.run(states, args, {}, overlay)
        self._written.update(dict.fromkeys(new.outcome.states))
        for state in (*overlay.reads, *overlay.writes):
            self._used[state] = self._used.get(state, False) or overlay.uses(state)
        if not self._written.keys() <= set(states.states):
            raise Beyond
        return out, states.updated(new)

    @staticmethod
    def written(functions: Sequence[Reaching], states: StateValues) -> Written:
        """Note what functions have read, now that they are traced, and return the part of the states that they write.

        Args:
            functions: The functions.
            states: All states that they were given, with the values that JAX returned.
        """
        used = [each._used for each in functions]
        given = [state for state in states.states if any(state in each for each in used)]
        note_reads([state for state in given if any(each.get(state) for each in used)])
        note_possible_reads([state for state in given if not any(each.get(state) for each in used)])
        return states.only(state for each in functions for state in each._written).as_written()
