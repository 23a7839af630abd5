"""What a checkpoint leaves out unless asked: states that are made anew for each sequence or batch.

A hidden state has the size of the batch that was at hand, and a cache what was written last, so neither belongs to what
was trained. Without filters they are neither written nor read, and a file that has them is read without them. Filters
change that: ``...`` selects all states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brainstate_graph import Filter, FlattedDict, GraphError, NestedDict, Not, nodes, states

from .._core.paths import dotted_name, refuse_nothing, state_arrays
from .._core.states import ShortTermState
from .pure_dicts import Rename, renaming

__all__ = ["to_load", "to_save"]


def to_save(node_or_tree: Any, filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """Return the filters of what is written.

    Raises:
        GraphError: They select nothing.
    """
    refuse_nothing(node_or_tree, filters, "nothing was written")
    if filters:
        return tuple(filters)
    is_tree = isinstance(node_or_tree, (NestedDict, FlattedDict))
    there = node_or_tree.to_flat() if is_tree else states(node_or_tree)
    if not there.filter(Not(ShortTermState)):
        raise GraphError(
            f"nothing was written: {type(node_or_tree).__name__} holds only hidden states, which are left out "
            "without a filter: write `...` for all states"
        )
    return (Not(ShortTermState),)


def to_load(node: Any, filters: Sequence[Filter], rename: Rename | None) -> tuple[tuple[Filter, ...], Rename | None]:
    """Return the filters of what is read, and the `rename` that leaves out what else the data may have.

    Args:
        node: The model.
        filters: What the user gave.
        rename: What the user gave.
    """
    if filters:
        return tuple(filters), rename
    hidden: set[str] = set()
    for arrays in state_arrays(node, (ShortTermState,)):
        for i, name in enumerate(arrays.names):
            hidden |= {name, *map(dotted_name, arrays.alias_paths(i))}
    kept = (Not(ShortTermState),) if hidden else ()
    # Those that a cell has not made yet, which another one had when it was saved.
    hidden |= {dotted_name((*path, name)) for path, part in nodes(node).items() for name in _hidden_names(part)}
    if not hidden:
        return (), rename
    new_name = renaming(rename)
    return kept, lambda name: None if (new := new_name(name)) in hidden else new


def _hidden_names(part: Any) -> tuple[str, ...]:
    return tuple(name for name in getattr(part, "hidden_names", ()) if getattr(part, name, None) is None)
