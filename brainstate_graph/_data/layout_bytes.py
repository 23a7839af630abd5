"""What is static in a state tree as text, so that ``jax.export`` can write programs that take and return trees.

Kinds of states stand there by name. Reading imports nothing and runs nothing: the classes must be there already.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.sharding import PartitionSpec

from .._core.errors import GraphError
from .._core.layout import Layout, StateSpec, path_of
from .._core.state import State
from .._tools.words import dotted

__all__ = ["layout_from_bytes", "layout_to_bytes", "spec_from_bytes", "spec_to_bytes"]

_PLAIN = (str, int, bool, type(None))  # what JSON tells apart

# How other values are written, by exact type: the name of the form, its contents, and back.
_FORMS: dict[type[Any], tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    float: ("float", float.hex, float.fromhex),
    complex: ("complex", lambda z: [z.real.hex(), z.imag.hex()], lambda z: complex(*map(float.fromhex, z))),
    bytes: ("bytes", bytes.hex, bytes.fromhex),
    np.dtype: ("dtype", str, np.dtype),
    tuple: ("tuple", lambda t: [*map(_written, t)], lambda t: tuple(map(_read, t))),
    list: ("list", lambda t: [*map(_written, t)], lambda t: [*map(_read, t)]),
    frozenset: ("set", lambda t: sorted(map(_written, t), key=json.dumps), lambda t: frozenset(map(_read, t))),
    dict: ("dict", lambda d: [*map(_written, d.items())], lambda d: dict(map(_read, d))),
    PartitionSpec: ("partition", lambda p: [*map(_written, p)], lambda p: PartitionSpec(*map(_read, p))),
}
_READERS = {name: read for name, _, read in _FORMS.values()}


def _written(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    kind = np.dtype if isinstance(value, np.dtype) else type(value)
    if kind not in _FORMS:
        raise GraphError(f"{value!r}, a {type(value).__name__}, cannot be written as text")
    name, write, _ = _FORMS[kind]
    return {name: write(value)}


def _read(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    [(name, contents)] = data.items()
    return _READERS[name](contents)


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _kind(name: str) -> type[Any]:
    kinds: dict[str, type[Any]] = {}
    stack: list[type[Any]] = [State]
    while stack:
        kind = stack.pop()
        if _name(kind) == name:
            kinds[name] = kind
        stack.extend(reversed(kind.__subclasses__()))
    if name not in kinds:
        raise GraphError(f"there is no class of states {name}: import the module that defines it, then read again")
    return kinds[name]


def _written_spec(spec: StateSpec | None, where: str) -> Any:
    try:
        return spec and [_name(spec.kind), [[key, _written(value)] for key, value in spec.meta]]
    except GraphError as error:
        raise GraphError(f"the metadata of {where}: {error}") from None


def _read_spec(data: Any) -> StateSpec:
    return StateSpec(_kind(data[0]), tuple((key, _read(value)) for key, value in data[1]))


def spec_to_bytes(spec: StateSpec) -> bytes:
    """Write what is static in one TreefyState.

    Raises:
        GraphError: Metadata is no plain data.
    """
    return json.dumps(_written_spec(spec, "a TreefyState")).encode()


def spec_from_bytes(data: bytes | bytearray) -> StateSpec:
    """Read what `spec_to_bytes` wrote.

    Raises:
        GraphError: A class of states is not there.
    """
    return _read_spec(json.loads(bytes(data)))


def layout_to_bytes(layout: Layout) -> bytes:
    """Write a layout.

    Raises:
        GraphError: A key or metadata is no plain data.
    """
    specs = [
        _written_spec(spec, dotted(layout.path(place)) if spec and spec.meta else "")
        for place, spec in enumerate(layout.specs)
    ]
    entries: list[Any] = []
    for entry, (parent, key) in enumerate(layout.entries):
        try:
            entries.append([parent, _written(key)])
        except GraphError as error:
            raise GraphError(f"the last key of {dotted(path_of(layout.entries, entry))}: {error}") from None
    return json.dumps({"entries": entries, "leaves": layout.leaves, "specs": specs}).encode()


def layout_from_bytes(data: bytes | bytearray) -> Layout:
    """Read what `layout_to_bytes` wrote.

    Raises:
        GraphError: A class of states is not there.
    """
    parts = json.loads(bytes(data))
    parents = [parent for parent, _ in parts["entries"]]
    keys = [_read(key) for _, key in parts["entries"]]
    return Layout.of(parents, keys, parts["leaves"], [spec and _read_spec(spec) for spec in parts["specs"]])
