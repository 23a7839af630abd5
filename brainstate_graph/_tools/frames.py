"""Where the user's code is on the stack, and whether it may run again; for warnings and errors."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import types

import jax
from jax.extend import source_info_util

__all__ = ["depth_of_user", "is_hidden", "level_of_user", "may_run", "outermost_of_user"]

_OURS = ("brainstate_graph", "brainstate_transform", "brainstate_nn")
_FOLDERS = ("site-packages", *_OURS)
_in_library = re.compile("|".join([re.escape(f"{os.sep}{folder}{os.sep}") for folder in _FOLDERS])).search

# The three packages stand side by side. JAX names the innermost line that is in none of these folders, in errors and
# logs, and in profiles: there what a layer computes belongs to the line that calls the layer, as with `jax.nn`.
_ABOVE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_FOLDERS_OF_OURS = tuple(os.path.join(_ABOVE, package) + os.sep for package in _OURS)
for _folder in _FOLDERS_OF_OURS:
    source_info_util.register_exclusion(_folder)
_HIDDEN = (os.path.dirname(os.path.abspath(jax.__file__)) + os.sep, *_FOLDERS_OF_OURS, contextlib.__file__)


def is_hidden(code: types.CodeType) -> bool:
    """Tell whether code is that of JAX or of this library, which tracebacks of errors do not show."""
    return code.co_filename.startswith(_HIDDEN)


def _frames() -> list[types.FrameType]:
    """Return the frames of the stack without the one that asks, the innermost first."""
    frames = [sys._getframe(2)]
    while (frame := frames[-1].f_back) is not None:
        frames.append(frame)
    return frames


def _is_users(frame: types.FrameType) -> bool:
    return _in_library(frame.f_code.co_filename) is None


def level_of_user() -> int:
    """Return how many frames above the caller the user's line is, as `warnings.warn` counts them."""
    return next((level for level, frame in enumerate(_frames(), 1) if _is_users(frame)), 1)


def depth_of_user() -> int:
    """Return how deep on the stack the innermost frame of the user's is."""
    frames = _frames()
    for level, frame in enumerate(frames):  # a plain loop, as each trace asks
        if _in_library(frame.f_code.co_filename) is None:
            return len(frames) - level
    return 0


def outermost_of_user(depth: int) -> types.CodeType | None:
    """Return the code of the outermost frame of the user's that is deeper than `depth`."""
    frames = _frames()
    inside = frames[: len(frames) - depth]
    return next((frame.f_code for frame in reversed(inside) if _is_users(frame)), None)


def may_run(code: types.CodeType) -> bool:
    """Tell whether a function with this code exists still; of a module or class, it always does."""
    if "<" not in code.co_qualname:
        return True
    if _is_held(code):
        gc.collect()  # what ``jax.jit`` returns is a cycle
    return _is_held(code)


def _is_held(code: types.CodeType) -> bool:
    return any(isinstance(item, types.FunctionType) for item in gc.get_referrers(code))
