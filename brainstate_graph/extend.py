"""For those who build transforms and containers on the graph: the parts under the verbs.

Users of models need none of this; `brainstate_transform` is written on it.
"""

from ._core.door import assign_values, note_reads, read_values, write_results, write_values
from ._core.flatten import flatten
from ._core.graphdef import Const
from ._core.locate import locate, paths_to, refuse_away
from ._core.overlay import close_above, in_raw_trace, note_possible_reads, open_overlay, tracing, untraced
from ._core.state import make_state, make_states, redeclared
from ._core.static import ATOMS, static_key
from ._core.unflatten import unflatten
from ._core.values import alike, aval_of, detached
from ._core.watch import watch
from ._kept.large import Larges
from ._kept.patch import patched
from ._kept.remembered import PARTNERS, Remembered, node_in
from ._kept.renew import Renewal
from ._records.clock import born_after, fields_of, new_node, notes, now
from ._records.hooks import hooks_key
from ._records.journal import ABSENT, Edit, Journal, put_field, put_fields, storing
from ._show.appearance import Appearance, Member, appearance_of
from ._tools.arrays import deleted_leaf
from ._tools.at_once import at_once, filling, pairs_of
from ._tools.constants import under_jax_alone
from ._tools.definition import definition_order
from ._tools.frames import is_hidden
from ._tools.identity import by_identity
from ._tools.spellings import keyword_here, missing_names, name_here
from ._tools.tokens import Shelf, here, leases, tokenless
from ._tools.warn import warn
from ._tools.whole_file import whole_file
from ._tools.words import describe, dotted, some
from ._trees.owners import note_owners, owners_again, owners_of
from ._trees.tree import StateTree
from ._verbs.metadata import declare, declare_late, with_metadata

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
    "assign_values",
    "at_once",
    "aval_of",
    "born_after",
    "by_identity",
    "close_above",
    "declare",
    "declare_late",
    "definition_order",
    "deleted_leaf",
    "describe",
    "detached",
    "dotted",
    "fields_of",
    "filling",
    "flatten",
    "here",
    "hooks_key",
    "in_raw_trace",
    "is_hidden",
    "keyword_here",
    "leases",
    "locate",
    "make_state",
    "make_states",
    "missing_names",
    "name_here",
    "new_node",
    "node_in",
    "note_owners",
    "note_possible_reads",
    "note_reads",
    "notes",
    "now",
    "open_overlay",
    "owners_again",
    "owners_of",
    "pairs_of",
    "patched",
    "paths_to",
    "put_field",
    "put_fields",
    "read_values",
    "redeclared",
    "refuse_away",
    "some",
    "static_key",
    "storing",
    "tokenless",
    "tracing",
    "under_jax_alone",
    "unflatten",
    "untraced",
    "warn",
    "watch",
    "whole_file",
    "with_metadata",
    "write_results",
    "write_values",
]  # fmt: skip
