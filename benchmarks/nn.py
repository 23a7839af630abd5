"""``python -m benchmarks.nn``: one Adam step of the GPT of `examples/gpt.py`, its time and its memory.

Beside the step that is written by hand for this model, with donated buffers, and the same model in flax nnx.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import brainstate_nn as nn
from brainstate_transform import jit, value_and_grad
from examples.gpt import CHARACTERS, GPT, Settings, loss_of

from ._arena.claim import Claim, Row, Works
from ._arena.command import options, run
from ._arena.timing import Number
from ._cases.gpt import HandWritten, NnxGPT, nnx_step, values_of

__all__ = ["CLAIM", "by_hand", "bytes_of", "main", "ours"]

TARGET = 1.05
SIZES = {
    "small: 2 layers of 32, 4 x 16 tokens": Settings(width=32, heads=2, depth=2, context=16, batch=4),
    "medium: 4 layers of 128, 8 x 64 tokens": Settings(width=128, heads=4, depth=4, context=64, batch=8),
}


class Candidate(NamedTuple):
    """A step that repeats itself, and the compiled program of it."""

    work: Callable[[], jax.Array]
    program: Any


def ours(model: GPT, tx: optax.GradientTransformation, batch: jax.Array) -> Candidate:
    params = model.states(nn.ParamState)
    optimizer = nn.Optimizer(params, tx)

    @jit(donate_states=True)
    def step(batch: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(lambda: loss_of(model, batch), params)()
        optimizer.update(grads)
        return loss

    return Candidate(lambda: step(batch), step.compile(batch))


def by_hand(values: Any, settings: Settings, tx: optax.GradientTransformation, batch: jax.Array) -> Candidate:
    step = HandWritten(settings).step(tx)
    kept = [values, tx.init(values)]
    program = step.lower(*kept, batch).compile()

    def work() -> jax.Array:
        *kept[:], loss = step(*kept, batch)
        return loss

    return Candidate(work, program)


def by_nnx(values: Any, settings: Settings, tx: optax.GradientTransformation, batch: jax.Array) -> Candidate:
    model = NnxGPT(CHARACTERS, settings, values)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    program = nnx_step.lower(model, optimizer, batch).compile()
    return Candidate(lambda: nnx_step(model, optimizer, batch), program)


def bytes_of(program: Any) -> int:
    """What a program needs at most: arguments, results that share no buffer with one, and temporary values."""
    found = getattr(program, "compiled", program).memory_analysis()
    return (
        found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes - found.alias_size_in_bytes
    )


@functools.cache
def candidates(settings: Settings) -> dict[str, Candidate]:
    """The three steps, from equal parameters, on one batch."""
    model, tx = GPT(CHARACTERS, settings, nn.RandomState(0)), optax.adam(1e-3)
    shape = (settings.batch, settings.context + 1)
    batch = jnp.asarray(np.random.default_rng(0).integers(CHARACTERS, size=shape), jnp.int32)
    first, second = values_of(model), values_of(model)
    return {
        "ours": ours(model, tx, batch),
        "raw": by_hand(first, settings, tx, batch),
        "nnx": by_nnx(second, settings, tx, batch),
    }


def timing(size: str) -> Works:
    return {name: candidate.work for name, candidate in candidates(SIZES[size]).items()}


def memory(size: str) -> Works:
    """The most memory that the compiled program takes."""
    return {name: Number(bytes_of(candidate.program) / 1e6) for name, candidate in candidates(SIZES[size]).items()}


ROWS = tuple(
    Row(
        f"Adam step of the GPT, {size}: {what}",
        make,
        (size,),
        target=TARGET,
        unit=unit,
        same=unit == "s",
        quick=size.startswith("small"),
        share=1.0 if unit == "s" else 0.0,
    )
    for size in SIZES
    for what, make, unit in (("time", timing, "s"), ("memory", memory, "MB"))
)
CLAIM = Claim("nn", "A step of a GPT with Adam, beside the one that is written by hand for it", ROWS, budget_s=6.0)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
