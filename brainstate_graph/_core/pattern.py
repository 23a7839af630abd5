"""``Pattern``: what nodes of one class have in common that look alike; and which values are static by their type.

Most nodes of a model look like another one of their class: the same attributes, of the same types.  What can be told
from that is told once for all of them.
"""

from __future__ import annotations

import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from operator import itemgetter
from typing import Any, final

import jax
import numpy as np

from .fields import Fields
from .foreign import foreign_type_of
from .graphdef import GraphDef, Row
from .node import Node
from .state import State
from .static import ATOMS, Static, is_frozen

__all__ = ["DICTS", "LISTS", "OBJECTS", "STATIC", "UNSEEN", "Pattern", "is_static"]

# Exact types of plain values that never change and compare exactly within their type.
_PLAIN = ATOMS | {type, types.FunctionType, types.BuiltinFunctionType}
# Further types that are static, each in its own way.
STATIC = _PLAIN | {float, complex, types.MethodType, np.ndarray, set, frozenset, slice, np.dtype, GraphDef, Static}
DICTS = frozenset({dict, OrderedDict, defaultdict, Fields})
LISTS = DICTS | {list}
OBJECTS = (State, Node)
UNSEEN: Any = object()


def _plain_constants(items: tuple[Any, ...], depth: int = 8) -> bool:
    """Tell whether a tuple holds frozen values only, so that it is one static value."""
    return all(
        _plain_constants(x, depth - 1) if type(x) is tuple and depth else type(x) in STATIC and is_frozen(x)
        for x in items
    )


def is_static(item: Any, kind: type[Any]) -> bool:
    """Tell whether an object is a static value, so that no edge leads to it."""
    if kind in STATIC:
        return True
    if kind in LISTS or issubclass(kind, OBJECTS):
        return False
    if kind is tuple:
        return _plain_constants(item)
    if isinstance(item, tuple) and hasattr(kind, "_fields"):
        return False
    return foreign_type_of(kind) is None and bool(jax.tree_util.all_leaves([item]))


@final
class Pattern:
    """What nodes of one class have in common whose attributes have the same names and types.

    Attributes:
        names: The names of the attributes that are part of the graph.
        kinds: Their types.
        form: The class, and the names.
        order: The names, sorted.
        pick: Picks the constants out of the values; None where a type does not tell whether its values are static.
        edges: For each edge its position among the values, and the row of a state of this class without metadata,
            where it leads to a state.
        consts: The constants of the last node of this pattern.
        row: Its row.
    """

    __slots__ = ("consts", "edges", "form", "kinds", "names", "order", "pick", "row")

    def __init__(self, cls: type[Any], names: tuple[str, ...], kinds: tuple[type[Any], ...]) -> None:
        self.names = names
        self.kinds = kinds
        self.form = cls, names
        self.consts = UNSEEN
        self.row: Any = None
        positions = {name: position for position, name in enumerate(names)}
        self.order = tuple(sorted(names))
        kind_of = dict(zip(names, kinds, strict=True))
        constant = [positions[name] for name in self.order if kind_of[name] in _PLAIN]
        # An edge leads on to what is one of these; tuples and pytrees may be static or not.
        ahead = [positions[n] for n in self.order if kind_of[n] in LISTS or issubclass(kind_of[n], OBJECTS)]
        states = {kind: Row.of("state", kind, (), ()) for kind in set(kinds) if issubclass(kind, State)}
        self.edges = [(position, states.get(kinds[position])) for position in ahead]
        self.pick: Callable[[tuple[Any, ...]], Any] | None = None
        if len(constant) + len(ahead) == len(self.order):
            self.pick = itemgetter(*constant) if constant else lambda _: ()
