"""Plain values, and what else is compared for nothing or nearly nothing: small containers, arrays by identity.

*Value*: what cannot change and is compared by type and value: a number, a text, an enum, a tuple of such.
What is no value is compared by identity, and a small container of values by what is in it.
"""

from __future__ import annotations

import dataclasses
import decimal
import enum
import fractions
import pathlib
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np

from brainstate_graph import Node, State
from brainstate_graph.extend import StateTree, pairs_of, watch

__all__ = [
    "CHANGEABLE", "CONTAINERS", "FEW", "FEW_BYTES", "MAPPINGS", "PLAIN", "Test", "all_values", "copied", "holds_graph",
    "is_value", "items_of", "same_bytes", "same_content", "values_of", "watch_items",
]  # fmt: skip

Test = Callable[[], bool]  # whether something is as it was
PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), type(...)})
_VALUES = (
    *PLAIN, enum.Enum, np.generic, np.dtype, fractions.Fraction, decimal.Decimal, pathlib.PurePath, range, slice,
)  # fmt: skip
FEW = 64  # items of a plain container that are compared one by one
FEW_BYTES = 1024  # of a NumPy array that are compared: 0.15 microseconds


def is_value(item: Any) -> bool:
    """Tell whether a thing is a plain value, which cannot change and is compared by type and value."""
    kind = type(item)
    if kind in PLAIN or issubclass(kind, _VALUES):
        return True
    if issubclass(kind, (tuple, frozenset)):
        return len(item) <= FEW and all_values(item)
    declared = getattr(kind, "__dataclass_params__", None)
    if declared is None or not declared.frozen:
        return False
    return all(is_value(getattr(item, field.name, None)) for field in dataclasses.fields(item))


def all_values(items: Collection[Any]) -> bool:
    """Tell whether all of these are plain values."""
    return set(map(type, items)) <= PLAIN or all(map(is_value, items))


# -- small containers --------------------------------------------------------------------------------------------------

MAPPINGS = (dict, OrderedDict, defaultdict, types.MappingProxyType, StateTree)
CHANGEABLE = (list, dict, set, deque)
CONTAINERS = (list, tuple, deque, set, frozenset, *MAPPINGS)


def values_of(item: Any) -> list[Any]:
    return list(item.values()) if isinstance(item, MAPPINGS) else list(item)


def items_of(item: Any) -> list[tuple[Any, Any]]:
    return pairs_of(item) if isinstance(item, MAPPINGS) else list(enumerate(item))


def copied(item: Any) -> Any:
    return list(item) if isinstance(item, deque) else item.copy()  # of a view of a dict, a copy of that


def same_content(item: Any) -> Test:
    """Return the test whether a small container of plain values still holds the same."""
    if isinstance(item, (set, frozenset)):
        ids = frozenset(map(id, item))
        kept = list(item)
        return lambda: len(kept) == len(item) and frozenset(map(id, item)) == ids
    return watch_items(item)


def same_bytes(array: Any) -> Test:
    """Return the test whether a small array still holds the same."""
    before = array.tobytes()
    return lambda: array.tobytes() == before


def watch_items(item: Any) -> Test:
    if isinstance(item, (list, dict)):
        return watch(item)
    if isinstance(item, types.MappingProxyType):
        pairs = pairs_of(item)
        ids = [id(part) for pair in pairs for part in pair]
        return lambda: [id(part) for pair in item.items() for part in pair] == ids and bool(ids) == bool(pairs)
    before = list(item)
    return lambda: len(item) == len(before) and list(map(id, item)) == list(map(id, before))


def holds_graph(container: Any) -> bool:
    """Tell whether a container holds a node, a state, or a function that may reach some, at any depth."""
    seen: set[int] = set()
    stack = [container]
    while stack:
        item = stack.pop()
        kind = type(item)
        if issubclass(kind, (Node, State)) or (callable(item) and not issubclass(kind, type)):
            return True
        if issubclass(kind, CONTAINERS) and id(item) not in seen:
            seen.add(id(item))
            if isinstance(item, StateTree):  # whose leaves JAX finds without a call for each of them
                stack += jax.tree.leaves(item)
            else:
                stack += values_of(item)
    return False
