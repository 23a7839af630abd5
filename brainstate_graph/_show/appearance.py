"""The appearance of an object, from which text, page and drawing are made.

*Appearance*: what stands before and behind the lines of an object, and a function that gives the lines.
*Member*: one of those lines: an attribute or item, with what stands before its value.

A class says how its objects look by a function that is registered, ``@appearance_of.register(Kind)``; ``objects`` does
so for nodes, states and trees.  Lists, dicts, dataclasses and the other pytrees are known here.  What has no appearance
is a plain value, which prints in one line (see ``words``).
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .._tools.words import short

__all__ = [
    "Appearance",
    "Member",
    "appearance_of",
    "attribute",
    "item_of",
    "mapping",
    "opens",
    "registered_class",
    "safe_appearance",
    "unlabelled",
]

_ATOMS = frozenset({bool, bytes, complex, float, int, str, type(None), type, types.FunctionType, np.ndarray})
_SHORT = 16  # items of a tuple that are looked at to tell whether it is plain
_NOTHING: Any = object()


class Member(NamedTuple):
    """One line of an object.

    Attributes:
        label: The text before the value.
        steps: What the step to it adds to a path.
        code: What the step is in Python; None where there is no such code.
        value: What is there.

    Example:
        >>> from brainstate_graph.extend import Member
        >>> Member("rate=", ("rate",), ".rate", 0.1).label
        'rate='
    """

    label: str
    steps: tuple[Any, ...]
    code: str | None
    value: Any


def attribute(name: str, value: Any) -> Member:
    """Return the line ``name=value``."""
    return Member(f"{name}=", (name,), f".{name}" if name.isidentifier() else None, value)


def item_of(key: Any, value: Any) -> Member:
    """Return the line ``'key': value``."""
    keys = key if type(key) is tuple else (key,)
    code = f"[{key!r}]" if all(type(k) in _ATOMS for k in keys) else None
    return Member(f"{short(key)}: ", keys, code, value)


def unlabelled(index: Any, value: Any) -> Member:
    """Return the line of an item of a list."""
    return Member("", (index,), f"[{index}]", value)


class Appearance(NamedTuple):
    """How an object looks.

    Attributes:
        type: Its class.
        members: Gives its lines, in order; called only if they are shown.
        held: All that it leads to, shown or not.
        opening: The text before the lines.
        closing: The text after them.
        size: How many lines `members` gives, where that is known without giving them.
        value: What a state holds, for the counts.
        counted_as: The name under which it is counted.
        mark: What is equal for two appearances of one object; None where that is the identity of the object.
        shared: Whether a second time it is only named; a tuple is shown again.
        boxed: Whether it has a box on a page.

    Example:
        >>> from brainstate_graph import Node
        >>> from brainstate_graph.extend import Appearance, Member, appearance_of
        >>> class Dial:
        ...     angle = 90
        >>> @appearance_of.register(Dial)
        ... def _(dial: Dial) -> Appearance:
        ...     line = Member("", ("angle",), ".angle", dial.angle)
        ...     return Appearance(Dial, lambda: [line], (dial.angle,), "Dial at ", "°")
        >>> node = Node()
        >>> node.dial = Dial()
        >>> node
        Node(dial=Dial at 90°)
    """

    type: type[Any]
    members: Callable[[], Iterable[Member]]
    held: Iterable[Any]
    opening: str
    closing: str = ")"
    size: int | None = None
    value: Any = _NOTHING
    counted_as: str = ""
    mark: Any = None
    shared: bool = True
    boxed: bool = False

    @property
    def is_state(self) -> bool:
        """Whether it is one state, live or not."""
        return self.value is not _NOTHING


# ----------------------------------------------------------------------------------------------- asking an object --


@functools.singledispatch
def appearance_of(item: Any) -> Appearance | None:
    """Say how an object looks: an `Appearance`, or None for a plain value that prints in one line.

    Register a function for a class to say how its objects look in a repr, a page of treescope and a drawing.

    Args:
        item: The object.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_graph.extend import appearance_of
        >>> appearance_of(State(1.0)).opening, appearance_of(1.0)
        ('State(', None)
    """
    kind: type[Any] = type(item)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _of_namedtuple(item)
    if isinstance(item, (jax.Array, np.generic)) or jax.tree_util.all_leaves([item]):
        return None
    return _of_dataclass(item) if dataclasses.is_dataclass(kind) else _of_pytree(item)


def safe_appearance(item: Any) -> Appearance | None:
    """Return how an object looks, None for a plain value; never raises, whatever the object is."""
    kind = type(item)
    try:
        if kind in _ATOMS:
            return None
        known = _CONTAINERS.get(kind)
        return (known or appearance_of.dispatch(kind))(item)
    except Exception:  # half-built or broken: it prints all the same
        return Appearance(kind, tuple[Member], (), f"<{kind.__name__}", ">")


def registered_class(kind: type[Any]) -> type[Any] | None:
    """Return the class, this one or a base, whose appearance is registered; None if none is."""
    found = next(base for base in kind.__mro__ if base in appearance_of.registry)
    return None if found is object else found


def opens(value: Any, depth: int = 2) -> bool:
    """Tell whether a value has lines of its own; a short tuple of plain values has none."""
    shown = safe_appearance(value)
    if shown is None:
        return False
    if shown.type is not tuple or not depth or (shown.size or 0) > _SHORT:
        return True
    return any(opens(item, depth - 1) for item in shown.held)


# ----------------------------------------------------------------------------------------------- plain containers


def mapping(kind: type[Any], keys: Iterable[Any], held: Sequence[Any]) -> Appearance:
    """Say how a mapping looks; `keys` is asked for what is shown only."""
    opening, closing = ("{", "}") if kind is dict else (f"{kind.__name__}({{", "})")
    return Appearance(kind, lambda: map(item_of, keys, held), held, opening, closing, len(held))


def _of_list(item: list[Any]) -> Appearance:
    held = tuple(item)  # one look, for another thread may be changing it
    return Appearance(list, lambda: map(unlabelled, range(len(held)), held), held, "[", "]", len(held))


def _of_tuple(item: tuple[Any, ...]) -> Appearance:
    return Appearance(tuple, lambda: map(unlabelled, range(len(item)), item), item, "(", ")", len(item), shared=False)


def _of_dict(item: dict[Any, Any]) -> Appearance:
    held = dict(item)
    return mapping(type(item), held, tuple(held.values()))


# Exact types: what derives from one of these is a container only where JAX is told that it is.
_CONTAINERS: dict[type[Any], Callable[[Any], Appearance]] = {
    list: _of_list,
    tuple: _of_tuple,
    dict: _of_dict,
    OrderedDict: _of_dict,
    defaultdict: _of_dict,
}


def _of_namedtuple(item: Any) -> Appearance:
    kind = type(item)
    return Appearance(kind, lambda: map(attribute, kind._fields, item), item, f"{kind.__name__}(", shared=False)


def _of_dataclass(item: Any) -> Appearance:
    kind = type(item)
    fields = {f.name: getattr(item, f.name, None) for f in dataclasses.fields(item) if f.repr}
    return Appearance(kind, lambda: map(attribute, fields, fields.values()), fields.values(), f"{kind.__name__}(")


def _of_pytree(item: Any) -> Appearance:
    kind, entered = type(item), [False]

    def below(_: Any) -> bool:  # true for all but the first that is asked about, even for the item in itself
        entered.append(True)
        return len(entered) > 2

    pairs = jax.tree_util.tree_flatten_with_path(item, is_leaf=below)[0]

    def members() -> Iterable[Member]:
        for (entry,), child in pairs:
            if isinstance(entry, jax.tree_util.GetAttrKey):
                yield attribute(entry.name, child)
            else:
                key = next((getattr(entry, a) for a in ("key", "idx", "name") if hasattr(entry, a)), str(entry))
                member = item_of(key, child) if isinstance(entry, jax.tree_util.DictKey) else unlabelled(key, child)
                yield member if hasattr(kind, "__getitem__") else member._replace(code=None)

    return Appearance(kind, members, [child for _, child in pairs], f"{kind.__name__}(", size=len(pairs))
