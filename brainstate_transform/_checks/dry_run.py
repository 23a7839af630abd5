"""A dry run: a function runs on shapes, to see what it returns and which states it uses, and nothing changes.

Tracing changes no state by itself, as values go into an overlay.  A dry run undoes besides what the function does to
structure: attributes that it sets, lists that it fills.
"""

from __future__ import annotations

from typing import Any

import jax

from brainstate_graph import Overlay, State
from brainstate_graph.extend import read_values

from .._engine.changes import Containers
from .._engine.core import Core
from .._engine.values import StateValues, Written
from .._messages.source import handed

__all__ = ["dry_run"]


class _DryOverlay(Overlay):
    """An overlay that undoes what its function has done to the structure of the graph, when the function has ended.

    Args:
        containers: The lists and dicts of the graph.
    """

    __slots__ = ("_containers",)

    def __init__(self, containers: Containers) -> None:
        super().__init__()
        self._containers = containers

    def made(self) -> list[tuple[State[Any], Any]]:
        """Undo the changes.  Called when the result is taken apart, so that no state counts as kept in the graph."""
        self._containers.restore(self)
        self.journal.undo()
        return super().made()


def dry_run(core: Core, args: Any, kwargs: Any) -> tuple[Any, Written, list[State[Any]]]:
    """Run a core on shapes.

    Returns:
        The shapes of the result, those of what was written, and the states that were used.
    """
    graph = core.touched_graph()
    # The states of an abstract model hold shapes, which cannot be closed over as arrays can.
    abstract = [
        (state, value)
        for state, value in zip(graph.states, read_values(graph.states, False), strict=True)
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(value))
    ]
    given = StateValues.of([s for s, _ in abstract], [v for _, v in abstract])
    containers = Containers(graph)
    used: dict[State[Any], None] = {}

    def run(given: StateValues, /, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
        overlay = _DryOverlay(containers)
        try:
            result = core.run(given, args, kwargs, overlay)
        finally:
            containers.restore()
        used.update({state: None for state in (*overlay.reads, *overlay.writes) if overlay.uses(state)})
        return result

    handed(run, core, getattr(core, "__signature__", None))
    return *jax.eval_shape(run, given, *args, **kwargs), list(used)
