"""The branches of a ``cond`` or ``switch``: each returns what any of them writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from brainstate_graph import Overlay, State
from brainstate_graph.extend import describe, locate

from .._checks.shapes import shape_of, struct
from .._engine.core import Core
from .._engine.user_function import named_like
from .._engine.values import StateValues
from .carry import NONE

__all__ = ["Branches", "Kind", "differ"]

_MORE = 16  # states, of 10 microseconds each, are worth a scalar operation in each call of the program


class Kind(NamedTuple):
    name: str
    label: Callable[[int], str]  # what the user calls branch number so and so
    traced: Callable[..., Any]  # of index, branches and operands, in JAX
    number: Callable[[Any, int], int]  # the branch of an index, of so many
    swapped: Callable[[Any, int, int], Any]  # the index where the first branch and the one at a place are swapped


class _Seen(NamedTuple):
    """What a branch does: the states that it writes, with their new values, and its result; or the shapes of those."""

    written: dict[State[Any], Any]
    out: Any


class Branches:
    """The branches of one call; each returns what any of them writes.

    All but one are traced before, to know what they write. That one is put first and traced by JAX itself, which begins
    with it: then all is known. That spares it a trace with its states as arguments, an eighth of the whole for 150 of
    them, so it is the one that reaches the most states, if they are some more than those of the first.

    Attributes:
        place: The place of that branch among all; it changes places with the first.
    """

    def __init__(self, kind: Kind, cores: Sequence[Core]) -> None:
        self._kind = kind
        self._cores = cores
        self._before: dict[Core, StateValues] = {}  # of those that are looked at, the values of what they write
        self._seen: dict[Core, _Seen] = {}
        self._states: tuple[State[Any], ...] | None = None
        counts = [len(core.touched_graph().states) for core in cores]
        self.place = counts.index(max(counts)) if max(counts) - counts[0] >= _MORE else 0

    def look_at_others(self, operands: tuple[Any, ...]) -> None:
        """Trace the branches that JAX is to find traced."""
        for place, core in enumerate(self._cores):  # one function may be several branches
            if place != self.place:
                self.look(core, operands)

    def in_order(self) -> list[Callable[..., tuple[Any, StateValues]]]:
        """Return the branches as JAX takes them, two in each other's place."""
        order = list(self._cores)
        order[0], order[self.place] = order[self.place], order[0]
        return list(map(self.run, order))

    def look(self, core: Core, operands: tuple[Any, ...]) -> None:
        """Trace a branch, if it was not yet, to find out what it does."""
        if core not in self._before:
            states = self._before[core] = core.written_by(*operands)
            looked = core.looked
            self._seen[core] = _Seen(dict(zip(states.states, looked.values, strict=True)), looked.out)

    def run(self, core: Core) -> Callable[..., tuple[Any, StateValues]]:
        """Return a branch as JAX takes it."""

        def branch(*operands: Any) -> tuple[Any, StateValues]:
            first = self._cores[self.place]
            if core is first and core not in self._before:
                core.frozen = True
                out, written = core(NONE, *operands)
                self._seen[core] = _Seen(dict(written.items()), out)
            else:
                if self._states is None and first not in self._seen:  # JAX has begun with another one
                    self.look(first, operands)
                out, new = core.staged(self._before[core], *operands)
                written = new.as_written()
            with Overlay():  # read in each anew: what a lane draws from is made where it is read first, and kept there
                return out, StateValues.read(self.written()).updated(written)

        return named_like(branch, core)

    def written(self) -> tuple[State[Any], ...]:
        """Return the states that any branch writes; all have been seen.

        Raises:
            TypeError: The branches differ in the shape or dtype of a result or state.
        """
        if self._states is None:
            each = [self._seen[core] for core in self._cores]
            states = StateValues.read(dict.fromkeys(state for seen in each for state in seen.written))
            _refuse_mismatch(self._kind, self._cores, each, states)
            self._states = tuple(states.states)
            self._seen.clear()  # values of a trace that ends
        return self._states


def differ(left: Any, right: Any) -> bool:
    return jax.tree.structure(left) != jax.tree.structure(right) or any(
        a.shape != b.shape or a.dtype != b.dtype
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    )


def _refuse_mismatch(kind: Kind, cores: Sequence[Core], each: Sequence[_Seen], states: StateValues) -> None:
    """Refuse branches whose results or states differ, in words that name the place."""
    names = [f"`{core.__qualname__}` ({kind.label(number)})" for number, core in enumerate(cores)]
    before = dict(zip(states.states, states.values, strict=True))
    first = each[0]
    for number, other in enumerate(each[1:], 1):
        lefts, rights = (_typed([seen.written.get(s, before[s]) for s in states.states]) for seen in (first, other))
        if differ(lefts, rights):
            pairs = zip(states.states, lefts, rights, strict=True)
            state, left, right = next(pair for pair in pairs if differ(*pair[1:]))
            left, right = _shapes(left), _shapes(right)
            raise TypeError(
                f"{names[0]} leaves {locate(state)} as {describe(left)}, {names[number]} as {describe(right)}; the "
                f"branches of {kind.name} must leave it with the same structure, shape and dtype. Cast what is "
                "assigned."
            )
        left, right = _typed(first.out), _typed(other.out)
        if differ(left, right):
            place, left, right = _where(_shapes(left), _shapes(right))
            raise TypeError(
                f"{names[0]} returns {describe(left)}, {names[number]} {describe(right)}"
                f"{f' at {place}' if place else ''}; the branches of {kind.name} must return the same structure, shape "
                "and dtype. Cast what is returned."
            )


def _typed(tree: Any) -> Any:
    """Give numbers of Python a shape and dtype."""
    return jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else shape_of(leaf), tree)


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: x if isinstance(x, jax.ShapeDtypeStruct) else struct(jax.typeof(x)), tree)


def _where(left: Any, right: Any) -> tuple[str, Any, Any]:
    """Find the first place where two results differ: its path, and what is there."""
    if jax.tree.structure(left) != jax.tree.structure(right):
        return "", left, right
    pairs = zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True)
    return next((jax.tree_util.keystr(path), a, b) for (path, a), b in pairs if differ(a, b))
