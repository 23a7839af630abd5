"""Steps with a Python number that changes before each: what memory they keep, and when the user is told.

Run in a Python of its own, as memory that earlier programs have given back would hide what is kept:
``python -m benchmarks._cases.annealing rate 200 60`` takes 200 steps, or as many as it can in 60 seconds, and
prints JSON.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp

import brainstate_nn as nn
from brainstate_transform import jit, value_and_grad

from .._arena.machine import ROOT
from .._arena.timing import resident_mb

__all__ = ["KINDS", "annealed", "measured"]

Setter = Callable[[float], None]


class Net(nn.Module):
    """Four layers, whose result is divided by a number."""

    def __init__(self) -> None:
        rng = nn.RandomState(0)
        self.layers = nn.Sequential(*[nn.Linear(16, 16, rng=rng) for _ in range(4)])
        self.temperature = 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layers(x) / self.temperature


class Training:
    """A plain object with a model and its learning rate."""

    def __init__(self) -> None:
        self.net, self.rate = Net(), 0.1
        self.params = self.net.states(nn.ParamState)

    def step(self, x: jax.Array) -> jax.Array:
        return self.descend(x, self.rate)

    def descend(self, x: jax.Array, rate: Any) -> jax.Array:
        loss, grads = value_and_grad(lambda: jnp.mean(self.net(x) ** 2), self.params)()
        for path, grad in grads.items():
            self.params[path].value -= rate * grad
        return loss


def by_name() -> tuple[Any, Setter]:
    training, rate = Training(), 0.1

    def anneal(value: float) -> None:
        nonlocal rate
        rate = value

    return jit(lambda x: training.descend(x, rate)), anneal


def on_object() -> tuple[Any, Setter]:
    training = Training()

    def anneal(value: float) -> None:
        training.rate = value

    return jit(training.step), anneal


def on_module() -> tuple[Any, Setter]:
    training = Training()

    def anneal(value: float) -> None:
        training.net.temperature = value

    return jit(training.step), anneal


# What makes a step and the function that gives it another number, and the name that a warning has to say.
KINDS = {"name": (by_name, "rate"), "object": (on_object, "rate"), "module": (on_module, "temperature")}


def passed() -> tuple[Any, Setter]:
    """The same with the number as an argument, which is what the user should write."""
    training, rate = Training(), 0.1
    step = jit(training.descend)

    def anneal(value: float) -> None:
        nonlocal rate
        rate = value

    return lambda x: step(x, rate), anneal


def annealed(make: Callable[[], tuple[Any, Setter]], place: str, steps: int, limit_s: float) -> dict[str, Any]:
    """Take such steps.

    Args:
        make: Makes the step and what changes its number.
        place: What a warning has to name.
        steps: How many to take.
        limit_s: For how long.

    Returns:
        `steps` that were taken, the MB that they have `kept`, the seconds of `one` on average, and the number of the
        step in which it was `warned`, or None.
    """
    step, anneal = make()
    x = jnp.ones((4, 16))
    gc.collect()
    before, start, taken, warned = resident_mb(), perf_counter(), 0, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while taken < steps and perf_counter() - start < limit_s:
            anneal(0.1 * 0.99**taken)
            jax.block_until_ready(step(x))
            taken += 1
            if warned is None and any(place in str(each.message) for each in caught):
                warned = taken
    one = (perf_counter() - start) / max(taken, 1)
    gc.collect()
    return {"steps": taken, "kept": resident_mb() - before, "one": one, "warned": warned}


def measured(kind: str, steps: int, limit_s: float) -> dict[str, Any]:
    """Return what `annealed` finds for one of `KINDS` in a Python of its own, and under `passed` for an argument."""
    command = [sys.executable, "-m", "benchmarks._cases.annealing", kind, str(steps), str(limit_s)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return json.loads(done.stdout)


def main(kind: str, steps: str, limit_s: str) -> None:
    make, place = KINDS[kind]
    annealed(passed, place, 2, float(limit_s))  # what JAX keeps of anything that it does for the first time
    other = annealed(passed, place, int(steps), float(limit_s))
    print(json.dumps({**annealed(make, place, int(steps), float(limit_s)), "passed": other}))


if __name__ == "__main__":
    main(*sys.argv[1:])
