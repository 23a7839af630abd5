"""Calls: one step that reads and writes states, as ours and as raw JAX.

A `Step` is a pure function of the values of two kinds of states, those that it reads (*params*) and those that it
reads and writes (*hidden*).  Each system keeps the values in its own objects, in parts as a model has layers, and calls
the same function.  *Raw JAX* is what an expert writes by hand for the case: the values in flat tuples, and
``out, hidden = step(params, hidden, x)`` in the loop.  Nested dicts are the usual way, and not the fastest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brainstate_graph import Node, State
from brainstate_transform import jit

from .._arena.timing import Work

__all__ = ["Nested", "Ours", "Part", "Raw", "Step", "adding", "flat", "reading", "scalars"]

Arrays = list[jax.Array]
Pure = Callable[[Sequence[Any], Sequence[Any], Any], tuple[Any, Sequence[Any]]]


class Part(NamedTuple):
    """The values of one part of a model."""

    params: Arrays
    hidden: Arrays


class Step(NamedTuple):
    """A step to time.

    Attributes:
        pure: ``pure(params, hidden, x) -> (y, hidden)``; both are flat, part after part.
        parts: The values, in the parts of the model.
        x: The argument.
    """

    pure: Pure
    parts: list[Part]
    x: Any


def scalars(count: int) -> Arrays:
    return [jnp.array(float(number)) for number in range(count)]


def adding(count: int) -> Step:
    """A step that adds its argument to each state."""

    def pure(params: Any, hidden: Any, x: Any) -> Any:
        new = [value + x for value in hidden]
        return (new[0] if new else x + 1.0), new

    return Step(pure, [Part([], scalars(count))], jnp.array(1.0))


def reading(count: int) -> Step:
    """A step that reads each state and writes none. It adds them by groups, as XLA is slow to compile long sums."""

    def pure(params: Any, hidden: Any, x: Any) -> Any:
        groups = [params[at : at + 50] for at in range(0, len(params), 50)]
        return sum((jnp.stack(group).sum() for group in groups), x), []

    return Step(pure, [Part(scalars(count), [])], jnp.array(1.0))


def flat(parts: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the params and the hidden ones of all parts."""
    return [value for part in parts for value in part.params], [value for part in parts for value in part.hidden]


class Slot(Node):
    def __init__(self, params: Arrays, hidden: Arrays) -> None:
        self.params = [State(value) for value in params]
        self.hidden = [State(value) for value in hidden]


class Bank(Node):
    def __init__(self, parts: list[Part]) -> None:
        self.parts = [Slot(*part) for part in parts]


class Ours:
    """Functions that close over their states."""

    def calling(self, make: Callable[[], Step], donate: bool = False) -> Work:
        pure, parts, x = make()
        bank = Bank(parts)

        @jit(donate_states=donate)
        def step(x: Any) -> Any:
            params, hidden = flat(bank.parts)
            y, new = pure([state.value for state in params], [state.value for state in hidden], x)
            for state, value in zip(hidden, new, strict=True):
                state.value = value
            return y

        return lambda: step(x)

    def partly(self, used: int, held: int) -> Work:
        """A step that uses the first of many states."""
        bank, x = Bank([Part([], scalars(held))]), jnp.array(1.0)

        @jit
        def step(x: Any) -> Any:
            states = bank.parts[0].hidden
            for state in states[:used]:
                state.value = state.value + x
            return states[0].value

        return lambda: step(x)


def _threaded(step: Any, params: Any, hidden: Any, x: Any) -> Work:
    def work() -> Any:
        nonlocal hidden
        y, hidden = step(params, hidden, x)
        return y

    return work


class Raw:
    """Flat tuples, threaded by hand: the fastest form that JAX has."""

    def calling(self, make: Callable[[], Step], donate: bool = False) -> Work:
        pure, parts, x = make()
        params, hidden = flat(parts)

        def step(params: Any, hidden: Any, x: Any) -> Any:
            y, new = pure(params, hidden, x)
            return y, tuple(new)

        jitted = jax.jit(step, donate_argnums=(1,) if donate else ())
        return _threaded(jitted, tuple(params), tuple(hidden), x)

    def partly(self, used: int, held: int) -> Work:
        """Only what is used is passed."""
        return self.calling(lambda: adding(used))


class Nested:
    """Nested dicts, threaded by hand: what most raw JAX programs do."""

    def calling(self, make: Callable[[], Step], donate: bool = False) -> Work:
        pure, parts, x = make()

        def named(kind: str) -> Any:
            return {f"part{i}": {f"{kind}{j}": v for j, v in enumerate(getattr(p, kind))} for i, p in enumerate(parts)}

        names = [(f"part{i}", f"hidden{j}") for i, part in enumerate(parts) for j in range(len(part.hidden))]
        read = [(f"part{i}", f"params{j}") for i, part in enumerate(parts) for j in range(len(part.params))]

        def step(params: Any, hidden: Any, x: Any) -> Any:
            y, new = pure([params[a][b] for a, b in read], [hidden[a][b] for a, b in names], x)
            out: Any = {name: {} for name in hidden}
            for (a, b), value in zip(names, new, strict=True):
                out[a][b] = value
            return y, out

        jitted = jax.jit(step, donate_argnums=(1,) if donate else ())
        return _threaded(jitted, named("params"), named("hidden"), x)
