"""The items of a plain container of Python: one notion for all that goes through lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["items_of"]


def items_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the keys and values of a dict, list, tuple or namedtuple; nothing for what is no such container.

    Example:
        >>> from brainstate_graph._tools.containers import items_of
        >>> list(items_of(["a", "b"])), list(items_of({"k": 1})), list(items_of(3))
        ([(0, 'a'), (1, 'b')], [('k', 1)], [])
    """
    if isinstance(value, dict):
        return list(dict.items(value))  # one look, for another thread may be changing it
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return zip(value._fields, value, strict=False)  # type: ignore[attr-defined]
    return enumerate(tuple(value)) if isinstance(value, (list, tuple)) else ()
