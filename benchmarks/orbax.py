"""``python -m benchmarks.orbax``: how fast `Checkpoints` saves and loads 256 MB, beside orbax on the bare arrays.

And how much of the writing a training does not wait for.  Options: ``--quick`` (rougher), ``--folder`` (where to write;
the disk counts).  It reports and never fails: the exit code is 0.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import pathlib
import shutil
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

import brainstate_nn as nn
from brainstate_transform import for_loop, jit

from ._report import disk_table, header, options
from ._timing import Work, spell

__all__ = ["main"]

TARGET = 1.1  # of the time that orbax takes for the bare arrays
SIZE = 32 * 2_000_000 * 4


def arrays(seed: int) -> dict[str, jax.Array]:
    """32 arrays of 8 MB that cannot be compressed."""
    keys = jax.random.split(jax.random.key(seed), 32)
    return {str(i): jax.random.normal(key, (2000, 1000)) for i, key in enumerate(keys)}


class Bare:
    """Orbax on arrays."""

    def __init__(self, folder: pathlib.Path) -> None:
        keep = ocp.checkpoint_managers.LatestN(1)
        self.manager = ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(preservation_policy=keep))
        self.values, self.steps = arrays(0), itertools.count()

    def start(self) -> None:
        self.manager.save(next(self.steps), args=ocp.args.Composite(states=ocp.args.StandardSave(self.values)))

    def save(self) -> None:
        self.start()
        self.manager.wait_until_finished()

    def load(self) -> Any:
        target = ocp.args.Composite(states=ocp.args.StandardRestore(self.values))
        self.values = self.manager.restore(self.manager.latest_step(), args=target)["states"]
        return self.values


class Ours(Bare):
    """`Checkpoints` on a model."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.checkpoints = nn.Checkpoints(folder, max_to_keep=1)
        self.manager, self.steps = self.checkpoints.manager, itertools.count()
        self.model = {name: nn.ParamState(value) for name, value in arrays(0).items()}

    def start(self) -> None:
        self.checkpoints.save(next(self.steps), self.model)

    def load(self) -> Any:
        self.checkpoints.restore(self.model)
        return [state.value for state in self.model.values()]


def load_from_disk(row: Bare) -> Any:
    """Have the system forget what it has read, and load."""
    for path in pathlib.Path(row.manager.directory).rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return row.load()


def overlap(ours: Ours, rounds: int) -> None:
    """Print how long a training and the writing of a step take after each other, and together."""
    x = nn.State(jnp.asarray(np.random.default_rng(0).standard_normal((64, 64), np.float32)))
    weight = ours.model["0"]

    @jit(donate_states=True)
    def step() -> None:
        def small(_: Any) -> None:
            x.value = jnp.tanh(x.value @ x.value)  # too small for a second core: the other is for the writing

        for_loop(small, jnp.arange(500))
        weight.value = weight.value * 0.999

    def train() -> None:
        for _ in range(20):
            step()
        jax.block_until_ready(x.value)

    def timed(*works: Work) -> float:
        start = time.perf_counter()
        for work in works:
            work()
        return time.perf_counter() - start

    train()
    found = [(timed(train), timed(ours.start), timed(ours.manager.wait_until_finished),
              timed(ours.start, train, ours.manager.wait_until_finished)) for _ in range(rounds)]  # fmt: skip
    training, call, rest, both = (min(column) for column in zip(*found, strict=True))
    print(f"A training of {spell(training)}; a save of {spell(call + rest)}, of which the call takes {spell(call)}.")
    hidden = (training + call + rest - both) / min(training, call + rest)
    print(f"Both at once: {spell(both)}, so {hidden:.0%} of the shorter one is hidden.")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    parser = options("orbax", __doc__, "ten seconds a table instead of sixty")
    parser.add_argument("--folder", default=None, help="where to write 1 GB; a temporary folder if not given")
    given = parser.parse_args(argv)
    logging.getLogger("absl").setLevel("ERROR")  # orbax warns that saving takes all the time
    folder = pathlib.Path(tempfile.mkdtemp(dir=given.folder))
    try:
        rows = {"orbax, bare arrays": Bare(folder / "bare"), "ours": Ours(folder / "ours")}
        print(header())
        print(f"Ratio: the least time over many alternating rounds, by that of the first row. {SIZE / 1e6:.0f} MB.\n")
        budget_s = 10.0 if given.quick else 60.0
        works = {
            "Save": {name: row.save for name, row in rows.items()},
            "Load": {name: row.load for name, row in rows.items()},
        }
        if hasattr(os, "posix_fadvise"):
            works["Load, from the disk"] = {name: functools.partial(load_from_disk, row) for name, row in rows.items()}
        for what, ways in works.items():
            disk_table(what, ways, {"ours"}, TARGET, SIZE, budget_s)
        overlap(rows["ours"], 10 if given.quick else 40)
        for row in rows.values():
            row.manager.close()
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
