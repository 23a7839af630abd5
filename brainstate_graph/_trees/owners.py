"""Owners: the live States whose values a tree has, noted beside it.

A gradient has the paths of the parameters, and two models of one class have the same paths.  So the tree that `grad`
returns knows its States.  They are no part of the pytree: its static part is what it would be without them, and trees
of two models add up.  What JAX makes of the tree, as ``jax.tree.map`` does, knows of no States; nor do other views.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from .tree import StateTree

__all__ = ["note_owners", "owners_again", "owners_of"]


def note_owners(tree: Any, owners: Callable[[], Any]) -> None:
    """Note whose values are in the state trees of a pytree.

    Args:
        tree: A pytree; what is not below a state tree is left alone.
        owners: A function that returns a pytree of the same structure with the States. It is called when somebody asks.
    """
    if isinstance(tree, StateTree):
        tree._owners = owners
        return
    for number, part in enumerate(_trees(tree)):
        part._owners = partial(_part, owners, number)


def owners_of(tree: StateTree) -> StateTree | None:
    """Return the States whose values a tree has, as a tree; None where that was not noted.

    Example:
        >>> from brainstate_graph import FlattedDict, State
        >>> from brainstate_graph.extend import note_owners, owners_of
        >>> w, tree = State(1.0), FlattedDict({("w",): 2.0})
        >>> note_owners(tree, lambda: FlattedDict({("w",): w}))
        >>> owners_of(tree)[("w",)] is w, owners_of(tree.copy())
        (True, None)
    """
    owners: Callable[[], StateTree] | None = getattr(tree, "_owners", None)
    return None if owners is None else owners()


def owners_again(tree: Any) -> Callable[[Any], None]:
    """Return a function that notes the same States beside another pytree of this structure."""
    noted: list[Callable[[], StateTree] | None] = [getattr(part, "_owners", None) for part in _trees(tree)]

    def note(other: Any) -> None:
        for part, owners in zip(_trees(other), noted, strict=True):
            if owners is not None:
                part._owners = owners

    return note


def _trees(tree: Any) -> list[StateTree]:
    parts = jax.tree.leaves(tree, is_leaf=lambda part: isinstance(part, StateTree))
    return [part for part in parts if isinstance(part, StateTree)]


def _part(owners: Callable[[], Any], number: int) -> StateTree:
    return _trees(owners())[number]
