"""How things look: what an object says of itself by a method ``_shown_() -> Shown``, and how containers look.

Any class may have that method; lists, dicts and the other pytrees are known here.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from .._tools.words import Words, short

__all__ = [
    "Part",
    "Shown",
    "arguments",
    "attribute",
    "item_of",
    "look_of_node",
    "look_of_state",
    "mapping",
    "open_up",
    "opens",
    "position",
    "unnamed",
]

_ATOMS = frozenset({bool, bytes, complex, float, int, str, type(None), type, types.FunctionType, np.ndarray})
_SHORT = 16  # items of a tuple that are looked at to tell whether it is plain
_NOTHING: Any = object()


class Part(NamedTuple):
    """One line of a thing.

    Attributes:
        label: What stands before the value.
        steps: What the step adds to a path.
        code: What the step is in Python; None where there is no such code.
        value: Where it leads.
    """

    label: str
    steps: tuple[Any, ...]
    code: str | None
    value: Any


def attribute(name: str, value: Any) -> Part:
    """Return the line ``name=value``."""
    return Part(f"{name}=", (name,), f".{name}" if name.isidentifier() else None, value)


def unnamed(name: str, value: Any) -> Part:
    """Return the line of an attribute that goes without saying."""
    return Part("", (name,), f".{name}", value)


def item_of(key: Any, value: Any) -> Part:
    """Return the line ``'key': value``."""
    keys = key if type(key) is tuple else (key,)
    code = f"[{key!r}]" if all(type(k) in _ATOMS for k in keys) else None
    return Part(f"{short(key)}: ", keys, code, value)


def position(place: Any, value: Any) -> Part:
    """Return the line of an item of a list."""
    return Part("", (place,), f"[{place}]", value)


class Shown(NamedTuple):
    """How an object looks.

    Attributes:
        type: Its class.
        parts: Gives its lines, in order; called only if they are shown.
        held: All that it leads to, shown or not.
        opening: What stands before the lines.
        closing: What stands behind them.
        size: How many lines `parts` gives, where that is known without giving them.
        value: What a state holds, for the counts.
        counted_as: The name under which it is counted.
        mark: What is equal for two looks at one thing; None where that is the identity of the object.
        shared: Whether a second look is worth a word; a tuple is shown again.
        boxed: Whether it stands out on a page.
    """

    type: type[Any]
    parts: Callable[[], Iterable[Part]]
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


def look_of_node(kind: type[Any], fields: dict[str, Any], mark: Any = None) -> Shown:
    """Say how a node of this class with these attributes looks."""
    return Shown(kind, lambda: _attributes(kind, fields), fields.values(), f"{kind.__name__}(", mark=mark, boxed=True)


def arguments(kind: type[Any]) -> dict[Any, int]:
    """Return the place of each argument of the constructor of a class."""
    try:
        return {name: place for place, name in enumerate(inspect.signature(kind.__init__).parameters)}
    except (TypeError, ValueError):
        return {}


def _attributes(kind: type[Any], fields: dict[str, Any]) -> list[Part]:
    """Return the lines of the attributes that are of interest: plain ones, then states, then parts.

    In each group those named as an argument of the constructor come first, in its order, then the others by name: a
    clone prints as its original.
    """
    order = arguments(kind)

    def place(entry: tuple[str, Any]) -> tuple[int, int, str]:
        return _group(entry[1]), order.get(entry[0], len(order)), entry[0]

    named = [(k, v) for k, v in fields.items() if v is not None and not k.startswith("_")]
    return [attribute(*entry) for entry in sorted(named, key=place)]


def _group(value: Any) -> int:
    if not opens(value):
        return 0
    shown = open_up(value)
    return 1 if shown is not None and shown.is_state else 2


def opens(value: Any, depth: int = 2) -> bool:
    """Tell whether a value is a thing with lines of its own; a short tuple of plain values is none."""
    shown = open_up(value)
    if shown is None:
        return False
    if shown.type is not tuple or not depth or (shown.size or 0) > _SHORT:
        return True
    return any(opens(item, depth - 1) for item in shown.held)


def look_of_state(kind: type[Any], first: Part | None, meta: Iterable[tuple[str, Any]], value: Any) -> Shown:
    """Say how a state looks.

    Args:
        kind: The class of the object, and the name that it counts under.
        first: The line of its value.
        meta: What was declared about the state, for the lines behind.
        value: What is counted.
    """

    def lines() -> Iterable[Part]:
        if first is not None:
            yield first
        for name, item in meta:
            if name == "tag":  # a frozenset, whose order is another in each process
                item = Words("{" + ", ".join(sorted(map(short, item))) + "}")
            yield Part(f"{name}=", (name,), f".metadata[{name!r}]", item)

    return Shown(kind, lines, (), f"{kind.__name__}(", value=value, counted_as=kind.__name__)


# ------------------------------------------------------------------------------------------------ how things look


def open_up(item: Any) -> Shown | None:
    """Ask an object how it looks; None for a plain value."""
    kind = type(item)
    try:
        if kind in _ATOMS:
            return None
        look = getattr(kind, "_shown_", None) or _CONTAINERS.get(kind)
        if look is None:
            if issubclass(kind, tuple) and hasattr(kind, "_fields"):
                look = _namedtuple
            elif isinstance(item, (jax.Array, np.generic)) or jax.tree_util.all_leaves([item]):
                return None
            else:
                look = _dataclass if dataclasses.is_dataclass(kind) else _pytree
        return look(item)
    except Exception:  # half-built or broken: it prints all the same
        return Shown(kind, tuple[Part], (), f"<{kind.__name__}", ">")


def _list(item: list[Any]) -> Shown:
    held = tuple(item)  # one look, for another thread may be changing it
    return Shown(list, lambda: map(position, range(len(held)), held), held, "[", "]", len(held))


def _tuple(item: tuple[Any, ...]) -> Shown:
    return Shown(tuple, lambda: map(position, range(len(item)), item), item, "(", ")", len(item), shared=False)


def mapping(kind: type[Any], keys: Iterable[Any], held: Sequence[Any]) -> Shown:
    """Say how a mapping looks; `keys` is asked for what is shown only."""
    opening, closing = ("{", "}") if kind is dict else (f"{kind.__name__}({{", "})")
    return Shown(kind, lambda: map(item_of, keys, held), held, opening, closing, len(held))


def _dict(item: dict[Any, Any]) -> Shown:
    held = dict(item)
    return mapping(type(item), held, tuple(held.values()))


def _namedtuple(item: Any) -> Shown:
    kind = type(item)
    return Shown(kind, lambda: map(attribute, kind._fields, item), item, f"{kind.__name__}(", shared=False)


def _dataclass(item: Any) -> Shown:
    kind = type(item)
    fields = {f.name: getattr(item, f.name, None) for f in dataclasses.fields(item) if f.repr}
    return Shown(kind, lambda: map(attribute, fields, fields.values()), fields.values(), f"{kind.__name__}(")


def _pytree(item: Any) -> Shown:
    kind, entered = type(item), [False]

    def below(_: Any) -> bool:  # true for all but the first that is asked about, even for the item in itself
        entered.append(True)
        return len(entered) > 2

    pairs = jax.tree_util.tree_flatten_with_path(item, is_leaf=below)[0]

    def parts() -> Iterable[Part]:
        for (entry,), child in pairs:
            if isinstance(entry, jax.tree_util.GetAttrKey):
                yield attribute(entry.name, child)
            else:
                key = next((getattr(entry, a) for a in ("key", "idx", "name") if hasattr(entry, a)), str(entry))
                part = item_of(key, child) if isinstance(entry, jax.tree_util.DictKey) else position(key, child)
                yield part if hasattr(kind, "__getitem__") else part._replace(code=None)

    return Shown(kind, parts, [child for _, child in pairs], f"{kind.__name__}(", size=len(pairs))


_CONTAINERS: dict[type[Any], Callable[[Any], Shown]] = {
    list: _list,
    tuple: _tuple,
    dict: _dict,
    OrderedDict: _dict,
    defaultdict: _dict,
}
