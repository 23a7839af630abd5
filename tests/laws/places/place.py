"""What a place is, and how a function that reads one is made: for the tables beside this file.

*Place*: where Python finds a value: a name, an attribute, an item.  A row has the statements that make it, in a module
of its own, the expression that reads it, and its *changes*: statements after which it reads another value.
*Way*: a function around the expression; it defines `f`.

All of this is text, as a place is a matter of code: what is global is so in a module of its own, and each place can be
read in each way.  `V` in it stands for the value, which is 2.0 at first and 3.0 after a change, and `READ` for the
expression.  `ran()` counts how often Python runs through a function; it belongs to a library, into which no look goes.
"""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_graph import Node, State

__all__ = [
    "FUNCTION",
    "ONE",
    "Place",
    "Scene",
    "at_most",
    "blocks",
    "forget_modules",
    "same",
    "seen",
    "table",
    "wrong_with",
]

ONE = jnp.float32(1.0)
FUNCTION = """
def f(x):
    ran()
    return READ * x
"""
_IMPORTS = """
import argparse, collections, contextlib, contextvars, copy, dataclasses, datetime, decimal, enum, fractions, functools
import math, operator, os, pathlib, re, sys, threading, types, typing, weakref
import jax, jax.numpy as jnp, numpy as np
"""
_WORD = re.compile(r"^(\w+): (.+)$", re.MULTILINE)  # of a row: statements of Python have none such at their beginning
# What makes functions, classes or arrays: these are compared by identity, so what is made anew is another one.
_NEW = re.compile(r"\b(def|lambda|class|type|make|partialmethod|__code__)\b|jnp\.")


class Place(NamedTuple):
    """A row of the table.

    Attributes:
        name: What it is, in words.
        made: The statements that make it.
        read: The expression that reads it; None where `made` defines `f` itself.
        changes: By name, the statements that change it, and those that change it back.
        named: What the user is told of it, where it is not watched.
    """

    name: str
    made: str
    read: str | None
    changes: dict[str, tuple[str, str]]
    named: str = ""


def blocks(text: str) -> dict[str, str]:
    """Read pieces of code by name from text, in which each begins with its name after ``=``."""
    found: dict[str, str] = {}
    for block in re.split(r"^= ", text, flags=re.MULTILINE)[1:]:
        name, _, code = block.partition("\n")
        assert name not in found, f"two rows are called {name}"
        found[name] = code
    return found


def table(text: str) -> list[Place]:
    """Read rows from text.

    Each begins with its name after ``=``.  Then come the statements that make the place, and lines of a word and code:
    `read` and the changes, of which a pair with ``<>`` between is one there and one back.  To run what makes the place
    again is a change as well, as a cell of a notebook is run again, unless the row says ``again: no``.
    """
    rows: list[Place] = []
    for name, code in blocks(text).items():
        words = dict(_WORD.findall(code))
        made = _WORD.sub("", code).strip("\n") + "\n"
        read, again, named = words.pop("read", None), words.pop("again", ""), words.pop("named", "")
        changes = {word: tuple(code.split(" <> ")) if " <> " in code else (code, code) for word, code in words.items()}
        if read is not None and not again and re.search(r"\bV\b", made):
            changes["made_again"] = (made, made)
        rows.append(Place(name, made, read, changes, named))
    return rows


class Scene:
    """A place that is made, in a module of its own, and a function that reads it.

    Args:
        place: The row.
        way: The function around its expression.

    Attributes:
        names: The globals of the module.
    """

    def __init__(self, place: Place, way: str = FUNCTION) -> None:
        self._runs = 0
        self._file = f"<{place.name}>"
        self.names: dict[str, Any] = {
            "__name__": "code_of_a_user", "ran": _of_a_library(self._ran), "module": _module, "nn": nn, "bt": bt,
            "jit": bt.jit, "optax": optax, "Node": Node, "State": State,
        }  # fmt: skip
        self.run(_IMPORTS)
        self.run(place.made)
        if place.read is not None:
            self.run(way.replace("READ", f"({place.read})"))

    @property
    def f(self) -> Callable[..., Any]:
        """The function that reads the place."""
        return self.names["f"]

    def run(self, code: str, value: float = 2.0) -> None:
        """Run statements in the module."""
        text = re.sub(r"\bV\b", repr(value), code)
        exec(compile(text, self._file, "exec", dont_inherit=True), self.names)

    def _ran(self) -> None:
        self._runs += 1

    def traces(self) -> int:
        """Return how often Python has run through the function since this was asked last."""
        runs, self._runs = self._runs, 0
        return runs


def _of_a_library(fun: Callable[[], None]) -> Callable[[], None]:
    """Return a function that does the same, and belongs to a module of Python, so that no look goes into it."""
    names = {"__name__": "colorsys", "fun": fun}
    exec("def ran(): fun()", names)
    return names["ran"]


def _module(name: str, code: str) -> types.ModuleType:
    """Make a module that can be imported; `a.b` becomes an attribute of `a` as well."""
    name = f"places_{name}"
    made = sys.modules[name] = types.ModuleType(name)
    exec(compile(code, f"<{name}>", "exec", dont_inherit=True), vars(made))
    around, _, last = name.rpartition(".")
    if around:
        setattr(sys.modules[around], last, made)
    return made


def forget_modules() -> None:
    """Drop the modules that rows have made."""
    for name in [name for name in sys.modules if name.startswith("places_")]:
        del sys.modules[name]


def same(left: Any, right: Any) -> bool:
    """Tell whether two results are the same, by dtype and value."""
    left, right = (np.asarray(jnp.asarray(result)) for result in (left, right))
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)


Make = Callable[[Scene], Callable[[Any], Any]]


def seen(place: Place, change: str, make: Make, way: str = FUNCTION, *, counts: bool = True) -> str:
    """Change a place and change it back, twice, and say what is wrong with the compiled function; "" if nothing is.

    Args:
        place: The row.
        change: The name of the change.
        make: Compiles the function of a scene.
        way: The function.
        counts: Whether it is to be traced once for each value that the place has.
    """
    there, back = place.changes[change]
    scene = Scene(place, way)
    compiled, f = make(scene), scene.f
    counts_again = counts and not _NEW.search(there + back)
    wants: list[Any] = []
    steps = [("at first", ""), ("changed", there), ("changed back", back), ("again", there), ("back again", back)]
    for number, (when, code) in enumerate(steps):
        scene.run(code, 3.0 if number % 2 else 2.0)
        scene.traces()
        results = [compiled(ONE)]
        traced = scene.traces()
        results.append(compiled(ONE))
        traced_twice = scene.traces()
        with jax.disable_jit():  # or what is compiled inside would be compared with itself
            want = f(ONE)
        wants.append(want)
        assert number != 1 or not same(want, wants[0]), f"{place.name}, {change}: the change changes nothing"
        assert number != 2 or same(want, wants[0]), f"{place.name}, {change}: not changed back"
        stale = [result for result in results if not same(result, want)]
        if stale:
            return f"{when}: {stale[0]}, where Python gives {want}"
        if counts and traced_twice:
            return f"{when}: traced by the second call too"
        if counts_again and number > 1 and traced:
            return f"{when}: traced, though it was so before"
    return ""


def wrong_with(cells: dict[str, Callable[[], str]]) -> str:
    """Run the cells of a row, and say what is wrong with each of them; "" if nothing is."""
    told: list[str] = []
    for name, cell in cells.items():
        try:
            wrong = cell()
        except Exception as error:  # a crash is as wrong as a wrong result, and the other cells count as well
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            told.append(f"{name}: {wrong}")
    return "\n".join(told)


class Endless(BaseException):
    """Code did not end. No Exception, as a look may well take whatever an object raises for an answer."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Stop the code inside after so many seconds: a look that goes on for ever is a row of the table, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise Endless(f"not done after {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)  # again and again, as one may be swallowed by a finaliser
    try:
        yield
    except Endless as error:
        raise TimeoutError(str(error)) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
