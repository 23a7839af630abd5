"""Nodes and static values as arguments and results: JAX sees placeholders without leaves in their stead.

Inside, the function gets the very objects that the caller passed: nothing is rebuilt, since tracing never touches
a live State.  A node that it returns comes back as itself if the caller could hold it already, and is made anew
outside if it was made inside.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from brainstate_graph import GraphDef, Node, Overlay, State, StateArgumentError
from brainstate_graph.extend import (
    born_after,
    filling,
    flatten,
    make_states,
    read_values,
    static_key,
    storing,
    unflatten,
)  # fmt: skip

if TYPE_CHECKING:
    from .touched import TouchedGraph

__all__ = [
    "Carriage", "Constant", "Held", "Slot", "constant", "hold", "hold_known", "holds_nodes", "is_placeholder",
    "seal", "seal_result", "unseal", "unseal_arguments", "unseal_result",
]  # fmt: skip

# Exact types of arguments that are leaves and neither Node nor State.
_PLAIN: set[type] = {bool, int, float, complex, np.ndarray, type(None)}
_ARRAYS = (jax.Array, np.ndarray, bool, int, float, complex, type(None))
_OBJECTS = (Node, State)


class _Placeholder:
    """A pytree without leaves."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.item!r})"


class _ByValue(_Placeholder):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.item == other.item

    def __hash__(self) -> int:
        return hash((type(self), self.item))


_slots: dict[int, Slot] = {}


@jax.tree_util.register_static
class Slot(_Placeholder):
    """The node number `item` among those of this call; one object for each number, see `Rows`."""

    __slots__ = ()

    def __new__(cls, item: int) -> Slot:
        return _slots.get(item) or _slots.setdefault(item, super().__new__(cls))


@jax.tree_util.register_static
class Known(_ByValue):
    """The object of row `item` of the touched graph."""

    __slots__ = ()


@jax.tree_util.register_static
class Held(_Placeholder):
    """One particular object, known by identity."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is Held and self.item is other.item

    def __hash__(self) -> int:
        return id(self.item)


@jax.tree_util.register_static
class Constant(_Placeholder):
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
        StateArgumentError: A bare State is among them.
    """
    if not kwargs and _PLAIN.issuperset(map(type, args)):
        return args, kwargs, []
    leaves = jax.tree.leaves((args, kwargs))
    if not any([isinstance(leaf, _OBJECTS) for leaf in leaves]):
        _PLAIN.update([type(a) for a in args if isinstance(a, jax.Array) and not isinstance(a, Tracer)])
        return args, kwargs, []
    nodes: list[Node] = []
    numbers: dict[int, int] = {}

    def placeholder(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, State):
            raise StateArgumentError(
                f"{_argument(path, user)} of {_name(user)} is a State, {leaf!r}. States are not passed to "
                "transformed functions: let the function close over it, pass the Node that holds it, or its `.value`."
            )
        if not isinstance(leaf, Node):
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
    if not kwargs and all([isinstance(arg, _ARRAYS) for arg in args]):  # to ask JAX costs a call for each of them
        return args, kwargs
    return unseal((args, kwargs), nodes)


def unseal(tree: Any, nodes: Sequence[Any]) -> Any:
    """Put the nodes and static values back for their placeholders."""
    if not any([isinstance(x, _Placeholder) for x in jax.tree.leaves(tree, is_leaf=is_placeholder)]):
        return tree
    return jax.tree.map(
        lambda x: nodes[x.item] if isinstance(x, Slot) else x.item if isinstance(x, (Held, Constant)) else x,
        tree,
        is_leaf=is_placeholder,
    )


def is_placeholder(item: Any) -> bool:
    """Tell whether something is a placeholder, to JAX as ``is_leaf``."""
    return isinstance(item, _Placeholder)


@jax.tree_util.register_pytree_node_class
class Made:
    """The nodes made inside that a result holds: it stands for the first, a `Slot` for each other one.

    Attributes:
        values: The values of their states.
        shape: The shape of the list of them.
        known: What they refer to that was there before.
    """

    __slots__ = ("known", "shape", "values")

    def __init__(self, values: Any, shape: GraphDef, known: tuple[Any, ...]) -> None:
        self.values = values
        self.shape = shape
        self.known = known

    def tree_flatten(self) -> tuple[tuple[Any], tuple[GraphDef, tuple[Any, ...]]]:
        return (self.values,), (self.shape, self.known)

    @classmethod
    def tree_unflatten(cls, aux: tuple[GraphDef, tuple[Any, ...]], children: tuple[Any]) -> Made:
        return cls(children[0], *aux)


class Carriage(NamedTuple):
    """One change, as it crosses JAX.

    Attributes:
        row: The row of the node or container in the touched graph.
        name: The attribute; None for the whole contents of a list or dict.
        value: The new value; ABSENT where the attribute was deleted.
    """

    row: int
    name: str | None
    value: Any


class Changed:
    """A result, and the changes of structure that come with it.

    Attributes:
        out: The result, with a `Slot` for each node made inside.
        made: The list of these nodes, then of the new values.
        edits: For each new value the row and attribute that it is for.
    """

    __slots__ = ("edits", "made", "out")

    def __init__(self, out: Any, made: Made, edits: tuple[tuple[int, str | None], ...]) -> None:
        self.out = out
        self.made = made
        self.edits = edits


jax.tree_util.register_dataclass(Changed, data_fields=["out", "made"], meta_fields=["edits"])


def seal_result(
    out: Any,
    overlay: Overlay,
    graph: TouchedGraph | None,
    user: Callable[..., Any],
    carried: Sequence[Carriage] = (),
) -> tuple[Any, bool]:
    """Put placeholders for the nodes in a result, while the overlay in which it was made is open.

    Args:
        out: What the user's function returned.
        overlay: The overlay that it ran in.
        graph: The touched graph whose rows stand for objects that the caller knows, where the program is of one.
        user: The user's function, for the error message.
        carried: The changes of structure that leave with the result.

    Returns:
        The result, its structure as it was, and whether it holds placeholders.
    """
    leaves = jax.tree.leaves(out)
    if not carried and not any([isinstance(leaf, _OBJECTS) for leaf in leaves]):
        return out, False
    for path, leaf in jax.tree_util.tree_leaves_with_path(out):
        if isinstance(leaf, State):
            raise StateArgumentError(
                f"result{jax.tree_util.keystr(path)} of {_name(user)} is a State, {leaf!r}. States are not returned "
                "from transformed functions: return its `.value`, or the Node that holds it."
            )

    def before(item: Any) -> Held | Known | None:
        if overlay.created(item) if isinstance(item, State) else born_after(item, overlay.since):
            return None
        row = None if graph is None else graph.row_of().get(id(item))
        return Held(item) if row is None else Known(row)

    known: list[Any] = []
    numbers: dict[int, int] = {}

    def number_of(item: Any) -> int | None:
        held = before(item)
        if held is not None and id(item) not in numbers:
            numbers[id(item)] = len(known)
            known.append(held)
        return numbers.get(id(item))

    made = list({id(x): x for x in leaves if isinstance(x, Node) and before(x) is None}.values())
    slots: dict[int, Any] = {id(node): Slot(i) for i, node in enumerate(made)}
    first: Any = None
    if made or carried:
        flat = flatten([*made, *(change.value for change in carried)], number_of)
        values = read_values([flat.objects[i] for i in flat.graphdef.state_rows])
        first = Made(values, flat.graphdef, tuple(known))

    def placeholder(leaf: Any) -> Any:
        nonlocal first
        if not isinstance(leaf, Node):
            return leaf
        if made and not carried and leaf is made[0] and first is not None:
            stand_in, first = first, None
            return stand_in
        return slots.get(id(leaf)) or before(leaf)

    out = jax.tree.map(placeholder, out)
    return (Changed(out, first, tuple((c.row, c.name) for c in carried)) if carried else out), True


def _stands_in(item: Any) -> bool:
    return isinstance(item, (_Placeholder, Made)) and type(item) is not Constant


def holds_nodes(tree: Any) -> bool:
    """Tell whether sealed arguments, or a sealed result, have placeholders for nodes."""
    return any(map(_stands_in, jax.tree.leaves(tree, is_leaf=_stands_in)))


def unseal_result(out: Any, objects: Sequence[Any] = ()) -> tuple[Any, list[Iterable[Any]]]:
    """Put nodes for their placeholders, the caller's own or new ones.

    Args:
        out: A result of a transform.
        objects: The objects of the touched graph, by row.

    Returns:
        The result, and what stores the changes of structure that come with it, together with the values of states.
    """
    if type(out) is Changed:
        found: list[Any] = _unflattened(out.made, objects)
        changes = [(objects[r], name, new) for (r, name), new in zip(out.edits, found[-len(out.edits) :], strict=True)]
        loops = storing([(item, name, value) for item, name, value in changes if name is not None])
        loops += [loop for item, name, value in changes if name is None for loop in filling(item, value)]
        return out.out if isinstance(out.out, _ARRAYS) else _with_nodes(out.out, found, objects), loops
    leaves = jax.tree.leaves(out, is_leaf=_stands_in)
    if any(map(_stands_in, leaves)):
        out = _with_nodes(out, next((_unflattened(m, objects) for m in leaves if isinstance(m, Made)), ()), objects)
    return out, []


def _own(item: _Placeholder, objects: Sequence[Any]) -> Any:
    return objects[item.item] if isinstance(item, Known) else item.item


def _unflattened(made: Made, objects: Sequence[Any]) -> Any:
    memo, rows = made.shape.memo, made.shape.rows
    if _unflattened not in memo:  # whether it is a list of states and no more, as `init_all_states` makes them
        alone = len(rows[0].keys) == len(rows[0].visits) and all(r.kind == "state" and not r.extra for r in rows[1:])
        memo[_unflattened] = [row.type for row in rows[1:]] if alone else None
    if memo[_unflattened] is not None:  # 4 of 6 microseconds less
        states = make_states(memo[_unflattened], [()] * (len(rows) - 1), made.values)
        return [states[target - 1] for target in made.shape.targets]
    return unflatten(made.shape, made.values, [_own(k, objects) for k in made.known])[0]


def _with_nodes(out: Any, nodes: Sequence[Any], objects: Sequence[Any]) -> Any:
    def node(item: Any) -> Any:
        if isinstance(item, Made):
            return nodes[0]
        if isinstance(item, Slot):
            return nodes[item.item]
        return _own(item, objects) if isinstance(item, _Placeholder) else item

    return jax.tree.map(node, out, is_leaf=_stands_in)


def hold_known(out: Any, objects: Sequence[Any]) -> Any:
    """Turn rows of one touched graph into the objects themselves, where another one goes on."""

    def held(item: Any) -> Any:
        if isinstance(item, Made):
            return Made(item.values, item.shape, tuple(held(k) for k in item.known))
        return Held(objects[item.item]) if isinstance(item, Known) else item

    return jax.tree.map(held, out, is_leaf=_stands_in)


def _argument(path: tuple[Any, ...], user: Callable[..., Any]) -> str:
    """Name an argument as the user's function does, with the way inside it."""
    keyword, key = path[0].idx, path[1]
    name = key.key if keyword else key.idx
    if not keyword:
        with contextlib.suppress(TypeError, ValueError, IndexError):
            positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            name = [p.name for p in inspect.signature(user).parameters.values() if p.kind in positional][name]
    return f"argument {name!r}{jax.tree_util.keystr(path[2:])}"


def _name(user: Callable[..., Any]) -> str:
    return f"`{getattr(user, '__qualname__', None) or type(user).__name__}`"
