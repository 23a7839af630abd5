"""Static values and the rows of a GraphDef as JSON forms: what `json` writes as it is, one form for each value.

Values that are the same (see `static_key`) have the same form, others have not.  ``Encoder`` makes the forms that can
be read back, which docs/guides/graphdef_json.md lists, and collects the path of each value that has none.
``BaseEncoder`` is what it shares with the fingerprint, which has more forms, as they are never read back.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import json
import re
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, final

import jax
import numpy as np
from jax.sharding import PartitionSpec

from .._core.errors import GraphError
from .._core.graphdef import GraphDef, Row
from .._core.static import Static
from .._tools.words import dotted
from .._trees.tree import StateTree, TreefyState
from .arrays import array_form, dtype_form, jax_array_form, scalar_form
from .names import claimed_name, name_of

__all__ = ["EXACT_IN_JSON", "NESTING", "BaseEncoder", "Encoder", "dumps", "listed", "only_names", "why_unnamed"]

NESTING = 100  # of static values within each other; a graph may be as deep as it likes
EXACT_IN_JSON = 2**53  # whole numbers below it are exact in every language
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 100  # problems in one message


class _At(NamedTuple):
    """A row inside a trail of keys: the path to it is made only for a message."""

    graphdef: GraphDef
    number: int


def _ends(value: slice | range) -> tuple[Any, Any, Any]:
    return value.start, value.stop, value.step


def dumps(form: Any) -> str:
    """Write a form: the same form gives the same characters."""
    return json.dumps(form, separators=(", ", ": "), allow_nan=False)


def listed(head: str, problems: Sequence[tuple[Callable[[], str], str]]) -> GraphError:
    """Return one error that lists all problems, each after its place."""
    lines = [f"at {where()}: {what}" for where, what in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"... and {len(problems) - _SHOWN} more")
    return GraphError("\n  ".join([head, *lines]))


def _spelled(trail: Iterable[Any]) -> str:
    keys: list[Any] = []
    for step in trail:
        keys.extend(step.graphdef.path(step.number) if type(step) is _At else (step,))
    return dotted(tuple(keys))


def why_unnamed(thing: Any) -> str:
    claimed = claimed_name(thing)
    if claimed is None:
        return (
            f"a value of type {type(thing).__name__} cannot be written as data: hold a number, a text, a tuple, a "
            "NumPy array, an enum member, a dataclass or a named function"
        )
    module, qualname = claimed
    if "<lambda>" in qualname:
        return "a lambda has no name to find it by: write a `def` at the top level of a module"
    if "<locals>" in qualname:
        return f"{qualname} of {module} is local to a function: define it at the top level of the module"
    return f"{qualname} is not what {module} has under that name: keep it there, at the top level"


class BaseEncoder(abc.ABC):
    """Makes forms, and collects the problems with their paths; what has no form here is up to those that derive."""

    def __init__(self) -> None:
        self._problems: list[tuple[tuple[Any, ...], str]] = []
        self._trail: list[Any] = []
        self._depth = 0
        self._number_of: Sequence[int] | Mapping[int, int] = ()  # for each row of the GraphDef its number among forms

    def check(self, head: str) -> None:
        """Raise one error with all problems, if there are any."""
        if self._problems:
            raise listed(head, [(functools.partial(_spelled, trail), what) for trail, what in self._problems])

    def refuse(self, what: str) -> None:
        """Note that what is looked at has no form."""
        self._problems.append((tuple(self._trail), what))

    @abc.abstractmethod
    def order(self, graphdef: GraphDef) -> Sequence[int]:
        """Return the rows of a GraphDef in the order of their forms, the root first."""

    @abc.abstractmethod
    def name(self, thing: Any) -> Any:
        """Return the name of a class or function."""

    @abc.abstractmethod
    def known(self, row: Row) -> Any:
        """Return the form of a row for an object that somebody else holds."""

    @abc.abstractmethod
    def static_data(self, row: Row) -> Any:
        """Return the form of the static data of a registered pytree."""

    @abc.abstractmethod
    def other(self, value: Any, why: str) -> Any:
        """Return the form of a value that has none here."""

    # -------------------------------------------------------------------------------------------------- rows

    def root(self, graphdef: GraphDef) -> Any:
        """Return the form of the edge to the root: the number of its row, or a static value."""
        return {"row": 0} if isinstance(graphdef.root, int) else self.value(graphdef.root.value)

    def rows(self, graphdef: GraphDef) -> Iterator[Any]:
        """Return the forms of the rows, one after the other."""
        before, order = self._number_of, self.order(graphdef)
        self._number_of = {row: number for number, row in enumerate(order)}
        yield from (self._form_of(graphdef, row) for row in order)
        self._number_of = before  # a GraphDef may be a value within another

    def _form_of(self, graphdef: GraphDef, number: int) -> Any:
        row = graphdef.rows[number]
        self._trail.append(_At(graphdef, number))
        edges = [
            {"row": self._number_of[edge]} if isinstance(edge, int) else self._inside(key, edge.value)
            for key, edge in zip(row.keys, graphdef.edges(number), strict=True)
        ]
        form = self._row(row, edges)
        self._trail.pop()
        return form

    def _row(self, row: Row, edges: list[Any]) -> Any:
        if row.kind in ("list", "tuple"):
            return {row.kind: edges}
        pairs = [[self.value(key), edge] for key, edge in zip(row.keys, edges, strict=True)]
        if row.kind == "dict":
            return self._of_dict(row.type, pairs, row.extra[0] if row.extra else None)
        if row.kind == "state":
            return {"state": self.name(row.type), "metadata": [[k, self._inside(k, v)] for k, v in row.extra]}
        if row.kind == "pytree":
            return {"pytree": self.name(row.type), "data": self.static_data(row), "edges": pairs}
        if row.kind == "foreign":
            return {"foreign": self.name(row.type), "data": self.value(row.extra), "edges": pairs}
        if row.kind == "known":
            return self.known(row)
        return {row.kind: self.name(row.type), "edges": pairs}

    # ------------------------------------------------------------------------------------------------- values

    def value(self, value: Any) -> Any:
        """Return the form of a static value."""
        # By exact type: what derives from one of these types may hold more than it shows.
        if self._depth == NESTING:
            return self.refuse(f"values are nested more than {NESTING} deep: make some of them Nodes")
        self._depth += 1
        try:
            return self._by_type.get(type(value), BaseEncoder._by_class)(self, value)
        except GraphError as error:
            return self.other(value, str(error))
        finally:
            self._depth -= 1

    def _inside(self, key: Any, value: Any) -> Any:
        self._trail.append(key)
        form = self.value(value)
        self._trail.pop()
        return form

    def _all(self, items: Iterable[Any]) -> list[Any]:
        return [self._inside(i, item) for i, item in enumerate(items)]

    def _pairs(self, items: dict[Any, Any]) -> list[Any]:
        return [[self.value(key), self._inside(key, value)] for key, value in items.items()]

    def _of_int(self, value: int) -> Any:
        return value if abs(value) < EXACT_IN_JSON else {"int": hex(value)}

    def _of_str(self, value: str) -> Any:
        # json writes two halves of a pair and the character that they make alike
        return {"utf8": value.encode("utf-8", "surrogatepass").hex()} if _SURROGATE.search(value) else value

    def _of_set(self, value: Any) -> Any:
        return {type(value).__name__: sorted(map(self.value, value), key=dumps)}

    def _of_dict(self, kind: type[Any], pairs: list[Any], factory: Any) -> Any:
        form = {kind.__name__: pairs}
        return {**form, "factory": self.value(factory)} if kind is defaultdict else form

    def _of_partial(self, value: functools.partial[Any]) -> Any:
        return {
            "partial": self.value(value.func),
            "args": self._all(value.args),
            "keywords": self._pairs(value.keywords),
        }

    def _of_graphdef(self, value: GraphDef) -> Any:
        return {"graphdef": self.root(value), "rows": list(self.rows(value))}

    def _of_partition_spec(self, value: Any) -> Any:
        if not only_names(value.partitions) or PartitionSpec(*value.partitions) != value:
            raise GraphError("only a PartitionSpec of names of axes can be written as data")
        return {"partition_spec": self._all(value.partitions)}

    def _by_class(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, enum.Enum):
            if value.name not in kind.__members__:
                raise GraphError(f"{value!r} has no name of its own: hold a frozenset of members")
            return {"enum": self.name(kind), "member": value.name}
        if isinstance(value, np.dtype):
            return {"dtype": _same_type(dtype_form(value), value)}
        if isinstance(value, np.generic):
            return {"scalar": scalar_form(value)}
        if isinstance(value, jax.Array):
            return {"jax_array": jax_array_form(value)}
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return {"namedtuple": self.name(kind), "fields": self._pairs(dict(zip(kind._fields, value, strict=True)))}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            if kind.__new__ is not object.__new__:
                raise GraphError(
                    f"a {kind.__name__} cannot be written as data: it is a dataclass with a `__new__` of its own"
                )
            fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
            return {"dataclass": self.name(kind), "fields": self._pairs(fields)}
        found = name_of(value)
        if found is None:
            raise GraphError(why_unnamed(value))
        return {"name": found}

    _by_type: ClassVar[dict[type[Any], Callable[[Any, Any], Any]]] = {
        type(None): lambda _, value: value,
        bool: lambda _, value: value,
        int: _of_int,
        str: _of_str,
        float: lambda _, value: {"float": repr(value)},
        complex: lambda _, value: {"complex": [repr(value.real), repr(value.imag)]},
        type(...): lambda _, value: {"ellipsis": None},
        bytes: lambda _, value: {"bytes": value.hex()},
        bytearray: lambda _, value: {"bytearray": value.hex()},
        tuple: lambda self, value: {"tuple": self._all(value)},
        list: lambda self, value: {"list": self._all(value)},
        set: _of_set,
        frozenset: _of_set,
        dict: lambda self, value: self._of_dict(dict, self._pairs(value), None),
        OrderedDict: lambda self, value: self._of_dict(OrderedDict, self._pairs(value), None),
        defaultdict: lambda self, value: self._of_dict(defaultdict, self._pairs(value), value.default_factory),
        slice: lambda self, value: {"slice": [self.value(x) for x in _ends(value)]},
        # Ranges are equal in Python when their items are, and a program may read the ends.
        range: lambda self, value: dict(zip(("range", "stop", "step"), map(self.value, _ends(value)), strict=True)),
        Decimal: lambda _, value: {"decimal": str(value)},
        types.SimpleNamespace: lambda self, value: {"namespace": self._pairs(vars(value))},
        functools.partial: _of_partial,
        types.MethodType: lambda self, value: {
            "method": self.value(value.__func__),
            "self": self.value(value.__self__),
        },
        np.ndarray: lambda _, value: {"array": array_form(value)},
        PartitionSpec: _of_partition_spec,
        Static: lambda self, value: {"static": self.value(value.value)},
        GraphDef: _of_graphdef,
    }


@final
class Encoder(BaseEncoder):
    """Makes the forms that can be read back."""

    def order(self, graphdef: GraphDef) -> Sequence[int]:
        return range(len(graphdef.rows))

    def name(self, thing: Any) -> Any:
        found = name_of(thing)
        return self.refuse(why_unnamed(thing)) if found is None else found

    def known(self, row: Row) -> Any:
        self.refuse(f"this {row.type.__name__} is held elsewhere: take the GraphDef of the whole graph")

    def static_data(self, row: Row) -> Any:
        if issubclass(row.type, (StateTree, TreefyState)):
            return self.refuse(f"a {row.type.__name__} cannot be written as data: hold its values in States")
        return self.value(row.extra.node_data()[1])

    def other(self, value: Any, why: str) -> Any:
        self.refuse(why)


def only_names(axes: Iterable[Any]) -> bool:
    """Tell whether a PartitionSpec holds nothing but names of axes, and tuples of names."""
    return all(
        type(name) is str
        for axis in axes
        if axis is not None
        for name in (axis if isinstance(axis, tuple) else (axis,))
    )


def _same_type(form: Any, dtype: np.dtype[Any]) -> Any:
    # np.longlong and np.int64 are equal, and of two types
    if isinstance(form, str) and type(np.dtype(form)) is not type(dtype):
        raise GraphError(f"the dtype {dtype!r} of C cannot be written as data: use one of a sized type")
    return form
