"""Watches: tests without arguments that tell whether a mutable thing which is not a node is still as it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import jax

from .._tools.operators import Operators
from .foreign import ForeignType
from .graphdef import treedef_key
from .static import static_key

__all__ = ["Watch", "one_level", "watch", "watch_dict", "watch_foreign", "watch_list", "watch_pytree", "watch_static"]

Watch = Callable[[], bool]

_BY_IDENTITY = (object.__eq__, Operators.__eq__)


def _compared_by_identity(items: Sequence[Any]) -> bool:
    """Tell whether ``==`` of lists of these is ``is`` of each, as for nodes and states: six times as fast in C."""
    return all(kind.__eq__ in _BY_IDENTITY for kind in set(map(type, items)))


def _equal(live: list[Any], before: list[Any]) -> bool:
    try:
        return live == before
    except Exception:  # something of another kind came in, such as an array
        return False


def watch_list(live: list[Any], items: Sequence[Any]) -> Watch:
    """Watch a list that held `items`."""
    if _compared_by_identity(items):
        before = list(items)
        return lambda: _equal(live, before)
    count = len(items)
    return lambda: len(live) == count and all(map(is_, live, items))


def watch_dict(live: dict[Any, Any], items: dict[Any, Any]) -> Watch:
    """Watch a dict that held `items`, and its order."""
    keys, values = list(items), list(items.values())
    count = len(keys)

    def unchanged() -> bool:
        return len(live) == count and all(map(is_, live.values(), values)) and all(map(is_, live, keys))

    if type(live) is defaultdict:
        factory = live.default_factory
        return lambda: live.default_factory is factory and unchanged()
    if _compared_by_identity(values) and all(type(key) is str for key in keys):
        return lambda: _equal(list(live.values()), values) and list(live) == keys
    return unchanged


def watch(container: list[Any] | dict[Any, Any]) -> Watch:
    """Return a test without arguments: does the container hold the same objects in the same order as now?

    Example:
        >>> from brainstate_graph.extend import watch
        >>> items = [1, 2]
        >>> unchanged = watch(items)
        >>> items[0] = 3
        >>> unchanged()
        False
    """
    if isinstance(container, dict):
        return watch_dict(container, dict(container))
    return watch_list(container, tuple(container))


def watch_static(live: Any, key: Any, short: Callable[[Any], Any] | None = None) -> Watch:
    """Watch a static value that is compared by content; `short` as in `static_key`."""
    if type(live) is set:  # its items cannot change: 25 times as fast as their keys
        items = list(live)
        return lambda: len(live) == len(items) and all(map(is_, live, items))
    return lambda: static_key(live, short) == key


def watch_pytree(live: Any) -> Watch:
    """Watch a container that only JAX knows."""
    before, treedef, _ = one_level(live)
    key = treedef_key(treedef)

    def unchanged() -> bool:
        now, treedef, _ = one_level(live)
        return len(now) == len(before) and all(map(is_, now, before)) and treedef_key(treedef) == key

    return unchanged


def watch_foreign(live: Any, foreign: ForeignType) -> Watch:
    """Watch a node of a registered type."""
    keys, before, extra = foreign.parts(live)
    key = static_key((keys, extra))

    def unchanged() -> bool:
        keys, now, extra = foreign.parts(live)
        return len(now) == len(before) and all(map(is_, now, before)) and static_key((keys, extra)) == key

    return unchanged


def one_level(item: Any) -> tuple[list[Any], Any, list[Any]]:
    """Return the children, treedef and keys of one registered pytree node."""
    entered: list[bool] = []

    def below(_: Any) -> bool:  # true for all but the first that is asked about, even for the item in itself
        entered.append(True)
        return len(entered) > 1

    pairs, treedef = jax.tree_util.tree_flatten_with_path(item, is_leaf=below)
    keys = [_key_of(path[0]) for path, _ in pairs]
    return [child for _, child in pairs], treedef, keys


def _key_of(entry: Any) -> Any:
    return next((v for a in ("name", "key", "idx") if (v := getattr(entry, a, None)) is not None), str(entry))
