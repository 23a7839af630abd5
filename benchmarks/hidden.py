"""``python -m benchmarks.hidden``: a step that makes its hidden states, beside the reference system.

An RNN and a spiking network run through a series from rest, and are trained on it: each call makes the hidden states
anew, as the idiom of the reference has it.  The reference ships no neurons (brainstate 0.5.4 has moved them out), so
that its spiking network is written with its `HiddenState`, as its guides do, in the same equations.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_transform import for_loop, jit, value_and_grad

from ._arena.claim import Claim, Row, Works, of_each
from ._arena.command import options, run
from ._arena.timing import Work

__all__ = ["CLAIM", "main"]

TIME, BATCH, WIDTH, HIDDEN = 20, 8, 16, 32
RATE = 1e-2
Weights = dict[str, np.ndarray]


def weights() -> Weights:
    draw = np.random.default_rng(0).normal
    return {
        "ih": draw(0, 0.3, (WIDTH, HIDDEN)).astype(np.float32),
        "hh": draw(0, 0.1, (HIDDEN, HIDDEN)).astype(np.float32),
        "head": draw(0, 0.3, (HIDDEN, WIDTH)).astype(np.float32),
    }


def series() -> jax.Array:
    return jax.random.normal(jax.random.key(0), (TIME, BATCH, WIDTH))


# ------------------------------------------------------------------------------------------------ ours


def ours(spiking: bool, training: bool) -> Work:
    given = weights()
    net: Any = nn.Sequential(nn.LIF(HIDDEN) if spiking else nn.RNNCell(HIDDEN, HIDDEN, use_bias=False))
    first = nn.Linear(WIDTH, HIDDEN, use_bias=False)
    head = nn.Linear(HIDDEN, WIDTH, use_bias=False)
    first.weight.value, head.weight.value = jnp.asarray(given["ih"]), jnp.asarray(given["head"])
    if not spiking:
        net.layers[0].weight_ih.value, net.layers[0].weight_hh.value = jnp.eye(HIDDEN), jnp.asarray(given["hh"])
    model = nn.Sequential(first, net, head)
    params, xs = model.states(nn.ParamState), series()

    def loss(xs: jax.Array) -> jax.Array:
        nn.init_all_states(model, BATCH)
        return jnp.mean(for_loop(model, xs) ** 2)

    @jit
    def step(xs: jax.Array) -> jax.Array:
        if not training:
            return loss(xs)
        value, grads = value_and_grad(loss, params)(xs)
        for path, state in params.items():
            state.value = state.value - RATE * grads[path]
        return value

    return lambda: step(xs)


# ------------------------------------------------------------------------------------------------ the reference


def theirs(spiking: bool, training: bool) -> Work:
    bst: Any = importlib.import_module("brainstate")
    given, leak = weights(), math.exp(-1 / 10)

    @jax.custom_jvp
    def spike(v: jax.Array) -> jax.Array:
        return (v >= 0).astype(v.dtype)

    @spike.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (v,), (dv,) = primals, tangents
        return spike(v), dv / (1 + (math.pi * v) ** 2)

    class Net(bst.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ih, self.head = bst.ParamState(jnp.asarray(given["ih"])), bst.ParamState(jnp.asarray(given["head"]))
            if not spiking:
                self.eye, self.hh = bst.ParamState(jnp.eye(HIDDEN)), bst.ParamState(jnp.asarray(given["hh"]))

        def init_state(self, batch_size: int | None = None, **others: Any) -> None:
            self.h = bst.HiddenState(jnp.zeros((batch_size or BATCH, HIDDEN)))

        def update(self, x: jax.Array) -> jax.Array:
            current = x @ self.ih.value
            if not spiking:
                self.h.value = jnp.tanh(current @ self.eye.value + self.h.value @ self.hh.value)
                return self.h.value @ self.head.value
            v = self.h.value * leak + (1 - leak) * current
            out = spike(v - 1.0)
            self.h.value = v - jax.lax.stop_gradient(out)
            return out @ self.head.value

    net, xs = Net(), series()
    params = net.states(bst.ParamState)

    def loss(xs: jax.Array) -> jax.Array:
        bst.nn.init_all_states(net, batch_size=BATCH)
        return jnp.mean(bst.transform.for_loop(net.update, xs) ** 2)

    @bst.transform.jit
    def step(xs: jax.Array) -> jax.Array:
        if not training:
            return loss(xs)
        grads, value = bst.transform.grad(lambda: loss(xs), params, return_value=True)()
        for path, state in params.items():
            state.value = state.value - RATE * grads[path]
        return value

    return lambda: step(xs)


class Ours:
    def stepping(self, spiking: bool, training: bool) -> Work:
        return ours(spiking, training)


class Brainstate:
    def stepping(self, spiking: bool, training: bool) -> Work:
        return theirs(spiking, training)


def stepping(spiking: bool, training: bool) -> Works:
    return of_each({"ours": Ours, "brainstate": Brainstate}, "stepping", spiking, training)


ROWS = tuple(
    Row(
        f"{'spiking' if spiking else 'RNN'}, {'trained' if training else 'run'} from rest",
        stepping,
        (spiking, training),
        target=1.0,
        base="brainstate",
        same=True,
    )
    for spiking in (False, True)
    for training in (False, True)
)
CLAIM = Claim("hidden", f"A step of {TIME} times that makes its hidden states", ROWS, budget_s=3.0)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
