"""``snapshot``: the snapshot that a node keeps, current or patched or made anew."""

from __future__ import annotations

from typing import Any

import jax

from .._core.foreign import foreign_type_of
from .._core.node import Node
from .._core.snapshot import Snapshot
from .._core.state import State
from .._records.clock import record_of
from .patch import patched

__all__ = ["snapshot"]


def snapshot(root: Any) -> Snapshot:
    """Return the structure of the graph below `root`: the cached one of a node where it still holds.

    Raises:
        ValueError: `root` is a State or another single value.
    """
    if isinstance(root, Node):
        cached: Snapshot | None = root.__graph__.snapshot
        if cached is not None and Snapshot.enabled and cached.is_current():
            return cached
        fresh = None if cached is None else patched(cached)
        if fresh is None:
            fresh = Snapshot(root)
            fresh._hold_weakly(root)
        record_of(root).snapshot = fresh
        return fresh
    if isinstance(root, State):
        raise ValueError("a bare State is not a graph: hold it in a Node, list or dict, or use its `.value`")
    if root is None or (foreign_type_of(type(root)) is None and jax.tree_util.all_leaves([root])):
        raise ValueError(f"{root!r} is not a graph: expected a Node, or a container of nodes or states")
    return Snapshot(root)
