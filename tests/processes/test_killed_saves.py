"""Saving is killed at random moments; what was saved last is there, whole."""

from __future__ import annotations

import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import brainstate_nn as nn
from tests.processes.run import ROOT

KILLS = 50
FORMATS = ("msgpack", "safetensors")


class Large(nn.Module):
    """8 MB in four arrays, all of one number."""

    def __init__(self, number):
        self.w = [nn.ParamState(np.full((512, 1024), number, np.float32)) for _ in range(4)]


def save_on_and_on(folder, number):
    while True:
        for suffix in FORMATS:
            nn.save_states(folder / f"model.{suffix}", Large(number))
        number += 1


def loaded(folder, suffix):
    """The number that all of a file has."""
    model = Large(-1)
    nn.load_states(folder / f"model.{suffix}", model)
    (number,) = {float(x) for state in model.w for x in np.unique(state.value)}
    return int(number)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks of one that has imported all")
def test_fifty_kills(tmp_path):
    for suffix in FORMATS:
        nn.save_states(tmp_path / f"model.{suffix}", Large(0))
    rng, numbers = random.Random(0), dict.fromkeys(FORMATS, 0)
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.processes.test_killed_saves", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        for _ in range(KILLS):
            print(1 + max(numbers.values()), file=server.stdin, flush=True)
            pid = int(server.stdout.readline())
            time.sleep(rng.uniform(0.01, 0.25))
            os.kill(pid, signal.SIGKILL)
            assert int(server.stdout.readline()) == -signal.SIGKILL
            for suffix in FORMATS:
                number = loaded(tmp_path, suffix)
                assert number >= numbers[suffix]
                numbers[suffix] = number
        server.stdin.close()
    assert server.returncode == 0
    assert min(numbers.values()) > KILLS // 2  # it did save
    parts = [path for path in tmp_path.iterdir() if path.suffix == ".part"]
    assert len(parts) > KILLS // 4  # and was killed while it did
    for path in parts:  # which is no harm, and an hour later they are removed
        for file in (*path.iterdir(), path):
            os.utime(file, (0, 0))
    for suffix in FORMATS:
        nn.save_states(tmp_path / f"model.{suffix}", Large(7))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"model.{suffix}" for suffix in FORMATS)


# -------------------------------------------------------------------------------------------------- steps of a training


def counting() -> list[nn.ParamState]:
    """8 MB that cannot be compressed."""
    return [nn.ParamState(jax.random.normal(jax.random.key(i), (250, 1000))) for i in range(8)]


def count_on(folder: str, synchronous: bool) -> None:
    """Go on from the latest step without end, and write each."""
    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=not synchronous, preservation_policy=ocp.checkpoint_managers.LatestN(2)
    )
    model, checkpoints = counting(), nn.Checkpoints(folder, options=options)
    first = checkpoints.latest_step()
    if first is not None:
        checkpoints.restore(model)
    print("ready", flush=True)
    for step in itertools.count(0 if first is None else first + 1):
        for state in model:
            state.value += 1.0
        checkpoints.save(step, model, metadata={"step": step})


@pytest.mark.slow
def test_the_last_complete_step_loads_whenever_the_process_is_killed(tmp_path):
    model, rng, latest, halves, steps = counting(), random.Random(0), -1, 0, set()
    for number in range(KILLS):
        code = f"import tests.processes.test_killed_saves as t; t.count_on({str(tmp_path)!r}, {number % 2 == 1})"
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline() == "ready\n"
                time.sleep(rng.uniform(0.0, 0.5))
            finally:
                process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        halves += any("tmp" in name for name in os.listdir(tmp_path))
        with nn.Checkpoints(tmp_path) as checkpoints:
            if not checkpoints.all_steps():
                continue
            checkpoints.restore(model)  # those before may be half removed
            step = checkpoints.metadata()["step"]
            assert step == checkpoints.latest_step()
            want = [np.asarray(state.value) for state in counting()]
            for _ in range(step + 1):
                want = [array + np.float32(1.0) for array in want]
            assert all((state.value == array).all() for state, array in zip(model, want, strict=True))
            assert step >= latest
            latest = step
            steps.add(step)
    assert halves > 10  # many were killed while they wrote
    assert len(steps) > 10


if __name__ == "__main__":
    import safetensors.numpy  # noqa: F401
    from flax import serialization  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if not child:
            save_on_and_on(pathlib.Path(sys.argv[1]), int(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
