"""For those who build transforms and containers on the graph: the parts under the verbs.

Users of models need none of this; `brainstate_transform` is written on it.
"""

from ._bulk import note_reads, read_values, write_results, write_values
from ._clock import born_after, fields_of, new_node, notes, now
from ._flatten import flatten
from ._hooks import hooks_key
from ._journal import ABSENT, Edit, Journal, put_field
from ._locate import locate
from ._overlay import tracing, untraced
from ._show import describe, dotted
from ._state import make_state
from ._static import static_key
from ._tree import StateTree
from ._unflatten import unflatten
from ._watch import watch
from ._whole_file import whole_file

__all__ = [
    "ABSENT",
    "Edit",
    "Journal",
    "StateTree",
    "born_after",
    "describe",
    "dotted",
    "fields_of",
    "flatten",
    "hooks_key",
    "locate",
    "make_state",
    "new_node",
    "note_reads",
    "notes",
    "now",
    "put_field",
    "read_values",
    "static_key",
    "tracing",
    "unflatten",
    "untraced",
    "watch",
    "whole_file",
    "write_results",
    "write_values",
]  # fmt: skip
