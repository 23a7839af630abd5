"""Where in a model is this object?  Asked by error messages only: it walks the garbage collector's lists."""

from __future__ import annotations

import gc
from typing import Any

from ._node import Node, fields_of

__all__ = ["path_to"]

_LIMIT = 64  # steps up; a message is not worth more


def path_to(item: Any) -> str | None:
    """Return how `item` is reached from the outermost node that holds it, as ``Net.layers.0.weight``."""
    best: str | None = None
    queue: list[tuple[Any, str]] = [(item, "")]
    seen = {id(queue)}
    for current, suffix in queue:
        if id(current) in seen or len(seen) > _LIMIT:
            continue
        seen.add(id(current))
        if isinstance(current, Node):
            best = type(current).__name__ + suffix
        for holder in gc.get_referrers(current):
            step = _step(holder, current)
            if step is not None:
                queue.append((step[0], f".{step[1]}{suffix}"))
    return best


def _step(holder: Any, item: Any) -> tuple[Any, Any] | None:
    """The container or node that `holder` is or belongs to, and the key of `item` in it."""
    if isinstance(holder, Node):  # Python 3.13 keeps attributes inside the object
        items, owner = fields_of(holder).items(), holder
    elif type(holder) is dict:
        items = holder.items()
        owner = next((n for n in gc.get_referrers(holder) if isinstance(n, Node) and fields_of(n) is holder), holder)
        if owner is holder and "__name__" in holder:  # the globals of a module
            return None
    elif type(holder) in (list, tuple):
        items, owner = enumerate(holder), holder
    else:
        return None
    return next(((owner, key) for key, value in items if value is item), None)
