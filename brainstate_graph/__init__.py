"""Take an object graph apart into plain data, and put it together again."""

from ._node import Node
from ._state import State, maybe_state
from ._treefy import treefy_split, treefy_merge, treefy_states, update_states
from ._treefy import states, nodes, clone, graphdef
from ._graphdef import GraphDef
from ._tree import NestedDict, FlattedDict, TreefyState
from ._filter import Filter, All, Any, Everything, Not, Nothing, OfType, PathContains, WithTag, to_predicate
from ._static import Static
from ._foreign import register_graph_node_type
from ._snapshot import Snapshot
from ._hooks import Hook, HookContext, register_state_hook
from ._overlay import Overlay, check_state_value_tree, outside
from ._catch import catch_new_states
from ._errors import BrainStateError, GraphError, StateArgumentError, TraceContextError

__all__ = [
    "Node", "State",
    "treefy_split", "treefy_merge", "treefy_states", "update_states", "states", "nodes", "clone", "graphdef",
    "GraphDef", "NestedDict", "FlattedDict", "TreefyState",
    "Filter", "All", "Any", "Everything", "Not", "Nothing", "OfType", "PathContains", "WithTag", "to_predicate",
    "maybe_state", "catch_new_states", "check_state_value_tree", "register_state_hook", "Hook", "HookContext",
    "Static", "register_graph_node_type", "Snapshot", "Overlay", "outside",
    "BrainStateError", "GraphError", "StateArgumentError", "TraceContextError",
]  # fmt: skip

# The kinds of states are shown to users by the place from which they are imported.
State.__module__ = __name__
