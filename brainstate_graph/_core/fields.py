"""``Fields``: the attribute dictionary of a node, once code outside has it.

``vars(node)``, ``functools.wraps``, ``jax.vmap(node)``, a Protocol and a cached property take it.  Most only read it,
and a look changes nothing.  But a write to it sets an attribute.  So a node returns a dictionary that notes and stamps
each write, as ``node.name = value`` does.  From then on it is the dictionary of the node.  So it need not be compared
with what it was, and C code, which reads past any method, finds the attributes in it.

Any other node keeps the dictionary that Python gave it; an attribute is read and set as fast in either.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from operator import call
from typing import Any, Self, final

import jax

from .._records.clock import NodeBase, clock, raw_fields, set_fields
from .._records.journal import note_edit
from .._tools.at_once import for_all

__all__ = ["Fields", "handed_out"]

_lock = threading.RLock()
_call: Any = call  # its type has no place for methods of one argument more


@final
class Fields(dict[str, Any]):
    """The attributes of a node as a dict; writing to it is setting and deleting them."""

    __slots__ = ("_node",)

    _node: weakref.ref[NodeBase]  # weakly, as the node holds it

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # What others make of its type, as in `type(vars(node))(items)`, is a plain dict: it is of no node.
        return dict(*args, **kwargs)  # type: ignore[return-value]

    def _note(self, names: Iterable[Any]) -> None:
        if (node := self._node()) is not None:
            for name in names:
                note_edit(node, name)

    def _stamp(self) -> None:
        if (node := self._node()) is not None:
            clock.stamp(node)

    def __setitem__(self, name: Any, value: Any) -> None:
        self._note((name,))
        super().__setitem__(name, value)
        self._stamp()

    def __delitem__(self, name: Any) -> None:
        self._note((name,))
        super().__delitem__(name)
        self._stamp()

    def clear(self) -> None:
        self._note(list(self))
        super().clear()
        self._stamp()

    def pop(self, name: Any, *default: Any) -> Any:
        if name not in self:
            return super().pop(name, *default)
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        self._note(list(self)[-1:])
        item = super().popitem()
        self._stamp()
        return item

    def setdefault(self, name: Any, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        new: dict[str, Any] = dict(*args, **kwargs)
        if new:
            self._note(new)
            super().update(new)
            self._stamp()

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:  # copies and pickles are plain dicts
        return dict, (), None, None, iter(list(self.items()))


def handed_out(node: NodeBase) -> Fields:
    """Return the attribute dictionary of a node for somebody who may write to it."""
    fields = raw_fields(node)
    if type(fields) is Fields:
        return fields
    with _lock:
        fields = raw_fields(node)
        if type(fields) is not Fields:
            plain, fields = fields, dict.__new__(Fields)
            fields._node = weakref.ref(node)
            # Both in C, so that no thread sets an attribute between the two: it would be lost.
            for_all(map(_call, (dict.update, set_fields), (fields, node), (plain, fields)))
        return fields


def _flatten(fields: Fields) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
    names = tuple(sorted(fields))
    return [(jax.tree_util.DictKey(name), fields[name]) for name in names], names


def _unflatten(names: tuple[str, ...], values: Iterable[Any]) -> Any:  # a plain dict, as all copies
    return dict(zip(names, values, strict=True))


# To JAX it is a dict like any other; JAX knows a dict by its exact type only.
jax.tree_util.register_pytree_with_keys(Fields, _flatten, _unflatten)
