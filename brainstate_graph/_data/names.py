"""Names of classes and functions, ``module:qualname``, and which of them a file may use.

A name counts only where the thing itself is found under it, by plain dictionary look-ups: no ``__getattr__`` runs.
Private modules are left out of a name where the public one above has the very same thing, so that files survive
when code moves inside a package: ``jax.nn:relu``, not the private file that defines it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
import types
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any, final

import jax.numpy as jnp
import numpy as np

from .._core.errors import GraphError
from .._core.node import Node
from .._core.state import State

__all__ = ["Allowed", "claimed_name", "name_of"]

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

# What every file may name: plain data, and what has no meaning but its dtype.
_ALWAYS: tuple[Any, ...] = (
    bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, slice, range, object, type,
    type(None), type(...), OrderedDict, defaultdict, functools.partial, types.SimpleNamespace, State, Node,
    *(vars(np)[name] for name in (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
        "float64", "complex64", "complex128", "bytes_", "str_", "datetime64", "timedelta64", "ndarray", "dtype",
    )),
    *(vars(jnp)[name] for name in (
        "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bfloat16", "float16",
        "float32", "float64", "complex64", "complex128",
    )),
)  # fmt: skip


def claimed_name(thing: Any) -> tuple[str, str] | None:
    """Return the module and the qualified name that a class or function says it has."""

    def claim(attribute: str) -> Any:
        try:
            return object.__getattribute__(thing, attribute)  # past any __getattr__
        except (AttributeError, TypeError):
            return None

    module = claim("__module__")
    if module is None and isinstance(thing, types.BuiltinFunctionType):
        module = getattr(thing.__self__, "__name__", None)
    qualname = claim("__qualname__") or claim("__name__")
    return (module, qualname) if isinstance(module, str) and isinstance(qualname, str) else None


def _public(module: str) -> list[str]:
    """Return the public modules that may pass on what a private one defines, the longest name first."""
    parts = module.split(".")
    kept = [part for part in parts if not part.startswith("_")]
    if len(kept) == len(parts) or parts[0] != next(iter(kept), None):
        return []
    return [".".join(kept[:n]) for n in range(len(kept), 0, -1)]


def _find(module: str, qualname: str) -> Any:
    """Return what stands under a name in a module that is imported, or None."""
    thing: Any = sys.modules.get(module)
    for depth, part in enumerate(qualname.split(".")):
        if not isinstance(thing, type if depth else types.ModuleType):
            return None
        thing = vars(thing).get(part)
        if isinstance(thing, (classmethod, staticmethod)):
            thing = thing.__func__
    return thing


def _load(module: str) -> None:
    """Import the module that a thing says it is from, such as `numpy.rec`, which nobody may have asked for yet."""
    if module not in sys.modules and module.partition(".")[0] in sys.modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def name_of(thing: Any) -> str | None:
    """Return the name of a class or function by which it can be found again, or None if it has none.

    Args:
        thing: Anything.

    Returns:
        ``module:qualname``, of the most public module of its package that holds the very same object.
    """
    claimed = claimed_name(thing)
    if claimed is None:
        return None
    # A name is a claim until the very same thing is found under it: anybody can set `__module__`.
    module, qualname = claimed
    _load(module)
    for home in (*_public(module), module):
        if _find(home, qualname) is thing and _NAME.fullmatch(f"{home}:{qualname}"):
            return f"{home}:{qualname}"
    return None


@final
class Allowed:
    """The classes and functions that a file may name.

    Args:
        allow: Classes, with what is defined in them; functions; modules or their names, with all that is defined in
            them and below.
    """

    def __init__(self, allow: Iterable[Any]) -> None:
        if isinstance(allow, str):
            raise TypeError(f"`allow` must be a list: write `allow=[{allow!r}]`")
        self._things: dict[str, Any] = {name: thing for thing in _ALWAYS if (name := name_of(thing)) is not None}
        self._roots: set[str] = set()  # modules, and classes with theirs
        for item in allow:
            if isinstance(item, (str, types.ModuleType)):
                self._roots.add(item if isinstance(item, str) else item.__name__)
            elif (name := name_of(item)) is not None:
                self._things[name] = item
                self._roots.add(name)
            else:
                raise TypeError(
                    f"`allow` cannot take {item!r}: no file can name it. Give classes and functions that are defined "
                    "at the top level of a module, or the names of modules."
                )

    def find(self, name: Any) -> Any:
        """Return the class or function of this name.

        Raises:
            GraphError: It is not allowed, or not there.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise GraphError(f"{str(name)[:60]!r} is not the name of a class or function")
        if name not in self._things:
            self._things[name] = self._look_up(name)
        return self._things[name]

    def _look_up(self, name: str) -> Any:
        module, _, qualname = name.partition(":")
        if not any(name[: end.start()] in self._roots for end in re.finditer(r"[.:]", name)):
            raise GraphError(
                f"the file names {name}, which is not allowed. If you trust the file, write "
                f'`from_json(text, allow=[..., "{module}"])`'
            )
        # Importing runs code, so it comes after the check of what is allowed.
        if module not in sys.modules:
            if "__main__" in module.split("."):
                raise GraphError(f"{name} belongs to a program, which is not run to read a file")
            try:
                importlib.import_module(module)
            except Exception as error:
                raise GraphError(f"cannot import {module} for {name}: {type(error).__name__}: {error}") from error
        thing = _find(module, qualname)
        if thing is None:
            raise GraphError(f"there is no {qualname} in {module}")
        if (real := name_of(thing)) != name:
            raise GraphError(f"{name} is not defined there" + (f": its name is {real}" if real else ""))
        return thing
