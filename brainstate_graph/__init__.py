"""Take an object graph apart into plain data, and put it together again."""

from ._node import Node, born_after, fields_of, new_node, notes, now
from ._state import State, Overlay, read_values, write_values, note_reads, locate, outside, tracing
from ._treefy import treefy_split, treefy_merge, treefy_states, update_states
from ._treefy import states, nodes, clone, graphdef
from ._graphdef import GraphDef
from ._tree import NestedDict, FlattedDict, StateTree, TreefyState
from ._filter import Filter, All, Any, Everything, Not, Nothing, OfType, PathContains, WithTag, to_predicate
from ._snapshot import Snapshot, snapshot
from ._flatten import flatten, unflatten
from ._static import Static, static_key
from ._show import describe, dotted
from ._errors import BrainStateError, GraphError, StateArgumentError, TraceContextError
