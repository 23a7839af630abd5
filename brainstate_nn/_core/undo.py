"""``all_or_nothing``: a block that changes a model, and leaves it as it was where the block fails."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from brainstate_graph import Snapshot
from brainstate_graph.extend import Journal, read_values, write_values

__all__ = ["all_or_nothing"]


@contextmanager
def all_or_nothing(root: Any) -> Generator[Snapshot]:
    """After an error put back the attributes, lists, dicts and values below `root`; yield how it is taken apart."""
    snap = Snapshot(root)
    values = read_values(snap.states, record=False)
    held = [(item, item.copy()) for item in snap.objects if isinstance(item, (list, dict))]
    try:
        with Journal():  # puts the attributes back
            yield snap
    except BaseException:
        for item, before in held:
            item.clear()
            item.extend(before) if isinstance(item, list) else item.update(before)
        write_values(snap.states, values)
        raise
