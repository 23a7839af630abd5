"""What is static in a state tree as text, so that ``jax.export`` can write programs that take and return trees.

Keys and metadata have the forms of ``values``; kinds of states stand there by name.  Reading imports nothing and runs
nothing: the classes must be there already.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from .._core.errors import GraphError
from .._core.layout import Layout, StateSpec
from .._core.state import State
from .._core.static import static_key
from .._tools.words import dotted
from .names import Allowed
from .read import Decoder
from .values import Encoder

__all__ = ["layout_from_bytes", "layout_to_bytes", "spec_from_bytes", "spec_to_bytes"]


@functools.cache
def _plain() -> Allowed:
    return Allowed(())  # plain types only, none of which is called


def _form(value: Any) -> Any:
    """Return the form of a key or of metadata, from which the same value can be read."""
    encoder = Encoder()
    form = encoder.value(value)
    if form is value:  # most keys
        return form
    try:
        encoder.check("")
        if static_key(Decoder(_plain()).value(form)) == static_key(value):
            return form
    except GraphError:  # it has no form, or one that names what is found in this process only
        pass
    raise GraphError(f"{value!r}, a {type(value).__name__}, cannot be written as text")


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _kind(name: str) -> type[Any]:
    """Return the class of states of this name, the last one that was defined."""
    found: type[Any] | None = None
    stack: list[type[Any]] = [State]
    while stack:
        kind = stack.pop()
        if _name(kind) == name:
            found = kind
        stack.extend(reversed(kind.__subclasses__()))
    if found is None:
        raise GraphError(f"there is no class of states {name}: import the module that defines it, then read again")
    return found


def _spec_form(spec: StateSpec | None, where: str) -> Any:
    try:
        return spec and [_name(spec.kind), [[key, _form(value)] for key, value in spec.meta]]
    except GraphError as error:
        raise GraphError(f"the metadata of {where}: {error}") from None


def _spec_of(form: Any, decoder: Decoder) -> StateSpec:
    return StateSpec(_kind(form[0]), tuple((key, decoder.value(value)) for key, value in form[1]))


def spec_to_bytes(spec: StateSpec) -> bytes:
    """Write what is static in one TreefyState.

    Raises:
        GraphError: Metadata is no plain data.
    """
    return json.dumps(_spec_form(spec, "a TreefyState")).encode()


def spec_from_bytes(data: bytes | bytearray) -> StateSpec:
    """Read what `spec_to_bytes` wrote.

    Raises:
        GraphError: A class of states is not there.
    """
    return _spec_of(json.loads(bytes(data)), Decoder(_plain()))


def layout_to_bytes(layout: Layout) -> bytes:
    """Write a layout.

    Raises:
        GraphError: A key or metadata is no plain data.
    """
    specs = [
        _spec_form(spec, dotted(layout.path(index)) if spec and spec.meta else "")
        for index, spec in enumerate(layout.specs)
    ]
    steps: list[Any] = []
    for step, (parent, key) in enumerate(layout.steps()):
        try:
            steps.append([parent, _form(key)])
        except GraphError as error:
            raise GraphError(f"the last key of {dotted(layout.path_to(step))}: {error}") from None
    return json.dumps({"steps": steps, "leaves": layout.leaves, "specs": specs}).encode()


def layout_from_bytes(data: bytes | bytearray) -> Layout:
    """Read what `layout_to_bytes` wrote.

    Raises:
        GraphError: A class of states is not there.
    """
    parts, decoder = json.loads(bytes(data)), Decoder(_plain())
    parents = [parent for parent, _ in parts["steps"]]
    keys = [decoder.value(key) for _, key in parts["steps"]]
    return Layout.of(parents, keys, parts["leaves"], [spec and _spec_of(spec, decoder) for spec in parts["specs"]])
