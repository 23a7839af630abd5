"""``python -m benchmarks.nn``: one Adam step of the GPT of `examples/gpt.py`, its time and its memory.

Beside the step that is written by hand for this model, with donated buffers, and the same model in flax nnx.  Options:
``--quick`` (rougher), ``--rows small`` (rows whose name contains one of the words).  It reports and never fails: the
exit code is 0.
"""

from __future__ import annotations

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

from ._gpt_peers import HandWritten, NnxGPT, nnx_step, values_of
from ._report import chosen, header, options
from ._timing import interleaved, spell

__all__ = ["main"]

TARGET = 1.05
SIZES = {
    "small: 2 layers of 32, 4 x 16 tokens": Settings(width=32, heads=2, depth=2, context=16, batch=4),
    "medium: 4 layers of 128, 8 x 64 tokens": Settings(width=128, heads=4, depth=4, context=64, batch=8),
}
_LINE = "{:<42}{:<8}{:>10}{:>10}{:>8}{:>8}{:>8}  {}"


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


def measure(name: str, settings: Settings, budget_s: float) -> str:
    """Return the two lines of one size."""
    found = candidates(settings)
    first = {who: float(candidate.work()) for who, candidate in found.items()}
    if not np.allclose(list(first.values()), first["raw"], rtol=1e-4):
        return f"{name:<42}failed: they compute different things: {first}"
    best, rounds = interleaved({who: candidate.work for who, candidate in found.items()}, budget_s)
    memory = {who: bytes_of(candidate.program) for who, candidate in found.items()}
    return _line(name, "time", best, spell, f"(best of {rounds})") + "\n" + _line("", "memory", memory, _megabytes, "")


def _line(name: str, what: str, found: dict[str, Any], show: Callable[[Any], str], note: str) -> str:
    ratio, other = found["ours"] / found["raw"], found["nnx"] / found["raw"]
    note = f"{'MISSED' if ratio > TARGET else 'ok'} {note}".rstrip()
    return _LINE.format(
        name, what, show(found["ours"]), show(found["raw"]), f"{ratio:.3f}", f"{TARGET:g}", f"{other:.2f}", note
    )  # fmt: skip


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    given = options("nn", __doc__, "three seconds a row instead of twenty", rows=True).parse_args(argv)
    print(header())
    print("Ratio: the least time over many alternating rounds, and the most memory that the compiled program takes, by")
    print("those of the step that is written by hand.\n")
    print(_LINE.format("One Adam step of the GPT", "", "ours", "by hand", "ratio", "target", "nnx", "").rstrip())
    for name, settings in SIZES.items():
        if chosen(name, given.rows):
            print(measure(name, settings, 3.0 if given.quick else 20.0), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
