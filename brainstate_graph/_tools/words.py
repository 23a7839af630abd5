"""One value in words, in one line; knows nothing of graphs, so that everything may use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, cast, final

import jax
import numpy as np

__all__ = ["Words", "amount", "describe", "dotted", "dtype_name", "short", "some"]

_SHORT = {
    "float": "f",
    "bfloat": "bf",
    "complex": "c",
    "int": "i",
    "uint": "u",
}
_LONG = 60  # characters of a value in one line
_MANY = 8  # items of a container in one line
_PREFIXES = ("B", "kB", "MB", "GB", "TB", "PB")


@final
class Words(str):
    """What prints as it stands, without quotes."""

    __slots__ = ()


def dtype_name(dtype: Any) -> str:
    name = str(dtype)
    for long, brief in _SHORT.items():
        if name.startswith(long) and name[len(long) :].isdigit():
            return brief + name[len(long) :]
    return name


def _array(value: Any) -> str:
    return f"{dtype_name(value.dtype)}[{','.join(map(str, value.shape))}]"


def describe(value: Any, depth: int = 4) -> str:
    """Describe a value by structure, dtype and shape, as in ``f32[3,4]``; never print the numbers of an array.

    Args:
        value: Any value.
        depth: How many levels of containers are entered.

    Example:
        >>> import numpy as np
        >>> from brainstate_graph.extend import describe
        >>> describe({"w": np.ones((2, 3)), "steps": [1, 2]})
        '{w: f64[2,3], steps: [1, 2]}'
    """
    kind = type(value)
    if isinstance(value, np.generic):
        return _array(value)
    if not isinstance(value, (dict, list, tuple)):
        return short(value)
    opening, closing = "{}" if isinstance(value, dict) else "[]" if isinstance(value, list) else "()"
    if not depth:
        return f"{opening}...{closing}"
    items = list(value.items() if isinstance(value, dict) else value)
    texts = [
        f"{item[0]}: {describe(item[1], depth - 1)}" if isinstance(value, dict) else describe(item, depth - 1)
        for item in items[:_MANY]
    ]
    if len(items) > _MANY:
        texts.append(f"... (+{len(items) - _MANY:,} more)")
    comma = "," if kind is tuple and len(items) == 1 else ""
    return f"{opening}{', '.join(texts)}{comma}{closing}"


def short(value: Any) -> str:
    """Return the text of one value in one short line; never raises, whatever the value is."""
    try:
        return _short(value)
    except Exception:  # a repr is what people look at when something is broken
        return f"<{type(value).__name__}>"


def _short(value: Any) -> str:
    kind = type(value)
    if isinstance(value, Words):
        return value
    if isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct)):
        return _array(value)
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, (str, bytes)) and len(value) > _LONG:
        return repr(value[: _LONG - 3]) + "..."
    name = getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        return name
    if kind.__repr__ is object.__repr__:  # which shows an address, another one each time
        return f"<{kind.__name__}>"
    text = repr(value)
    return text if len(text) <= _LONG and "\n" not in text else f"<{kind.__name__}>"


def amount(size: int) -> str:
    """Spell a number of bytes: ``108 B``, ``1.2 kB``.

    Example:
        >>> from brainstate_graph._tools.words import amount
        >>> amount(108), amount(999_999), amount(4_000_000)
        ('108 B', '1.0 MB', '4.0 MB')
    """
    number, power = float(size), 0
    while round(number, 1) >= 1000 and power < len(_PREFIXES) - 1:
        number, power = number / 1000, power + 1
    return f"{number:,.1f} {_PREFIXES[power]}" if power else f"{size} B"


def dotted(path: tuple[Any, ...]) -> str:
    """Spell a path the way a person writes it: ``('layers', 0, 'weight')`` is ``layers.0.weight``."""
    return ".".join(map(str, path)) if path else "(root)"


def some(names: Iterable[str], count: int | None = None) -> str:
    """List names for a message; of many, the first ones and how many more there are.

    Args:
        names: The names; of many no more are made than are listed, as that of a deep state is long.
        count: How many there are; not needed of a sequence.
    """
    count = len(cast("Sequence[str]", names)) if count is None else count
    more = f" and {count - _MANY} more" if count > _MANY else ""
    return ", ".join(map(_middle_left_out, islice(names, _MANY))) + more


def _middle_left_out(name: str) -> str:
    """Return a name of at most 81 letters; that of a state 3,000 modules deep has 20,000."""
    return name if len(name) <= 81 else f"{name[:37]}...{name[-41:]}"
