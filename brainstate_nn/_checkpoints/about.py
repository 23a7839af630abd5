"""What a step of `Checkpoints` says about itself, as JSON with a checksum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from brainstate_graph import FlattedDict, GraphDef, GraphError, NestedDict, fingerprint, graphdef, to_json

from .._core.names import dotted_name
from .models import _trees
from .pure import aliases
from .stored import Stored

__all__ = ["About", "check_metadata", "opened", "sealed"]

_FORMAT = 1


class About:
    """Writes what a step says; what is the same at each step is made once."""

    def __init__(self) -> None:
        self._shape: GraphDef | None = None
        self._graph: dict[str, Any] = {}
        names = ("brainstate-graph", "jax", "orbax-checkpoint")
        self._versions = {name: version(name) for name in names}

    def __call__(self, node: Any, rows: Mapping[str, Stored], metadata: Mapping[str, Any]) -> dict[str, Any]:
        about = {"format": _FORMAT, "versions": self._versions, "metadata": metadata, "leaves": list(rows.values())}
        return sealed(about | self._graph_of(node))

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
                "graphdef": text, "no_graphdef": why, "fingerprint": fingerprint(shape), "aliases": aliases(node)
            }  # fmt: skip
            self._shape = shape
        if self._graph["graphdef"] is None:
            return self._graph
        return self._graph | {"trees": to_json(graphdef(_trees(node)))}  # this may change with the values


def sealed(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with a checksum; a copy, since orbax writes it later."""
    text = json.dumps(about, sort_keys=True)
    return {**json.loads(text), "crc32": zlib.crc32(text.encode())}


def opened(about: Any) -> dict[str, Any]:
    """Return what was sealed.

    Raises:
        ValueError: It is damaged, or of another version.
    """
    about = dict(about)
    sum_ = about.pop("crc32", None)
    if sealed(about)["crc32"] != sum_:
        raise ValueError("what it says about itself is not what was written")
    if about["format"] != _FORMAT:
        raise ValueError(f"its format is {about['format']}, and this version reads {_FORMAT}")
    rows = [Stored(tuple(keys), kind, dtype, tuple(shape)) for keys, kind, dtype, shape in about["leaves"]]
    about["leaves"] = {dotted_name(row.keys): row for row in rows}
    return about


def check_metadata(metadata: Any) -> None:
    """Refuse what would not come back from JSON as it is.

    Raises:
        TypeError: It has such a part.
    """
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata is a dictionary, not of type {type(metadata).__name__}")
    _check("metadata", metadata)


def _check(name: str, value: Any) -> None:
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{name} has the key {key!r}, and in JSON a key is a string: write `str(key)`")
            _check(f"{name}[{key!r}]", item)
    elif type(value) is list:
        for i, item in enumerate(value):
            _check(f"{name}[{i}]", item)
    elif not (value is None or type(value) in (bool, int, float, str)):
        raise TypeError(f"{name} is of type {type(value).__name__}, which JSON has not: write `float(...)` or a list")
