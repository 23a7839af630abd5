"""``python -m benchmarks.orbax``: how fast `Checkpoints` saves and loads 256 MB, beside orbax on the bare arrays.

And what a training waits for that goes on while a step is written: beside the training alone, and the writing alone.
The disk counts: `TMPDIR` says where the files are written, 1 GB.
"""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

import brainstate_nn as nn
from brainstate_transform import for_loop, jit

from ._arena.claim import OURS, Claim, Row, Works
from ._arena.command import options, run
from ._arena.timing import Clocked, Work

__all__ = ["CLAIM", "main"]

TARGET = 1.1  # of the time that orbax takes for the bare arrays


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


class Both:
    """Orbax on arrays and ours on a model, each with a step that is written.

    The files are in a temporary folder, which goes when they do.
    """

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        self.bare, self.ours = Bare(folder / "bare"), Ours(folder / "ours")
        for each in (self.bare, self.ours):
            each.save()


both = functools.cache(Both)


def writing() -> Works:
    return {"orbax": both().bare.save, OURS: both().ours.save}


def loading() -> Works:
    return {"orbax": both().bare.load, OURS: both().ours.load}


def loading_from_disk() -> Works:
    return {
        name: functools.partial(load_from_disk, each) for name, each in (("orbax", both().bare), (OURS, both().ours))
    }


def training(ours: Ours) -> Work:
    """Return some steps of a training that write to the model which is saved."""
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

    return train


def overlapping() -> Works:
    """A training while a step is written: the base is both after each other."""
    ours = both().ours
    train = training(ours)

    def together() -> None:
        ours.start()
        train()
        ours.manager.wait_until_finished()

    def apart() -> None:
        ours.save()
        train()

    return {"one after the other": apart, OURS: together}


def starting() -> Works:
    """The part of a save that the training waits for."""
    ours = both().ours

    def start(clock: Callable[[], float]) -> float:
        begin = clock()
        ours.start()
        passed = clock() - begin
        ours.manager.wait_until_finished()
        return passed

    return {"whole save": ours.save, OURS: Clocked(start)}


ROWS = (
    Row("save 256 MB", writing, target=TARGET, base="orbax"),
    Row("load 256 MB", loading, target=TARGET, base="orbax", quick=False),
    *(
        [Row("load 256 MB, from the disk", loading_from_disk, target=TARGET, base="orbax", quick=False)]
        if hasattr(os, "posix_fadvise")
        else []
    ),
    Row("a training while a step is written", overlapping, target=1.0, base="one after the other", quick=False),
    Row("the call that starts a save", starting, target=0.5, base="whole save", quick=False),
)
CLAIM = Claim("orbax", "Checkpoints of a training cost what orbax costs on bare arrays", ROWS, budget_s=6.0)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
