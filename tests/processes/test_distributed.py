"""Two processes on one machine with two devices each: a training over all four is saved, killed, and gone on with."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.processes.on_two_processes import STEPS

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]


def start(command: str, *args: Any, processes: int = 2, devices: int = 2, own: tuple[Any, ...] = ()) -> list[Any]:
    """Start the processes; the last of them with arguments of its own besides."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.processes.on_two_processes", command, str(number), str(processes), str(port)]
            + [str(arg) for arg in (*args, *(own if number == processes - 1 else ()))],
            env={**os.environ, "DEVICES": str(devices), "XLA_FLAGS": ""},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]


def ended(running: list[Any]) -> list[str]:
    """Wait for the processes to end well, and return what each has written."""
    try:
        found = [process.communicate(timeout=240) for process in running]
    finally:
        for process in running:
            process.kill()
    for process, (out, err) in zip(running, found, strict=True):
        assert (process.returncode, out.splitlines()[-1:]) == (0, ["done"]), out + err
    return [out.removesuffix("done\n") for out, _ in found]


def losses(out: str) -> dict[int, str]:
    # Among lines of the library that connects the processes.
    return {int(number): loss for number, loss in re.findall(r"^(\d+) (\S+)$", out, re.MULTILINE)}


def trained(*args: Any, **how: Any) -> dict[int, str]:
    """Train, and return the losses, which all processes have alike."""
    one, *others = [losses(out) for out in ended(start("train", *args, **how))]
    assert all(other == one for other in others)
    return one


def from_step(loss: dict[int, str], step: int) -> dict[int, str]:
    return {number: value for number, value in loss.items() if number >= step}


def assert_close(some: dict[int, str], all_: dict[int, str]) -> None:
    assert some
    assert some.keys() <= all_.keys()
    for number, value in some.items():
        np.testing.assert_allclose(float.fromhex(value), float.fromhex(all_[number]), rtol=1e-5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[pathlib.Path, dict[int, str]]:
    """A training in two processes that nothing happened to, and its losses."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, trained(folder, STEPS)


@pytest.mark.parametrize("after", [0.0, 0.02, 0.1, 0.3])
def test_one_is_killed_while_both_write_and_both_go_on(whole, tmp_path, after):
    running = start("train", tmp_path, STEPS, own=(5, after))
    try:
        assert running[-1].wait(timeout=240) == -9
        running[0].wait(timeout=5)  # it waits for the other, until JAX notices that there is none
    except subprocess.TimeoutExpired:
        assert running[-1].returncode == -9
    finally:
        for process in running:
            process.kill()
            process.communicate()
    steps = sorted(int(name) for name in os.listdir(tmp_path) if name.isdigit())
    assert steps[-1] in (1, 3, 5)  # step 3 may have been half there as well
    rest = trained(tmp_path, STEPS)
    assert rest == from_step(whole[1], steps[-1] + 1)
    assert len(rest) >= 2


@pytest.mark.parametrize("devices", [1, 4, 8])
def test_one_process_goes_on_with_another_number_of_devices(whole, tmp_path, devices):
    folder, loss = whole
    shutil.copytree(folder / "3", tmp_path / "3")
    rest = trained(tmp_path, STEPS, processes=1, devices=devices)
    assert list(rest) == [4, 5, 6, 7]
    assert_close(rest, loss)


def test_two_processes_go_on_with_what_one_has_written(whole, tmp_path):
    assert_close(trained(tmp_path, 4, processes=1, devices=8), whole[1])
    rest = trained(tmp_path, STEPS)
    assert list(rest) == [4, 5, 6, 7]
    assert_close(rest, whole[1])


def test_what_else_there_is_works_or_says_why_not(tmp_path):
    ended(start("check", tmp_path))
