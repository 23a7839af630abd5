"""``python -m benchmarks.soak --minutes 60``: everything at once, for long, in one process, and nothing grows.

In turns: training, changes of structure, checkpoints, eager loops, a rate that is annealed, and threads that call one
program.  Each turn checks its result against plain NumPy or against what it must give.  Every second or so it notes the
memory of the process, the live arrays of JAX, the programs that are held, and the objects of Python.  At the end: what
they have grown by since the first sixth of the time, a JSON file and a picture.  The exit code is 1 where a result was
wrong or something has grown.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import brainstate_nn as nn
from brainstate_graph import treefy_merge, treefy_split
from brainstate_transform import cond, for_loop, jit, value_and_grad

from ._arena.command import bar
from ._arena.machine import ROOT
from ._arena.timing import resident_mb

__all__ = ["TURNS", "Sample", "grown", "main", "over", "soak"]

WIDTH, BATCH = 16, 8
# What may be more in the last sixth of the time than in the second: MB, arrays, programs, thousands of objects.
ALLOWED = {"memory": 20.0, "arrays": 50.0, "programs": 20.0, "objects": 20.0}


class Sample(NamedTuple):
    """What was seen at one moment.

    Attributes:
        seconds: Since the beginning.
        memory: Of the process, in MB.
        arrays: The live arrays of JAX.
        programs: The compiled programs that the process holds, those of single operations among them.
        objects: What Python's garbage collector knows, in thousands.
        turns: How many turns were taken.
    """

    seconds: float
    memory: float
    arrays: int
    programs: int
    objects: float
    turns: int


class Net(nn.Module):
    def __init__(self, depth: int = 2) -> None:
        rng = nn.RandomState(0)
        self.layers: list[Any] = [nn.Linear(WIDTH, WIDTH, rng=rng) for _ in range(depth)]
        self.slope = 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = jnp.tanh(layer(x)) * self.slope
        return x


def by_numpy(net: Net, x: np.ndarray) -> np.ndarray:
    for layer in net.layers:
        x = np.tanh(x @ np.asarray(layer.weight.value) + np.asarray(layer.bias.value)) * net.slope
    return x


Turn = Callable[[int], None]  # does a thing once, and checks its result


def must(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def inputs(number: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(number).normal(size=(BATCH, WIDTH)), jnp.float32)


def training() -> Turn:
    """A step of Adam; every thousand turns the training begins anew. The loss falls."""
    target = inputs(-1 % 2**32)

    def begun() -> tuple[Any, Any]:
        net = Net()
        params = net.states(nn.ParamState)
        optimizer = nn.Optimizer(params, optax.adam(1e-2))

        @jit
        def step(x: jax.Array) -> jax.Array:
            loss, grads = value_and_grad(lambda: jnp.mean((net(x) - jnp.tanh(target)) ** 2), params)()
            optimizer.update(grads)
            return loss

        return step, float(step(inputs(0)))

    kept: list[Any] = list(begun())

    def turn(number: int) -> None:
        if number % 1000 == 999:
            kept[:] = begun()
        loss = [kept[0](inputs(0)) for _ in range(20)][-1]
        must(np.isfinite(loss) and float(loss) <= kept[1] * 1.05, "the loss of a training rises")

    return turn


def structure() -> Turn:
    """A model that loses and gains a layer, and a hyper-parameter that changes: each call sees it."""
    net = Net(3)
    step = jit(lambda x: net(x))

    def turn(number: int) -> None:
        if number % 2:
            net.layers.append(net.layers.pop(0))
        else:
            net.slope = 1.0 + number % 3 / 10
        if number % 10 == 0:
            shape, tree = treefy_split(net)
            copy = treefy_merge(shape, tree)
            must(np.allclose(copy(inputs(number)), net(inputs(number)), atol=1e-5), "a merged model differs")
        x = inputs(number)
        must(np.allclose(step(x), by_numpy(net, np.asarray(x)), atol=1e-4), "a program is older than its model")

    return turn


def checkpoints(folder: Path) -> Turn:
    """A model is saved and loaded into another one."""
    one, other = Net(), Net()

    def turn(number: int) -> None:
        one.layers[0].bias.value = jnp.full(WIDTH, float(number))
        nn.save_states(folder / "soak.msgpack", one)
        nn.load_states(folder / "soak.msgpack", other)
        must(float(other.layers[0].bias.value[0]) == number, "a loaded value is another one")

    return turn


def eager_loops() -> Turn:
    """Loops and branches outside of any compiled function, each with a new body function."""
    total = nn.State(jnp.zeros(()))

    def turn(number: int) -> None:
        total.value = jnp.zeros(())

        def body(x: jax.Array) -> None:
            total.value = total.value + x

        for_loop(body, jnp.arange(10.0))
        cond(jnp.array(True), lambda: body(jnp.array(1.0)), lambda: None)
        must(float(total.value) == 46.0, "an eager loop adds wrongly")

    return turn


def annealed() -> Turn:
    """A rate that is another number in each call, passed as an argument, and a name that has one of four values."""
    weight = nn.State(jnp.ones(()))
    scale = 1.0

    @jit
    def step(rate: Any) -> jax.Array:
        weight.value = weight.value * 0 + rate * scale
        return weight.value

    def turn(number: int) -> None:
        nonlocal scale
        scale = float(1 + number % 4)
        rate = 1.0 / (number + 1)
        must(np.isclose(float(step(rate)), rate * scale, rtol=1e-5), "a call does not see its rate")

    return turn


def threads() -> Turn:
    """Four threads call one program, and each builds a model and a program of its own."""
    net = Net()
    step = jit(lambda x: net(x))

    def turn(number: int) -> None:
        wrong: list[int] = []

        def work(which: int) -> None:
            x = inputs(4 * number + which)
            if not np.allclose(step(x), by_numpy(net, np.asarray(x)), atol=1e-4):
                wrong.append(which)
            mine = Net(1)
            if not np.isfinite(np.asarray(mine(x))).all():
                wrong.append(which)

        workers = [threading.Thread(target=work, args=(which,)) for which in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        must(not wrong, "a thread has another result")

    return turn


TURNS = ("training", "structure", "checkpoints", "eager loops", "annealed", "threads")


def turns(folder: Path) -> dict[str, Turn]:
    """Make everything that is done in turns."""
    works = (training(), structure(), checkpoints(folder), eager_loops(), annealed(), threads())
    return dict(zip(TURNS, works, strict=True))


def sample(seconds: float, number: int) -> Sample:
    gc.collect()
    programs = len(jax.devices()[0].client.live_executables())
    return Sample(seconds, resident_mb(), len(jax.live_arrays()), programs, len(gc.get_objects()) / 1e3, number)


def soak(seconds: float, every_s: float, on_sample: Callable[[Sample], object]) -> tuple[list[Sample], dict[str, int]]:
    """Do everything in turns.

    Args:
        seconds: For how long.
        every_s: When a sample is taken again.
        on_sample: Is called with each.

    Returns:
        The samples, and how often each thing was done.

    Raises:
        AssertionError: A result was wrong.
    """
    samples: list[Sample] = []
    counts: dict[str, int] = dict.fromkeys(TURNS, 0)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a number is annealed by name, which is what is done here
        works = turns(Path(folder))
        start = last = time.perf_counter()
        number = 0
        while True:
            now = time.perf_counter()
            if not samples or now - last >= every_s or now - start >= seconds:
                last = now
                samples.append(sample(now - start, number))
                on_sample(samples[-1])
            if now - start >= seconds:
                return samples, counts
            for name, work in works.items():
                work(number)
                counts[name] += 1
            number += 1


def grown(samples: list[Sample]) -> dict[str, float]:
    """Return by how much each number has grown: the median of the last sixth of the samples less that of the second."""
    part = max(1, len(samples) // 6)
    early, late = samples[part : 2 * part] or samples[:1], samples[-part:]
    return {
        name: median(getattr(sample, name) for sample in late) - median(getattr(sample, name) for sample in early)
        for name in ("memory", "arrays", "programs", "objects")
    }


def over(found: dict[str, float]) -> list[str]:
    """Return what has grown by more than is allowed."""
    return [name for name, by in found.items() if by > ALLOWED[name]]


def draw(samples: list[Sample], path: Path) -> None:
    """Draw the four numbers over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    titles = {
        "memory": "memory (MB)",
        "arrays": "live arrays",
        "programs": "programs held",
        "objects": "Python objects (thousands)",
    }
    figure, grid = plt.subplots(2, 2, figsize=(9, 5), layout="constrained", sharex=True)
    minutes = [sample.seconds / 60 for sample in samples]
    for panel, (name, title) in zip(grid.flat, titles.items(), strict=True):
        panel.plot(minutes, [getattr(sample, name) for sample in samples], color="tab:red", linewidth=1)
        panel.set(title=title, ylim=(0, None))
        panel.grid(color="0.92")
    for panel in grid[1]:
        panel.set_xlabel("minutes")
    figure.suptitle(f"{samples[-1].turns:,} turns of training, structure, checkpoints, loops, annealing and threads")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 where something has grown. A wrong result is an error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="for how long (default: 60)")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two samples (default: 2)")
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "benchmarks", metavar="FOLDER")
    given = parser.parse_args(argv)
    with bar() as progress:
        task = progress.add_task("soak", total=round(given.minutes * 60))

        def show(sample: Sample) -> None:
            text = f"{sample.memory:.0f} MB, {sample.arrays} arrays, {sample.programs} programs"
            progress.update(task, completed=round(sample.seconds), description=text)

        samples, counts = soak(given.minutes * 60, given.every, show)
    found = grown(samples)
    given.output.mkdir(parents=True, exist_ok=True)
    report = {"minutes": given.minutes, "turns": counts, "grown": found, "samples": [s._asdict() for s in samples]}
    (given.output / "soak.json").write_text(json.dumps(report) + "\n")
    draw(samples, given.output / "soak.png")
    print(f"{samples[-1].turns:,} turns, each of {', '.join(counts)}: all results right.")
    print("Grown since the first sixth: " + ", ".join(f"{name} {by:+.1f}" for name, by in found.items()))
    more = over(found)
    print(f"FAIL: grown by too much: {', '.join(more)}" if more else "ok: nothing has grown by more than is allowed")
    print(f"In {given.output}: soak.json, soak.png")
    return 1 if more else 0


if __name__ == "__main__":
    raise SystemExit(main())
