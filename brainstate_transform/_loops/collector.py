"""``Collector``: gathers values while a function runs, and brings them out of its loops and branches.

What is given to it is kept in states, which `jit`, `grad`, `vmap` and the others carry out of themselves.  A loop or a
branch runs other code each time, and cannot make states.  So its body returns what it gives beside its result: of a
loop stacked, with an axis for the steps; of branches what any of them gives, since one program returns the same
whatever branch it takes.  It is no metric, which is a state of its own that each step updates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Node, State

from .._checks.avals import both_in_words
from .._checks.eval_shape import eval_shape
from .._messages.source import named_like

__all__ = ["Collector", "collected_body", "collected_branches", "collectors"]

Given = dict[str, list[Any]]


class _Collecting(threading.local):
    active: tuple[Collector, ...] = ()


class Collector(Node):
    """Values by name, given while a function runs; a name that is given several values has a list of them.

    It takes them from transforms, loops and branches of this package where a module that the function calls holds it.

    Attributes:
        given: For each name the states with the values.

    Example:
        >>> from brainstate_transform import Collector
        >>> collector = Collector()
        >>> with collector.active():
        ...     collector.give("square", 4.0)
        >>> collector.values()
        {'square': [4.0]}
    """

    graph_in_paths = False

    def __init__(self) -> None:
        self.given: dict[str, list[State[Any]]] = {}
        self.probe = State[Any](None, name="a captured result")

    def give(self, name: str, value: Any) -> None:
        """Take a value.

        Raises:
            TraceContextError: The code runs inside a transform of JAX itself, which lets no state out.
        """
        self.probe.value = value
        self.probe.value = None
        self.given.setdefault(name, []).append(State(value, name="a captured result"))

    def values(self) -> Given:
        """Return what was given, in the order in which the names came."""
        return {name: [state.value for state in states] for name, states in self.given.items()}

    @contextmanager
    def active(self) -> Generator[None]:
        """In the block, loops and branches that run in this thread bring out what is given in them."""
        before = _collecting.active
        _collecting.active = (*before, self)
        try:
            yield
        finally:
            _collecting.active = before

    def within(self, fun: Callable[..., Any], *args: Any) -> tuple[Any, Given]:
        """Call a function; return its result and what it has given, which is taken out again."""
        counts = {name: len(states) for name, states in self.given.items()}
        try:
            out = fun(*args)
            rest = {name: states[counts.get(name, 0) :] for name, states in self.given.items()}
            return out, {name: [state.value for state in states] for name, states in rest.items() if states}
        finally:
            for name, states in list(self.given.items()):
                del states[counts.get(name, 0) :]
                if name not in counts:
                    del self.given[name]

    def give_all(self, given: Given) -> None:
        """Take what `within` has returned, in the place where it is known."""
        for name, values in given.items():
            for value in values:
                self.give(name, value)


_collecting = _Collecting()


def collectors() -> tuple[Collector, ...]:
    """Return the collectors that are active in this thread, for what runs layers apart from their model.

    Returns:
        Each in whose `active` block this is called, the outermost first.

    Example:
        >>> from brainstate_transform import collectors
        >>> collectors()
        ()
    """
    return _collecting.active


def collected_body(f: Any, run: Callable[[Any], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Run a loop over a body ``f(carry, x) -> (carry, y)``, and take what it gives, stacked as `y` is.

    Args:
        f: The body.
        run: Runs the loop over a body, and returns the last carry and the stacked results.
    """
    active = collectors()
    if not active:
        return run(f)

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        out, given = _within(active, f, carry, x)
        carry, y = out
        return carry, (y, given)

    carry, (ys, given) = run(named_like(body, f))
    for collector, values in zip(active, given, strict=True):
        collector.give_all(values)
    return carry, ys


def collected_branches(funs: Sequence[Any], run: Callable[[Sequence[Any]], Any], operands: tuple[Any, ...]) -> Any:
    """Run one of several branches, and take what it gives; what only the others would give is NaN, or zero.

    Args:
        funs: The branches.
        run: Runs one of such functions, and returns its result.
        operands: What they are called with.

    Raises:
        TypeError: Two branches give values of different shapes in one place.
    """
    active = collectors()
    if not active:
        return run(funs)
    wanted = _union([eval_shape(named_like(lambda *a, f=f: _within(active, f, *a)[1], f), *operands) for f in funs])

    def branch(f: Any) -> Any:
        def giving(*operands: Any) -> Any:
            out, given = _within(active, f, *operands)
            return out, [_completed(*pair) for pair in zip(given, wanted, strict=True)]

        return named_like(giving, f)

    out, given = run([branch(f) for f in funs])
    for collector, values in zip(active, given, strict=True):
        collector.give_all(values)
    return out


def _within(active: Sequence[Collector], fun: Any, *args: Any) -> tuple[Any, list[Given]]:
    if not active:
        return fun(*args), []
    first, *others = active
    (out, rest), given = first.within(_within, others, fun, *args)
    return out, [given, *rest]


def _union(each: Sequence[list[Given]]) -> list[Given]:
    """Return for each collector the shapes of what any branch gives."""
    found: list[Given] = [{} for _ in each[0]]
    for branch in each:
        for known, given in zip(found, branch, strict=True):
            for name, shapes in given.items():
                there = known.setdefault(name, [])
                for one, other in zip(there, shapes, strict=False):
                    if one != other:
                        left, right = both_in_words(one, other)
                        raise TypeError(
                            f"two branches give {name} as {left} and {right}, and one program has one shape"
                        )
                there += shapes[len(there) :]
    return found


def _completed(given: Given, wanted: Given) -> Given:
    return {
        name: [*given.get(name, ()), *(jax.tree.map(_none, shape) for shape in shapes[len(given.get(name, ())) :])]
        for name, shapes in wanted.items()
    }


def _none(shape: Any) -> jax.Array:
    """Return an array of what was not computed."""
    return jnp.full(shape.shape, jnp.nan if jnp.issubdtype(shape.dtype, jnp.inexact) else 0, shape.dtype)
