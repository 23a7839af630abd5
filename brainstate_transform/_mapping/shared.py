"""Shared states that lie on a mesh, on the way into `shard_map`: JAX takes them as arguments only.

A state that all shards have in common is read where it is, as by any transform.  JAX does not take an array that lies
on a mesh so: on explicit axes it refuses it, and on automatic ones it does where the array is used in a loop.  Such
states are passed, then.  Which of them the function reads shows in its trace; an unused one costs nothing, as XLA drops
it.
"""

from __future__ import annotations

from collections.abc import Container, Generator
from contextlib import contextmanager
from typing import Any

import jax

from brainstate_graph import State
from brainstate_graph.extend import note_reads, read_values

from .._engine.core import Core
from .._engine.retry import Unpassed
from .._engine.values import StateValues

__all__ = ["SharedStates"]


class SharedStates:
    """The shared states of one call that are passed.

    Args:
        core: The user's function.
        mapped: The states that are passed by a spec of their own.

    Attributes:
        values: The states with their values; the function is not said to read them yet.
    """

    def __init__(self, core: Core, mapped: Container[State[Any]]) -> None:
        found = [state for state in core.states() if state not in mapped]
        pairs = [(s, v) for s, v in zip(found, read_values(found, False), strict=True) if _on_a_mesh(v)]
        self.values = StateValues.of([state for state, _ in pairs], [value for _, value in pairs])
        self._core = core
        self._read: dict[State[Any], None] = {}

    @contextmanager
    def around(self, values: StateValues) -> Generator[None]:
        """Give them the values that they have on a shard; the overlay of the shard is to be opened inside.

        Raises:
            Unpassed: The function reads more states on a mesh than are known to be reached.
        """
        # A layer of its own, and not the overlay of the shard, which gives a stream that is read through it other
        # numbers than the common ones.
        with self._core.overlay() as overlay:
            overlay.bind(values.states, values.values)
            try:
                yield
            except Exception:
                self._refuse_strays(overlay.reads)
                raise
            self._refuse_strays(overlay.reads)
        self._read |= overlay.reads

    def _refuse_strays(self, reads: dict[State[Any], None]) -> None:
        known = set(self.values.states)
        strays = [state for state in reads if state not in known]
        strays = [s for s, v in zip(strays, read_values(strays, False), strict=True) if _on_a_mesh(v)]
        if strays:
            raise Unpassed(strays) from None

    def note_reads(self) -> None:
        """Tell the trace around the call which of them the function reads."""
        note_reads([state for state in self.values.states if state in self._read])


def _on_a_mesh(value: Any) -> bool:
    return any(
        not jax.typeof(leaf).sharding.mesh.empty for leaf in jax.tree.leaves(value) if isinstance(leaf, jax.Array)
    )
