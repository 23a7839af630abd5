"""Take an object graph apart into plain data, and put it together again."""

from ._node import Node
from ._state import State, maybe_state
from ._treefy import treefy_split, treefy_merge, treefy_states, clone, graphdef
from ._flatten import flatten
from ._unflatten import unflatten
from ._walk import states, nodes, iter_leaf, iter_node
from ._change import update_states, pop_states
from ._contexts import split_context, merge_context
from ._pytrees import NodeStates, graph_to_tree, tree_to_graph
from ._graphdef import GraphDef
from ._tree import NestedDict, FlattedDict, TreefyState
from ._filter import Filter, All, Any, Everything, Not, Nothing, OfType, WithTag, to_predicate
from ._paths import PathContains, PathPrefix, PathGlob, PathRegex
from ._static import Static
from ._foreign import register_graph_node_type
from ._refmap import RefMap
from ._dot import to_dot
from ._snapshot import Snapshot
from ._json import to_json, from_json
from ._fingerprint import fingerprint
from ._diff import diff
from ._hooks import Hook, HookContext, register_state_hook
from ._overlay import Overlay, check_state_value_tree, outside
from ._catch import catch_new_states
from ._errors import BrainStateError, GraphError, StateArgumentError, StructureError, TraceContextError

__all__ = [
    "Node", "State",
    "treefy_split", "treefy_merge", "treefy_states", "clone", "graphdef", "flatten", "unflatten",
    "states", "nodes", "iter_leaf", "iter_node", "update_states", "pop_states",
    "split_context", "merge_context", "NodeStates", "graph_to_tree", "tree_to_graph",
    "GraphDef", "NestedDict", "FlattedDict", "TreefyState",
    "to_json", "from_json", "fingerprint", "diff",
    "Filter", "All", "Any", "Everything", "Not", "Nothing", "OfType", "WithTag", "to_predicate",
    "PathContains", "PathPrefix", "PathGlob", "PathRegex",
    "maybe_state", "catch_new_states", "check_state_value_tree", "register_state_hook", "Hook", "HookContext",
    "to_dot", "Static", "RefMap", "register_graph_node_type", "Snapshot", "Overlay", "outside",
    "BrainStateError", "GraphError", "StateArgumentError", "StructureError", "TraceContextError",
]  # fmt: skip

# The kinds of states are shown to users by the place from which they are imported.
State.__module__ = __name__
