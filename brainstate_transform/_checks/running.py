"""Which module an operation belongs to, where only the lines are known at which it was traced.

JAX keeps of each operation the lines that ran, from the outermost frame to the innermost, and none of the objects.  So
the lines are followed down the graph: each is in a method of the module of the one before, or of one below that.
Layers of one class, called at one line, are told apart by running them as Python.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from types import CodeType, FrameType
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Node, nodes
from brainstate_graph.extend import paths_to

from .._messages.boundary import node_of
from .._messages.source import source_of
from .unvmap import unvmap

__all__ = ["first_not_finite", "modules_in_words", "names_several", "narrow"]

_NAMED = 3
_IN, _OR = ", in the module ", " or "


def modules_in_words(lines: Iterable[tuple[FrameType, int]], found: Sequence[Node]) -> str:
    """Return the paths of the modules that may have run the innermost of these lines; nothing if none of them has.

    Args:
        lines: The frames and line numbers of a traceback of JAX's, the outermost one first.
        found: The modules that may run.
    """
    running = _running(lines, found)
    if not running:
        return ""
    names = [f"`{path or type(node).__name__}`" for node, path in zip(running, paths_to(running), strict=True)]
    more = f"{_OR}one of {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{_IN}{_OR.join(names[:_NAMED])}{more}"


def names_several(error: Exception) -> bool:
    """Tell whether the text of an error has more than one module where it ends."""
    return _OR in str(error).rpartition(_IN)[2]


def narrow(error: Exception, node: Node) -> None:
    """Put one module in the place of several."""
    error.args = (f"{str(error).rpartition(_IN)[0]}{_IN}`{paths_to([node])[0] or type(node).__name__}`",)


@contextlib.contextmanager
def first_not_finite() -> Generator[list[Node]]:
    """Note the first module that returns a NaN or an infinite number, while functions run as Python.

    Yields:
        A list that gets it.
    """
    found: list[Node] = []

    def note(frame: FrameType, event: str, result: Any) -> None:
        if event == "return" and not found and (node := node_of(frame)) is not None and not _is_finite(result):
            found.append(node)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _is_finite(tree: Any) -> bool:
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    try:
        return not any(bool(unvmap(~jnp.isfinite(x))) for x in arrays if jnp.issubdtype(x.dtype, jnp.inexact))
    except jax.errors.ConcretizationTypeError:  # a value of a trace, which nobody knows
        return True


def _running(lines: Iterable[tuple[FrameType, int]], found: Sequence[Node]) -> list[Node]:
    kinds = {kind: _methods(kind) for kind in set(map(type, found))}
    every = {code for _, codes in kinds.values() for code in codes}
    running: list[Node] = []
    above: set[CodeType] = set()  # what these have run so far
    for frame, line in lines:
        code = next((code for code in every if _is_in(code, frame.f_code, line)), None)
        if code is None:
            continue
        if any(code in kinds[type(node)][1] for node in running) and code not in above:  # one more method of the same
            running = [node for node in running if code in kinds[type(node)][1]]
            above.add(code)
            continue
        called = [node for node in found if code in kinds[type(node)][0]]
        below = {id(node) for each in running for node in nodes(each).values() if node is not each}
        if called:
            running = [node for node in called if id(node) in below] or called
            above = {code}
    return running


def _is_in(code: CodeType, shown: CodeType, line: int) -> bool:
    """Tell whether a line is in a function; JAX makes the code of its frames up from the file and the name."""
    if code.co_filename != shown.co_filename or code.co_name != shown.co_name:
        return False
    return code.co_firstlineno <= line <= max(number or 0 for _, _, number in code.co_lines())


def _methods(kind: type[Any]) -> tuple[set[CodeType], set[CodeType]]:
    """Return the code of the methods that objects of a class have, and with those that they call through `super`."""
    tables = [vars(each) for each in reversed(kind.__mro__)]
    own = {name: value for table in tables for name, value in table.items()}
    return _codes(own.values()), _codes(value for table in tables for value in table.values())


def _codes(values: Iterable[Any]) -> set[CodeType]:
    functions: Iterable[Callable[..., Any]] = (v for v in values if callable(v) and not isinstance(v, type))
    return {code for function in functions if (code := source_of(function)) is not None}
