"""``fingerprint``: a digest of a GraphDef that is the same in every process and on every machine."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import types
from collections.abc import Callable, Sequence
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from .._core.graphdef import GraphDef, Row
from .._core.layout import Layout
from .names import claimed_name, name_of
from .values import BaseEncoder, dumps, why_unnamed

__all__ = ["fingerprint"]

# Subclasses of these are compared by class and content.
_BASES: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (float, lambda x: float.__float__(x)),
    (complex, lambda x: complex(x.real, x.imag)),
    (int, lambda x: int.__int__(x)),
    (str, lambda x: str.__str__(x)),
    (bytes, lambda x: bytes(memoryview(x))),
    (tuple, lambda x: tuple(tuple.__iter__(x))),
    (list, lambda x: list(list.__iter__(x))),
    (dict, lambda x: (list(dict.items(x)), getattr(x, "default_factory", None))),
    (frozenset, lambda x: frozenset(frozenset.__iter__(x))),
    (set, lambda x: set(set.__iter__(x))),
    (np.ndarray, lambda x: np.asarray(x)),
)


@final
class _Digester(BaseEncoder):
    """Makes forms that need not be read back: of lambdas, local classes and odd arrays too."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[Any] = []  # functions that are being looked at: a closure may lead back to its function

    def order(self, graphdef: GraphDef) -> Sequence[int]:
        # The rows stand in the order of `repr` of the keys, which for a frozenset differs between processes.
        found: dict[int, None] = {}
        stack = [graphdef.root]
        while stack:
            edge = stack.pop()
            if isinstance(edge, int) and edge not in found:
                found[edge] = None
                row, edges = graphdef.rows[edge], graphdef.edges(edge)
                if row.kind in ("dict", "pytree", "foreign") and not all(type(key) is str for key in row.keys):
                    forms = [dumps(self.value(key)) for key in row.keys]
                    edges = [edges[i] for i in sorted(range(len(forms)), key=forms.__getitem__)]
                stack.extend(reversed(edges))
        return list(found)

    def name(self, thing: Any) -> Any:
        claimed = claimed_name(thing)
        return name_of(thing) or (claimed and {"local": list(claimed)}) or self.refuse(why_unnamed(thing))

    def known(self, row: Row) -> Any:
        return {"known": row.extra, "of": self.name(row.type)}

    def static_data(self, row: Row) -> Any:
        return self.value(row.extra.node_data()[1])

    def other(self, value: Any, why: str) -> Any:
        kind = type(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return {"name": self.name(value)}
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        if isinstance(value, types.BuiltinFunctionType) and isinstance(value.__self__, type):
            return {"builtin": value.__name__, "of": self.name(value.__self__)}
        if isinstance(value, np.dtype) and not value.hasobject:
            return {"dtype": value.char, "in_full": str(value)}
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            return {"scalar": self.name(kind), "dtype": value.dtype.char, "data": value.tobytes().hex()}
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return {"key": str(jax.random.key_impl(value)), "data": self.value(jax.random.key_data(value))}
        if isinstance(value, enum.Enum):
            return {"enum": self.name(kind), "value": self.value(value.value)}
        if isinstance(value, PartitionSpec):
            sets = [sorted(map(str, value.unreduced)), sorted(map(str, value.reduced))]
            return {"partition_spec": [repr(value.partitions), *sets, str(getattr(value, "unreduced_kind", None))]}
        if isinstance(value, Layout):
            specs = [spec and [self.name(spec.kind), self.value(spec.meta)] for spec in value.specs]
            return {"layout": [[p, self.value(k)] for p, k in value.steps()], "leaves": value.leaves, "specs": specs}
        for base, content in _BASES:
            compared = kind.__eq__ is base.__eq__ or base not in (int, complex, str, bytes)
            if isinstance(value, base) and kind is not base and compared:
                return {"subclass": self.name(kind), "content": self.value(content(value))}
        if dataclasses.is_dataclass(value):
            fields = [[field.name, self.value(getattr(value, field.name, None))] for field in dataclasses.fields(value)]
            return {"subclass": self.name(kind), "content": fields}
        return self.refuse(why)

    def _function(self, function: types.FunctionType) -> Any:
        if function in self._open:
            return {"again": self._open.index(function)}
        self._open.append(function)
        cells = [cell.cell_contents if _filled(cell) else ... for cell in function.__closure__ or ()]
        form = {
            "function": [function.__module__, function.__qualname__],
            "code": self._code(function.__code__),
            "defaults": self.value(function.__defaults__),
            "keyword_defaults": self.value(function.__kwdefaults__),
            "closure": self._all(cells),
        }
        self._open.pop()
        return form

    def _code(self, code: types.CodeType) -> Any:
        numbers = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
        names = [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]
        consts = [self._code(x) if isinstance(x, types.CodeType) else self.value(x) for x in code.co_consts]
        return [numbers, names, code.co_code.hex(), code.co_exceptiontable.hex(), consts]


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - looked at, to see whether it is there
    except ValueError:
        return False
    return True


def fingerprint(graphdef: GraphDef) -> str:
    """Return a digest of a GraphDef that is the same in every process and on every machine.

    Equal GraphDefs have equal fingerprints, and different ones have different fingerprints. Classes and functions count
    by name and arrays of JAX by content, where a GraphDef compares them by identity. Two lambdas with the same code
    count as one, and their code depends on the version of Python.

    Args:
        graphdef: The shape of a graph.

    Returns:
        32 hexadecimal digits.

    Raises:
        GraphError: It holds something that has no identity outside the process; the message has all the paths.

    Example:
        >>> from brainstate_graph import State, fingerprint, graphdef
        >>> fingerprint(graphdef({"w": State(1.0), "rate": 0.5}))
        '...'
    """
    if not isinstance(graphdef, GraphDef):
        raise TypeError(f"expected a GraphDef, not a {type(graphdef).__name__}: write `fingerprint(graphdef(model))`")
    encoder, digest = _Digester(), hashlib.sha256(b"brainstate_graph.GraphDef 1\n")
    for form in encoder.rows(graphdef) if graphdef.rows else [encoder.root(graphdef)]:
        digest.update(dumps(form).encode())
    encoder.check("a fingerprint cannot be made of what is compared by identity:")
    return digest.hexdigest()[:32]
