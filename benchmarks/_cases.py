"""The models and functions that are measured, in our words and in raw JAX: the same arithmetic, the same values.

*Raw JAX* is what an expert writes by hand: a pure function, the states in a tuple of arrays, and
``out, states = f(states, x)`` in the loop.  Each function here returns the works to time, by the name of the system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Node, State, treefy_split, treefy_states
from brainstate_transform import jit, value_and_grad

from ._timing import Work

LAYERS, WIDTH, BATCH, RATE = 50, 16, 8, 1e-2

Works = dict[str, Work]


def scalars(count: int) -> list[jax.Array]:
    return [jnp.array(float(i)) for i in range(count)]


def batch() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=(BATCH, WIDTH)), jnp.float32) for _ in "xy")  # type: ignore[return-value]


def weights(layers: int = LAYERS) -> list[tuple[jax.Array, jax.Array]]:
    rng = np.random.default_rng(1)
    draw: Callable[[], Any] = lambda: jnp.asarray(rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5, jnp.float32)  # noqa: E731
    return [(draw(), jnp.zeros(WIDTH)) for _ in range(layers)]


# ------------------------------------------------------------------------------------------------ our models


class Param(State[Any]):
    __slots__ = ()


class Bank(Node):
    """A number of states, each an attribute of its own."""

    def __init__(self, count: int) -> None:
        for number, value in enumerate(scalars(count)):
            setattr(self, f"s{number}", State(value))


class Layer(Node):
    def __init__(self, w: jax.Array, b: jax.Array) -> None:
        self.w = Param(w)
        self.b = Param(b)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ self.w.value + self.b.value)


class Stack(Node):
    """Layers, and a counter of the calls."""

    def __init__(self, layers: int = LAYERS) -> None:
        self.layers = [Layer(w, b) for w, b in weights(layers)]
        self.calls = State(jnp.array(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        self.calls.value += 1
        for layer in self.layers:
            x = layer(x)
        return x


# ------------------------------------------------------------------------------------------------ calls


def calling(used: int, held: int | None = None) -> Works:
    """A jitted function that reads and writes the first `used` of `held` states."""
    bank = Bank(held or used)
    x = jnp.array(1.0)

    @jit
    def step(x: jax.Array) -> jax.Array:
        for number in range(used):
            state = getattr(bank, f"s{number}")
            state.value = state.value + x
        return bank.s0.value

    @jax.jit
    def raw_step(states: tuple[jax.Array, ...], x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        states = tuple(state + x for state in states)
        return states[0], states

    states = tuple(scalars(used))

    def raw() -> jax.Array:
        nonlocal states
        out, states = raw_step(states, x)
        return out

    return {"ours": lambda: step(x), "raw": raw}


# ------------------------------------------------------------------------------------------------ a training step

Steps = tuple[Callable[[Callable[[], None]], Any], Callable[[Callable[[], None]], Any]]


def our_step(model: Stack, ran: Callable[[], None]) -> Any:
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


def raw_step(ran: Callable[[], None]) -> Any:
    def loss_of(params: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        for w, b in params:
            x = jnp.tanh(x @ w + b)
        return jnp.mean((x - y) ** 2), calls + 1

    def step(params: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any, jax.Array]:
        ran()
        (loss, calls), grads = jax.value_and_grad(loss_of, has_aux=True)(params, calls, x, y)
        return loss, jax.tree.map(lambda p, g: p - RATE * g, params, grads), calls

    return jax.jit(step)


def nothing() -> None:
    pass


def tracing(layers: int) -> Works:
    """Trace the step of a function object that JAX has never seen."""
    model, (x, y) = Stack(layers), batch()
    params, calls = weights(layers), jnp.array(0)
    return {
        "ours": lambda: our_step(model, nothing).trace(x, y),
        "raw": lambda: raw_step(nothing).trace(params, calls, x, y),
    }


def first_calls(layers: int) -> Works:
    """Trace such a step, compile it and run it; ours only."""
    model, (x, y) = Stack(layers), batch()
    return {"ours": lambda: our_step(model, nothing)(x, y)}


def stepping() -> Works:
    model, (x, y) = Stack(), batch()
    step = our_step(model, nothing)
    by_hand: Any = raw_step(nothing)
    params, calls = weights(), jnp.array(0)

    def raw() -> jax.Array:
        nonlocal params, calls
        loss, params, calls = by_hand(params, calls, x, y)
        return loss

    return {"ours": lambda: step(x, y), "raw": raw}


def python_runs() -> dict[str, int]:
    """How often Python runs the user's function to trace it, and in its first and second call."""
    runs: list[None] = []
    x, y = batch()

    def ran() -> None:
        runs.append(None)

    def count(work: Work) -> int:
        runs.clear()
        work()
        return len(runs)

    step = our_step(Stack(), ran)
    return {
        "a trace": count(lambda: our_step(Stack(), ran).trace(x, y)),
        "a first call": count(lambda: step(x, y)),
        "a second call": count(lambda: step(x, y)),
    }


# ------------------------------------------------------------------------------------------------ trees and boxes


def flattening(count: int) -> Works:
    bank = Bank(count)
    tree = treefy_states(bank)
    values = tuple(scalars(count))
    return {"ours": lambda: jax.tree.flatten(tree), "raw": lambda: jax.tree.flatten(values)}


def splitting(count: int) -> Works:
    bank = Bank(count)
    values = {f"s{i}": value for i, value in enumerate(scalars(count))}
    return {"ours": lambda: treefy_split(bank), "raw": lambda: jax.tree.flatten(values)}


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


TIMES = 500  # how often one run of the two works below reads or writes


def reading(box: Any) -> Work:
    def work() -> None:
        for _ in range(TIMES // 10):
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


def writing(box: Any) -> Work:
    new = jnp.array(1.0)

    def work() -> None:
        for _ in range(TIMES // 10):
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


def reads() -> Works:
    return {"ours": reading(State(jnp.array(0.0))), "raw": reading(Box(jnp.array(0.0)))}


def writes() -> Works:
    return {"ours": writing(State(jnp.array(0.0))), "raw": writing(Box(jnp.array(0.0)))}
