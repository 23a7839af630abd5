"""``all_or_nothing``: a block that changes a model, and leaves it as it was where the block fails.

It is for verbs that touch many modules, one after the other: `init_all_states`, `rewrite`. A single write of many
states needs none of it, for `write_values` writes all or none by itself.
"""

from __future__ import annotations

from typing import Any, final

from brainstate_graph import Snapshot
from brainstate_graph.extend import Journal, filling, read_values, write_values

__all__ = ["all_or_nothing"]


@final
class all_or_nothing:  # noqa: N801 - used like a function
    """After an error put back the attributes, lists, dicts and values below `root`, in one step.

    It is entered with the model taken apart. (A generator would put all back late, where a signal ends the block.)
    """

    def __init__(self, root: Any) -> None:
        self._root = root

    def __enter__(self) -> Snapshot:
        self._snap = snap = Snapshot(self._root)
        self._values = read_values(snap.states, record=False)
        self._copies = [(item, item.copy()) for item in snap.objects if isinstance(item, (list, dict))]
        # The journal notes attributes. Lists and dicts change in place, and values are no structure.
        self._journal = Journal()
        self._journal.__enter__()
        return snap

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._end(failed=kind is not None)
        except BaseException:
            self._end(failed=kind is not None)  # a signal has cut it short
            raise

    def _end(self, failed: bool) -> None:
        self._journal.close(failed)
        if failed:
            fillings = [loop for item, copy in self._copies for loop in filling(item, copy)]
            write_values(self._snap.states, self._values, also=fillings)
