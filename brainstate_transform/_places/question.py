"""The question of each call: does everything still hold the very objects that it held?

It is asked of some ten things in a call of 8 microseconds.  A loop over them in Python takes 1.2 microseconds, so the
question is written as one expression, ``a.cell_contents is x and table["k"] is y and ...``, which takes 0.15.
How it is written depends on how many things of each kind there are, and on nothing else; so it is compiled once for all
functions that have as many.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

from brainstate_graph.extend import ABSENT

from .values import Test

__all__ = ["Held", "questions"]

_MOST = 64  # things in one expression: to compile so many takes 0.6 ms

# How each kind of thing is asked whether it holds `value`: of itself, and of a name in it.
_ASKING = {
    "variable": "{thing}.cell_contents is {value}",
    "empty variable": "held({thing}) is {value}",
    "item": "{thing}[{name}] is {value}",
    "gap": "{name} not in {thing}",
    "table": "{thing}({name}, ABSENT) is {value}",  # of a bound method `get`
    "code": "{thing}.__code__ is {value}",
    "defaults": "{thing}.__defaults__ is {value}",
    "keywords": "{thing}.__kwdefaults__ is {value}",
    "class": "type({thing}) is {value}",
    "bases": "{thing}.__mro__ is {value}",
    "call": "{thing}.__call__ is {value}",
}


class Held(NamedTuple):
    """A thing, and what it held.

    Attributes:
        kind: How it is asked; a key of the table above.
        thing: It.
        name: The name in it.
        value: What it held.
    """

    kind: str
    thing: Any
    name: Any
    value: Any


def questions(held: list[Held]) -> Iterator[Test]:
    """Return tests that tell together whether all things hold the very objects that they held."""
    held = sorted(held, key=itemgetter(0))  # by kind
    for some in (held[start : start + _MOST] for start in range(0, len(held), _MOST)):
        counts = tuple([(kind, len(list(same))) for kind, same in itertools.groupby([each.kind for each in some])])
        yield _written(counts)(*zip(*[each[1:] for each in some], strict=True))


@functools.lru_cache(maxsize=1024)
def _written(counts: tuple[tuple[str, int], ...]) -> Callable[..., Test]:
    """Return what makes the test for so many things of each kind, given these, their names and what they held."""
    kinds = [kind for kind, count in counts for _ in range(count)]
    numbers = range(len(kinds))
    terms = [
        _ASKING[kind].format(thing=f"t{number}", name=f"n{number}", value=f"v{number}")
        for number, kind in zip(numbers, kinds, strict=True)
    ]
    lines = [
        "def make(things, names, values):",
        *(
            f"    {''.join(f'{each[0]}{number}, ' for number in numbers)} = {each}"
            for each in ("things", "names", "values")
        ),
        "    def unchanged():",
        "        try:",
        f"            return {' and '.join(terms)}",
        "        except (ValueError, KeyError):",  # a variable that was emptied, a name that is gone
        "            return False",
        "    return unchanged",
    ]
    space: dict[str, Any] = {"ABSENT": ABSENT, "held": _held, "__name__": __name__}
    exec("\n".join(lines), space)
    return space["make"]


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT
