"""The states that a block of code constructs, caught by a hook."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from .._core.state import State
from .._records.hooks import HookContext, register_state_hook
from .._trees.filters import Filter, to_predicate
from .metadata import declare

__all__ = ["catch_new_states"]


@contextmanager
def catch_new_states(tag: str | None = None, exclude: Filter = None) -> Generator[list[State[Any]]]:
    """Collect the States that this thread constructs in the block, in order; copies and merged ones are not among them.

    Args:
        tag: A tag to add to each.
        exclude: A filter for states that are neither collected nor tagged; it gets the path ``()``.

    Yields:
        The list that is filled.

    Example:
        >>> from brainstate_graph import State, catch_new_states
        >>> with catch_new_states("made here") as caught:
        ...     s = State(1.0)
        >>> caught
        [State(1.0, tag={'made here'})]
    """
    caught: list[State[Any]] = []
    excluded = to_predicate(exclude)
    me = threading.get_ident()

    def catch(context: HookContext) -> None:
        state: State[Any] = context.state
        if threading.get_ident() != me or excluded((), state):
            return
        if tag is not None:
            declare(state, tag=(state.tag or frozenset()) | {tag})
        caught.append(state)

    with register_state_hook("init", catch):
        yield caught
