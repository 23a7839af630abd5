"""The order in which a class defines the attributes of its objects."""

from __future__ import annotations

import dis
import inspect
import weakref
from collections.abc import Mapping
from typing import Any

__all__ = ["definition_order"]

_known: weakref.WeakKeyDictionary[type[Any], Mapping[str, int]] = weakref.WeakKeyDictionary()


def definition_order(kind: type[Any]) -> Mapping[str, int]:
    """Return the place of each attribute that the constructors of a class set, those of its bases first.

    It is read from their code, and not from an object: a copy has its attributes sorted, and prints as its original.
    Arguments of the constructor that it does not set itself come last.

    Args:
        kind: The class.

    Example:
        >>> from brainstate_graph.extend import definition_order
        >>> class Layer:
        ...     def __init__(self, rate):
        ...         self.weight, self.bias = 1.0, 0.0
        >>> dict(definition_order(Layer))
        {'weight': 0, 'bias': 1, 'rate': 2}
    """
    order = _known.get(kind)
    if order is None:
        names: list[str] = []
        for base in reversed(kind.__mro__):
            code = getattr(base.__dict__.get("__init__"), "__code__", None)
            if code is not None:
                names += [step.argval for step in dis.get_instructions(code) if step.opname == "STORE_ATTR"]
        names += _arguments(kind)
        order = _known[kind] = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return order


def _arguments(kind: type[Any]) -> list[str]:
    try:
        return list(inspect.signature(kind.__init__).parameters)[1:]  # without `self`
    except (TypeError, ValueError):
        return []
