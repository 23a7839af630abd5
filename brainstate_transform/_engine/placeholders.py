"""Nodes and static values as arguments: JAX sees placeholders without leaves in their stead.

A state is treated as a node if its kind may be an argument, as a random stream may.

Inside, the function gets the very objects that the caller passed: nothing is rebuilt, since tracing never touches
a live State.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from brainstate_graph import Node, State, StateArgumentError
from brainstate_graph.extend import locate, static_key

from .._messages.source import argument_name, name_of

__all__ = [
    "ARRAYS", "OBJECTS", "Constant", "Held", "Known", "Placeholder", "Slot", "constant", "hold", "is_placeholder",
    "seal", "unseal", "unseal_arguments",
]  # fmt: skip

# Exact types of arguments that are leaves and neither Node nor State.
_PLAIN: set[type] = {bool, int, float, complex, np.ndarray, type(None)}
ARRAYS = (jax.Array, np.ndarray, bool, int, float, complex, type(None))
OBJECTS = (Node, State)


class Placeholder:
    """A pytree without leaves."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def __repr__(self) -> str:  # stands in messages, ours and JAX's
        if not isinstance(self.item, OBJECTS):
            return f"{type(self).__name__}({self.item!r})"
        text = locate(self.item)
        return f"<{text}>" if len(text) < 56 else f"<{text[:25]}...{text[-28:]}>"  # `describe` cuts longer ones


class _ByValue(Placeholder):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.item == other.item

    def __hash__(self) -> int:
        return hash((type(self), self.item))


_slots: dict[int, Slot] = {}


@jax.tree_util.register_static
class Slot(Placeholder):
    """The node number `item` among those of this call; one object for each number, see `Rows`."""

    __slots__ = ()

    def __new__(cls, item: int) -> Slot:
        return _slots.get(item) or _slots.setdefault(item, super().__new__(cls))


@jax.tree_util.register_static
class Known(_ByValue):
    """The object of row `item` of the touched graph."""

    __slots__ = ()


@jax.tree_util.register_static
class Held(Placeholder):
    """One particular object, known by identity."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is Held and self.item is other.item

    def __hash__(self) -> int:
        return id(self.item)


@jax.tree_util.register_static
class Constant(Placeholder):
    """A static argument, `item`; one object for all that are equal by type and value, see `Rows`."""

    __slots__ = ("__weakref__",)


_constants: weakref.WeakValueDictionary[Hashable, Constant] = weakref.WeakValueDictionary()
_making = threading.RLock()  # hashing runs code of the user


def constant(value: Any) -> Constant:
    """Return what stands for a static argument."""
    key = static_key(value)
    with _making:
        found = _constants.get(key)
        if found is None:
            found = _constants[key] = Constant(value)
    return found


def seal(
    args: tuple[Any, ...], kwargs: dict[str, Any], user: Callable[..., Any]
) -> tuple[tuple[Any, ...], dict[str, Any], list[Node]]:
    """Put placeholders for the nodes among the arguments.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        user: The user's function, for the error message.

    Returns:
        The arguments with a `Slot` for each node, and the nodes.

    Raises:
        StateArgumentError: A bare State is among them, of a kind that is no argument.
    """
    if not kwargs and _PLAIN.issuperset(map(type, args)):
        return args, kwargs, []
    leaves = jax.tree.leaves((args, kwargs))
    if not any([isinstance(leaf, OBJECTS) for leaf in leaves]):
        _PLAIN.update([type(a) for a in args if isinstance(a, jax.Array) and not isinstance(a, Tracer)])
        return args, kwargs, []
    nodes: list[Any] = []
    numbers: dict[int, int] = {}

    def placeholder(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, State) and not leaf.graph_as_argument:
            raise StateArgumentError(
                f"{argument_name(path, user)} of `{name_of(user)}` is a State, {leaf!r}. States are not passed to "
                "transformed functions: let the function close over it, pass the Node that holds it, or its `.value`."
            )
        if not isinstance(leaf, OBJECTS):
            return leaf
        if id(leaf) not in numbers:
            numbers[id(leaf)] = len(nodes)
            nodes.append(leaf)
        return Slot(numbers[id(leaf)])

    args, kwargs = jax.tree_util.tree_map_with_path(placeholder, (args, kwargs))
    return args, kwargs, nodes


def hold(tree: Any, nodes: Sequence[Node]) -> Any:
    """Put placeholders that carry the node itself for numbered ones."""
    return jax.tree.map(
        lambda x: Held(nodes[x.item]) if isinstance(x, Slot) else x, tree, is_leaf=lambda x: isinstance(x, Slot)
    )


def unseal_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], nodes: Sequence[Any]) -> Any:
    """Put the nodes and static values among arguments back for their placeholders."""
    if not kwargs and all([isinstance(arg, ARRAYS) for arg in args]):  # to ask JAX costs a call for each of them
        return args, kwargs
    return unseal((args, kwargs), nodes)


def unseal(tree: Any, nodes: Sequence[Any]) -> Any:
    """Put the nodes and static values back for their placeholders."""
    if not any([isinstance(x, Placeholder) for x in jax.tree.leaves(tree, is_leaf=is_placeholder)]):
        return tree
    return jax.tree.map(
        lambda x: nodes[x.item] if isinstance(x, Slot) else x.item if isinstance(x, (Held, Constant)) else x,
        tree,
        is_leaf=is_placeholder,
    )


def is_placeholder(item: Any) -> bool:
    """Tell whether something is a placeholder, to JAX as ``is_leaf``."""
    return isinstance(item, Placeholder)
