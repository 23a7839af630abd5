"""How a module prints: one line where it fits, else nested; cycles and shared parts are named, not repeated."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from brainstate_graph import Node, State, states
from brainstate_graph.extend import describe, fields_of, read_values

from ._states import ParamState

__all__ = ["show", "shown_fields"]

_WIDTH = 110
_DEPTH = 10  # levels; a chain of thousands of nodes must print too
_ITEMS = 400  # things in all


def shown_fields(node: Node) -> dict[str, Any]:
    """Return the attributes of a node that are of interest: static ones, then states, then parts.

    In each group those named as an argument of the constructor come first, in its order, then the others by name: a
    clone prints as its original.
    """
    try:
        arguments = list(inspect.signature(type(node).__init__).parameters)
    except (TypeError, ValueError):
        arguments = []

    def place(item: tuple[str, Any]) -> tuple[int, int, str]:
        name, value = item
        group = 1 if isinstance(value, State) else 2 if isinstance(value, (Node, list, dict)) else 0
        return group, arguments.index(name) if name in arguments else len(arguments), name

    fields = {k: v for k, v in fields_of(node).items() if not k.startswith("_") and v is not None}
    return dict(sorted(fields.items(), key=place))


def show(root: Node) -> str:
    """Return the repr of a module, with the number of its parameters; never raises."""
    text = _Printer().show(root, "", 0, 0)
    try:
        values = read_values(states(root, ParamState).values(), record=False)
        sizes = [math.prod(x.shape) for x in jax.tree.leaves(values)]
    except Exception:  # a repr is what people look at when something is broken
        return text
    return f"{text}  # {sum(sizes):,} parameter{'s' * (sum(sizes) != 1)}" if sizes else text


class _Printer:
    """Prints one graph: remembers what it has shown, and how much it may still show."""

    def __init__(self) -> None:
        self.places: dict[int, str] = {}
        self.left = _ITEMS

    def show(self, item: Any, path: str, depth: int, indent: int) -> str:
        """Return the text of `item`, its first line without indentation."""
        kind = type(item)
        if not (isinstance(item, (Node, State)) or kind in (list, tuple, dict)):
            return _show_static(item)
        if kind is not tuple:
            if id(item) in self.places:
                return f"<the {kind.__name__} at {self.places[id(item)] or 'the top'}>"
            self.places[id(item)] = path
        if isinstance(item, State):
            return _show_static(item)
        opening, closing = {list: "[]", tuple: "()", dict: "{}"}.get(kind, (f"{kind.__name__}(", ")"))
        parts: list[tuple[str, Any, Any]]
        if isinstance(item, Node):
            parts = [(f"{k}=", k, v) for k, v in shown_fields(item).items()]
        elif isinstance(item, dict):
            parts = [(f"{k!r}: ", k, v) for k, v in item.items()]
        else:
            parts = [("", k, v) for k, v in enumerate(item)]
        if parts and depth == _DEPTH:
            return f"{opening}...{closing}"
        texts = self._texts(parts, path, depth, indent)
        if kind is tuple and len(texts) == 1:
            texts[0] += ","
        return _fold(opening, texts, closing, indent)

    def _texts(self, parts: Iterable[tuple[str, Any, Any]], path: str, depth: int, indent: int) -> list[str]:
        texts = []
        for prefix, key, value in parts:
            self.left -= 1
            if self.left < 0:
                return [*texts, "..."]
            below = f"{path}.{key}" if path else str(key)
            texts.append(prefix + self.show(value, below, depth + 1, indent + 2))
        return texts


def _fold(opening: str, texts: list[str], closing: str, indent: int) -> str:
    line = opening + ", ".join(texts) + closing
    if "\n" not in line and indent + len(line) <= _WIDTH:
        return line
    return "\n".join([opening, *(" " * (indent + 2) + t + "," for t in texts), " " * indent + closing])


def _show_static(item: Any) -> str:
    try:
        if isinstance(item, (jax.Array, np.ndarray)):
            return describe(item)
        if isinstance(item, np.dtype):
            return item.name
        name = getattr(item, "__name__", None)
        if callable(item) and isinstance(name, str):
            return name
        text = repr(item)
    except Exception:
        return f"<{type(item).__name__}>"
    return text if len(text) <= 60 and "\n" not in text else f"<{type(item).__name__}>"
