"""The values of states as JAX sees them: what crosses into a transform and back.

`StateValues` is a pytree of values; its static part says whose they are, in one of two ways:

- `Named`: these very State objects.  For transforms that run at each call, as `grad` does.
- `GraphKey`: states of a touched graph, by index.  It speaks of structure only, so a program that was compiled for one
  model serves every model of the same shape.

`Written` is the way back: the values that a function has written, with an `Outcome` as its static part.

These are data.  They read and write states only where they are asked to (`StateValues.read`, `Written.write`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from brainstate_graph import GraphDef, Overlay, State
from brainstate_graph.extend import note_possible_reads, note_reads, read_values, write_values

if TYPE_CHECKING:
    from .touched import Inputs

__all__ = [
    "NO_STATES",
    "GraphKey",
    "Named",
    "Outcome",
    "Particular",
    "Passing",
    "StateValues",
    "Trace",
    "Written",
    "written_in",
]


class Named:
    """Particular states, by identity."""

    __slots__ = ("_hash", "states")

    def __init__(self, states: Iterable[State[Any]]) -> None:
        self.states = tuple(states)
        self._hash = hash(self.states)

    def __eq__(self, other: object) -> bool:
        return type(other) is Named and self.states == other.states

    def __hash__(self) -> int:
        return self._hash


class Passing(NamedTuple):
    """A choice among the states of a touched graph: those that a program is passed.

    Attributes:
        indices: Their indices among the states of the graph.
        donated: How many of the first of them give their buffers away.
    """

    indices: tuple[int, ...]
    donated: int = 0


class Particular(tuple[Any, ...]):
    """Particular States as a part of a key: equal to the same States, and to nothing else.

    JAX compares keys of any kind with one another, and a State may not be compared with what is none.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is Particular and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__


class Outcome(NamedTuple):
    """What a function did to states: the static part of `Written`.

    Attributes:
        states: The states that it wrote; where `used` is given, their indices among the states of a touched graph.
        used: The indices of all states that it read or wrote; None where `states` are States.
        sealed: Whether its result has placeholders for nodes.
        possible: Those of `used` that only a derivative rule may read, if what was traced is differentiated.
    """

    states: tuple[Any, ...]
    used: tuple[int, ...] | None = None
    sealed: bool = False
    possible: tuple[int, ...] = ()

    def note_reads(self, table: Sequence[State[Any]]) -> None:
        """Note in the enclosing overlay what was read; the states of the touched graph are in `table`."""
        note_reads([table[i] for i in self.used or () if i not in self.possible])
        note_possible_reads([table[i] for i in self.possible])


class GraphKey(tuple[Any, ...]):
    """States of a touched graph, as structure: the static part of what a compiled program is passed.

    A tuple that is compared in C: JAX 0.12 compares the static parts of its keys while it looks into a table that other
    threads fill, and crashes where that runs Python and so lets another thread go on.

    Attributes:
        shape: The shape of the touched graph.
        hooks: The hooks of the states, which are part of the program.
        strays: The numbers of the states beyond the graph that are among its states.
        passing: The states that are passed; None for all.
    """

    shape: GraphDef
    hooks: tuple[Any, ...]
    strays: tuple[int, ...]
    passing: Passing | None
    _inputs: weakref.ref[Inputs]  # JAX keeps the static parts of its cache keys alive; models must not be

    def __new__(
        cls, shape: GraphDef, hooks: tuple[Any, ...], strays: tuple[int, ...], passing: Passing | None, inputs: Inputs
    ) -> GraphKey:
        self = super().__new__(cls, (id(shape), hooks, strays, passing))  # equal shapes are one object
        self.shape = shape
        self.hooks = hooks
        self.strays = strays
        self.passing = passing
        self._inputs = weakref.ref(inputs)
        return self

    @property
    def inputs(self) -> Inputs:
        """The live states of the call that is being traced."""
        inputs = self._inputs()
        assert inputs is not None, "a touched graph was used after its call"
        return inputs


class Trace(NamedTuple):
    """One trace of a function, as data: what it was made for, and what it does.

    Attributes:
        key: The states that it was passed.
        leaves: Of the arguments: placeholders, and the avals of values.
        structure: The tree structure of the arguments.
        values: The tree structure of the values of the states.
        avals: The avals of their leaves.
        outcome: What it does to states.
    """

    key: GraphKey
    leaves: tuple[Any, ...]
    structure: Any
    values: Any
    avals: tuple[Any, ...]
    outcome: Outcome


class StateValues:
    """Values of states; a pytree with one child per state.

    A rule passes it to its core as first argument: ``StateValues.read(states)`` has the current values. JAX may map,
    differentiate or carry it like any pytree; the States are its static part. From new values JAX returned it is
    built again: ``StateValues.of(states, values)``.

    Args:
        key: The states.
        values: Their values, in the same order.

    Example:
        >>> import jax
        >>> from brainstate_graph import State
        >>> from brainstate_transform import StateValues
        >>> jax.tree.leaves(StateValues.read([State(1.0), State(2.0)]))
        [1.0, 2.0]
    """

    __slots__ = ("key", "values")

    def __init__(self, key: Named | GraphKey, values: Sequence[Any]) -> None:
        self.key = key
        self.values = values

    @staticmethod
    def read(states: Iterable[State[Any]]) -> StateValues:
        """Return the current values of these states."""
        named = Named(states)
        return StateValues(named, read_values(named.states))

    @staticmethod
    def of(states: Iterable[State[Any]], values: Sequence[Any]) -> StateValues:
        """Return these states with these values."""
        return StateValues(Named(states), values)

    @property
    def states(self) -> Sequence[State[Any]]:
        """The states."""
        key = self.key
        return key.states if isinstance(key, Named) else key.inputs.states

    def __len__(self) -> int:
        return len(self.values)

    def only(self, states: Iterable[State[Any]]) -> StateValues:
        """Return the values of some of the states."""
        wanted = set(states)
        kept = [(s, v) for s, v in zip(self.states, self.values, strict=True) if s in wanted]
        return StateValues.of([s for s, _ in kept], [v for _, v in kept])

    def as_written(self) -> Written:
        """Return all of them as written."""
        return Written((Outcome(Particular(self.states)), self.values))

    def updated(self, written: Written) -> StateValues:
        """Return the same states with the values that `written` has for some of them.

        Raises:
            ValueError: `written` has a state that is not among these.
        """
        new = dict(written.items())
        values = [new.pop(state, value) for state, value in zip(self.states, self.values, strict=True)]
        if new:
            raise ValueError(f"the function wrote {list(new)}, which it did not write in its first trace")
        return StateValues(self.key, values)


class Written(tuple[Any, Any]):
    """The states that a function wrote, with their new values; a pytree with one child per state.

    A core returns it beside its result. A rule returns it unchanged, with `pick` a part of it, or another one:
    ``StateValues.of(states, values).as_written()``, and ``StateValues.read(()).as_written()`` for nothing. `lift`
    assigns it once JAX has returned. `items` lists what was written.

    A pair of `Outcome` and the values.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import StateValues
        >>> s = State(1.0)
        >>> StateValues.of([s], [2.0]).as_written().write()
        >>> s.value
        2.0
    """

    # A tuple, because one is made on every call: a class with a constructor in Python takes 0.2 microseconds more.
    __slots__ = ()

    @property
    def outcome(self) -> Outcome:
        """The states, or their indices."""
        return self[0]

    @property
    def values(self) -> Sequence[Any]:
        """The new values."""
        return self[1]

    def items(self) -> list[tuple[State[Any], Any]]:
        """Return the pairs of state and new value."""
        return list(zip(self.outcome.states, self.values, strict=True))

    def named(self, table: Sequence[State[Any]]) -> Written:
        """Return the same by State instead of index, for use within this call."""
        outcome = self.outcome
        if outcome.used is None:
            return self
        return Written((Outcome(Particular(table[i] for i in outcome.states), None, outcome.sealed), self.values))

    def write(self, also: Sequence[Iterable[Any]] = ()) -> None:
        """Assign the values to the live states, or to the enclosing trace; all or none.

        Args:
            also: What is stored in the same step: iterators that run in C.
        """
        write_values(self.outcome.states, self.values, also=also)

    def pick(self, accept: Callable[[State[Any]], bool]) -> Written:
        """Return the part whose states are accepted."""
        kept = [(s, v) for s, v in self.items() if accept(s)]
        return StateValues.of([s for s, _ in kept], [v for _, v in kept]).as_written()


NO_STATES = StateValues.of((), ())


def written_in(overlay: Overlay) -> Written:
    """Return what was written in an overlay, with the states that were made in it and that something still holds.

    For a rule that runs its core more than once in an overlay of its own, and hands on what all the runs wrote.
    """
    pairs = [*overlay.written(), *overlay.made()]
    return StateValues.of([s for s, _ in pairs], [v for _, v in pairs]).as_written()


# Read by JAX without a call into Python: 0.4 microseconds of a call.
jax.tree_util.register_dataclass(StateValues, data_fields=["values"], meta_fields=["key"])


jax.tree_util.register_pytree_node(Written, lambda w: (w[1], w[0]), lambda outcome, values: Written((outcome, values)))
