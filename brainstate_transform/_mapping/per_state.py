"""The states of a mapped function: what each has per lane or shard, when a call begins and when it ends.

`vmap` gives a state an axis, `shard_map` a PartitionSpec; either is called its *spec* here.  JAX maps whole subtrees by
one spec, so the states are passed in groups, one for each spec.  The written states leave in groups again.  *Shared* is
the spec of a state that all lanes have in common, such as one that the user does not name.

In ``lanes.py`` is how a kind of state differs per lane though it is shared, as a random stream does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from brainstate_graph import Overlay, State

from .._engine.values import StateValues
from .lanes import Lanes

__all__ = ["PerState", "joined"]


class PerState:
    """The specs of the states of one call.

    Args:
        before: The spec of each state that is passed by its spec, when the call begins.
        after: Specs when the call ends; a state of `before` that is not named keeps its own.
        shared: The spec of a shared state.
        new: Specs that states may get which are made inside.

    Attributes:
        specs: The spec of each group of written states, the shared ones first.
    """

    def __init__(
        self, before: Mapping[State[Any], Any], after: Mapping[State[Any], Any], shared: Any, new: Iterable[Any] = ()
    ) -> None:
        self.before = before
        self.after = {**before, **after}
        self.shared = shared
        self.specs = list(dict.fromkeys((shared, *self.after.values(), *new)))

    def copy(self) -> PerState:
        """Return a copy, in which the states of one run may be given specs."""
        return PerState(self.before, self.after, self.shared, self.specs)

    def read(self) -> dict[Any, StateValues]:
        """Read the states that are passed, in a group for each spec.

        A spec None says that nothing is passed: the function finds the state where it is.
        """
        specs = dict.fromkeys(spec for spec in self.before.values() if spec is not None)
        return {spec: StateValues.read(s for s, own in self.before.items() if own == spec) for spec in specs}

    def overlay(self, lane: Any, new: int | None = None) -> Overlay:
        """Return the overlay of one lane.

        Args:
            lane: Its number; None where the kinds of state that differ per lane are to be the same in all.
            new: The axis of the states that are made in the lane, where that is known.
        """
        own = {state for state, spec in self.after.items() if spec != self.shared}
        return Lanes(lane, own, new)

    # A state that moves to another spec has to leave even if it is only read, as what is live has its old spec.
    def leaving(self, given: StateValues, written: Mapping[State[Any], Any]) -> dict[State[Any], Any]:
        """Return the values that leave a lane: what was written, and what moves to another spec though only read."""
        moved = {
            state: value
            for state, value in zip(given.states, given.values, strict=True)
            if state not in written and self.after[state] != self.before[state]
        }
        return {**written, **moved}

    def split(self, values: Mapping[State[Any], Any]) -> list[StateValues]:
        """Split what leaves a lane into a group for each of `specs`."""
        groups: dict[Any, list[State[Any]]] = {spec: [] for spec in self.specs}
        for state in values:
            groups[self.after.get(state, self.shared)].append(state)
        return [StateValues.of(states, [values[s] for s in states]) for states in groups.values()]


def joined(groups: Iterable[StateValues]) -> StateValues:
    """Put the groups of states together again."""
    groups = list(groups)
    return StateValues.of(
        [state for group in groups for state in group.states], [value for group in groups for value in group.values]
    )
