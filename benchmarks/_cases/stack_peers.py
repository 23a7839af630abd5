"""The steps of `stacks` by other libraries, each as its guides recommend; `step_peers` has the ways of nnx."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._arena.timing import Work
from .stacks import RATE, Fresh, batch, reading, weights, writing

__all__ = ["PEER_SYSTEMS", "Brainstate", "Equinox", "Nnx"]


class Nnx:
    """flax nnx, in one of its three ways."""

    def __init__(self, way: str = "graph") -> None:
        nnx: Any = importlib.import_module("flax.nnx")

        class Layer(nnx.Module):
            def __init__(self, w: jax.Array, b: jax.Array) -> None:
                self.w = nnx.Param(w)
                self.b = nnx.Param(b)

            def __call__(self, x: jax.Array) -> jax.Array:
                return jnp.tanh(x @ self.w.get_value() + self.b.get_value())

        class Count(nnx.Variable):
            pass

        class Stack(nnx.Module):
            def __init__(self, layers: int) -> None:
                self.layers = nnx.List([Layer(w, b) for w, b in weights(layers)])
                self.calls = Count(jnp.array(0))

            def __call__(self, x: jax.Array) -> jax.Array:
                self.calls.set_value(self.calls.get_value() + 1)
                for layer in self.layers:
                    x = layer(x)
                return x

        self.nnx, self.Stack, self.Count, self.way = nnx, Stack, Count, way

    def _step(self) -> Any:
        nnx = self.nnx

        def loss_of(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.mean((model(x) - y) ** 2)

        def step(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            loss, grads = nnx.value_and_grad(loss_of)(model, x, y)
            params = nnx.state(model, nnx.Param)
            nnx.update(model, jax.tree.map(lambda p, g: p - RATE * g, params, grads))
            return loss

        def tree_step(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            """As a tree a model has a derivative for all of its arrays or none, so its parameters are split off."""
            graphdef, params, rest = nnx.split(model, nnx.Param, ..., graph=False)

            def loss_and_rest(params: Any) -> tuple[jax.Array, Any]:
                merged = nnx.merge(graphdef, params, rest, copy=True)
                return loss_of(merged, x, y), nnx.state(merged, self.Count, graph=False)

            (loss, rest_now), grads = jax.value_and_grad(loss_and_rest, has_aux=True)(params)
            nnx.update(model, jax.tree.map(lambda p, g: p - RATE * g, params, grads), rest_now)
            return loss

        return nnx.jit(tree_step, graph=False, graph_updates=False) if self.way == "tree" else nnx.jit(step)

    def fresh(self, layers: int) -> Fresh | None:
        if self.way == "cached":
            return None  # it changes calls, and no trace
        return Fresh(self._step, (self.Stack(layers), *batch()))

    def stepping(self, layers: int) -> Work:
        model, (x, y) = self.Stack(layers), batch()
        step = self._step()
        if self.way == "cached":
            bound = self.nnx.cached_partial(step, model)
            return lambda: bound(x, y)
        return lambda: step(model, x, y)

    def reads(self, times: int) -> Work | None:
        if self.way != "graph":
            return None
        variable = self.nnx.Variable(jnp.array(0.0))

        def work() -> None:  # `.value` is deprecated there
            for _ in range(times):
                _ = variable.get_value()

        return work

    def writes(self, times: int) -> Work | None:
        if self.way != "graph":
            return None
        variable, new = self.nnx.Variable(jnp.array(0.0)), jnp.array(1.0)

        def work() -> None:
            for _ in range(times):
                variable.set_value(new)

        return work


class Brainstate:
    """brainstate, the reference system."""

    def __init__(self) -> None:
        brainstate: Any = importlib.import_module("brainstate")
        node: Any = brainstate.graph.Node

        class Layer(node):
            def __init__(self, w: jax.Array, b: jax.Array) -> None:
                self.w = brainstate.ParamState(w)
                self.b = brainstate.ParamState(b)

            def __call__(self, x: jax.Array) -> jax.Array:
                return jnp.tanh(x @ self.w.value + self.b.value)

        class Stack(node):
            def __init__(self, layers: int) -> None:
                self.layers = [Layer(w, b) for w, b in weights(layers)]
                self.calls = brainstate.State(jnp.array(0))

            def __call__(self, x: jax.Array) -> jax.Array:
                self.calls.value += 1
                for layer in self.layers:
                    x = layer(x)
                return x

        self.brainstate, self.Stack = brainstate, Stack

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

    def fresh(self, layers: int) -> Fresh:
        model = self.Stack(layers)
        return Fresh(lambda: self._step(model), batch())

    def stepping(self, layers: int) -> Work:
        step, (x, y) = self._step(self.Stack(layers)), batch()
        return lambda: step(x, y)

    def reads(self, times: int) -> Work:
        return reading(self.brainstate.State(jnp.array(0.0)), times)

    def writes(self, times: int) -> Work:
        return writing(self.brainstate.State(jnp.array(0.0)), times)


class Equinox:
    """equinox: the step returns the new model."""

    def __init__(self) -> None:
        eqx: Any = importlib.import_module("equinox")

        class Layer(eqx.Module):
            w: jax.Array
            b: jax.Array

            def __call__(self, x: jax.Array) -> jax.Array:
                return jnp.tanh(x @ self.w + self.b)

        class Stack(eqx.Module):
            layers: list[Any]

            def __call__(self, x: jax.Array) -> jax.Array:
                for layer in self.layers:
                    x = layer(x)
                return x

        self.eqx = eqx
        self.stack = lambda layers: Stack([Layer(w, b) for w, b in weights(layers)])

    def _step(self) -> Any:
        eqx = self.eqx

        def loss_of(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.mean((model(x) - y) ** 2)

        def step(model: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> Any:
            loss, grads = eqx.filter_value_and_grad(loss_of)(model, x, y)
            return loss, eqx.apply_updates(model, jax.tree.map(lambda g: -RATE * g, grads)), calls + 1

        return eqx.filter_jit(step)

    def fresh(self, layers: int) -> Fresh:
        return Fresh(self._step, (self.stack(layers), jnp.array(0), *batch()))

    def stepping(self, layers: int) -> Work:
        model, calls, (x, y), step = self.stack(layers), jnp.array(0), batch(), self._step()

        def work() -> jax.Array:
            nonlocal model, calls
            loss, model, calls = step(model, calls, x, y)
            return loss

        return work


PEER_SYSTEMS: dict[str, Callable[[], Any]] = {
    "nnx": Nnx,
    "nnx cached": lambda: Nnx("cached"),
    "nnx tree": lambda: Nnx("tree"),
    "brainstate": Brainstate,
    "equinox": Equinox,
}
