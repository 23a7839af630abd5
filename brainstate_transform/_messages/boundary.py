"""Errors on their way out: they say where in the user's code they arose, and show the user's frames.

A *boundary* is a function that users call, and through which errors leave this library.  The outermost one on the stack
does two things to an error; its type and text stay as they are:

- It adds a note: the user's line, the path of the module, and the function that was transformed.
- It takes the frames of JAX and of this library out of the traceback, as JAX does with its own.  JAX's setting holds
  for both: ``JAX_TRACEBACK_FILTERING=off`` shows all frames.

Where nothing is raised nothing is done, and a ``try`` costs no time.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CodeType, FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

import jax

from brainstate_graph import Node, nodes
from brainstate_graph.extend import dotted, is_hidden

from .source import name_of, source_of

__all__ = ["boundary", "is_boundary", "leave", "node_of"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_config: Any = jax.config  # its options are attributes that a type checker does not know
_boundaries: set[CodeType] = set()
_SETTING = "JAX_TRACEBACK_FILTERING"


def boundary(fun: Callable[_P, _T]) -> Callable[_P, _T]:
    """Make a function that users call a boundary."""

    @functools.wraps(fun)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return fun(*args, **kwargs)
        except Exception as error:
            leave(error)
            raise

    return is_boundary(call)


def is_boundary(fun: Callable[_P, _T]) -> Callable[_P, _T]:
    """Note that a function is a boundary, where it calls `leave` by itself to spare a call."""
    _boundaries.add(fun.__code__)
    return fun


def leave(error: Exception) -> None:
    """Do to an error what is done when it leaves the library; called where a boundary catches it, right before `raise`.

    Nothing is done if there is another boundary further out.
    """
    frame: FrameType | None = sys._getframe(1).f_back
    while frame is not None:
        if frame.f_code in _boundaries:
            return
        frame = frame.f_back
    with contextlib.suppress(Exception):  # whatever the objects of the user do when they are looked at: this says less
        note = _note(error)
        if note and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    _hide(error)


# -- where it arose ----------------------------------------------------------------------------------------------------


def _note(error: Exception) -> str:
    """Say in one sentence where an error arose, if that is known."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    lines = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if not is_hidden(frame.f_code)]
    module = _module(frames)
    said = "Raised"
    if lines:
        frame, line = lines[-1]
        said += f" at {frame.f_code.co_filename}:{line} in `{frame.f_code.co_qualname}`"
    if module is not None:
        said += f"{', ' if lines else ' '}in the module `{module}`"
    named: dict[CodeType, str] = {}  # the functions that are transformed, the innermost first
    for frame in reversed(frames):
        fun = _function(frame)
        code = source_of(fun)
        if code is not None and not is_hidden(code) and not (lines and code is lines[-1][0].f_code):
            named.setdefault(code, f", inside of `{name_of(fun)}` ({code.co_filename}:{code.co_firstlineno})")
    said += "".join(named.values())
    return f"{said}." if said != "Raised" else ""


def _function(frame: FrameType) -> Any:
    """Return the user's function that an object of ours in a frame is made of."""
    item = frame.f_locals.get("self") if is_hidden(frame.f_code) else None
    if isinstance(item, Node):
        return None
    functions = getattr(item, "functions", None)
    return functions[0] if functions else getattr(item, "fun", None)


def _module(frames: Sequence[FrameType]) -> str | None:
    """Return the path of the module in whose method an error arose; None if there is none."""
    selves = [(number, node) for number, frame in enumerate(frames) if (node := node_of(frame)) is not None]
    if not selves:
        return None
    first, outermost = selves[0]
    target = selves[-1][1]
    # What called the first module has the model that this is a part of under some name.
    named = [node for frame in reversed(frames[:first]) for node in _named(frame) if _path(node, outermost)]
    for root in (*named, outermost, *(node for _, node in selves[1:])):
        path = _path(root, target)
        if path is not None:
            return ".".join([type(root).__name__, *([dotted(path)] if path else [])])
    return type(target).__name__


def node_of(frame: FrameType) -> Node | None:
    """Return the node whose method runs in a frame."""
    code = frame.f_code
    item = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    return item if isinstance(item, Node) else None


def _named(frame: FrameType) -> Iterator[Node]:
    """Return the nodes that the user's code in a frame has a name for."""
    if not is_hidden(frame.f_code):
        of_globals = (frame.f_globals.get(name) for name in frame.f_code.co_names)
        yield from (item for item in (*frame.f_locals.values(), *of_globals) if isinstance(item, Node))


def _path(root: Node, item: Node) -> tuple[Any, ...] | None:
    return next((path for path, node in nodes(root).items() if node is item), None)


# -- which frames are shown --------------------------------------------------------------------------------------------


def _hide(error: BaseException) -> None:
    """Hide the frames of JAX and of this library in the traceback of an error, and in those of its causes."""
    how = _config.jax_traceback_filtering or "auto"
    if how == "auto":
        how = "tracebackhide" if hasattr(builtins, "get_ipython") else "quiet_remove_frames"
    if how == "off":
        return
    if how == "remove_frames":  # JAX leaves all frames in the cause
        error.__traceback__ = _shown(error.__traceback__)
        return
    for each in _with_causes(error):
        if how == "tracebackhide":  # an option of notebooks to show them is none if they are gone
            for frame, _ in traceback.walk_tb(each.__traceback__):
                if is_hidden(frame.f_code):
                    frame.f_locals["__tracebackhide__"] = True
        else:
            each.__traceback__ = _shown(each.__traceback__)
    if how != "tracebackhide" and not any(_SETTING in note for note in getattr(error, "__notes__", ())):
        error.add_note(f"The frames of JAX and of this library are not shown: {_SETTING}=off shows them.")


def _with_causes(error: BaseException) -> Iterable[BaseException]:
    """Return an error, and those that are printed with it."""
    found: dict[int, BaseException] = {}
    stack: list[BaseException | None] = [error]
    while stack:
        each = stack.pop()
        if each is not None and id(each) not in found:
            found[id(each)] = each
            stack.append(each.__cause__ or (None if each.__suppress_context__ else each.__context__))
            stack.extend(each.exceptions if isinstance(each, BaseExceptionGroup) else ())
    return found.values()


def _shown(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames that are hidden."""
    entries: list[TracebackType] = []
    while found is not None:
        entries.append(found)
        found = found.tb_next
    shown: TracebackType | None = None
    for entry in reversed(entries):
        if not is_hidden(entry.tb_frame.f_code):
            shown = TracebackType(shown, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return shown
