"""Random programs: a model that is changed by random steps, one to four transforms deep, and its twin in plain Python.

Each step reads and writes states, and some change the graph between calls or raise half way.  The transformed program
and the plain one are run side by side on twins; results and states must agree after each step.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Node, State, states
from brainstate_transform import checkpoint, cond, for_loop, jit, scan, switch, value_and_grad, vjp, vmap, while_loop


class Weight(State):
    """What derivatives are of."""


class Cell(Node):
    """A weight, a counter, a number that is part of the program."""

    def __init__(self, w: float) -> None:
        self.w = Weight(jnp.float32(w))
        self.n = State(jnp.float32(0.0))
        self.rate = 1.0


class Boom(Exception):
    """An error of the program."""


class World(Node):
    """The cells of a program, some of them shared."""

    def __init__(self) -> None:
        self.cells = [Cell(0.5), Cell(-0.25)]
        self.named = {"one": self.cells[0], "two": Cell(0.125)}
        self.last = self.cells[1]


# -- the steps: each takes the world, a number x, and constants that were drawn ----------------------------------------

Step = Callable[[World, Any], Any]


def add(k: float) -> Step:
    def step(world: World, x: Any) -> Any:
        world.cells[0].w.value = world.cells[0].w.value * 0.5 + x * k
        return world.cells[0].w.value

    return step


def count(k: float) -> Step:
    def step(world: World, x: Any) -> Any:
        for cell in world.cells:
            cell.n.value = cell.n.value + k
        return x * world.last.n.value * 0.125

    return step


def use(k: float) -> Step:
    def step(world: World, x: Any) -> Any:
        y = x
        for cell in world.named.values():
            y = jnp.sin(cell.w.value * y * cell.rate + k)
        return y

    return step


def swap(_: float) -> Step:
    def step(world: World, x: Any) -> Any:
        a, b = world.named["one"].w, world.last.w
        a.value, b.value = b.value + 0.25, a.value
        return x + a.value

    return step


STEPS = (add, count, use, swap)


def sequence(steps: list[Step]) -> Step:
    def run(world: World, x: Any) -> Any:
        for step in steps:
            x = step(world, x)
        return jnp.float32(x) * jnp.float32(0.5)

    return run


# -- the transforms, each with what it is in plain Python --------------------------------------------------------------


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _loop(f: Any) -> Any:
    def run(x: Any) -> Any:
        return for_loop(lambda i: f(x + i), jnp.arange(3, dtype=jnp.float32))[-1]

    return run


def _plain_loop(f: Any) -> Any:
    def run(x: Any) -> Any:
        return [f(x + i) for i in np.arange(3, dtype=np.float32)][-1]

    return run


def _scan(f: Any) -> Any:
    return lambda x: scan(lambda c, _: (f(c), c), x, None, length=2)[0]


def _while(f: Any) -> Any:
    return lambda x: while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, f(c[1])), (0, x))[1]


def _twice(f: Any) -> Any:
    return lambda x: f(f(x))


def _as_it_is(f: Any) -> Any:
    return f


TRANSFORMS: dict[str, tuple[Any, Any]] = {
    "jit": (jit, _as_it_is),
    "grad": (lambda f: lambda x: value_and_grad(f)(x)[0], _as_it_is),
    "checkpoint": (checkpoint, _as_it_is),
    "vjp": (lambda f: lambda x: vjp(f, x)[0], _as_it_is),
    "vmap": (lambda f: lambda x: _first(vmap(f, in_axes=None, axis_size=2)(x)), _as_it_is),
    "for_loop": (_loop, _plain_loop),
    "scan": (_scan, _twice),
    "while_loop": (_while, _twice),
    "cond": (lambda f: lambda x: cond(x > -100.0, f, lambda x: x * 0.0, x), _as_it_is),
    "switch": (lambda f: lambda x: switch(1, [lambda x: x * 0.0, f], x), _as_it_is),
}


# -- what happens between two calls ------------------------------------------------------------------------------------


def _grow(world: World) -> None:
    world.cells.append(Cell(0.75))


def _shrink(world: World) -> None:
    if len(world.cells) > 2:
        world.cells.pop()


def _retie(world: World) -> None:
    world.named["two"] = world.cells[-1]


def _rate(world: World) -> None:
    world.cells[0].rate = 1.5 - world.cells[0].rate


def _assign(world: World) -> None:
    world.last.n.value = jnp.float32(3.0)


def _replace(world: World) -> None:
    world.cells[1].w = Weight(world.cells[1].w.value * 2)


CHANGES = (_grow, _shrink, _retie, _rate, _assign, _replace)


class Program:
    """A program that was drawn.

    Attributes:
        names: The transforms, the outermost first.
        fails: Whether the innermost function raises, by call.
    """

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.names = [rng.choice(list(TRANSFORMS)) for _ in range(rng.randint(1, 4))]
        if {"grad", "vjp"} & set(self.names):  # which JAX does not take through a loop of unknown length
            self.names = ["scan" if name == "while_loop" else name for name in self.names]
        made = [rng.choice(STEPS)(rng.choice((0.25, 0.5, 1.0))) for _ in range(rng.randint(1, 3))]
        self.body = sequence(made)
        self.calls = 3
        self.fails = [rng.random() < 0.2 for _ in range(self.calls)]
        self.changes = [[rng.choice(CHANGES) for _ in range(rng.randint(0, 2))] for _ in range(self.calls)]

    def functions(self) -> tuple[World, Any, World, Any, list[bool]]:
        """Return a world with its program, the same in plain Python, and where it is said that they are to fail."""
        world, twin, failing = World(), World(), [False]

        def inner(model: World) -> Any:
            def f(x: Any) -> Any:
                y = self.body(model, x)
                if failing[0]:
                    raise Boom
                return y

            return f

        wrapped, plain = inner(world), inner(twin)
        for name in reversed(self.names):
            transform, oracle = TRANSFORMS[name]
            wrapped, plain = transform(wrapped), oracle(plain)
        return world, wrapped, twin, plain, failing

    def run(self) -> int:
        """Run both side by side; raise where they differ, and return how many steps were equal."""
        world, wrapped, twin, plain, failing = self.functions()
        for call in range(self.calls):
            x = jnp.float32(0.5 + call)
            failing[0] = self.fails[call]
            if failing[0]:
                before = _values(world), len(world.cells)
                try:
                    wrapped(x)
                except Boom:
                    pass
                else:
                    raise AssertionError(f"{self.names}: the error was lost")
                assert (_values(world), len(world.cells)) == before, f"{self.names}: after an error"
            else:
                found, expected = wrapped(x), plain(x)
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(self.names))
            np.testing.assert_allclose(_values(world), _values(twin), rtol=1e-4, atol=1e-5, err_msg=str(self.names))
            for change in self.changes[call]:
                change(world), change(twin)
        return self.calls


def _values(world: World) -> list[float]:
    return [float(state.value) for state in states(world).values()]
