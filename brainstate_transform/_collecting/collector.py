"""``Collector``: gathers values while a function runs, and has others to add to them.

What is given to it is kept in states, which `jit`, `grad` and the others carry out of themselves.  A loop, a branch or
a lane runs other code each time, and cannot make states: how values leave these is in ``collected.py``.  A Collector
is no metric, which is a state of its own that each step updates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Node, State

from .._checks.avals import both_in_words, shapes_of

__all__ = ["Collector", "Given", "collectors"]

Given = Mapping[str, list[Any]]
"""Values by name, in the order in which they came."""


class _Collecting(threading.local):
    active: tuple[Collector, ...] = ()


class Collector(Node):
    """Values by name, given while a function runs; a name that is given several values has a list of them.

    It collects them through the transforms, loops, branches and lanes of this package.

    Args:
        added: What is added to values before they are taken: for each name a list, of which the first is for the first
            value, and so on. What loops and lanes give is stacked, and so is what is added there.

    Attributes:
        given: For each name the states with the values.
        added: For each name the states with what is added.

    Example:
        >>> from brainstate_transform import Collector
        >>> collector = Collector({"square": [0.5]})
        >>> with collector.active():
        ...     float(collector.give("square", 4.0)), collector.give("root", 2.0)
        (4.5, 2.0)
        >>> list(collector.values())
        ['square', 'root']
    """

    graph_in_paths = False

    def __init__(self, added: Given | None = None) -> None:
        self.given: dict[str, list[State[Any]]] = {}
        self.added = _as_states(added or {})
        self.probes = [_probe()]

    def give(self, name: str, value: Any) -> Any:
        """Collect a value under a name; return it, with what is added to it.

        Raises:
            TraceContextError: The code runs inside a transform of JAX itself, which lets no state out.
            ValueError: What is added has another structure, or another shape.
        """
        # The probe is older than any transform of JAX itself, so that a value that could not leave is refused here.
        self.probes[-1].value = value
        self.probes[-1].value = None
        there = self.given.setdefault(name, [])
        added = self.added.get(name, ())
        if len(there) < len(added):
            value = _sum(name, value, added[len(there)].value)
        there.append(State(value, name="a captured result"))
        return value

    def values(self) -> dict[str, list[Any]]:
        """Return what was given, in the order in which the names came."""
        return {name: [state.value for state in states] for name, states in self.given.items()}

    @contextmanager
    def active(self) -> Generator[None]:
        """Collect in this block what is given in loops, branches and lanes that this thread runs."""
        before = _collecting.active
        _collecting.active = (*before, self)
        try:
            yield
        finally:
            _collecting.active = before

    def due(self, counts: Mapping[str, int] | None = None) -> dict[str, list[Any]]:
        """Return what is added to the next values: so many of each name, or all that are left."""
        left = {name: states[len(self.given.get(name, ())) :] for name, states in self.added.items()}
        due = left if counts is None else {name: states[: counts.get(name, 0)] for name, states in left.items()}
        return {name: [state.value for state in states] for name, states in due.items() if states}

    def within(self, added: Given, fun: Callable[..., Any], *args: Any) -> tuple[Any, dict[str, list[Any]]]:
        """Call a function; return its result and what it has given, which is taken out again.

        Args:
            added: What is added to the values that it gives.
            fun: The function.
            *args: Its arguments.
        """
        # The dicts stay the same ones: another attribute would be another structure.
        before = [(table, dict(table)) for table in (self.given, self.added)]
        self.given.clear()
        self.added.clear()
        self.added.update(_as_states(added))
        self.probes.append(_probe())  # a lane or body may not write the one of those around it
        try:
            out = fun(*args)
            return out, self.values()
        finally:
            self.probes.pop()
            for table, items in before:
                table.clear()
                table.update(items)

    def give_all(self, given: Given) -> list[State[Any]]:
        """Take what `within` has returned, to which was added there; return the states that have it now."""
        made = {name: [State(value, name="a captured result") for value in values] for name, values in given.items()}
        for name, states in made.items():
            self.given.setdefault(name, []).extend(states)
        return [state for states in made.values() for state in states]


_collecting = _Collecting()


def collectors() -> tuple[Collector, ...]:
    """Return the collectors that are active in this thread.

    Example:
        >>> from brainstate_transform import Collector, collectors
        >>> collector = Collector()
        >>> with collector.active():
        ...     collectors() == (collector,)
        True
        >>> collectors()
        ()
    """
    return _collecting.active


def _probe() -> State[Any]:
    return State(None, name="a captured result")


def _as_states(added: Given) -> dict[str, list[State[Any]]]:
    return {name: [State(value, name=f"what is added to {name}") for value in values] for name, values in added.items()}


def _sum(name: str, value: Any, added: Any) -> Any:
    leaves, others = jax.tree.leaves(value), jax.tree.leaves(added)
    if jax.tree.structure(value) != jax.tree.structure(added) or [*map(jnp.shape, leaves)] != [*map(jnp.shape, others)]:
        left, right = both_in_words(shapes_of(value), shapes_of(added))
        right = "what has no axis for lanes" if added is None else right
        raise ValueError(f"{name} is {left}, to which {right} cannot be added: give zeros like what a capture returns")
    return jax.tree.map(lambda x, d: x + jnp.asarray(d, jnp.result_type(x)), value, added)
