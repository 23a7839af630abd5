"""Saving is killed at random moments; what was saved last is there, whole."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import brainstate_nn as nn

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
        [sys.executable, "-W", "ignore", "-m", "tests.nn.test_killed_saves", str(tmp_path)],
        cwd=pathlib.Path(__file__).parents[2],
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


if __name__ == "__main__":
    import safetensors.numpy  # noqa: F401
    from flax import serialization  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if not child:
            save_on_and_on(pathlib.Path(sys.argv[1]), int(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
