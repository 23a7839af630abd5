"""Finding an object in a model, and one that is hidden in a value; for error messages and refusals.

``locate`` names a state or node by the path from the outermost node that holds it.  It looks at every live node of the
process, so only errors ask.  ``find_hidden`` looks for a State or Node inside of what a graph takes for one value.
"""

from __future__ import annotations

import gc
import threading
import types
import warnings
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress, repeat
from typing import Any

import jax
import numpy as np

from .._records.clock import fields_of
from .._tools import constants
from .._tools.at_once import pairs_of
from .._tools.containers import items_of
from .._tools.frames import level_of_user
from .errors import TraceContextError
from .node import Node
from .overlay import at_home

__all__ = ["find_hidden", "locate", "path_to", "paths_to", "refuse_away", "tell_constants"]

_MOST = 1000  # objects that `find_hidden` looks into: a data set that a model holds is not gone through
_CLOSED = (str, bytes, bytearray, int, float, complex, type, types.ModuleType, types.CodeType, jax.Array)

_listing = threading.Lock()  # no thread switches the collector on again for another one


def _live_nodes() -> list[Node]:
    """Return the nodes of the process that error messages name."""
    kinds: list[type[Node]] = [Node]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    is_node = frozenset(map(id, kinds)).__contains__
    # No other thread may run while we hold a reference to every object: it would fail with a SystemError if it were
    # building a tuple, to which nobody else may hold one. So all objects are asked for, sorted out and let go within
    # one call in C. That takes two lists side by side, one for the objects and one for their types: each goes when it
    # is used up. The second is made later and has the first at its end, hence `repeat`, and the order by age. Types are
    # known by their ids: a metaclass may have a `__hash__` in Python, which would let others run. (So may an audit hook
    # in Python, where the process has one.)
    with _listing:
        collecting = gc.isenabled()
        gc.disable()  # which moves objects from one generation to another
        try:
            kinds_of_all = map(id, map(type, _all_objects()))
            found = list(compress(chain(_all_objects(), repeat(None)), map(is_node, kinds_of_all)))
        finally:
            if collecting:
                gc.enable()
    return [node for node in found if isinstance(node, Node) and node.graph_in_paths]


def _all_objects() -> Iterator[Any]:
    return chain.from_iterable(map(gc.get_objects, (2, 1, 0)))


def path_to(item: Any) -> str | None:
    """Return how `item` is reached from the outermost node that holds it, as ``Net.layers.0.weight``."""
    return paths_to([item])[0]


def paths_to(items: Iterable[Any]) -> list[str | None]:
    """Return how each of these states or nodes is reached from the outermost node that holds it, if one does."""
    above: dict[int, tuple[Any, str]] = {}  # for what each node holds, by id: the node and the steps from it
    for node in _live_nodes():
        _note_held(above, node)
    return [_path_in(above, item) for item in items]


def _path_in(above: dict[int, tuple[Any, str]], item: Any) -> str | None:
    suffix = ""
    seen: set[int] = set()
    while id(item) in above and id(item) not in seen:
        seen.add(id(item))
        item, steps = above[id(item)]
        suffix = f".{steps}{suffix}"
    return type(item).__name__ + suffix if suffix else None


def _note_held(above: dict[int, tuple[Any, str]], node: Node) -> None:
    """Note what a node holds, through containers, with the steps to it."""
    stack: list[tuple[Any, Any]] = pairs_of(fields_of(node))[::-1]
    seen: set[int] = set()
    while stack:
        steps, value = stack.pop()
        if isinstance(value, (list, tuple, dict)):
            if id(value) not in seen:
                seen.add(id(value))
                stack.extend((f"{steps}.{key}", held) for key, held in items_of(value))
        else:
            above.setdefault(id(value), (node, steps))


def locate(item: Any) -> str:
    """Say in words which state or node this is and where it is held; for error messages."""
    path = path_to(item)
    if path is not None:
        return f"{type(item).__name__} at {path}"
    name = None if isinstance(item, Node) else dict(item._meta).get("name")
    return type(item).__name__ + (f" {name!r}" if name else "")


def tell_constants(states: Iterable[Any]) -> None:
    """Warn, before states are assigned, of the functions that JAX has compiled with their old values; once of each."""
    for name, assigned in constants.changing(states):
        more = f" and {len(assigned) - 1} more" if len(assigned) > 1 else ""
        warnings.warn(
            f"{locate(assigned[0])}{more} was assigned, but `{name}` keeps the old value: it was compiled "
            "outside of any transform of brainstate_transform, with the value as a constant. "
            "Use the transform of the same name, `from brainstate_transform import jit`, or pass the values: "
            "`graphdef, tree = treefy_split(model)`.",
            stacklevel=level_of_user(),
        )


def refuse_away(state: Any) -> None:
    """Refuse to write a state in a trace of JAX inside of the one in which it lives, see `Box.graph_at_home`.

    Raises:
        TraceContextError: The code runs in such a trace.
    """
    if not at_home(state):
        raise TraceContextError(
            f"{locate(state)} cannot advance here: the code runs inside a JAX transform that does not handle states, "
            "such as `jax.vmap`, where all lanes would draw the same. Use the transform of the same name from "
            "brainstate_transform, or draw before and pass the keys: `keys = rng.split_key(n)`."
        )


def find_hidden(value: Any, wanted: tuple[type[Any], ...]) -> Any:
    """Return an object of the wanted classes that `value` holds, or None; functions are not looked into."""
    met: dict[int, Any] = {}  # keeps what was met alive, so that an id is not used again
    stack: list[Any] = [value]
    while stack and len(met) < _MOST:
        item = stack.pop()
        if isinstance(item, wanted):
            return item
        if id(item) not in met and not isinstance(item, _CLOSED):
            met[id(item)] = item
            stack.extend(reversed(_contents(item)))
    return None


def _contents(item: Any) -> Sequence[Any]:
    if isinstance(item, (dict, types.MappingProxyType)):
        return [*item.keys(), *item.values()]
    if isinstance(item, (list, tuple, set, frozenset, deque)):
        return list(item)
    if isinstance(item, np.ndarray):
        return list(item.flat) if item.dtype.hasobject else ()
    if isinstance(item, (ChainMap, UserDict, UserList)):
        return list(vars(item).values())
    if callable(item):
        return ()
    slots = [name for kind in type(item).__mro__ for name in _slots(kind)]
    inside = [found for name in slots if (found := getattr(item, name, None)) is not None]
    return [*getattr(item, "__dict__", {}).values(), *inside]


def _slots(kind: type[Any]) -> Iterable[str]:
    slots = kind.__dict__.get("__slots__", ()) if kind.__module__ != "builtins" else ()
    return [name for name in ([slots] if isinstance(slots, str) else slots) if not name.startswith("__")]
