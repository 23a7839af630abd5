"""States by name in errors of JAX, which knows them as parts of an argument of ours, by number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import CodeType
from typing import Any, Protocol

from brainstate_graph import State
from brainstate_graph.extend import locate, paths_to

__all__ = ["name_states"]

# What JAX calls the value of a state: by the names of our parameters, and the attribute of `StateValues`.
_position = re.compile(r"_(?:states|donated)_(?:\.values)?\[(\d+)\]")
_TRACING = "while tracing the function "


class Traced(Protocol):
    """A function as JAX names it."""

    __name__: str
    __code__: CodeType | None


def name_states(error: BaseException, states: Sequence[State[Any]], core: Traced | None = None) -> None:
    """Put the paths of states into an error of JAX, which counts them.

    Args:
        error: Any error; its text is left as it is where it is of other states.
        states: The states that a program was passed.
        core: What was traced with them; None where the error was raised before or after a trace.
    """
    text = error.args[0] if error.args else None
    if not isinstance(text, str) or not _position.search(text):
        return
    code = None if core is None else core.__code__
    if core is not None and code is not None:
        here = f"{_TRACING}{core.__name__} at {code.co_filename}:{code.co_firstlineno} " in text
    else:
        here = _TRACING not in text
    numbers = list(dict.fromkeys(int(found[1]) for found in _position.finditer(text)))
    if not here or max(numbers) >= len(states):
        return  # the states are those of a trace around this one
    wanted = [states[number] for number in numbers]
    names = [path or locate(state) for path, state in zip(paths_to(wanted), wanted, strict=True)]
    name_of = dict(zip(numbers, names, strict=True))
    error.args = (_position.sub(lambda found: f"{name_of[int(found[1])]}.value", text), *error.args[1:])
