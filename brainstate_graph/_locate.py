"""Where in a model is this object?  Asked by error messages only: it looks at every live node once."""

from __future__ import annotations

import gc
from typing import Any

from ._clock import fields_of
from ._node import Node

__all__ = ["path_to"]


def path_to(item: Any) -> str | None:
    """Return how `item` is reached from the outermost node that holds it, as ``Net.layers.0.weight``."""
    above: dict[int, tuple[Any, str]] = {}
    for node in [x for x in gc.get_objects() if isinstance(x, Node) and x.graph_in_paths]:
        for key, value in tuple(fields_of(node).items()):
            _note(above, node, key, value)
    suffix = ""
    seen: set[int] = set()
    while id(item) in above and id(item) not in seen:
        seen.add(id(item))
        item, step = above[id(item)]
        suffix = f".{step}{suffix}"
    return type(item).__name__ + suffix if suffix else None


def _note(above: dict[int, tuple[Any, str]], node: Node, key: str, value: Any) -> None:
    """Note what an attribute holds, through containers, with the steps from the node."""
    stack = [(key, value)]
    seen: set[int] = set()
    while stack:
        key, value = stack.pop()
        if type(value) is dict:
            items = list(value.items())
        elif type(value) in (list, tuple):
            items = list(enumerate(value))
        else:
            above.setdefault(id(value), (node, key))
            continue
        if id(value) not in seen:
            seen.add(id(value))
            stack.extend((f"{key}.{k}", v) for k, v in items)
