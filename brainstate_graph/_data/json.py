"""GraphDefs as JSON text, and back: ``to_json`` and ``from_json``.

The text has one line for each row.  It may come from anybody: what is read is compared with what taking a graph
apart can give, and nothing is imported, looked up or called but what the caller allows.
"""

from __future__ import annotations

import inspect
import json
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, final

import numpy as np

from .._core.errors import GraphError
from .._core.flatten import flatten
from .._core.foreign import foreign_type_of
from .._core.graphdef import CONTAINERS, Const, Edge, GraphDef, Row, visit_order
from .._core.node import Node
from .._core.state import State
from .._core.static import static_key
from .._tools.words import dotted
from .arrays import shortened
from .names import Allowed
from .pytrees import child_names, treedef_of
from .read import Decoder, fields_of_tuple, needs
from .values import Encoder, dumps, listed

__all__ = ["from_json", "to_json"]

_FORMAT, _VERSION = "brainstate_graph.GraphDef", 1
_DICTS = {"dict": dict, "OrderedDict": OrderedDict, "defaultdict": defaultdict}
_BESIDES = {
    "list": (), "tuple": (), "dict": (), "OrderedDict": (), "defaultdict": ("factory",), "node": ("edges",),
    "namedtuple": ("edges",), "pytree": ("data", "edges"), "foreign": ("data", "edges"), "state": ("metadata",),
}  # fmt: skip
_SIMPLE = (bool, int, float, str, type(None))
_BAD: Any = object()


def to_json(graphdef: GraphDef) -> str:
    """Write a GraphDef as JSON text.

    Args:
        graphdef: The shape of a graph.

    Returns:
        The text; docs/guides/graphdef_json.md describes it.

    Raises:
        GraphError: It holds a value that cannot be written as JSON, such as a lambda; the message has all the paths.

    Example:
        >>> from brainstate_graph import State, from_json, graphdef, to_json
        >>> shape = graphdef({"w": State(1.0), "rate": 0.5})
        >>> from_json(to_json(shape)) is shape
        True
    """
    if not isinstance(graphdef, GraphDef):
        raise TypeError(f"expected a GraphDef, not a {type(graphdef).__name__}: write `to_json(graphdef(model))`")
    # A row is written before the next one is made, so that the forms of a large graph are never there all at once.
    encoder = Encoder()
    rows = list(map(dumps, encoder.rows(graphdef)))
    root = dumps(encoder.root(graphdef))
    encoder.check("the GraphDef cannot be written as JSON:")
    head = f'"format": "{_FORMAT}", "version": {_VERSION}, "root": {root}'
    return "{" + head + ', "rows": [' + ",".join(f"\n{row}" for row in rows) + "\n]}\n"


def from_json(text: str, allow: Iterable[Any] = ()) -> GraphDef:
    """Read a GraphDef from JSON text; reading runs no code that `allow` does not name.

    Args:
        text: What `to_json` wrote.
        allow: The classes and functions that the text may name, or modules (or names of modules) for all that they
            define. Only these are imported and looked up. Plain types are always allowed.

    Returns:
        The GraphDef. It is the object that was written, if that is still alive and holds no array of JAX.

    Raises:
        GraphError: The text is damaged, or names what is not allowed; the message has all the paths.

    Example:
        >>> import math
        >>> from brainstate_graph import State, from_json, graphdef, to_json
        >>> shape = graphdef({"w": State(1.0), "act": math.tanh})
        >>> from_json(to_json(shape), allow=["math"]) is shape
        True
    """
    if not isinstance(text, str):
        raise TypeError(f"expected the text of a file, not {type(text).__name__}: write `from_json(path.read_text())`")
    reader = _GraphDefReader(Allowed(allow))
    try:
        return _read(text, reader)
    except RecursionError:
        raise GraphError("the text is not a GraphDef: it is nested too deeply") from None


def _read(text: str, reader: _GraphDefReader) -> GraphDef:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise GraphError(f"the text is not JSON: {error}") from None
    if type(data) is not dict or data.get("format") != _FORMAT:
        raise GraphError(f'the text is not a GraphDef: it does not begin with {{"format": "{_FORMAT}"')
    if type(data.get("version")) is not int or data["version"] != _VERSION:
        raise GraphError(f"the text is of version {shortened(data.get('version'))}; this package reads {_VERSION}")
    if data.keys() != {"format", "version", "root", "rows"}:
        raise GraphError(f"a GraphDef must have format, version, root and rows, not {shortened(data)}")
    return reader.graphdef(data["root"], data["rows"])


class _RowForm(NamedTuple):
    """The form of a row, looked at from outside."""

    tag: str
    form: dict[str, Any]
    keys: list[Any]
    edges: list[Any]


class _BareRow(NamedTuple):
    """A row without its edges."""

    kind: str
    type: type[Any]
    keys: tuple[Any, ...]
    extra: Any = ()


def _row_form(form: Any, rows: int) -> _RowForm:
    tag = next((key for key in form if key in _BESIDES), None) if type(form) is dict else None
    if tag is None or form.keys() != {tag, *_BESIDES[tag]}:
        raise GraphError(f"not a row: {shortened(form)}")
    if tag == "state":
        return _RowForm(tag, form, [], [])
    held = needs(form["edges" if "edges" in _BESIDES[tag] else tag], list, "the field of edges")
    if tag in ("list", "tuple"):
        part = _RowForm(tag, form, list(range(len(held))), held)
    elif all(type(pair) is list and len(pair) == 2 for pair in held):
        part = _RowForm(tag, form, [pair[0] for pair in held], [pair[1] for pair in held])
    else:
        raise GraphError("a key and its edge must be a list of two")
    for edge in part.edges:
        _row_number(edge, rows)
    return part


def _row_number(edge: Any, rows: int) -> int | None:
    """Return the row that an edge leads to, or None for a value."""
    if type(edge) is not dict or "row" not in edge:
        return None
    number = edge["row"]
    if len(edge) != 1 or type(number) is not int or not 0 <= number < rows:
        raise GraphError(f"no row has the number {shortened(number)}")
    return number


@final
class _GraphDefReader:
    """Makes a GraphDef from forms.

    Attributes:
        values: Makes the static values, which may be GraphDefs themselves.
    """

    def __init__(self, allowed: Allowed) -> None:
        self.values = Decoder(allowed, {"graphdef": (lambda _, *parts: self.graphdef(*parts), ("rows",))})
        self._fields: dict[type[Any], tuple[str, ...]] = {}

    def graphdef(self, root: Any, forms: Any) -> GraphDef:
        """Return the GraphDef of a root and rows; raise one error with all problems."""
        problems: dict[str, Callable[[], str]] = {}  # each kind of problem once, with its first place

        def attempt(where: Callable[[], str], make: Callable[..., Any], *args: Any) -> Any:
            try:
                return make(*args)
            except GraphError as error:
                problems.setdefault(str(error), where)
                return _BAD

        def check() -> None:
            if problems:
                raise listed("the GraphDef cannot be read:", [(at, what) for what, at in problems.items()])

        count = len(needs(forms, list, "the field of rows"))
        parts = [attempt(partial("row {}".format, i), _row_form, form, count) for i, form in enumerate(forms)]
        first = attempt(lambda: "root", _row_number, root, count)
        check()
        # Rows may lead anywhere in a file: what is not reached, or holds itself as no graph can, is refused.
        above = _found_from(first, parts)
        if len(above) != count:
            raise GraphError(f"row {min(set(range(count)) - above.keys())} is not reached from the root")
        rows: list[Any] = []
        edges: list[Any] = []
        for number, part in enumerate(parts):
            where = partial(_path, number, above)
            held = zip(part.keys, part.edges, strict=True)
            edges.append([attempt(partial(where, key), self._edge, edge, count) for key, edge in held])
            rows.append(attempt(where, self._row, part))
        start = first if first is not None else attempt(lambda: "(root)", self._edge, root, count)
        check()
        for number, row in enumerate(rows):
            if row.kind == "tuple":
                attempt(partial(_path, number, above), _check_tuple, edges[number])
        check()
        _check_cycles(rows, edges)
        return _in_order(start, rows, edges)

    def _edge(self, form: Any, count: int) -> Edge:
        number = _row_number(form, count)
        if number is not None:
            return number
        value = self.values.value(form)
        if type(value) in _SIMPLE:
            return Const.of(value)
        flat = flatten(value).graphdef  # what is followed cannot be a value
        if not isinstance(flat.root, Const):
            raise GraphError(f"a {type(value).__name__} must be a row of its own")
        return flat.root

    def _row(self, part: _RowForm) -> _BareRow:
        """Return a row without its edges."""
        tag, form = part.tag, part.form
        if tag in ("list", "tuple"):
            return _BareRow(tag, list if tag == "list" else tuple, tuple(part.keys))
        if tag == "state":
            return _BareRow(tag, self._class(form[tag], State), (), self._metadata(form["metadata"]))
        keys = tuple(self.values.several(part.keys))
        try:
            same = len({static_key(key) for key in keys}) < len(keys) or len(set(keys)) < len(keys)
        except TypeError:
            raise GraphError("a key must be hashable") from None
        if same:
            raise GraphError("two keys are equal")
        if tag in _DICTS:
            return _BareRow(
                "dict", _DICTS[tag], keys, (self.values.factory(form["factory"]),) if tag == "defaultdict" else ()
            )
        if tag == "node":
            return _BareRow(tag, _check_names(self._class(form[tag], Node), keys), keys)
        kind = self.values.type_of(form[tag])
        if tag == "foreign":
            if foreign_type_of(kind) is None:
                raise GraphError(f"{kind.__name__} is not registered: `register_graph_node_type({kind.__name__}, ...)`")
            return _BareRow(tag, kind, keys, self.values.value(form["data"]))
        if tag == "pytree":
            if kind not in self._fields:
                self._fields[kind] = child_names(kind)
            if self._fields[kind] and self._fields[kind] != keys:
                raise GraphError(f"{kind.__name__} has the children {self._fields[kind]}, not {keys}")
            return _BareRow(tag, kind, keys, treedef_of(kind, self.values.value(form["data"]), keys))
        if keys != fields_of_tuple(kind):
            raise GraphError(f"{kind.__name__} now has the fields {fields_of_tuple(kind)}, but the text has {keys}")
        return _BareRow(tag, kind, keys)

    def _class(self, name: Any, base: type[Any]) -> type[Any]:
        kind = self.values.type_of(name)
        if not issubclass(kind, base) or (base is Node and issubclass(kind, State)) or inspect.isabstract(kind):
            raise GraphError(f"{name} is not a {base.__name__}")
        return kind

    def _metadata(self, forms: Any) -> tuple[Any, ...]:
        meta = self.values.pairs(forms)
        names = list(meta)
        if not all(type(name) is str for name in names) or names != sorted(names):
            raise GraphError("the metadata of a state must be sorted by name")
        for name, value in meta.items():
            if isinstance(value, (list, dict, set, np.ndarray)) or (name == "tag" and type(value) is not frozenset):
                raise GraphError(f"{name} of a state cannot be a {type(value).__name__}")
        return tuple(meta.items())


def _found_from(root: int | None, parts: Sequence[_RowForm]) -> dict[int, tuple[int, Any]]:
    """Return for each row that the root reaches a row above it (-1 for the root), and the form of the key there."""
    above: dict[int, tuple[int, Any]] = {}
    stack = [] if root is None else [(root, -1, None)]
    while stack:
        row, parent, key = stack.pop()
        if row in above:
            continue
        above[row] = (parent, key)
        part = parts[row]
        for key, edge in zip(reversed(part.keys), reversed(part.edges), strict=True):
            number = _row_number(edge, len(parts))
            if number is not None:
                stack.append((number, row, key))
    return above


def _path(number: int, above: dict[int, tuple[int, Any]], *more: Any) -> str:
    keys = [*more]
    while above[number][0] >= 0:
        number, key = above[number]
        keys.append(key)
    return dotted(tuple(key if type(key) in (str, int) else dumps(key)[:60] for key in reversed(keys)))


def _check_names(kind: type[Any], names: tuple[Any, ...]) -> type[Any]:
    if not all(type(name) is str for name in names) or list(names) != sorted(names):
        raise GraphError("the attributes of a node must be sorted by name")
    if hidden := set(names).intersection(kind.graph_invisible_attrs):
        raise GraphError(f"{min(hidden)} of {kind.__name__} is not part of the graph")
    return kind


def _check_tuple(edges: Sequence[Edge]) -> None:
    values = tuple(edge.value for edge in edges if isinstance(edge, Const))
    if len(values) == len(edges) and isinstance(flatten(values).graphdef.root, Const):
        raise GraphError("a tuple of values must be a value, not a row")


def _check_cycles(rows: Sequence[_BareRow], edges: Sequence[Sequence[Edge]]) -> None:
    """Refuse what cannot be built: containers hold themselves only through nodes, which can be filled."""
    late = {number for number, row in enumerate(rows) if row.kind in CONTAINERS}
    waiting = dict.fromkeys(late, 0)
    holders: dict[int, list[int]] = {number: [] for number in late}
    for number in late:
        for edge in edges[number]:
            if isinstance(edge, int) and edge in late:
                waiting[number] += 1
                holders[edge].append(number)
    ready = [number for number, count in waiting.items() if not count]
    while ready:
        for holder in holders[ready.pop()]:
            waiting[holder] -= 1
            if not waiting[holder]:
                ready.append(holder)
    if any(waiting.values()):
        raise GraphError(f"row {min(number for number, count in waiting.items() if count)} holds itself")


def _in_order(root: Edge, rows: Sequence[_BareRow], edges: Sequence[Sequence[Edge]]) -> GraphDef:
    """Return the GraphDef with its rows in the order in which a graph is taken apart."""
    new: dict[int, int] = {}
    stack: list[Edge] = [root]
    while stack:
        edge = stack.pop()
        if not isinstance(edge, int):
            continue
        if edge not in new:
            new[edge] = len(new)
            stack.extend(edges[edge][i] for i in reversed(visit_order(rows[edge].kind, rows[edge].keys)))

    table: list[Row] = []
    targets: list[int] = []
    for number in new:
        kept, held = rows[number], edges[number]
        consts = [edge if isinstance(edge, Const) else None for edge in held]
        row = Row.of(kept.kind, kept.type, kept.keys, consts, kept.extra)
        table.append(row)
        targets += [new[edge] for edge in (held[place] for place in row.visits) if isinstance(edge, int)]
    return GraphDef.of(new[root] if isinstance(root, int) else root, table, targets)
