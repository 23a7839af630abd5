"""The information beside the arrays of a step: JSON with a checksum, which orbax writes as the item ``about``.

It has what the arrays alone do not tell: the kind of each leaf, the other names of tied states, the shape of the model,
the versions of the libraries, and what the user writes to it. With it a model is made without the code that made it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from brainstate_graph import FlattedDict, GraphDef, GraphError, NestedDict, fingerprint, graphdef, to_json

from .._core.paths import dotted_name
from .json import check_is_json, json_and_crc32
from .model_files import value_trees
from .orbax_leaves import StoredLeaf
from .pure_dicts import aliases

__all__ = ["StepInfo", "check_metadata", "with_checksum", "without_checksum"]

_FORMAT = 1


class StepInfo:
    """Makes the information of each step; what is the same at all steps of a training is made once."""

    def __init__(self) -> None:
        self._shape: GraphDef | None = None
        self._graph: dict[str, Any] = {}
        names = ("brainstate-graph", "jax", "orbax-checkpoint")
        self._versions = {name: version(name) for name in names}

    def __call__(self, node: Any, leaves: Mapping[str, StoredLeaf], metadata: Mapping[str, Any]) -> dict[str, Any]:
        info = {"format": _FORMAT, "versions": self._versions, "metadata": metadata, "leaves": list(leaves.values())}
        return with_checksum(info | self._graph_of(node))

    def _graph_of(self, node: Any) -> dict[str, Any]:
        if isinstance(node, (NestedDict, FlattedDict)):
            return {"graphdef": None, "no_graphdef": "a state tree was saved", "aliases": {}}
        shape = graphdef(node)
        if shape is not self._shape:
            text = why = None
            try:
                text = to_json(shape)
            except GraphError as error:
                why = str(error)
            self._graph = {
                "graphdef": text, "no_graphdef": why, "fingerprint": fingerprint(shape)
            }  # fmt: skip
            self._shape = shape
        # Not kept, as they may change while the graph stays: the order of definition, and the values.
        graph = self._graph | {"aliases": aliases(node)}
        return graph if graph["graphdef"] is None else graph | {"trees": to_json(graphdef(value_trees(node)))}


def with_checksum(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with a checksum; a copy, since orbax writes it later."""
    text, crc32 = json_and_crc32(info)
    return {**json.loads(text), "crc32": crc32}


def without_checksum(written: Any) -> dict[str, Any]:
    """Return the information that was given to `with_checksum`, with its leaves by name.

    Raises:
        ValueError: It is damaged, or of another version.
    """
    info = dict(written)
    if info.pop("crc32", None) != json_and_crc32(info)[1]:
        raise ValueError("the information beside its arrays is not what was written")
    if info["format"] != _FORMAT:
        raise ValueError(f"its format is {info['format']}, but this version reads {_FORMAT}")
    leaves = [StoredLeaf(tuple(keys), kind, dtype, tuple(shape)) for keys, kind, dtype, shape in info["leaves"]]
    info["leaves"] = {dotted_name(leaf.keys): leaf for leaf in leaves}
    return info


def check_metadata(metadata: Any) -> None:
    """Refuse what would not come back from JSON as it is.

    Raises:
        TypeError: It has such a part.
    """
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dictionary, not of type {type(metadata).__name__}")
    check_is_json("metadata", metadata)
