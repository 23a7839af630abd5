"""Take several graphs apart one after the other, and put them together again, with what they share kept shared.

Within one context a node or state that an earlier split has taken apart is only named by a later one.  Its name is
the shape in which it stands, which of the splits of that shape it was, and its row there: so equal graphs that share
alike have equal shapes, and a shape that belongs elsewhere is noticed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast, final

from .._core.errors import GraphError
from .._core.flatten import flatten
from .._core.graphdef import NODES, GraphDef
from .._core.snapshot import Snapshot
from .._core.state import State
from .._core.unflatten import unflatten
from .._kept.cached import snapshot
from .._tools.refmap import RefMap
from .._tools.words import dotted
from .._trees.filters import Filter
from .given import merge_values
from .treefy import check_values, detached_values, trees_of

__all__ = ["MergeContext", "SplitContext", "merge_context", "split_context"]

Name = tuple[GraphDef, int, int]


class _TakenApart(NamedTuple):
    """A graph taken apart, as a Snapshot is one, where some of its objects may be named only."""

    graphdef: GraphDef
    objects: Sequence[Any]
    states: Sequence[State[Any]]


class _Context:
    """A base of both directions, which count the graphs of each shape until they end."""

    def __init__(self) -> None:
        self._open = True
        self._times: dict[GraphDef, int] = {}

    def _check_open(self, verb: str) -> None:
        if not self._open:
            raise GraphError(f"the context has ended: call `{verb}` inside its `with` block")

    def _names(self, graphdef: GraphDef) -> list[tuple[int, Name]]:
        """Return the rows that a graph brings in, with their names from now on."""
        time = self._times.get(graphdef, 0)
        self._times[graphdef] = time + 1
        rows = [i for i, row in enumerate(graphdef.rows) if row.kind in NODES or row.kind == "state"]
        return [(i, (graphdef, time, i)) for i in rows]


@final
class SplitContext(_Context):
    """The splits of one `split_context`.

    Attributes:
        ref_index: The nodes and states taken apart so far, each with its name.

    Example:
        >>> from brainstate_graph import State, split_context
        >>> shared = State(1.0)
        >>> with split_context() as ctx:
        ...     _, first = ctx.treefy_split([shared])
        ...     _, second = ctx.treefy_split([shared, State(2.0)])
        >>> list(first.to_flat()), list(second.to_flat())
        ([(0,)], [(1,)])
    """

    def __init__(self) -> None:
        super().__init__()
        self.ref_index: RefMap[Name] = RefMap()

    def __iter__(self) -> Iterator[Any]:
        """For ``with split_context() as (ctx, ref_index)``."""
        return iter((self, self.ref_index))

    def treefy_split(self, node: Any, *filters: Filter) -> tuple[Any, ...]:
        """Split a graph as `treefy_split` does; what an earlier split of this context has is only named.

        Args:
            node: A Node, a container of them, or a State.
            *filters: As for `treefy_split`, for the states that are new.

        Returns:
            ``(graphdef, tree)`` or ``(graphdef, tree1, tree2, ...)``.

        Raises:
            ValueError: No filter accepts some state.
            GraphError: The context has ended.
        """
        self._check_open("ctx.treefy_split")
        part = self._apart(node)
        trees = trees_of(cast(Snapshot, part), filters, exhaustive=True)
        for row, name in self._names(part.graphdef):
            self.ref_index[part.objects[row]] = name
        # a State by itself has the empty path, which only the flat view can show
        return (part.graphdef, *(tree.to_flat() if isinstance(node, State) else tree for tree in trees))

    def _apart(self, node: Any) -> _TakenApart:
        # Where nothing of it is known, the snapshot that the node keeps will do.
        if not isinstance(node, State):
            snap = snapshot(node)
            objects = [node, *snap.objects[1:]]
            if not any(item in self.ref_index for item in objects):
                return _TakenApart(snap.graphdef, objects, snap.states)
        flat = flatten(node, cast(Any, self.ref_index.get))
        return _TakenApart(flat.graphdef, flat.objects, [flat.objects[i] for i in flat.graphdef.state_rows])


@final
class MergeContext(_Context):
    """The merges of one `merge_context`.

    Attributes:
        index_ref: The nodes and states put together so far, by name.

    Example:
        >>> from brainstate_graph import State, merge_context, split_context
        >>> shared = State(1.0)
        >>> with split_context() as ctx:
        ...     one, two = ctx.treefy_split([shared]), ctx.treefy_split({"again": shared})
        >>> with merge_context() as ctx:
        ...     first, second = ctx.treefy_merge(*one), ctx.treefy_merge(*two)
        >>> first[0] is second["again"]
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self.index_ref: dict[Name, Any] = _Merged()

    def __iter__(self) -> Iterator[Any]:
        """For ``with merge_context() as (ctx, index_ref)``."""
        return iter((self, self.index_ref))

    def treefy_merge(self, graphdef: GraphDef, *trees: Any) -> Any:
        """Merge a graph as `treefy_merge` does; what it names is what an earlier merge of this context made.

        Args:
            graphdef: The shape, from the `treefy_split` of a `split_context`.
            *trees: Its state trees.

        Returns:
            The root.

        Raises:
            GraphError: As of `treefy_merge`; or the graph refers to one that is not merged yet, or the context has
                ended.
        """
        self._check_open("ctx.treefy_merge")
        if not isinstance(graphdef, GraphDef):
            raise TypeError(
                f"treefy_merge needs a GraphDef first, not {type(graphdef).__name__}: "
                "`ctx.treefy_merge(graphdef, tree)`"
            )
        values = merge_values(graphdef, trees)
        check_values(graphdef, values)
        root, made = unflatten(graphdef, detached_values(values), cast(Sequence[Any], self.index_ref))
        for row, name in self._names(graphdef):
            self.index_ref[name] = made[row]
        return root


@final
class _Merged(dict[Name, Any]):
    """The objects merged so far; an error says which one is missing."""

    def __missing__(self, name: Any) -> Any:
        shape, time, row = name
        what = (
            f"the {shape.rows[row].type.__name__} {dotted(shape.path(row))} of the {shape!r}"
            + f" (no. {time + 1})" * (time > 0)
        )
        raise GraphError(
            f"the graph refers to {what}, which is not merged yet: merge the graphs in one `merge_context`, in the "
            "order in which they were split"
        )


@contextmanager
def split_context() -> Generator[SplitContext]:
    """Open a context in which several graphs are split, with the nodes and states that they share kept shared.

    A list or dict that two of the graphs hold becomes two lists or dicts.

    Returns:
        A context manager that gives a SplitContext; call its ``treefy_split``.

    Example:
        >>> from brainstate_graph import State, split_context
        >>> shared = State(1.0)
        >>> with split_context() as ctx:
        ...     graphdef, tree = ctx.treefy_split([shared])
        ...     other, nothing = ctx.treefy_split({"again": shared})
        >>> len(tree), len(nothing)
        (1, 0)
    """
    context = SplitContext()
    try:
        yield context
    finally:
        context._open = False


@contextmanager
def merge_context() -> Generator[MergeContext]:
    """Open a context in which the graphs of a `split_context` are merged, in the same order.

    Returns:
        A context manager that gives a MergeContext; call its ``treefy_merge``.

    Example:
        >>> from brainstate_graph import State, merge_context, split_context
        >>> shared = State(1.0)
        >>> with split_context() as ctx:
        ...     one, two = ctx.treefy_split([shared]), ctx.treefy_split({"again": shared})
        >>> with merge_context() as ctx:
        ...     first, second = ctx.treefy_merge(*one), ctx.treefy_merge(*two)
        >>> first[0] is second["again"]
        True
    """
    context = MergeContext()
    try:
        yield context
    finally:
        context._open = False
