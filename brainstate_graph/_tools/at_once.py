"""``at_once``: many stores as one step, which no signal and no other thread comes between.

Python looks for signals, and lets another thread go on, between two instructions of its own code.  A loop that runs in
C over functions of C has none.  So whoever is interrupted, and whoever reads meanwhile, finds all of the stores done,
or none.  What can fail is asked before.  The old values are held until the loop has ended: what lets go of an array may
let another thread go on.

An end that is more than stores is written so that it can be done again, and whoever stands around it does that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from operator import call
from types import MappingProxyType
from typing import Any

__all__ = ["at_once", "filling", "for_all", "holding", "pairs_of"]

for_all = deque[Any](maxlen=0).extend  # runs an iterator for its effect, in C
_call: Any = call


def at_once(*loops: Iterable[Any]) -> None:
    """Run iterators for their effect, one after another; all of them where each runs in C.

    Example:
        >>> from brainstate_graph._tools.at_once import at_once
        >>> items = {}
        >>> at_once(map(items.setdefault, "ab", (1, 2)), map(items.pop, "a"))
        >>> items
        {'b': 2}
    """
    for_all(map(for_all, loops))


def holding(*things: Any) -> Iterable[Any]:
    """Return an iterator of nothing, which holds these until it is gone."""
    return map(partial(_call, *things), ())


def filling(container: Any, items: Any) -> list[Iterable[Any]]:
    """Return what gives a list or dict these contents, for `at_once`."""
    kind = type(container)
    stores: list[Callable[[], Any]]
    if isinstance(container, list):
        stores = [partial(list.__setitem__, container, slice(None), list(items))]
    else:
        stores = [partial(kind.clear, container), partial(kind.update, container, items)]
    return [map(_call, stores), holding(container.copy())]


def pairs_of(mapping: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Return the pairs of a mapping in one look, while another thread may add to it.

    To list them makes a tuple for each.  Then Python may collect garbage, tell JAX of it, and let another thread go on,
    which adds a key; so that is done with a copy.

    Example:
        >>> from brainstate_graph._tools.at_once import pairs_of
        >>> pairs_of({"a": 1})
        [('a', 1)]
    """
    known: Any = mapping
    return list((known.copy() if type(known) in (dict, MappingProxyType) else known).items())
