"""The door for many states at once: what a transform reads before, and writes after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jax.core import Tracer

from . import overlay as door
from .overlay import PLAIN, untraced
from .state import State, make_state

__all__ = ["assign_values", "make_states", "note_reads", "read_values", "write_results", "write_values"]


def make_states(kinds: Sequence[type[State[Any]]], metas: Sequence[Any], values: Sequence[Any]) -> list[State[Any]]:
    """Make many states without calling their constructors, as merging does."""
    if door.open_count or not untraced():
        return [make_state(*parts) for parts in zip(kinds, values, metas, strict=True)]
    states = list(map(object.__new__, kinds))
    for state, value, meta in zip(states, values, metas, strict=True):
        state._value = value
        state._meta = meta
    return states


def read_values(states: Iterable[State[Any]], record: bool = True) -> list[Any]:
    """Read the current values of many states through the door; open overlays note it if `record`."""
    if not door.open_count or door.stack.top is None:
        try:
            return [state._value for state in states]
        except AttributeError:
            return [door.live(state) for state in states]
    top = door.stack.top
    if record:
        return [door.look(state, top) for state in states]
    inside = top._values  # where most of them are while a function is traced
    return [inside[state] if state in inside else door.look(state, top, False) for state in states]


def write_values(states: Sequence[State[Any]], values: Sequence[Any], used: Sequence[State[Any]] = ()) -> None:
    """Assign the results of a finished transform, all or none.

    Args:
        states: The states to write.
        values: Their new values, in the same order.
        used: States that the transform read or wrote, for the record of an enclosing overlay.

    Raises:
        TraceContextError: A value belongs to a JAX trace that does not know of the state.
    """
    top = door.stack.top if door.open_count else None
    if top is None:
        if not door.PLAIN.issuperset(map(type, values)):
            for state, value in _check(states, values, None):
                door.settle(state, value)
        for state, value in zip(states, values):  # noqa: B905 - strict= costs as much as three stores
            state._value = value
    else:
        orphans = _check(states, values, top)
        note_reads(used)
        for state, value in orphans:  # they live on as if they had been made here
            door.settle(state, value)
        for state, value in zip(states, values, strict=True):
            top._values[state] = value
            if state not in top._created:
                top.writes[state] = None


def _check(
    states: Sequence[State[Any]], values: Sequence[Any], top: door.Overlay | None
) -> list[tuple[State[Any], Any]]:
    """Refuse values that may not be put into their states here, and return what is for states without a home."""
    orphans: list[tuple[State[Any], Any]] = []
    at_home = top is not None and top._trace == door.trace_now()  # asked once: 0.5 microseconds each
    for state, value in zip(states, values, strict=True):
        if door.is_orphan(state):
            orphans.append((state, value))
        elif not (at_home and top is not None and isinstance(value, Tracer) and not top.created(state)):
            door.refuse_foreign(state, value, top)
    return orphans


def assign_values(states: Sequence[State[Any]], values: Sequence[Any]) -> None:
    """Assign values as ``.value = ...`` does, hooks told and checks made, all or none."""
    if door.busy == door.open_count:  # no hook and no check anywhere
        write_values(states, values)
        return
    before = read_values(states, record=False)
    done = 0
    try:
        for state, value in zip(states, values, strict=True):
            state.value = value
            done += 1
    except BaseException:
        write_values(states[:done], before[:done])
        raise


def write_results(states: Sequence[State[Any]], values: Sequence[Any], used: Sequence[State[Any]] = ()) -> None:
    """Assign what one compiled call returned, as `write_values` does; one of the values tells for all of them."""
    if door.open_count or not values or type(values[0]) not in PLAIN:
        write_values(states, values, used)
        return
    for state, value in zip(states, values):  # noqa: B905 - strict= costs as much as three stores
        state._value = value


def note_reads(states: Iterable[State[Any]]) -> None:
    """Record reads that a transform made on behalf of the enclosing trace."""
    top = door.stack.top
    if top is not None:
        inside, reads = top._values, top.reads
        for state in states:
            if state in inside:
                reads[state] = None
            else:
                door.look(state, top)
