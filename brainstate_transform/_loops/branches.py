"""The branches of one `cond` or `switch`: each returns what any of them writes.

JAX wants all branches to return the same.  `run_branches` gives each the values of all states that any of them
reaches, and each returns them all; JAX leaves out what every branch returns as it was.  So each is traced once.

Where their results differ, that does not do.  Then each returns the new values of the union of the states that they
write, and to know that union, all of them have to be traced before any returns (`Branches`).  The traces are kept, as
in ``body.py``.  What is spread over a mesh in one branch, or varies over shards, is so in all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from brainstate_graph import State
from brainstate_graph.extend import alike, describe, locate

from .._checks.avals import both_in_words, first_difference, shapes_of
from .._checks.layout import Layout
from .._engine.core import Core
from .._engine.placeholders import is_placeholder
from .._engine.values import StateValues, Written
from .._messages.source import handed
from .carry import sharded_aval
from .reaching import Beyond, Reaching, reached_by

__all__ = ["Branches", "Branching", "run_branches"]


class Branching(NamedTuple):
    """One of `cond`, `switch` and `ifelse`, as far as they differ.

    Attributes:
        name: What users call it.
        label: What the user calls branch number so and so.
        traced: Runs it in JAX, given the index, the branches and the operands.
        number: The number of the branch for an index, of so many.
    """

    name: str
    label: Callable[[int], str]
    traced: Callable[..., Any]
    number: Callable[[Any, int], int]


def run_branches(
    branching: Branching, cores: Sequence[Core], index: Any, operands: tuple[Any, ...]
) -> tuple[Any, Written]:
    """Run branches in JAX.

    Args:
        branching: Of what.
        cores: The branches.
        index: Which one is to run.
        operands: What each is given.

    Returns:
        The result, and what was written.

    Raises:
        TypeError: The branches differ in the shape or dtype of a result or state.
    """
    states = reached_by(cores)
    types: list[Any] = []  # of what the branches return, as they are traced
    each = {core: Reaching(core) for core in cores}  # one function may be several branches

    def for_jax(core: Core) -> Callable[..., tuple[Any, StateValues]]:
        def branch(states: StateValues, *operands: Any) -> tuple[Any, StateValues]:
            returned = each[core](states, *operands)
            leaves, structure = jax.tree.flatten(returned)
            types.append((structure, [sharded_aval(jax.typeof(leaf)) for leaf in leaves]))
            if types[-1] != types[0]:
                raise Beyond
            return returned

        return handed(branch, core)

    with contextlib.suppress(Beyond):
        traced = {core: for_jax(core) for core in each}
        out, states = branching.traced(index, [traced[core] for core in cores], states, *operands)
        return out, Reaching.written(list(each.values()), states)
    out, states = branching.traced(index, Branches(branching, cores, operands).for_jax(), *operands)
    return out, states.as_written()


class _Effect(NamedTuple):
    """The shapes of what a branch does: of the new values of the states that it writes, and of its result."""

    written: dict[State[Any], Any]
    out: Any


class Branches:
    """The branches of one call, traced before they are given to JAX.

    Args:
        branching: Of what.
        cores: The branches.
        operands: What each is given.

    Attributes:
        states: The states that any of them writes.

    Raises:
        TypeError: The branches differ in the shape or dtype of a result or state.
    """

    def __init__(self, branching: Branching, cores: Sequence[Core], operands: tuple[Any, ...]) -> None:
        self._cores = cores
        self._written = {core: core.written_by(*operands) for core in dict.fromkeys(cores)}
        effects = [
            _Effect(dict(zip(self._written[core].states, core.looked.values, strict=True)), core.looked.out)
            for core in cores
        ]
        before = StateValues.read(dict.fromkeys(state for effect in effects for state in effect.written))
        _refuse_mismatch(branching, cores, effects, before)
        self.states = before.states
        pairs = list(zip(before.states, before.values, strict=True))
        each = [(e.out, [e.written.get(state, value) for state, value in pairs]) for e in effects]
        # Of what all branches return, leaf by leaf.
        self._layouts = list(map(_common, *map(jax.tree.leaves, each)))

    def for_jax(self) -> list[Callable[..., tuple[Any, StateValues]]]:
        """Return them as JAX takes them: each returns what any of them writes."""
        return list(map(self._for_jax, self._cores))

    def _for_jax(self, core: Core) -> Callable[..., tuple[Any, StateValues]]:
        def branch(*operands: Any) -> tuple[Any, StateValues]:
            out, new = core.staged(self._written[core], *operands)
            # Each branch reads in an overlay of its own: what a lane draws from is made where it is read first, and
            # kept there.
            with core.overlay():
                states = StateValues.read(self.states).updated(new.as_written())
            leaves, structure = jax.tree.flatten((out, states))
            laid = [x if to is None else to.given_to(x) for x, to in zip(leaves, self._layouts, strict=True)]
            return structure.unflatten(laid)

        return handed(branch, core)


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
