"""``GraphDef``: the immutable shape of a graph, as a flat table; a pytree without leaves.

*Row*: what one object of the graph is by itself: a node, a container or a state.  Rows stand in the order in which a
traversal first visits the objects; that is the *number* of a row.
*Edge*: what an object holds under a key: the number of a row, or a ``Const``, which is a static value.
*Targets*: the numbers to which the edges of all rows lead, in one list beside the table.

As the targets stand beside the rows, alike objects share one row: a stack of 1,000 equal layers has a handful of them.
Equal graphs have one GraphDef *object*: equality is identity, so JAX compares the keys of its caches for free.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, final
from zlib import crc32

import jax

from .layout import Layout, StateSpec, intern, keys_key, path_to, restrict, sibling_order
from .static import ATOMS, EXACT, is_frozen, static_key

__all__ = ["CONTAINERS", "NODES", "Const", "Edge", "GraphDef", "Row", "treedef_key", "visit_order"]


@final
class Const:
    """A static value as an edge of a GraphDef, compared by its key."""

    __slots__ = ("frozen", "key", "value")

    def __init__(self, value: Any, key: Hashable, frozen: bool) -> None:
        self.value = value
        self.key = key
        self.frozen = frozen

    @staticmethod
    def of(value: Any) -> Const:
        """Return the edge for a value; of one that can change, a copy is kept."""
        kind = type(value)
        if kind in ATOMS:  # the key that `static_key` would find, in two frames less; most constants are of these types
            return Const(value, (kind, value), True)
        if kind is float:
            return Const(value, (kind, value.hex()), True)
        frozen = is_frozen(value)
        return Const(value if frozen else copy.deepcopy(value), static_key(value), frozen)

    def fresh(self) -> Any:
        """Return the value for one more object to hold."""
        return self.value if self.frozen else copy.deepcopy(self.value)

    def __repr__(self) -> str:
        return repr(self.value)

    def __reduce__(self) -> tuple[Any, ...]:
        return Const.of, (self.value,)


Edge = int | Const
NODES = frozenset({"node", "foreign"})
# What is nothing but what it holds, so that it is built after that; nodes can be made empty and filled.
CONTAINERS = frozenset({"list", "dict", "tuple", "namedtuple", "pytree"})


@final
class Row:
    """What one object of a graph looks like by itself; equal ones are one object.

    Attributes:
        kind: "node", "list", "dict", "tuple", "namedtuple", "pytree", "foreign", "state", "known", or "large" for a
            container that only its digest stands for.
        type: Its class.
        keys: The keys of what it holds, in the order in which they are put back.
        consts: For each key a Const, or None where an edge leads on.
        extra: Metadata of a state, default factory of a dict, treedef of a pytree, number of a known object, what a
            foreign node is made from, digest of what is large.
        visits: The positions of the edges among the keys, in the order in which they are followed.
        edge_keys: The keys of the edges, in that order.
        spec: Of a state, what a state tree knows of it.
    """

    __slots__ = ("__weakref__", "_hash", "consts", "edge_keys", "extra", "keys", "kind", "spec", "type", "visits")

    kind: str
    type: type[Any]
    keys: tuple[Any, ...]
    consts: tuple[Const | None, ...]
    extra: Any
    visits: tuple[int, ...]
    edge_keys: tuple[Any, ...]
    spec: StateSpec | None
    _hash: int | None

    @staticmethod
    def of(kind: str, cls: type[Any], keys: Iterable[Any], consts: Iterable[Const | None], extra: Any = ()) -> Row:
        """Return the interned row with these parts."""
        keys, consts = tuple(keys), tuple(consts)

        def make() -> Row:
            row = object.__new__(Row)
            row.kind, row.type, row.keys, row.consts, row.extra = kind, cls, keys, consts, extra
            row.visits = tuple([i for i in visit_order(kind, keys) if consts[i] is None])
            row.edge_keys = tuple([keys[i] for i in row.visits])
            row.spec = StateSpec(cls, extra) if kind == "state" else None
            row._hash = None
            return row

        # The keys of a list are its positions, so their number says all. What leads on is None here: where it leads is
        # in the targets, so that alike objects have one row.
        return intern(
            (
                Row, kind, cls, len(keys) if kind in ("list", "tuple") else keys_key(keys),
                tuple([None if const is None else const.key for const in consts]),
                extra and (treedef_key(extra) if kind == "pytree" else extra if kind == "large" else static_key(extra)),
            ),
            make,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return Row.of, (self.kind, self.type, self.keys, self.consts, self.extra)

    # No address and no seed of the process goes into it: a GraphDef that is pickled is the same key in another process.
    # Rows that share a hash are told apart by identity.
    @property
    def stable_hash(self) -> int:
        """A hash that is the same in every process; rows that differ in more than plain values may share it."""
        # Of values that are no plain ones it only counts that they are there: their hashes may be those of addresses.
        if self._hash is None:
            plain = [repr(c.value) if c is not None and type(c.value) in EXACT else c is None for c in self.consts]
            name = f"{self.type.__module__}.{self.type.__qualname__}"
            self._hash = crc32(repr((self.kind, name, len(self.keys), plain)).encode())
        return self._hash

    def __repr__(self) -> str:
        return f"Row({self.kind}, {self.type.__name__}, {dict(zip(self.keys, self.consts, strict=True))})"


def treedef_key(treedef: Any) -> Hashable:
    """Return a key of one level of a registered pytree, with its static data compared by type and value."""
    data = treedef.node_data()
    return (data[0], static_key(data[1])) if data is not None else treedef


def visit_order(kind: str, keys: Sequence[Any]) -> Sequence[int]:
    """Return the order in which the edges of a row are followed: by position in a list, else by sorted key."""
    if kind in ("list", "tuple", "node"):  # the attributes of a node are sorted already
        return range(len(keys))
    if all([type(key) is str for key in keys]):
        position = {key: i for i, key in enumerate(keys)}
        return [position[key] for key in sorted(keys)]
    position = {static_key(key): i for i, key in enumerate(keys)}
    return [position[static_key(key)] for key in sibling_order(keys)]


@final
class GraphDef:
    """The static shape of a graph: classes, attribute names, static values, sharing; no array.

    Made by `graphdef`, `treefy_split` and their like. Equal graphs have the same GraphDef object, so comparing is
    ``is``. As a pytree it has no leaves: it passes through JAX as structure, and is part of every cache key.

    Attributes:
        root: The edge that leads to the root.
        rows: The table of objects.
        targets: Where the edges lead, row after row, those of one row in the order in which they are followed.

    Example:
        >>> from brainstate_graph import Node, State, graphdef
        >>> class Gain(Node):
        ...     def __init__(self, k):
        ...         self.k = State(k)
        >>> graphdef(Gain(1.0)) is graphdef(Gain(2.0))
        True
    """

    __slots__ = ("__dict__", "__weakref__", "root", "rows", "targets")

    root: Edge
    rows: tuple[Row, ...]
    targets: tuple[int, ...]

    @staticmethod
    def of(
        root: Edge, rows: Iterable[Row], targets: Iterable[int], first_edges: Sequence[int] | None = None
    ) -> GraphDef:
        """Return the interned GraphDef with this table.

        Args:
            root: The edge that leads to the root.
            rows: The rows.
            targets: Where their edges lead.
            first_edges: As the attribute, if that is known.
        """
        rows, targets = tuple(rows), tuple(targets)

        def make() -> GraphDef:
            graphdef = object.__new__(GraphDef)
            for name, part in (("root", root), ("rows", rows), ("targets", targets)):
                object.__setattr__(graphdef, name, part)
            if first_edges is not None:
                graphdef.__dict__["first_edges"] = first_edges
            return graphdef

        return intern((GraphDef, root if isinstance(root, int) else root.key, rows, targets), make)

    def with_rows(self, rows: Mapping[int, Row]) -> GraphDef:
        """Return the GraphDef with other rows at these numbers, which differ from those of before in constants only."""
        changed = list(self.rows)
        for number, row in rows.items():
            changed[number] = row
        after = GraphDef.of(self.root, changed, self.targets, self.first_edges)
        # No edge is another one, so what is worked out from the edges is the same.
        for name in ("starts", "state_rows", "node_rows", "steps", "layout", "_containers"):
            if name in self.__dict__:
                after.__dict__.setdefault(name, self.__dict__[name])
        return after

    def __init__(self) -> None:
        raise TypeError("a GraphDef is made from a graph: write `graphdef(node)` or `treefy_split(node)`")

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(f"a GraphDef is immutable, so {name!r} stays: change the node and write `graphdef(node)`")

    __delattr__: Any = __setattr__

    def __reduce__(self) -> tuple[Any, ...]:
        return GraphDef.of, (self.root, self.rows, self.targets)

    @cached_property
    def _hash(self) -> int:
        return hash((*[row.stable_hash for row in self.rows], *self.targets))

    def __hash__(self) -> int:
        return self._hash  # the same in every process; equality is identity

    def __copy__(self) -> GraphDef:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphDef:
        return self

    def __repr__(self) -> str:
        if not self.rows:
            return f"GraphDef({self.root!r})"
        nodes = sum(row.kind in NODES for row in self.rows)
        return f"GraphDef({self.rows[0].type.__name__}, nodes={nodes}, states={len(self.state_rows)})"

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """For each row where its edges begin among the targets, and the end."""
        return tuple(accumulate([len(row.visits) for row in self.rows], initial=0))

    def edges(self, number: int) -> tuple[Edge, ...]:
        """Return what a row holds, one for each of its keys: the number of a row, or a Const."""
        row, start = self.rows[number], self.starts[number]
        edges: list[Any] = list(row.consts)
        for position, target in zip(row.visits, self.targets[start : start + len(row.visits)], strict=True):
            edges[position] = target
        return tuple(edges)

    @cached_property
    def state_rows(self) -> tuple[int, ...]:
        """The row numbers of the states, in order."""
        return tuple([i for i, row in enumerate(self.rows) if row.kind == "state"])

    @cached_property
    def node_rows(self) -> tuple[int, ...]:
        """The row numbers of the nodes that are instances of Node, in order."""
        return tuple([i for i, row in enumerate(self.rows) if row.kind == "node"])

    @cached_property
    def first_edges(self) -> Sequence[int]:
        """For each row but the first the edge by which it is first reached, as an index among the targets."""
        found = [-1] * len(self.rows)
        visited = [False] * len(self.rows)
        stack: list[tuple[int, int]] = [(self.root, -1)] if isinstance(self.root, int) else []
        while stack:
            number, edge = stack.pop()
            if not visited[number]:
                visited[number] = True
                found[number] = edge
                first, end = self.starts[number], self.starts[number + 1]
                stack.extend([(self.targets[i], i) for i in range(end - 1, first - 1, -1)])
        return found[1:]

    @cached_property
    def steps(self) -> tuple[list[int], list[Any]]:
        """The paths of the rows as the parents and keys of a trie, see `Layout`: row i is step i - 1, the root -1."""
        owners: list[int] = []
        keys: list[Any] = []
        for step, row in enumerate(self.rows, -1):
            if row.edge_keys:
                owners += [step] * len(row.edge_keys)
                keys += row.edge_keys
        return [owners[i] for i in self.first_edges], [keys[i] for i in self.first_edges]

    def path(self, number: int) -> tuple[Any, ...]:
        """Return the path by which a row is first reached."""
        return path_to(*self.steps, number - 1)

    @cached_property
    def _containers(self) -> tuple[list[int], int | None]:
        # Depth first with a stack of its own: on the stack, ~number says that all below the container is done.
        order: list[int] = []
        color = [0 if row.kind in CONTAINERS else 2 for row in self.rows]  # 0 not visited, 1 being looked into, 2 done
        for start, new in enumerate(color):
            stack = [start] if new == 0 else []
            while stack:
                number = stack.pop()
                if number < 0:
                    order.append(~number)
                    color[~number] = 2
                elif color[number] == 0:
                    color[number] = 1
                    stack.append(~number)
                    inner = self.targets[self.starts[number] : self.starts[number + 1]]
                    if any(color[n] == 1 for n in inner):
                        return order, next(n for n in inner if color[n] == 1)
                    stack.extend(n for n in inner if color[n] == 0)
        return order, None

    @property
    def containers(self) -> list[int]:
        """The row numbers of the containers, each after those that it holds."""
        return self._containers[0]

    @property
    def in_itself(self) -> int | None:
        """The row of a container that holds itself, other than through a node, or None; such one cannot be built."""
        return self._containers[1]

    def layout_of(self, rows: Sequence[int]) -> Layout:
        """Return the paths of these rows."""
        return restrict(*self.steps, [i - 1 for i in rows], [self.rows[i].spec for i in rows])

    @cached_property
    def layout(self) -> Layout:
        """The paths of all states."""
        return self.layout_of(self.state_rows)

    @cached_property
    def memo(self) -> dict[Hashable, Any]:
        """What others work out from the shape alone, and remember with it."""
        return {}


jax.tree_util.register_static(GraphDef)
