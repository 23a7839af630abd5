"""``python -m benchmarks.hidden``: a step that makes its hidden states, beside the reference system.

An RNN and a spiking network run through a series from rest, and are trained on it: each call makes the hidden states
anew, as the idiom of the reference has it.  The reference ships no neurons (brainstate 0.5.4 has moved them out), so
that its spiking network is written with its `HiddenState`, as its guides do, in the same equations.  Options:
``--quick`` (rougher), ``--rows spiking`` (rows whose name contains one of the words).  It reports and never fails: the
exit code is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_transform import for_loop, jit, value_and_grad

from ._report import chosen, header, options
from ._timing import Work, interleaved, spell

__all__ = ["main"]

TIME, BATCH, WIDTH, HIDDEN = 20, 8, 16, 32
RATE = 1e-2
TARGET = 1.0
_LINE = "{:<34}{:>10}{:>12}{:>8}{:>8}  {}"
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
    net = nn.Sequential(nn.LIF(HIDDEN) if spiking else nn.RNNCell(HIDDEN, HIDDEN, use_bias=False))
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
    import brainstate as bst

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


ROWS: dict[str, tuple[bool, bool]] = {
    "RNN, run from rest": (False, False),
    "RNN, trained from rest": (False, True),
    "spiking, run from rest": (True, False),
    "spiking, trained from rest": (True, True),
}


def measure(name: str, spiking: bool, training: bool, budget_s: float) -> str:
    """Return the line of one row."""
    works: dict[str, Callable[[], Any]] = {"ours": ours(spiking, training), "reference": theirs(spiking, training)}
    first = {who: [float(work()) for _ in range(3)] for who, work in works.items()}
    if not np.allclose(first["ours"], first["reference"], rtol=1e-3):
        return f"{name:<34}failed: they compute different things: {first}"
    best, rounds = interleaved(works, budget_s)
    ratio = best["ours"] / best["reference"]
    verdict = "MISSED" if ratio > TARGET else "ok"
    return _LINE.format(
        name, spell(best["ours"]), spell(best["reference"]), f"{ratio:.2f}", f"{TARGET:g}", f"{verdict} ({rounds})"
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    given = options("hidden", __doc__, "a second a row instead of ten", rows=True).parse_args(argv)
    print(header())
    print(f"A step of {TIME} times, a batch of {BATCH}, {HIDDEN} neurons, that makes its hidden states.\n")
    print(_LINE.format("", "ours", "reference", "ratio", "target", "").rstrip())
    for name, (spiking, training) in ROWS.items():
        if chosen(name, given.rows):
            print(measure(name, spiking, training, 1.0 if given.quick else 10.0), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
