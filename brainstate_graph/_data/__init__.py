"""Graphs as data that outlives the process: JSON, fingerprint, difference; trees for other libraries.

Nothing below knows of it.  Here ``jax.export`` is told how to write what is static in a state tree; flax is told too
if it is imported already.

Read in this order:

- ``values.py``, ``read.py``: static values as JSON forms, and back; ``arrays.py`` and ``names.py`` are parts of it.
- ``json.py``: GraphDefs.
- ``fingerprint.py``: a digest that is the same everywhere.
- ``diff.py``, ``wording.py``: what changed between two GraphDefs, in words.
- ``layout_bytes.py``, ``flax.py``: state trees for ``jax.export`` and flax.
"""

from typing import Any

from jax import export

from .._core.layout import StateSpec
from .._core.static import Static
from .._trees.leaf import TreefyState
from .._trees.tree import FlattedDict, NestedDict
from .flax import register_where_imported
from .layout_bytes import layout_from_bytes, layout_to_bytes, spec_from_bytes, spec_to_bytes


def _static_to_bytes(static: Static) -> bytes:
    return spec_to_bytes(StateSpec(*static.value))


def _static_from_bytes(data: bytes | bytearray) -> Static:
    spec = spec_from_bytes(data)
    return Static((spec.kind, spec.meta))


def _register(kind: type[Any], to_bytes: Any, from_bytes: Any) -> None:
    export.register_pytree_node_serialization(
        kind,
        serialized_name=f"brainstate_graph.{kind.__name__}",
        serialize_auxdata=to_bytes,
        deserialize_auxdata=from_bytes,
    )


_register(NestedDict, layout_to_bytes, layout_from_bytes)
_register(FlattedDict, layout_to_bytes, layout_from_bytes)
_register(TreefyState, _static_to_bytes, _static_from_bytes)
register_where_imported()
