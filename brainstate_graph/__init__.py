"""Take an object graph apart into plain data, and put it together again."""

import brainstate_graph._tools.spellings as _spellings

from ._core.node import Node
from ._core.state import State, maybe_state
from ._verbs.treefy import treefy_split, treefy_merge, treefy_states, clone, graphdef
from ._core.flatten import flatten
from ._core.unflatten import unflatten
from ._verbs.walk import states, nodes, iter_leaf, iter_node
from ._verbs.change import update_states, pop_states
from ._verbs.contexts import split_context, merge_context
from ._verbs.pytrees import NodeStates, graph_to_tree, tree_to_graph
from ._core.graphdef import GraphDef
from ._trees.tree import NestedDict, FlattedDict, TreefyState
from ._trees.filters import Filter, All, Any, Everything, Named, Not, Nothing, OfType, WithTag, to_predicate
from ._trees.paths import PathContains, PathPrefix, PathGlob, PathRegex
from ._core.static import Static
from ._core.foreign import register_graph_node_type
from ._tools.refmap import RefMap
from ._show.dot import to_dot
from ._core.snapshot import Snapshot
from ._data.json import to_json, from_json
from ._data.fingerprint import fingerprint
from ._data.diff import diff
from ._data.flax import register_with_flax
from ._records.hooks import Hook, HookContext, register_state_hook
from ._core.overlay import Overlay, outside
from ._core.values import check_state_value_tree
from ._verbs.new_states import catch_new_states
from ._core.errors import BrainStateError, GraphError, StateArgumentError, StructureError, TraceContextError

__version__ = "0.1.0"

__all__ = [
    "Node", "State",
    "treefy_split", "treefy_merge", "treefy_states", "clone", "graphdef", "flatten", "unflatten",
    "states", "nodes", "iter_leaf", "iter_node", "update_states", "pop_states",
    "split_context", "merge_context", "NodeStates", "graph_to_tree", "tree_to_graph",
    "GraphDef", "NestedDict", "FlattedDict", "TreefyState",
    "to_json", "from_json", "fingerprint", "diff", "register_with_flax",
    "Filter", "All", "Any", "Everything", "Named", "Not", "Nothing", "OfType", "WithTag", "to_predicate",
    "PathContains", "PathPrefix", "PathGlob", "PathRegex",
    "maybe_state", "catch_new_states", "check_state_value_tree", "register_state_hook", "Hook", "HookContext",
    "to_dot", "Static", "RefMap", "register_graph_node_type", "Snapshot", "Overlay", "outside",
    "BrainStateError", "GraphError", "StateArgumentError", "StructureError", "TraceContextError",
]  # fmt: skip

# Kinds of states and errors are shown to users by the place from which they are imported.
State.__module__ = __name__
for _error in (BrainStateError, GraphError, StateArgumentError, StructureError, TraceContextError):
    _error.__module__ = __name__
del _error

# Names of other frameworks answer with the spelling here.
__getattr__ = _spellings.missing_names(__name__)
del _spellings
