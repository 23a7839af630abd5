"""Modules among mapped arguments and results: the axis or PartitionSpec that a user gives to one is that of its states.

A module is no array, and JAX gets a placeholder for it.  So what ``in_axes``, ``in_specs`` and ``out_axes`` say of one
is said of its states here, as if ``in_states`` and ``out_states`` had named them; where both are given, they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from brainstate_graph import Node, State, states
from brainstate_graph.extend import locate, read_values

from .lanes import has_lanes
from .per_state import PerState

__all__ = ["Nodes", "axes_of_states", "place_returned"]

Nodes = Iterable[tuple[Callable[[], str], Node, Any]]  # what each is called, itself, its axis or spec


def axes_of_states(
    argument: str, nodes: Nodes, named: Mapping[State[Any], Any]
) -> dict[State[Any], tuple[Any, Callable[[], str]]]:
    """Return the axis or spec of each state of modules that have one, and what the module is called.

    Args:
        argument: The argument in which the user gave them.
        nodes: The modules among the arguments.
        named: What `in_states` gives.

    Raises:
        ValueError: A state has two.
    """
    found: dict[State[Any], tuple[Any, Callable[[], str]]] = {}
    for name, node, axis in nodes:
        for state in states([node]).values():
            before, first = found.setdefault(state, (axis, name))
            if before != axis:
                raise ValueError(
                    f"{argument} has {before} for {first()} and {axis} for {name()}, and both hold {locate(state)}: "
                    "give both the same"
                )
            if axis is not None and named.get(state, axis) != axis:
                raise ValueError(
                    f"{argument} has {axis} for {name()}, and in_states has {named[state]} for {locate(state)} in it: "
                    f"leave the module to in_states, or its states to {argument}"
                )
    return {state: axis for state, axis in found.items() if axis[0] is not None and not _is_one_for_all(state)}


def _is_one_for_all(state: State[Any]) -> bool:
    """Tell whether a state, as a random stream that was not split, has no axis and differs per lane all the same."""
    return has_lanes(state) and all(np.ndim(leaf) == 0 for leaf in jax.tree.leaves(read_values([state], False)))


def place_returned(nodes: Nodes, written: Container[State[Any]], made: Container[State[Any]], lane: PerState) -> None:
    """Give the written states of returned modules the axes of these, unless they have some.

    Args:
        nodes: The modules in the result that were there before.
        written: The states that leave the lane.
        made: Those of them that were made in it.
        lane: The axes of states in this run.

    Raises:
        ValueError: A state has another axis already.
    """
    for name, node, axis in nodes:
        for state in states([node]).values() if axis is not None else ():
            if state in made:
                continue
            if lane.after.get(state, axis) != axis:
                raise ValueError(
                    f"out_axes has {axis} for {name()}, and {locate(state)} in it is on axis {lane.after[state]}: give "
                    "the module None in out_axes, and the state its axis in out_states"
                )
            if state in written and not has_lanes(state):
                lane.after[state] = axis
