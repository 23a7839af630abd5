"""Pairs of training steps and of their traces, *with* something inside that need not cost anything; see `things`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_graph import treefy_merge, treefy_split
from brainstate_transform import for_loop, jit, value_and_grad

from .stacks import RATE, Ours, Raw, Stack, batch, weights
from .things import BATCH, WIDTH, Pair

__all__ = [
    "run_from_rest",
    "trace_deep",
    "trace_deep_with_token",
    "trace_stack",
    "trace_stack_with_token",
    "train_from_rest",
]

TIME = 5


# ------------------------------------------------------------------------------------------------ hidden states


def cells(width: int = WIDTH) -> nn.Sequential:
    rng = nn.RandomState(0)
    return nn.Sequential(*[nn.GRUCell(width, width, rng=rng) for _ in range(4)])


def spiking() -> nn.Sequential:
    rng = nn.RandomState(0)
    return nn.Sequential(
        nn.Linear(WIDTH, 16, rng=rng),
        nn.LIF(16, tau=10.0),
        nn.Linear(16, WIDTH, rng=rng),
        nn.ExponentialSynapse(WIDTH, tau=10.0),
    )


def series(width: int = WIDTH, time: int = TIME) -> jax.Array:
    return jnp.ones((time, BATCH, width))


def from_rest(net: nn.Module, x: jax.Array) -> jax.Array:
    """Make the hidden states, and run through a series."""
    nn.init_all_states(net, BATCH)
    return for_loop(net, x).mean()


def run_from_rest(width: int = WIDTH, time: int = TIME) -> Pair:
    net, x = cells(width), series(width, time)
    step = jit(lambda x: from_rest(net, x))
    shape, tree = treefy_split(cells(width))
    values, structure = jax.tree.flatten(tree)

    @jax.jit
    def raw(values: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        net = treefy_merge(shape, structure.unflatten(values))
        out = from_rest(net, x)
        return out, [state.value for state in net.states(nn.HiddenState).values()]

    return {"with": lambda: step(x), "without": lambda: raw(values, x)[0]}


def train_from_rest(time: int = TIME) -> Pair:
    x = series(time=time)
    step = train_step(spiking(), from_rest)
    params, rest, raw = raw_train_step(spiking(), from_rest)

    def work() -> jax.Array:
        nonlocal params
        loss, params, _ = raw(params, rest, x)  # what it hid is made anew
        return loss

    return {"with": lambda: step(x), "without": work}


# ------------------------------------------------------------------------------------------------ training, and traces

Loss = Callable[[Any, jax.Array], jax.Array]


def train_step(net: nn.Module, loss_of: Loss) -> Any:
    """A fresh step of gradient descent."""
    params = net.states(nn.ParamState)

    def step(x: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(lambda: loss_of(net, x), params)()
        for path, grad in grads.items():
            params[path].value -= RATE * grad
        return loss

    return jit(step)


def raw_train_step(net: nn.Module, loss_of: Loss) -> tuple[list[jax.Array], list[jax.Array], Any]:
    """The same by hand: the parameters, the other values, and a fresh step of raw JAX; it runs the same layers."""
    shape, params, rest = treefy_split(net, nn.ParamState, ...)
    (first, of_params), (others, of_rest) = jax.tree.flatten(params), jax.tree.flatten(rest)

    def pure(params: Any, rest: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        net = treefy_merge(shape, of_params.unflatten(params), of_rest.unflatten(rest))
        loss = loss_of(net, x)
        return loss, jax.tree.leaves(treefy_split(net, nn.ParamState, ...)[2])

    def step(params: Any, rest: Any, x: jax.Array) -> tuple[jax.Array, Any, Any]:
        (loss, rest), grads = jax.value_and_grad(pure, has_aux=True)(params, rest, x)
        return loss, [p - RATE * g for p, g in zip(params, grads, strict=True)], rest

    return first, others, jax.jit(step)


class Block(nn.Module):
    def __init__(self, number: int, rng: nn.RandomState) -> None:
        self.norm = nn.LayerNorm(WIDTH) if number % 2 else nn.BatchNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH, rng=rng)
        self.dropout = nn.Dropout(0.1, rng=rng)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.dropout(nn.gelu(self.linear(self.norm(x))))


class Deep(nn.Module):
    """Blocks of norms and dropout behind a gate, which a raw ``jax.checkpoint`` is put around."""

    def __init__(self, blocks: int) -> None:
        rng = nn.RandomState(0)
        self.gate = nn.ParamState(jnp.ones(WIDTH))
        self.blocks = [Block(number, rng) for number in range(blocks)]

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x


def trace_stack(layers: int) -> Pair:
    ours, raw = Ours().fresh(layers), Raw().fresh(layers)
    return {"with": lambda: ours.make().trace(*ours.args), "without": lambda: raw.make().trace(*raw.args)}


def deep_loss(net: Deep, x: jax.Array) -> jax.Array:
    return jnp.mean(net(net.gate.value * x) ** 2)


def deep_loss_reading(net: Deep, x: jax.Array) -> jax.Array:
    """The body of the checkpoint reads a State, so that JAX's caches have to be told apart from here on."""
    return jnp.mean(net(jax.checkpoint(lambda x: net.gate.value * x)(x)) ** 2)


def deep_loss_passing(net: Deep, x: jax.Array) -> jax.Array:
    return jnp.mean(net(jax.checkpoint(lambda gate, x: gate * x)(net.gate.value, x)) ** 2)


def rows_of_numbers() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, WIDTH)), jnp.float32)


def trace_deep(blocks: int) -> Pair:
    ours, theirs, x = Deep(blocks), Deep(blocks), rows_of_numbers()

    def raw() -> Any:
        params, rest, step = raw_train_step(theirs, deep_loss)
        return step.trace(params, rest, x)

    return {"with": lambda: train_step(ours, deep_loss).trace(x), "without": raw}


def trace_deep_with_token(blocks: int) -> Pair:
    reading, passing, x = Deep(blocks), Deep(blocks), rows_of_numbers()
    return {
        "with": lambda: train_step(reading, deep_loss_reading).trace(x),
        "without": lambda: train_step(passing, deep_loss_passing).trace(x),
    }


def checkpointed_step(model: Stack) -> Any:
    """The step of `_cases.our_step`, its first layer in a raw ``jax.checkpoint``."""
    params = {f"{i}.{k}": getattr(layer, k) for i, layer in enumerate(model.layers) for k in "wb"}

    def loss_of(x: jax.Array, y: jax.Array) -> jax.Array:
        model.calls.value += 1
        first, *others = model.layers
        x = jax.checkpoint(lambda x: first(x))(x)
        for layer in others:
            x = layer(x)
        return jnp.mean((x - y) ** 2)

    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(loss_of, params)(x, y)
        for name, param in params.items():
            param.value = param.value - RATE * grads[name]
        return loss

    return jit(step)


def raw_checkpointed_step() -> Any:
    """The step of `_cases.raw_step` with the same checkpoint; its body closes over traced weights."""

    def layer(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ w + b)

    def loss_of(params: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        (w, b), *others = params
        x = jax.checkpoint(lambda x: layer(w, b, x))(x)
        for w, b in others:
            x = layer(w, b, x)
        return jnp.mean((x - y) ** 2), calls + 1

    def step(params: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any, jax.Array]:
        (loss, calls), grads = jax.value_and_grad(loss_of, has_aux=True)(params, calls, x, y)
        return loss, jax.tree.map(lambda p, g: p - RATE * g, params, grads), calls

    return jax.jit(step)


def trace_stack_with_token(layers: int) -> Pair:
    model, (x, y) = Stack(layers), batch()
    params, calls = weights(layers), jnp.array(0)
    return {
        "with": lambda: checkpointed_step(model).trace(x, y),
        "without": lambda: raw_checkpointed_step().trace(params, calls, x, y),
    }
