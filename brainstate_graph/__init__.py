"""Take an object graph apart into plain data, and put it together again."""

from ._node import Node
from ._state import State
from ._treefy import treefy_split, treefy_merge, treefy_states, update_states
from ._treefy import states, nodes, clone, graphdef
from ._graphdef import GraphDef
from ._tree import NestedDict, FlattedDict, TreefyState
from ._filter import Filter, All, Any, Everything, Not, Nothing, OfType, PathContains, WithTag, to_predicate
from ._static import Static
from ._snapshot import Snapshot
from ._json import to_json, from_json
from ._fingerprint import fingerprint
from ._diff import diff
from ._state import Overlay, outside
from ._errors import BrainStateError, GraphError, StateArgumentError, TraceContextError

__all__ = [
    "Node", "State",
    "treefy_split", "treefy_merge", "treefy_states", "update_states", "states", "nodes", "clone", "graphdef",
    "GraphDef", "NestedDict", "FlattedDict", "TreefyState",
    "Filter", "All", "Any", "Everything", "Not", "Nothing", "OfType", "PathContains", "WithTag", "to_predicate",
    "Static", "Snapshot", "Overlay", "outside", "to_json", "from_json", "fingerprint", "diff",
    "BrainStateError", "GraphError", "StateArgumentError", "TraceContextError",
]  # fmt: skip

# The kinds of states are shown to users by the place from which they are imported.
State.__module__ = __name__
