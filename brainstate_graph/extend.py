"""For those who build transforms and containers on the graph: the parts under the verbs.

Users of models need none of this; `brainstate_transform` is written on it.
"""

from ._core.clock import born_after, fields_of, new_node, notes, now
from ._core.door import note_reads, read_values, write_results, write_values
from ._core.flatten import flatten
from ._core.graphdef import Const
from ._core.hooks import hooks_key
from ._core.locate import locate
from ._core.overlay import ABSENT, Edit, Journal, in_raw_trace, put_field, tracing, untraced
from ._core.state import make_state, make_states
from ._core.static import ATOMS, static_key
from ._core.unflatten import unflatten
from ._core.values import alike, aval_of
from ._core.watch import watch
from ._kept.large import Larges
from ._kept.patch import patched
from ._kept.remembered import PARTNERS, Remembered, node_in
from ._kept.renew import Renewal
from ._show.appearance import Appearance, Member, appearance_of
from ._tools.constants import under_jax_alone
from ._tools.definition import definition_order
from ._tools.identity import by_identity
from ._tools.tokens import Shelf, here, leases, tokenless
from ._tools.warn import warn
from ._tools.whole_file import whole_file
from ._tools.words import describe, dotted, some
from ._trees.tree import StateTree

__all__ = [
    "ABSENT",
    "ATOMS",
    "PARTNERS",
    "Appearance",
    "Const",
    "Edit",
    "Journal",
    "Larges",
    "Member",
    "Remembered",
    "Renewal",
    "Shelf",
    "StateTree",
    "alike",
    "appearance_of",
    "aval_of",
    "born_after",
    "by_identity",
    "definition_order",
    "describe",
    "dotted",
    "fields_of",
    "flatten",
    "here",
    "hooks_key",
    "in_raw_trace",
    "leases",
    "locate",
    "make_state",
    "make_states",
    "new_node",
    "node_in",
    "note_reads",
    "notes",
    "now",
    "patched",
    "put_field",
    "read_values",
    "some",
    "static_key",
    "tokenless",
    "tracing",
    "under_jax_alone",
    "unflatten",
    "untraced",
    "warn",
    "watch",
    "whole_file",
    "write_results",
    "write_values",
]  # fmt: skip
