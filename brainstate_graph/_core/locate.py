"""Where in a model is this object?  Asked by error messages only: it looks at every live node once."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from itertools import chain, compress, repeat
from typing import Any

from .clock import fields_of
from .node import Node

__all__ = ["locate", "path_to"]


_listing = threading.Lock()  # no thread switches the collector on again for another one


def _live_nodes() -> list[Node]:
    kinds: list[type[Node]] = [Node]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    chosen = frozenset(kinds).__contains__
    # All live objects are asked for, sorted out and let go within one call in C. Were another thread to run meanwhile,
    # it would fail with a SystemError if it were building a tuple, to which nobody else may hold a reference. So there
    # are two lists side by side, old objects first; the second has at its end what the first one added. Each has the
    # other's iterator in it, and lets go only where both are used up. (A Python function among the audit hooks of the
    # process would be called in between, and others let run.)
    with _listing:
        collecting = gc.isenabled()
        gc.disable()  # which moves objects from one list to another
        try:
            found = list(compress(chain(_everything(), repeat(None)), map(chosen, map(type, _everything()))))
        finally:
            if collecting:
                gc.enable()
    return [node for node in found if isinstance(node, Node) and node.graph_in_paths]


def _everything() -> Iterator[Any]:
    return chain.from_iterable(map(gc.get_objects, (2, 1, 0)))


def path_to(item: Any) -> str | None:
    """Return how `item` is reached from the outermost node that holds it, as ``Net.layers.0.weight``."""
    above: dict[int, tuple[Any, str]] = {}
    for node in _live_nodes():
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


def locate(item: Any) -> str:
    """Say in words which state or node this is and where it is held; for error messages."""
    path = path_to(item)
    if path is not None:
        return f"{type(item).__name__} at {path}"
    name = None if isinstance(item, Node) else dict(item._meta).get("name")
    return type(item).__name__ + (f" {name!r}" if name else "")
