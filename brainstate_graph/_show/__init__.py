"""Graphs as people see them: as text, as a page to unfold, as a drawing.

Nothing below knows of it.  Here the classes of the core and of the trees get their ``__repr__`` and the like, and
``objects`` registers how each of them looks.

Read in this order:

- ``appearance.py``: how an object says what it looks like.
- ``objects.py``: what nodes, states, trees and GraphDefs say.
- ``outline.py``: how much of a graph is shown.
- ``text.py``: text, and pages for treescope.
- ``dot.py``: drawings for Graphviz.
"""

from typing import Any

from .._core.graphdef import NODES, GraphDef
from .._core.node import Node
from .._core.state import State
from .._trees.leaf import TreefyState
from .._trees.tree import StateTree
from . import objects as objects
from .text import call, page, show


def _text_of_shape(shape: GraphDef) -> str:
    nodes, states = sum(row.kind in NODES for row in shape.rows), len(shape.state_rows)
    return f"{show(shape)}  # {nodes:,} node{'s' * (nodes != 1)}, {states:,} state{'s' * (states != 1)}"


def _page_of_shape(shape: GraphDef, path: str | None, subtree_renderer: Any) -> Any:
    return page(shape, None, subtree_renderer)  # what is shown is not reached by attributes


def _text_of_treefy_state(ref: TreefyState) -> str:
    return call("TreefyState", {"type": ref.type, "value": ref.value, "tag": None, **ref.metadata})


_METHODS: tuple[tuple[type[Any], dict[str, Any]], ...] = (
    (Node, {"__repr__": show, "__treescope_repr__": page}),
    (State, {"__repr__": show, "__treescope_repr__": page}),
    (StateTree, {"__repr__": show, "__treescope_repr__": page}),
    (TreefyState, {"__repr__": _text_of_treefy_state, "__treescope_repr__": page}),
    (GraphDef, {"__str__": _text_of_shape, "__treescope_repr__": _page_of_shape}),  # its repr is one line
)
for _kind, _methods in _METHODS:
    for _name, _method in _methods.items():
        setattr(_kind, _name, _method)
