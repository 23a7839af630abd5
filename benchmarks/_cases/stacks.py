"""Training steps: layers in a stack, their gradients, and plain descent, by us and in raw JAX.

`fresh` makes a step that JAX has never seen: its first call is traced, lowered and compiled.  *Raw JAX* takes the
parameters as a list of pairs and returns new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Node, State
from brainstate_transform import jit, value_and_grad

from .._arena.timing import Work

__all__ = [
    "BATCH",
    "RATE",
    "WIDTH",
    "Fresh",
    "Ours",
    "Raw",
    "Stack",
    "batch",
    "our_step",
    "python_runs",
    "raw_step",
    "weights",
]

WIDTH, BATCH, RATE = 16, 8, 1e-2


class Fresh(NamedTuple):
    """A step that can be made again and again.

    Attributes:
        make: Makes a compiled function that JAX has never seen.
        args: What it is called with.
    """

    make: Callable[[], Any]
    args: tuple[Any, ...]


def batch() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=(BATCH, WIDTH)), jnp.float32) for _ in "xy")  # type: ignore[return-value]


def weights(layers: int) -> list[tuple[jax.Array, jax.Array]]:
    rng = np.random.default_rng(1)
    draw: Callable[[], Any] = lambda: jnp.asarray(rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5, jnp.float32)  # noqa: E731
    return [(draw(), jnp.zeros(WIDTH)) for _ in range(layers)]


class Param(State[Any]):
    __slots__ = ()


class Layer(Node):
    def __init__(self, w: jax.Array, b: jax.Array) -> None:
        self.w = Param(w)
        self.b = Param(b)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ self.w.value + self.b.value)


class Stack(Node):
    """Layers, and a counter of the calls."""

    def __init__(self, layers: int) -> None:
        self.layers = [Layer(w, b) for w, b in weights(layers)]
        self.calls = State(jnp.array(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        self.calls.value += 1
        for layer in self.layers:
            x = layer(x)
        return x


def nothing() -> None:
    pass


def our_step(model: Stack, ran: Callable[[], None] = nothing) -> Any:
    """A fresh function object; it calls `ran` each time that Python runs it."""
    params = {f"{i}.{k}": getattr(layer, k) for i, layer in enumerate(model.layers) for k in "wb"}

    def loss_of(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean((model(x) - y) ** 2)

    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        ran()
        loss, grads = value_and_grad(loss_of, params)(x, y)
        for name, param in params.items():
            param.value = param.value - RATE * grads[name]
        return loss

    return jit(step)


def raw_step() -> Any:
    def loss_of(params: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        for w, b in params:
            x = jnp.tanh(x @ w + b)
        return jnp.mean((x - y) ** 2), calls + 1

    def step(params: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any, jax.Array]:
        (loss, calls), grads = jax.value_and_grad(loss_of, has_aux=True)(params, calls, x, y)
        return loss, jax.tree.map(lambda p, g: p - RATE * g, params, grads), calls

    return jax.jit(step)


class Ours:
    """A model, and a step that closes over it."""

    def fresh(self, layers: int) -> Fresh:
        model = Stack(layers)
        return Fresh(lambda: our_step(model), batch())

    def stepping(self, layers: int) -> Work:
        step, (x, y) = our_step(Stack(layers)), batch()
        return lambda: step(x, y)

    def reads(self, times: int) -> Work:
        return reading(State(jnp.array(0.0)), times)

    def writes(self, times: int) -> Work:
        return writing(State(jnp.array(0.0)), times)


class Raw:
    """Lists of arrays, threaded by hand."""

    def fresh(self, layers: int) -> Fresh:
        return Fresh(raw_step, (weights(layers), jnp.array(0), *batch()))

    def stepping(self, layers: int) -> Work:
        step, (x, y) = raw_step(), batch()
        params, calls = weights(layers), jnp.array(0)

        def work() -> jax.Array:
            nonlocal params, calls
            loss, params, calls = step(params, calls, x, y)
            return loss

        return work

    def reads(self, times: int) -> Work:
        return reading(Box(jnp.array(0.0)), times)

    def writes(self, times: int) -> Work:
        return writing(Box(jnp.array(0.0)), times)


def python_runs() -> tuple[int, int, int]:
    """Return how often Python runs the user's function to trace it, and in its first and in its second call."""
    runs: list[None] = []
    x, y = batch()

    def count(work: Work) -> int:
        runs.clear()
        work()
        return len(runs)

    step = our_step(Stack(2), lambda: runs.append(None))
    trace = count(lambda: our_step(Stack(2), lambda: runs.append(None)).trace(x, y))
    return trace, count(lambda: step(x, y)), count(lambda: step(x, y))


# ------------------------------------------------------------------------------------------------ boxes


class Box:
    """A plain Python property, as slim as it gets."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    @property
    def value(self) -> Any:
        return self._value

    @value.setter
    def value(self, new: Any) -> None:
        self._value = new


def reading(box: Any, times: int) -> Work:
    """Read `times` values; ten in a row, so that the loop hardly counts."""

    def work() -> None:
        for _ in range(times // 10):
            _ = box.value
            _ = box.value
            _ = box.value
            _ = box.value
            _ = box.value
            _ = box.value
            _ = box.value
            _ = box.value
            _ = box.value
            _ = box.value

    return work


def writing(box: Any, times: int) -> Work:
    new = jnp.array(1.0)

    def work() -> None:
        for _ in range(times // 10):
            box.value = new
            box.value = new
            box.value = new
            box.value = new
            box.value = new
            box.value = new
            box.value = new
            box.value = new
            box.value = new
            box.value = new

    return work
