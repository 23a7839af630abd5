"""``diff``: what changed between two GraphDefs, in words and by path; why a function was compiled again.

Both tables are walked at once.  Rows that are met together are one object, before and after; a row that is met with
two others tells that sharing changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final, overload

from .._core.graphdef import Const, Edge, GraphDef, Row, treedef_key, visit_order
from .._core.static import static_key
from .._tools.words import dotted
from .wording import brief, static_changes

__all__ = ["Change", "Diff", "diff"]

_SHOWN = 20  # changes in a printed Diff
_ENDS = 8  # keys at both ends of a long path in it
_SEQUENCES = ("list", "tuple", "namedtuple")


class _Trail(NamedTuple):
    """A path from its end to its beginning: paths as tuples would be quadratic in the depth of a graph."""

    above: _Trail | None
    key: Any

    def path(self) -> tuple[Any, ...]:
        keys: list[Any] = []
        trail = self
        while trail.above is not None:  # the root has no key
            keys.append(trail.key)
            trail = trail.above
        return tuple(reversed(keys))


def _spelled(path: tuple[Any, ...], names: Mapping[Any, str]) -> str:
    if path and path[0] in names:
        path = (names[path[0]], *path[1:])
    return dotted(path if len(path) <= 3 * _ENDS else (*path[:_ENDS], "..", *path[-_ENDS:]))


class _RowPath(NamedTuple):
    """A row, which in a text shows as its path."""

    graphdef: GraphDef
    row: int

    def path(self) -> tuple[Any, ...]:
        return self.graphdef.path(self.row)


@final
class Change:
    """One change of a graph: `path` says where, `text` what."""

    __slots__ = ("_trail", "_words")

    def __init__(self, trail: _Trail, *words: str | _Trail | _RowPath) -> None:
        self._trail = trail
        self._words = words

    @property
    def path(self) -> tuple[Any, ...]:
        """The path on which what changed is first met."""
        return self._trail.path()

    @property
    def text(self) -> str:
        """What changed, in words."""
        return self._text({})

    def spelled(self, names: Mapping[Any, str]) -> str:
        """Return the change as text, with other names for some of the attributes of the root."""
        return f"{_spelled(self.path, names)}: {self._text(names)}"

    def _text(self, names: Mapping[Any, str]) -> str:
        return "".join(word if isinstance(word, str) else _spelled(word.path(), names) for word in self._words)

    def __str__(self) -> str:
        return self.spelled({})

    def __repr__(self) -> str:
        return f"<Change {self}>"


@final
class Diff(Sequence[Change]):
    """What changed between two GraphDefs: a sequence of changes, empty where they are one; as text a line for each."""

    __slots__ = ("_changes",)

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = tuple(changes)

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Change]: ...
    def __getitem__(self, index: int | slice) -> Change | Sequence[Change]:
        return self._changes[index]

    def __len__(self) -> int:
        return len(self._changes)

    def __str__(self) -> str:
        if not self:
            return "nothing changed"
        shown = len(self) if len(self) <= _SHOWN + 1 else _SHOWN
        more = [f"... and {len(self) - shown} more"] if shown < len(self) else []
        return "\n".join([*map(str, self[:shown]), *more])

    def __repr__(self) -> str:
        return f"<Diff of {len(self)} changes>"


def diff(a: GraphDef, b: GraphDef) -> Diff:
    """Say what changed between two GraphDefs, such as those of a model before and after.

    Args:
        a: The shape before.
        b: The shape after.

    Returns:
        A sequence of changes, each with `path` and `text`; empty exactly where ``a is b``. Its `str` has one line for
        each of the first twenty.

    Example:
        >>> from brainstate_graph import State, diff, graphdef
        >>> before = graphdef({"w": State(1.0), "rate": 0.5})
        >>> print(diff(before, graphdef({"w": State(1.0), "rate": 0.1, "extra": [State(2.0)]})))
        extra: added, a list of 1
        rate: 0.5 -> 0.1
    """
    for graphdef in (a, b):
        if not isinstance(graphdef, GraphDef):
            raise TypeError(f"expected a GraphDef, not a {type(graphdef).__name__}: write `graphdef(model)`")
    return Diff([] if a is b else _Comparison(a, b).run())


def _kind(row: Row) -> str:
    return row.type.__name__


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "AEIOUaeio" else f"a {name}"


def _what(graphdef: GraphDef, edge: Edge) -> str:
    """Name what an edge leads to."""
    if isinstance(edge, Const):
        return brief(edge.value)
    row = graphdef.rows[edge]
    if row.kind == "large":
        return brief(row.extra)
    sized = row.kind in ("list", "tuple", "dict")
    return _a(_kind(row)) + (f" of {len(row.keys)}" if sized else "")


def _whose(graphdef: GraphDef, row: int, n: int) -> tuple[str | _RowPath, ...]:
    """Name what edge `n` of a row leads to; by its path, where it was met on another before."""
    edge = graphdef.edges(row)[n]
    if isinstance(edge, Const):
        return (_what(graphdef, edge),)
    parents, keys = graphdef.steps
    parent, key = parents[edge - 1] + 1, keys[edge - 1]
    if edge and parent == row and static_key(key) == static_key(graphdef.rows[row].keys[n]):
        return (_what(graphdef, edge),)
    return ("the same object as ", _RowPath(graphdef, edge))


def _of_class(old: type[Any], new: type[Any]) -> str:
    if old.__qualname__ != new.__qualname__:
        before, after = (
            (old.__name__, new.__name__) if old.__name__ != new.__name__ else (old.__qualname__, new.__qualname__)
        )
        return f"class {before} -> {after}"
    if old.__module__ != new.__module__:
        return f"class {old.__module__}.{old.__qualname__} -> {new.__module__}.{new.__qualname__}"
    return f"class {old.__name__} was defined again: it is another class of the same name"


@final
class _Comparison:
    """One walk over two graphs at once."""

    def __init__(self, a: GraphDef, b: GraphDef) -> None:
        self.a = a
        self.b = b
        self.changes: list[Change] = []
        self.there: dict[int, int] = {}  # the row of b that a row of a was first met with
        self.back: dict[int, int] = {}
        self.first_a: dict[int, _Trail] = {}  # where
        self.first_b: dict[int, _Trail] = {}
        self.stack: list[tuple[Edge, Edge, _Trail, bool]] = []

    def run(self) -> list[Change]:
        self.stack.append((self.a.root, self.b.root, _Trail(None, None), False))
        while self.stack:
            old, new, trail, apart = self.stack.pop()
            if isinstance(old, Const) and isinstance(new, Const):
                self._values(old, new, trail)
            elif isinstance(old, Const) or isinstance(new, Const):
                self._add(trail, f"{_what(self.a, old)} -> {_what(self.b, new)}")
            elif self._paired(old, new, trail, apart):
                self._rows(old, new, trail)
        return self.changes

    def _add(self, trail: _Trail, *words: str | _Trail | _RowPath) -> None:
        self.changes.append(Change(trail, *words))

    def _values(self, old: Const, new: Const, trail: _Trail) -> None:
        if old.key == new.key:
            return
        if isinstance(old.value, GraphDef) and isinstance(new.value, GraphDef):
            for change in diff(old.value, new.value):
                self._add(_extended(trail, change.path), change.text)
            return
        for path, words in static_changes(old.value, new.value):
            self._add(_extended(trail, path), words)

    def _paired(self, old: int, new: int, trail: _Trail, apart: bool) -> bool:
        """Tell whether two rows are to be compared; `apart`: below an object that was shared and is not any more."""
        # Two rows that are met together are one object, before and after. A row that was met with another one before
        # tells that sharing has changed; what is below it is compared without telling that again.
        was, now = self.there.get(old), self.back.get(new)
        if was == new:
            return False
        if was is None and now is None:
            self.there[old], self.first_a[old] = new, trail
            self.back[new], self.first_b[new] = old, trail
            return True
        if now is None:
            self.back[new], self.first_b[new] = old, trail
            if not apart:
                self._add(trail, "is no longer the same object as ", self.first_a[old])
            return True
        if was is None:
            self.there[old], self.first_a[old] = new, trail
            self._add(trail, "is now the same object as ", self.first_b[new])
        elif not (apart and now == old):
            self._add(trail, "was the same object as ", self.first_a[old], ", is now that of ", self.first_b[new])
        return False

    def _rows(self, i: int, j: int, trail: _Trail) -> None:
        old, new = self.a.rows[i], self.b.rows[j]
        if old.kind != new.kind and not (old.kind in _SEQUENCES and new.kind in _SEQUENCES):
            self._add(trail, f"{_what(self.a, i)} -> {_what(self.b, j)}")
            return
        if old.type is not new.type:
            held = old.kind not in ("node", "foreign", "state", "pytree", "known")
            self._add(trail, f"{_a(_kind(old))} -> {_a(_kind(new))}" if held else _of_class(old.type, new.type))
        apart = self.there[i] != j
        before, after = self.a.edges(i), self.b.edges(j)
        if old.kind in ("list", "tuple") or old.kind != new.kind:
            self._sizes(i, j, trail)
            pairs = [(n, n, n) for n in range(min(len(before), len(after)))]
        elif old.kind in ("state", "known"):
            self._extras(old, new, trail)
            return
        else:
            if old.type is new.type:
                self._extras(old, new, trail)
            pairs = self._keys(i, j, trail)
        for key, n, m in reversed(pairs):
            self.stack.append((before[n], after[m], _Trail(trail, key), apart))

    def _sizes(self, i: int, j: int, trail: _Trail) -> None:
        old, new = len(self.a.edges(i)), len(self.b.edges(j))
        if old < new:
            self._add(trail, f"grew from {old} to {new} items: added ", *_listed(self.b, j, old))
        elif old > new:
            self._add(trail, f"shrank from {old} to {new} items: removed ", *_listed(self.a, i, new))

    def _keys(self, i: int, j: int, trail: _Trail) -> list[tuple[Any, int, int]]:
        """Report keys that came, went or changed places; return those of both with their places."""
        old, new = self.a.rows[i], self.b.rows[j]
        mine = {static_key(key): n for n, key in enumerate(old.keys)}
        theirs = {static_key(key): n for n, key in enumerate(new.keys)}
        for key, n in mine.items():
            if key not in theirs:
                self._add(_Trail(trail, old.keys[n]), "removed, was ", *_whose(self.a, i, n))
        for key, n in theirs.items():
            if key not in mine:
                self._add(_Trail(trail, new.keys[n]), "added, ", *_whose(self.b, j, n))
        common = [key for key in mine if key in theirs]
        moved = [key for key in theirs if key in mine]
        if common != moved:
            orders = (brief([old.keys[mine[key]] for key in keys]) for keys in (common, moved))
            self._add(trail, "the order of the keys changed: " + " -> ".join(orders))
        order = (static_key(old.keys[n]) for n in visit_order(old.kind, old.keys))
        return [(old.keys[mine[key]], mine[key], theirs[key]) for key in order if key in theirs]

    def _extras(self, old: Row, new: Row, trail: _Trail) -> None:
        if old.kind == "state":
            self._metadata(dict(old.extra), dict(new.extra), trail)
        elif old.kind == "pytree":
            if treedef_key(old.extra) != treedef_key(new.extra):
                data = old.extra.node_data()[1], new.extra.node_data()[1]
                self._words(data, f"the static data of the {_kind(old)}", trail)
        elif static_key(old.extra) != static_key(new.extra):
            if old.kind == "foreign":
                self._words((old.extra, new.extra), f"the static data of the {_kind(old)}", trail)
            elif old.kind == "large":
                same = old.extra.text == new.extra.text
                self._add(trail, f"{old.extra!r} -> {'another one' if same else repr(new.extra)}")
            elif old.kind == "dict":
                self._words((old.extra[0], new.extra[0]), "the default factory", trail)
            else:
                self._words((old.extra, new.extra), f"the number of the {_kind(old)}", trail)

    def _words(self, pair: tuple[Any, Any], what: str, trail: _Trail) -> None:
        for path, words in static_changes(*pair):
            self._add(trail, f"{what}{'.' * bool(path)}{dotted(path) if path else ''}: {words}")

    def _metadata(self, old: dict[str, Any], new: dict[str, Any], trail: _Trail) -> None:
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in new:
                self._add(trail, f"metadata {key} removed, was {brief(old[key])}")
            elif key not in old:
                self._add(trail, f"metadata {key} added, {brief(new[key])}")
            elif static_key(old[key]) != static_key(new[key]):
                self._words((old[key], new[key]), f"metadata {key}", trail)


def _extended(trail: _Trail, path: tuple[Any, ...]) -> _Trail:
    for key in path:
        trail = _Trail(trail, key)
    return trail


def _listed(graphdef: GraphDef, row: int, first: int) -> Iterator[str | _RowPath]:
    """Name what the edges of a row lead to, from the first one on."""
    count = len(graphdef.edges(row))
    for n in range(first, min(first + 3, count)):
        yield from (", ", *_whose(graphdef, row, n)) if n > first else _whose(graphdef, row, n)
    if count > first + 3:
        yield f" and {count - first - 3} more"
