"""A signal at a chosen point: an exception wherever Python looks for signals in the code of this library.

Python does so at the beginning of a function, after a call, and where a loop begins again.  So all points of a short
program can be tried, one after the other, which a timer meets by chance only.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import pathlib
import sys
from types import CodeType, FrameType
from typing import Any

import brainstate_graph
import brainstate_nn
import brainstate_transform

_OURS = tuple(str(pathlib.Path(p.__file__).parent) for p in (brainstate_graph, brainstate_nn, brainstate_transform))
_LOOKS = ("CALL", "PRECALL", "JUMP_BACKWARD")


class Signal(KeyboardInterrupt):
    """What the handler of a signal raises."""


@functools.cache
def _names(code: CodeType) -> dict[int, str]:
    return {step.offset: step.opname for step in dis.get_instructions(code)}


@functools.cache
def _is_ours(file: str) -> bool:
    return file.startswith(_OURS) or file == contextlib.__file__


class signal_at:
    """A block in which a Signal is raised at the point of this number, counted from 0.

    Attributes:
        seen: How many points there were so far.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0
        self._last: dict[FrameType, str] = {}

    def __enter__(self) -> signal_at:
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)
        # A frame holds this object, as what traces it: where this held frames as well, only the garbage collector would
        # let go of them, and of the generators in them, which close what they have opened when they are let go of.
        self._last.clear()

    def _point(self) -> None:
        self.seen += 1
        if self.seen == self.number + 1:
            sys.settrace(None)
            raise Signal(self.number)

    def _enter(self, frame: FrameType, event: str, _: object) -> Any:
        if not _is_ours(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._point()
        return self._inside

    def _inside(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "opcode":
            before, self._last[frame] = self._last.get(frame, ""), _names(frame.f_code).get(frame.f_lasti, "")
            if before.startswith(_LOOKS):
                self._point()
        elif event == "return":
            self._last.pop(frame, None)
        return self._inside
