"""``all_or_nothing``: a block that changes a model, and leaves it as it was where the block fails.

It is for verbs that touch many modules, one after the other: `init_all_states`, `rewrite`. A single write of many
states needs none of it, for `write_values` writes all or none by itself.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from brainstate_graph import Snapshot
from brainstate_graph.extend import Journal, filling, read_values, write_values

__all__ = ["all_or_nothing"]


@contextmanager
def all_or_nothing(root: Any) -> Generator[Snapshot]:
    """After an error put back the attributes, lists, dicts and values below `root`; yield the model taken apart."""
    snap = Snapshot(root)
    values = read_values(snap.states, record=False)
    copies = [(item, item.copy()) for item in snap.objects if isinstance(item, (list, dict))]
    # The journal notes attributes. Lists and dicts change in place, and values are no structure.
    journal, done = Journal(), False
    try:
        journal.__enter__()
        yield snap
        done = True
        journal.close(failed=False)
    except BaseException as error:
        # A signal may come when all is done: while the journal ends, or before this is told, which then goes as it is.
        done = done or isinstance(error, GeneratorExit)
        journal.close(failed=not done)
        if not done:
            fillings = [loop for item, copy in copies for loop in filling(item, copy)]
            write_values(snap.states, values, also=fillings)
        raise
