"""Static values from their JSON forms, where the text may come from anybody.

Each form is checked before anything is made of it; classes and functions are those that `Allowed` finds, and none is
called.  What is wrong is a `GraphError`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, final

from jax.sharding import PartitionSpec

from .._core.errors import GraphError
from .._core.static import Static
from .arrays import array_of, dtype_of, jax_array_of, scalar_of, shortened
from .names import Allowed
from .values import EXACT_IN_JSON, NESTING, only_names

__all__ = ["Decoder", "fields_of_tuple", "needs"]


Made = tuple[Callable[..., Any], tuple[str, ...]]


def needs(form: Any, kind: type[Any], what: str) -> Any:
    """Return a part of a form, which must be of this type."""
    if type(form) is not kind:
        raise GraphError(f"{what} must be a {kind.__name__}, not {shortened(form)}")
    return form


@final
class Decoder:
    """Makes values from forms.

    Args:
        allowed: The classes and functions that may be named.
        more: Further forms: by its first key the function that makes the value, and the other keys. It is given the
            decoder and the parts of the form.
    """

    def __init__(self, allowed: Allowed, more: Mapping[str, Made] = {}) -> None:
        self.find = allowed.find
        self._forms = {**self._known_forms, **more}
        self._depth = 0

    def value(self, form: Any) -> Any:
        """Return the value of a form.

        Raises:
            GraphError: There is no such form, or it names what is not allowed.
        """
        if form is None or type(form) is bool or type(form) is str:
            return form
        if type(form) is int and abs(form) < EXACT_IN_JSON:
            return form
        parts: dict[str, Any] = form if type(form) is dict else {}
        tag = next((key for key in parts if key in self._forms), None)
        if tag is None:
            raise GraphError(f"not a value: {shortened(form)}")
        make, more = self._forms[tag]
        if parts.keys() != {tag, *more}:
            raise GraphError(f"{tag!r} needs {list(more)} beside it, not {shortened(form)}")
        # Counted here, as the limit of Python's own stack depends on who calls.
        if self._depth == NESTING:
            raise GraphError(f"values are nested more than {NESTING} deep")
        self._depth += 1
        try:
            return make(self, parts[tag], *(parts[key] for key in more))
        except GraphError:
            raise
        except (TypeError, ValueError, OverflowError, AttributeError) as error:  # what Python makes nothing of
            raise GraphError(f"invalid {tag}: {error}") from None
        finally:
            self._depth -= 1

    def type_of(self, name: Any) -> type[Any]:
        """Return the class of this name."""
        found = self.find(name)
        if not isinstance(found, type):
            raise GraphError(f"{name} is not a class")
        return found

    def several(self, forms: Any) -> list[Any]:
        """Return the values of a list of forms."""
        return [self.value(form) for form in needs(forms, list, "the field of values")]

    def pairs(self, forms: Any) -> dict[Any, Any]:
        """Return the mapping of a list of pairs of forms."""
        pairs = needs(forms, list, "the field of pairs")
        made: dict[Any, Any] = {}
        for pair in pairs:
            if type(pair) is not list or len(pair) != 2:
                raise GraphError(f"a key and its value must be a list of two, not {shortened(pair)}")
            key, value = map(self.value, pair)
            try:
                made[key] = value
            except TypeError as error:
                raise GraphError(f"{shortened(pair[0])} cannot be a key: {error}") from None
        if len(made) != len(pairs):
            raise GraphError("two keys of a mapping are equal")
        return made

    def _named(self, forms: Any, names: tuple[str, ...], of: type[Any]) -> list[Any]:
        fields = self.pairs(forms)
        if tuple(fields) != names:
            raise GraphError(f"{of.__name__} now has the fields {list(names)}, but the text has {list(fields)}")
        return list(fields.values())

    def _int(self, form: Any) -> int:
        value = int(needs(form, str, "a large number"), 16)
        if abs(value) < EXACT_IN_JSON or hex(value) != form:
            raise GraphError(f"not a large number: {shortened(form)}")
        return value

    # Only the text that is written is read, here and below: equal values have one form, and one fingerprint.
    def _float(self, form: Any) -> float:
        value = float(needs(form, str, "a float"))
        if repr(value) != form:
            raise GraphError(f"not a float: {shortened(form)}")
        return value

    def _complex(self, form: Any) -> complex:
        if type(form) is not list or len(form) != 2:
            raise GraphError(f"a complex number must be a list of two, not {shortened(form)}")
        return complex(*map(self._float, form))

    def _bytes(self, form: Any) -> bytes:
        data = bytes.fromhex(needs(form, str, "bytes"))
        if data.hex() != form:
            raise GraphError(f"not bytes: {shortened(form)}")
        return data

    def _utf8(self, form: Any) -> str:
        return self._bytes(form).decode("utf-8", "surrogatepass")

    def _set(self, forms: Any) -> set[Any]:
        made = set(items := self.several(forms))
        if len(made) != len(items):
            raise GraphError("two items of a set are equal")
        return made

    def _ellipsis(self, form: Any) -> Any:
        return needs(form, type(None), "the value of 'ellipsis'") or ...

    def _defaultdict(self, forms: Any, factory: Any) -> defaultdict[Any, Any]:
        return defaultdict(self.factory(factory), self.pairs(forms))

    def factory(self, form: Any) -> Any:
        """Return the default factory of a defaultdict."""
        factory = self.value(form)
        if factory is not None and not callable(factory):
            raise GraphError("a default factory must be a function")
        return factory

    def _slice(self, forms: Any) -> slice:
        if len(ends := self.several(forms)) != 3:
            raise GraphError("a slice needs start, stop and step")
        return slice(*ends)

    def _range(self, *forms: Any) -> range:
        ends = [self.value(form) for form in forms]
        if any(type(end) is not int for end in ends) or not ends[2]:
            raise GraphError("a range needs whole numbers for start, stop and step, and a step that is not 0")
        return range(*ends)

    def _decimal(self, form: Any) -> Decimal:
        try:
            value = Decimal(needs(form, str, "a decimal number"))
        except InvalidOperation:
            value = None
        if value is None or str(value) != form:
            raise GraphError(f"not a decimal number: {shortened(form)}")
        return value

    def _namespace(self, forms: Any) -> types.SimpleNamespace:
        return types.SimpleNamespace(**_keywords(self.pairs(forms)))

    def _partial(self, function: Any, args: Any, keywords: Any) -> functools.partial[Any]:
        called = self.value(function)
        if not callable(called):
            raise GraphError("what a partial calls must be a function")
        return functools.partial(called, *self.several(args), **_keywords(self.pairs(keywords)))

    def _method(self, function: Any, owner: Any) -> types.MethodType:
        called = self.value(function)
        if not isinstance(called, types.FunctionType):
            raise GraphError("a method must be made of a function")
        return types.MethodType(called, self.value(owner))

    def _partition_spec(self, forms: Any) -> Any:
        axes = self.several(forms)
        if not only_names(axes):
            raise GraphError("a PartitionSpec must have names of axes")
        return PartitionSpec(*axes)

    def _enum(self, name: Any, member: Any) -> Any:
        kind = self.type_of(name)
        if not issubclass(kind, enum.Enum) or type(member) is not str or member not in kind.__members__:
            raise GraphError(f"{name} has no member {shortened(member)}")
        return kind.__members__[member]

    # Neither the `__new__` of a class nor its `_make` runs: a file may name it, and cannot call it.
    def _namedtuple(self, name: Any, forms: Any) -> Any:
        kind = self.type_of(name)
        return tuple.__new__(kind, self._named(forms, fields_of_tuple(kind), kind))

    def _dataclass(self, name: Any, forms: Any) -> Any:
        kind = self.type_of(name)
        if not dataclasses.is_dataclass(kind) or kind.__new__ is not object.__new__:
            raise GraphError(f"{name} is not a dataclass")
        names = tuple(field.name for field in dataclasses.fields(kind))
        values = self._named(forms, names, kind)
        made = object.__new__(kind)
        for field, value in zip(names, values, strict=True):
            object.__setattr__(made, field, value)  # neither __init__ nor __post_init__ runs
        return made

    _known_forms: ClassVar[dict[str, Made]] = {
        "int": (_int, ()),
        "utf8": (_utf8, ()),
        "float": (_float, ()),
        "complex": (_complex, ()),
        "ellipsis": (_ellipsis, ()),
        "bytes": (_bytes, ()),
        "bytearray": (lambda self, form: bytearray(self._bytes(form)), ()),
        "tuple": (lambda self, forms: tuple(self.several(forms)), ()),
        "list": (several, ()),
        "set": (_set, ()),
        "frozenset": (lambda self, forms: frozenset(self._set(forms)), ()),
        "dict": (pairs, ()),
        "OrderedDict": (lambda self, forms: OrderedDict(self.pairs(forms)), ()),
        "defaultdict": (_defaultdict, ("factory",)),
        "slice": (_slice, ()),
        "range": (_range, ("stop", "step")),
        "decimal": (_decimal, ()),
        "namespace": (_namespace, ()),
        "partial": (_partial, ("args", "keywords")),
        "method": (_method, ("self",)),
        "partition_spec": (_partition_spec, ()),
        "static": (lambda self, form: Static(self.value(form)), ()),
        "enum": (_enum, ("member",)),
        "namedtuple": (_namedtuple, ("fields",)),
        "dataclass": (_dataclass, ("fields",)),
        "name": (lambda self, name: self.find(name), ()),
        "dtype": (lambda _, form: dtype_of(form), ()),
        "scalar": (lambda _, form: scalar_of(form), ()),
        "array": (lambda _, form: array_of(form), ()),
        "jax_array": (lambda _, form: jax_array_of(form), ()),
    }


def _keywords(items: dict[Any, Any]) -> dict[str, Any]:
    if not all(type(key) is str for key in items):
        raise GraphError("a keyword must be a text")
    return items


def fields_of_tuple(kind: type[Any]) -> tuple[str, ...]:
    """Return the fields of a namedtuple class."""
    fields = getattr(kind, "_fields", None)
    if not issubclass(kind, tuple) or type(fields) is not tuple:
        raise GraphError(f"{kind.__name__} is not a namedtuple")
    return fields
