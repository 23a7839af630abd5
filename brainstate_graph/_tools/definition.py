"""What the constructor of a class says of the attributes of its objects: their order, and what they are by default."""

from __future__ import annotations

import dis
import inspect
import weakref
from collections.abc import Mapping
from typing import Any

__all__ = ["defaults_of", "definition_order"]

_known: weakref.WeakKeyDictionary[type[Any], Mapping[str, int]] = weakref.WeakKeyDictionary()
_defaults: weakref.WeakKeyDictionary[type[Any], Mapping[str, Any]] = weakref.WeakKeyDictionary()


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
        names += [parameter.name for parameter in _parameters(kind)]
        order = _known[kind] = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return order


def defaults_of(kind: type[Any]) -> Mapping[str, Any]:
    """Return the arguments that the constructor of a class need not be given, with what each is then.

    Example:
        >>> from brainstate_graph._tools.definition import defaults_of
        >>> class Layer:
        ...     def __init__(self, size, rate=0.1): ...
        >>> dict(defaults_of(Layer))
        {'rate': 0.1}
    """
    found = _defaults.get(kind)
    if found is None:
        given = [parameter for parameter in _parameters(kind) if parameter.default is not inspect.Parameter.empty]
        found = _defaults[kind] = {parameter.name: parameter.default for parameter in given}
    return found


def _parameters(kind: type[Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(kind.__init__).parameters.values())[1:]  # without `self`
    except (TypeError, ValueError):
        return []
