"""States that JAX has taken for constants where no transform of ours was around; to assign one is told.

``jax.jit`` compiles a function once, with the values that it reads.  A State that it reads there is a *constant* of its
program, and what is assigned to the State later comes too late.  Inside of our transforms that is not so, see `tokens`.

JAX tells when it begins to trace a function under ``jax.jit``, also one of a library, and when it ends; only in between
are reads looked at.  It tells neither of one that is traced inside of another, nor of an eager ``lax.scan`` and its
like, which are traced without ``jax.jit``: to look at every read would make one ten times slower.
"""

from __future__ import annotations

import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.monitoring

from .frames import depth_of_user, may_run, outermost_of_user

__all__ = ["changing", "listeners", "note", "some", "under_jax_alone"]

listeners: list[Callable[[Any, bool], None]] = []  # are told for what reads or writes are looked at, and when no more
_lock = threading.Lock()
_TRACING = "/jax/core/compile/jaxpr_trace_duration"  # what JAX calls it


class _Program:
    """What ``jax.jit`` traces.

    Attributes:
        name: The name of the function.
        depth: How deep on the stack the user's line is that called it.
        error: The exception that was handled when it began.
        states: Its constants.
        code: The code of the outermost function of the user's in it; None where there was none.
    """

    def __init__(self, name: str) -> None:
        self.name, self.depth = name, depth_of_user()
        self.error = sys.exc_info()[1]
        self.states: dict[Any, None] = {}
        self.code: types.CodeType | None = None

    def find_code(self) -> None:
        """Look for the function among those that run now."""
        self.code = outermost_of_user(self.depth)
        if self.code is not None:
            self.name = self.code.co_qualname


class _Tracing(threading.local):
    program: _Program | None = None  # the one that this thread traces


_tracing = _Tracing()
_constants: weakref.WeakKeyDictionary[Any, dict[_Program, None]] = weakref.WeakKeyDictionary()
# What was told of each state: of a function that is made anew each time, once.
_told: weakref.WeakKeyDictionary[Any, set[types.CodeType]] = weakref.WeakKeyDictionary()
some = False  # whether there are such, so that writes are looked at


def _tell_listeners(what: Any, more: bool) -> None:
    for listen in listeners:
        listen(what, more)


def _look_at_writes() -> None:
    global some
    with _lock:
        some = bool(_constants)
        _tell_listeners(_look_at_writes, some)


def _begin(event: str, value: float, **about: Any) -> None:
    if event != _TRACING:
        return
    if (left := _tracing.program) is not None:  # a signal has cut its end short
        _tell_listeners(left, False)
    _tracing.program = program = _Program(str(about.get("fun_name", "a function")))
    _tell_listeners(program, True)


def _end(event: str, duration_secs: float, **about: Any) -> None:
    program = _tracing.program
    if event != _TRACING or program is None:
        return
    _tell_listeners(program, False)
    if sys.exc_info()[1] is program.error:  # else the trace has failed, and is not kept
        for state in program.states:
            _constants.setdefault(state, {})[program] = None
    if program.states:
        _look_at_writes()
    program.error, program.states = None, {}
    _tracing.program = None  # last: where a signal cuts this short, the next begin finds it


jax.monitoring.register_scalar_listener(_begin)
jax.monitoring.register_event_duration_secs_listener(_end)


def under_jax_alone() -> bool:
    """Tell whether this thread traces a function under ``jax.jit``; asked only where no overlay is open."""
    return _tracing.program is not None


def note(states: Iterable[Any]) -> None:
    """Note of states that are read whether they become constants of a program."""
    program = _tracing.program
    if program is None:
        return
    for state in states:
        if not hasattr(state, "_birth"):  # what was made in a trace is of that trace
            if program.code is None:
                program.find_code()
            program.states[state] = None


def changing(states: Iterable[Any]) -> list[tuple[str, list[Any]]]:
    """Return the functions that go on with the old values of these states when they are assigned; each once.

    Returns:
        The name of each, and the states.
    """
    found: dict[_Program, list[Any]] = {}
    for state in states:
        for program in _constants.get(state, ()):
            found.setdefault(program, []).append(state)
    named: list[tuple[str, list[Any]]] = []
    for program, assigned in found.items():
        for state, programs in list(_constants.items()):
            programs.pop(program, None)
            if not programs:
                _constants.pop(state, None)
        told = _told.setdefault(assigned[0], set())
        if program.code not in told and (program.code is None or may_run(program.code)):
            if program.code is not None:
                told.add(program.code)
            named.append((program.name, assigned))
    _look_at_writes()
    return named
