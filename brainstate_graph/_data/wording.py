"""The change of a static value in words: ``0.5 -> 0.1``, and no address of an object in it."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from .._core.static import Static, static_key
from .._tools.words import describe
from .names import claimed_name

__all__ = ["brief", "static_changes"]

_WIDTH = 60
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def brief(value: Any, depth: int = 4) -> str:
    """Return a value in one short line; of functions and classes the name."""
    if isinstance(value, (np.ndarray, jax.Array)):
        return describe(value)
    if isinstance(value, type) or callable(value):
        claimed = claimed_name(value)
        if claimed is not None:
            return claimed[1]
    if depth and type(value) in (tuple, list, set, frozenset, dict):
        return _cut(_brief_items(value, depth - 1))
    try:
        return _cut(_ADDRESS.sub("", repr(value)))
    except Exception:  # a message must not fail because an object does
        return f"<{type(value).__name__}>"


def _brief_items(value: Any, depth: int) -> str:
    several = list(value.items() if isinstance(value, dict) else value)[:_WIDTH]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{brief(k, depth)}: {brief(v, depth)}" for k, v in several) + "}"
    shown = [brief(item, depth) for item in several]
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(shown)) + "}" if shown else f"{type(value).__name__}()"
    if isinstance(value, list):
        return f"[{', '.join(shown)}]"
    return f"({', '.join(shown)}{',' * (len(shown) == 1)})"


def static_changes(old: Any, new: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Say how two static values differ.

    Args:
        old: The value before.
        new: Another value, with another `static_key`.

    Yields:
        The path inside the value, empty for the whole, and the words.
    """
    kind = type(old)
    if kind is not type(new):
        yield (), _of_type(old, new)
    elif kind is np.ndarray:
        yield (), _of_array(old, new)
    elif isinstance(old, jax.Array):
        yield (
            (),
            f"{describe(old)} -> another {describe(new)}: arrays of JAX are compared by identity, hold it in a State",
        )
    elif isinstance(old, types.FunctionType):
        yield (), _of_function(old, new)
    elif isinstance(old, (set, frozenset)):
        yield (), _of_set(old, new)
    elif isinstance(old, str) and max(len(old), len(new)) > _WIDTH:
        yield (), _of_text(old, new)
    else:
        before, after = brief(old), brief(new)
        parts = _common_parts(old, new) if before == after or max(len(before), len(after)) >= _WIDTH else None
        if parts is None:
            yield (
                (),
                f"{before} -> {after}"
                if before != after
                else f"another {before}, which is not equal to the one before",
            )
        for key, one, other in parts or ():
            yield from (((key, *path), words) for path, words in static_changes(one, other))


def _of_type(old: Any, new: Any) -> str:
    words = f"{brief(old)} -> {brief(new)}"
    if old is None or new is None or (callable(old) and callable(new)):
        return words
    return f"{words} ({type(old).__name__} -> {type(new).__name__})"


def _of_array(old: Any, new: Any) -> str:
    if old.dtype != new.dtype or old.shape != new.shape or old.dtype.hasobject:
        return f"{describe(old)} -> {describe(new)}" if describe(old) != describe(new) else f"another {describe(old)}"
    # By bytes, as for the key of an array: so -0.0 and the bits of a nan count.
    one, other = (np.frombuffer(x.tobytes(), "u1").reshape(x.size, x.itemsize) for x in (old, new))
    places = np.flatnonzero((one != other).any(axis=1))
    if not places.size:  # of no elements, or of elements without bytes
        return f"another {describe(old)}"
    index = tuple(map(int, np.unravel_index(places[0], old.shape)))
    before, after = brief(old[index].item()), brief(new[index].item())
    words = f"{before} -> {after}" if before != after else f"{before} in other bits"
    more = f", and {len(places) - 1} more" if len(places) > 1 else ""
    return f"{describe(old)}, {f'at {list(index)} ' if index else ''}{words}{more}"


def _of_function(old: Any, new: Any) -> str:
    before, after = (claimed_name(function) for function in (old, new))
    if before != after or before is None:
        same = before is not None and after is not None and before[1] == after[1]
        return f"{':'.join(before or ())} -> {':'.join(after or ())}" if same else f"{brief(old)} -> {brief(new)}"
    if old.__code__ != new.__code__:
        return f"another function {brief(old)}, of the same name and other code"
    return (
        f"another function {brief(old)} of the same code: it was made anew, and functions are compared by identity; "
        "define it once, at the top level of a module"
    )


def _of_set(old: Any, new: Any) -> str:
    keys = [{static_key(item): item for item in items} for items in (old, new)]
    gone, come = (brief({v for k, v in keys[i].items() if k not in keys[1 - i]}) for i in (0, 1))
    words = [f"without {gone}"] * (gone != "set()") + [f"with {come}"] * (come != "set()")
    return f"{brief(old)} -> {brief(new)}: now {' and '.join(words)}"


def _of_text(old: str, new: str) -> str:
    ends = min(len(old), len(new))
    at = next((i for i in range(ends) if old[i] != new[i]), ends)
    return f"the text differs from character {at} on: {brief(old[at:])} -> {brief(new[at:])}"


def _parts_of(value: Any) -> dict[Any, Any] | None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    if isinstance(value, dict):
        return value
    if isinstance(value, types.SimpleNamespace):
        return vars(value)
    if isinstance(value, functools.partial):
        return {"func": value.func, "args": value.args, "keywords": value.keywords}
    if isinstance(value, types.MethodType):
        return {"__func__": value.__func__, "__self__": value.__self__}
    return {"value": value.value} if isinstance(value, Static) else None


def _common_parts(old: Any, new: Any) -> list[tuple[Any, Any, Any]] | None:
    """Return the parts that differ, where they are all that does."""
    before, after = _parts_of(old), _parts_of(new)
    if before is None or after is None or list(map(static_key, before)) != list(map(static_key, after)):
        return None
    pairs = zip(before, before.values(), after.values(), strict=True)
    return [(key, one, other) for key, one, other in pairs if static_key(one) != static_key(other)] or None
