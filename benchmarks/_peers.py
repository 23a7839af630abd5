"""The same models and functions in flax nnx and in brainstate, where they are installed.

Each is used as its guides recommend for plain code: ``nnx.jit`` with the module as an argument, so that nnx takes
it apart and updates it on each call; brainstate's ``jit`` over a function that closes over the module.
nnx also has ``nnx.cached_partial``, which its performance guide offers for loops over one and the same module; the
note below the table has its figure.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp

from ._cases import LAYERS, RATE, TIMES, Works, batch, reading, scalars, weights, writing
from ._timing import Work

__all__ = ["PEERS", "Brainstate", "Nnx", "works_of"]


class Nnx:
    """flax nnx."""

    name, package = "nnx", "flax"

    def __init__(self) -> None:
        nnx: Any = importlib.import_module("flax.nnx")

        class Bank(nnx.Module):
            def __init__(self, count: int) -> None:
                for number, value in enumerate(scalars(count)):
                    setattr(self, f"s{number}", nnx.Variable(value))

        class Layer(nnx.Module):
            def __init__(self, w: jax.Array, b: jax.Array) -> None:
                self.w = nnx.Param(w)
                self.b = nnx.Param(b)

            def __call__(self, x: jax.Array) -> jax.Array:
                return jnp.tanh(x @ self.w.get_value() + self.b.get_value())

        class Count(nnx.Variable):
            pass

        class Stack(nnx.Module):
            def __init__(self, layers: int = LAYERS) -> None:
                self.layers = nnx.List([Layer(w, b) for w, b in weights(layers)])
                self.calls = Count(jnp.array(0))

            def __call__(self, x: jax.Array) -> jax.Array:
                self.calls.set_value(self.calls.get_value() + 1)
                for layer in self.layers:
                    x = layer(x)
                return x

        self.nnx, self.Bank, self.Stack = nnx, Bank, Stack

    def calling(self, used: int, held: int | None = None, cached: bool = False) -> Work:
        bank, x = self.Bank(held or used), jnp.array(1.0)

        @self.nnx.jit
        def step(bank: Any, x: jax.Array) -> jax.Array:
            for number in range(used):
                variable = getattr(bank, f"s{number}")
                variable.set_value(variable.get_value() + x)
            return bank.s0.get_value()

        if cached:
            partial = self.nnx.cached_partial(step, bank)
            return lambda: partial(x)
        return lambda: step(bank, x)

    def _step(self) -> Any:
        nnx = self.nnx

        def loss_of(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.mean((model(x) - y) ** 2)

        def step(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            loss, grads = nnx.value_and_grad(loss_of)(model, x, y)
            params = nnx.state(model, nnx.Param)
            nnx.update(model, jax.tree.map(lambda p, g: p - RATE * g, params, grads))
            return loss

        return nnx.jit(step)

    def tracing(self, layers: int) -> Work:
        model, (x, y) = self.Stack(layers), batch()
        return lambda: self._step().trace(model, x, y)

    def stepping(self, cached: bool = False) -> Work:
        model, (x, y) = self.Stack(), batch()
        step = self._step()
        if cached:
            partial = self.nnx.cached_partial(step, model)
            return lambda: partial(x, y)
        return lambda: step(model, x, y)

    def flattening(self, count: int) -> Work:
        tree = self.nnx.state(self.Bank(count))
        return lambda: jax.tree.flatten(tree)

    def splitting(self, count: int) -> Work:
        bank = self.Bank(count)
        return lambda: self.nnx.split(bank)

    def reads(self) -> Work:
        variable = self.nnx.Variable(jnp.array(0.0))

        def work() -> None:  # `.value` is deprecated there
            for _ in range(TIMES):
                _ = variable.get_value()

        return work

    def writes(self) -> Work:
        variable, new = self.nnx.Variable(jnp.array(0.0)), jnp.array(1.0)

        def work() -> None:
            for _ in range(TIMES):
                variable.set_value(new)

        return work


class Brainstate:
    """brainstate, the reference system."""

    name, package = "brainstate", "brainstate"

    def __init__(self) -> None:
        brainstate: Any = importlib.import_module("brainstate")
        node: Any = brainstate.graph.Node

        class Bank(node):
            def __init__(self, count: int) -> None:
                for number, value in enumerate(scalars(count)):
                    setattr(self, f"s{number}", brainstate.State(value))

        class Layer(node):
            def __init__(self, w: jax.Array, b: jax.Array) -> None:
                self.w = brainstate.ParamState(w)
                self.b = brainstate.ParamState(b)

            def __call__(self, x: jax.Array) -> jax.Array:
                return jnp.tanh(x @ self.w.value + self.b.value)

        class Stack(node):
            def __init__(self, layers: int = LAYERS) -> None:
                self.layers = [Layer(w, b) for w, b in weights(layers)]
                self.calls = brainstate.State(jnp.array(0))

            def __call__(self, x: jax.Array) -> jax.Array:
                self.calls.value += 1
                for layer in self.layers:
                    x = layer(x)
                return x

        self.brainstate, self.Bank, self.Stack = brainstate, Bank, Stack

    def calling(self, used: int, held: int | None = None) -> Work:
        bank, x = self.Bank(held or used), jnp.array(1.0)

        @self.brainstate.transform.jit
        def step(x: jax.Array) -> jax.Array:
            for number in range(used):
                state = getattr(bank, f"s{number}")
                state.value = state.value + x
            return bank.s0.value

        return lambda: step(x)

    def _step(self, model: Any) -> Any:
        transform: Any = self.brainstate.transform
        params = {f"{i}.{k}": getattr(layer, k) for i, layer in enumerate(model.layers) for k in "wb"}

        def loss_of(x: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.mean((model(x) - y) ** 2)

        def step(x: jax.Array, y: jax.Array) -> jax.Array:
            grads, loss = transform.grad(loss_of, params, return_value=True)(x, y)
            for name, param in params.items():
                param.value = param.value - RATE * grads[name]
            return loss

        return transform.jit(step)

    def tracing(self, layers: int) -> Work:
        model, (x, y) = self.Stack(layers), batch()
        return lambda: self._step(model).trace(x, y)

    def stepping(self) -> Work:
        model, (x, y) = self.Stack(), batch()
        step = self._step(model)
        return lambda: step(x, y)

    def flattening(self, count: int) -> Work:
        tree = self.brainstate.graph.treefy_states(self.Bank(count))
        return lambda: jax.tree.flatten(tree)

    def splitting(self, count: int) -> Work:
        bank = self.Bank(count)
        return lambda: self.brainstate.graph.treefy_split(bank)

    def reads(self) -> Work:
        return reading(self.brainstate.State(jnp.array(0.0)))

    def writes(self) -> Work:
        return writing(self.brainstate.State(jnp.array(0.0)))


PEERS: list[Any] = [peer for peer in (Nnx, Brainstate) if importlib.util.find_spec(peer.package)]


def works_of(peer: Any, row: str, *args: int) -> Works:
    """The work of one row in one peer; none where the row does not apply there."""
    make = getattr(peer, row, None)
    return {} if make is None else {peer.name: make(*args)}
