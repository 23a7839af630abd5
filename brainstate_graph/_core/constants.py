"""States that JAX has taken for constants where no transform of ours was around; to assign one is told.

``jax.jit`` compiles a function once, with the values that it reads.  A State that it reads there is a *constant* of its
program, and what is assigned to the State later comes too late.  Inside of our transforms that is not so, see `tokens`.

JAX tells when it begins to trace a function under ``jax.jit``, also one of a library, and when it ends; only in between
are reads looked at.  It does not tell of an eager ``lax.scan`` and its like, which are traced without ``jax.jit``: to
look at every read would make one ten times slower.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.monitoring

from .locate import locate
from .overlay import be_busy

if TYPE_CHECKING:
    from .state import State

__all__ = ["note", "some", "tell", "under_jax_alone"]

_TRACING = "/jax/core/compile/jaxpr_trace_duration"  # what JAX calls it
_FOLDERS = ("site-packages", "brainstate_graph", "brainstate_transform", "brainstate_nn")
_LIBRARIES = tuple([f"{os.sep}{folder}{os.sep}" for folder in _FOLDERS])


class _Program:
    """What ``jax.jit`` traces.

    Attributes:
        name: The name of the function.
        depth: How deep on the stack the user's line is that called it.
        error: The exception that was handled when it began.
        states: Its constants.
        code: The code of the outermost function of the user's in it; None where there was none.
    """

    def __init__(self, name: str, depth: int) -> None:
        self.name, self.depth = name, depth
        self.error = sys.exc_info()[1]
        self.states: dict[State[Any], None] = {}
        self.code: types.CodeType | None = None

    def find_code(self) -> None:
        """Look for the function among those that run now."""
        frames = _frames()
        for frame in frames[: len(frames) - self.depth]:
            if not _is_library(frame):
                self.code, self.name = frame.f_code, frame.f_code.co_qualname

    def is_alive(self) -> bool:
        """Tell whether the function still exists, so that JAX may find the program again."""
        if self.code is None or "<" not in self.code.co_qualname:  # of a module or class
            return True
        if self._is_held():
            gc.collect()  # what ``jax.jit`` returns is a cycle
        return self._is_held()

    def _is_held(self) -> bool:
        return any(isinstance(item, types.FunctionType) for item in gc.get_referrers(self.code))


class _Tracing(threading.local):
    program: _Program | None = None  # the one that this thread traces


def _frames() -> list[types.FrameType]:
    frames = [sys._getframe(1)]
    while (frame := frames[-1].f_back) is not None:
        frames.append(frame)
    return frames


def _depth_of_user() -> int:
    frames = _frames()
    return len(frames) - next((level for level, frame in enumerate(frames) if not _is_library(frame)), len(frames))


def _is_library(frame: types.FrameType) -> bool:
    return any(part in frame.f_code.co_filename for part in _LIBRARIES)


_tracing = _Tracing()
_constants: weakref.WeakKeyDictionary[Any, dict[_Program, None]] = weakref.WeakKeyDictionary()
# What was told of each state: of a function that is made anew each time, once.
_told: weakref.WeakKeyDictionary[Any, set[types.CodeType]] = weakref.WeakKeyDictionary()
some = False  # whether there are such: what a write looks at


def _begin(event: str, value: float, **about: Any) -> None:
    if event == _TRACING and _tracing.program is None:
        _tracing.program = _Program(str(about.get("fun_name", "a function")), _depth_of_user())
        be_busy(1)


def _end(event: str, duration_secs: float, **about: Any) -> None:
    global some
    program = _tracing.program
    if event != _TRACING or program is None:
        return
    _tracing.program = None
    be_busy(-1)
    if sys.exc_info()[1] is program.error:  # else the trace has failed, and is not kept
        for state in program.states:
            _constants.setdefault(state, {})[program] = None
            some = True
    program.error, program.states = None, {}


jax.monitoring.register_scalar_listener(_begin)
jax.monitoring.register_event_duration_secs_listener(_end)


def under_jax_alone() -> bool:
    """Tell whether this thread traces a function under ``jax.jit``; asked only where no overlay is open."""
    return _tracing.program is not None


def note(states: Iterable[State[Any]]) -> None:
    """Note of states that are read whether they become constants of a program."""
    program = _tracing.program
    if program is None:
        return
    for state in states:
        if not hasattr(state, "_birth"):  # what was made in a trace is of that trace
            if program.code is None:
                program.find_code()
            program.states[state] = None


def tell(states: Iterable[State[Any]]) -> None:
    """Warn, before states are assigned, of the functions that go on with the old values; once of each."""
    global some
    found: dict[_Program, list[State[Any]]] = {}
    for state in states:
        for program in _constants.get(state, ()):
            found.setdefault(program, []).append(state)
    for program, assigned in found.items():
        for state, programs in list(_constants.items()):
            programs.pop(program, None)
            if not programs:
                _constants.pop(state, None)
        told = _told.setdefault(assigned[0], set())
        if program.code not in told and program.is_alive():
            if program.code is not None:
                told.add(program.code)
            more = f" and {len(assigned) - 1} more" if len(assigned) > 1 else ""
            warnings.warn(
                f"{locate(assigned[0])}{more} is assigned, and `{program.name}` goes on with the old value when it "
                "is called again: it was compiled outside of any transform of brainstate_transform, with the value as "
                "a constant. Use the transform of the same name, `from brainstate_transform import jit`, or pass the "
                "values: `graphdef, tree = treefy_split(model)`.",
                stacklevel=_to_user(),
            )
    some = bool(_constants)


def _to_user() -> int:
    """Return how far up the stack the user's line is, for a warning that the caller gives."""
    return next((level for level, frame in enumerate(_frames()) if not _is_library(frame)), 1)
