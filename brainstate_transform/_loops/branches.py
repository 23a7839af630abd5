"""The branches of one `cond` or `switch`: each returns what any of them writes.

JAX wants all branches to return the same.  So each returns the new values of the union of the states that they write,
and to know that union, all of them have to be traced before any returns.  The traces are kept, as in ``body.py``.  What
is spread over a mesh in one branch, or varies over shards, is so in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from brainstate_graph import State
from brainstate_graph.extend import alike, describe, locate

from .._checks.avals import both_in_words, first_difference, shapes_of
from .._checks.layout import Layout
from .._engine.core import Core
from .._engine.placeholders import is_placeholder
from .._engine.values import NO_STATES, StateValues
from .._messages.source import handed

__all__ = ["Branches", "Branching"]

# To change the index costs the program a scalar operation in each call, and a state as argument the trace 10
# microseconds: worth it from about so many states on.
_MORE = 16


class Branching(NamedTuple):
    """One of `cond`, `switch` and `ifelse`, as far as they differ.

    Attributes:
        name: What users call it.
        label: What the user calls branch number so and so.
        traced: Runs it in JAX, given the index, the branches and the operands.
        number: The number of the branch for an index, of so many.
        swapped: The index for the same branch where the first one and that of a number have changed places.
    """

    name: str
    label: Callable[[int], str]
    traced: Callable[..., Any]
    number: Callable[[Any, int], int]
    swapped: Callable[[Any, int, int], Any]


class _Effect(NamedTuple):
    """What a branch does: the states that it writes, with their new values, and its result; or the shapes of those."""

    written: dict[State[Any], Any]
    out: Any


class Branches:
    """The branches of one call.

    All but one are traced before, to know what they write. That one is put first and traced by JAX itself, which begins
    with it: then all is known. That spares it a trace with its states as arguments, an eighth of the whole for 150 of
    them, so it is the one that reaches the most states, if they are some more than those of the first.

    Args:
        branching: Of what.
        cores: The branches.

    Attributes:
        leader: The number of the branch that JAX traces; it changes places with the first.
    """

    def __init__(self, branching: Branching, cores: Sequence[Core]) -> None:
        self._branching = branching
        self._cores = cores
        self._before: dict[Core, StateValues] = {}  # of those that are traced before, the values of what they write
        self._effects: dict[Core, _Effect] = {}
        self._states: tuple[State[Any], ...] | None = None
        self._layouts: list[Layout | None] = []  # of what all branches return, leaf by leaf
        counts = [len(core.states()) for core in cores]
        self.leader = counts.index(max(counts)) if max(counts) - counts[0] >= _MORE else 0

    def trace_others(self, operands: tuple[Any, ...]) -> None:
        """Trace all branches but the one that JAX begins with."""
        for number, core in enumerate(self._cores):  # one function may be several branches
            if number != self.leader:
                self.trace(core, operands)

    def trace(self, core: Core, operands: tuple[Any, ...]) -> None:
        """Trace a branch, if it was not yet, to find out what it does."""
        if core not in self._before:
            states = self._before[core] = core.written_by(*operands)
            looked = core.looked
            self._effects[core] = _Effect(dict(zip(states.states, looked.values, strict=True)), looked.out)

    def in_order(self) -> list[Callable[..., tuple[Any, StateValues]]]:
        """Return the branches as JAX takes them, two in each other's place."""
        order = list(self._cores)
        order[0], order[self.leader] = order[self.leader], order[0]
        return list(map(self._for_jax, order))

    def _for_jax(self, core: Core) -> Callable[..., tuple[Any, StateValues]]:
        def branch(*operands: Any) -> tuple[Any, StateValues]:
            first = self._cores[self.leader]
            if core is first and core not in self._before:
                core.frozen = True
                out, written = core(NO_STATES, *operands)
                self._effects[core] = _Effect(dict(written.items()), out)
            else:
                if self._states is None and first not in self._effects:  # JAX has begun with another one
                    self.trace(first, operands)
                out, new = core.staged(self._before[core], *operands)
                written = new.as_written()
            # Each branch reads in an overlay of its own: what a lane draws from is made where it is read first, and
            # kept there.
            with core.overlay():
                states = StateValues.read(self.written()).updated(written)
            leaves, structure = jax.tree.flatten((out, states))
            laid = [x if to is None else to.given_to(x) for x, to in zip(leaves, self._layouts, strict=True)]
            return structure.unflatten(laid)

        return handed(branch, core)

    def written(self) -> tuple[State[Any], ...]:
        """Return the states that any branch writes, when all have been traced.

        Raises:
            TypeError: The branches differ in the shape or dtype of a result or state.
        """
        if self._states is None:
            effects = [self._effects[core] for core in self._cores]
            states = StateValues.read(dict.fromkeys(state for effect in effects for state in effect.written))
            _refuse_mismatch(self._branching, self._cores, effects, states)
            self._states = tuple(states.states)
            before = dict(zip(states.states, states.values, strict=True))
            each = [(e.out, [e.written.get(s, v) for s, v in before.items()]) for e in effects]
            self._layouts = list(map(_common, *map(jax.tree.leaves, each)))
            self._effects.clear()  # values of a trace that ends
        return self._states


def _common(*leaves: Any) -> Layout | None:
    """The layout of what the branches return in one place; None where it is for JAX to refuse."""
    layouts = [Layout.of(leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)) for leaf in leaves]
    common: Layout | None = layouts[0]
    for layout in layouts[1:]:
        common = None if common is None else common.joined(layout)
    return common


def _refuse_mismatch(
    branching: Branching, cores: Sequence[Core], effects: Sequence[_Effect], states: StateValues
) -> None:
    """Refuse branches whose results or states differ, in words that say where."""
    names = [f"`{core.__qualname__}` ({branching.label(number)})" for number, core in enumerate(cores)]
    before = dict(zip(states.states, states.values, strict=True))
    first = effects[0]
    for number, other in enumerate(effects[1:], 1):
        lefts, rights = ([effect.written.get(s, before[s]) for s in states.states] for effect in (first, other))
        if not alike(lefts, rights):
            pairs = zip(states.states, lefts, rights, strict=True)
            state, left, right = next(pair for pair in pairs if not alike(*pair[1:]))
            raise TypeError(
                f"{names[0]} leaves {locate(state)} as {describe(shapes_of(left))}, {names[number]} as "
                f"{describe(shapes_of(right))}; the branches of {branching.name} must leave it with the same "
                "structure, shape and dtype. Cast what is assigned."
            )
        if not alike(first.out, other.out):
            path, left, right = first_difference(first.out, other.out)
            same = "the same structure, shape and dtype. Cast what is returned."
            cure = f"the branches of {branching.name} must return {same}"
            if is_placeholder(left) and is_placeholder(right):
                cure = "all branches must return the same module. Return what is computed with it."
            left, right = both_in_words(left, right)
            at = f" at {path}" if path else ""
            raise TypeError(f"{names[0]} returns {left}, but {names[number]} returns {right}{at}; {cure}")
