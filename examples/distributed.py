"""Train over the devices of two processes, kill one of them, and go on: the losses are as if nothing had happened.

Run it with ``python -m examples.distributed``.  Both processes run on this machine, with two devices each; on several
machines, start ``work`` on each with the address of the first, and with a directory that all of them see.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_transform import jit, value_and_grad

PROCESSES, DEVICES, STEPS = 2, 2, 40


def work(process: int, address: str, folder: str, dies_after: int | None) -> None:
    """Train from the last step that is in the directory; every process runs this."""
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, PROCESSES, process)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))

    nn.seed(0)  # the same for all: without a seed, several processes are refused
    net = nn.init_sharded(
        lambda: nn.Sequential(nn.Linear(32, 256), nn.gelu, nn.Dropout(0.1), nn.Linear(256, 32)),
        mesh, nn.fully_sharded("data"),
    )  # fmt: skip
    optimizer = nn.Optimizer(net, optax.adam(1e-3))
    run = {"net": net, "optimizer": optimizer}

    @jit(donate_states=True)
    def step(x: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(lambda: jnp.mean((net(x) - jnp.sin(3.0 * x)) ** 2), net.states(nn.ParamState))()
        optimizer.update(grads)
        return loss

    with nn.Checkpoints(folder, max_to_keep=2) as checkpoints:
        done = checkpoints.latest_step()
        if done is not None:
            checkpoints.restore(run)
        for number in range(0 if done is None else done + 1, STEPS):
            rows = np.random.default_rng(number).normal(size=(64, 32)).astype(np.float32)
            loss = step(jax.device_put(rows, NamedSharding(mesh, P("data"))))
            if process == 0:
                print(number, float(loss), flush=True)
            if number % 5 == 4:
                checkpoints.save(number, run)  # returns while it is being written
            if number == dies_after:
                os.kill(os.getpid(), signal.SIGKILL)


def train(folder: str, dies_after: int | None = None) -> dict[int, str]:
    """Start all processes, and return the losses; the last one dies after a step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = []
    for process in range(PROCESSES):
        command = [sys.executable, "-m", "examples.distributed", "--work", str(process), address, folder]
        if dies_after is not None and process == PROCESSES - 1:
            command += ["--dies-after", str(dies_after)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    if running[-1].wait():  # those that are left wait for it: what starts the processes ends them
        for process in running:
            process.kill()
    lines = [line.split() for line in running[0].communicate()[0].splitlines() if line[:1].isdigit()]
    return {int(number): loss for number, loss in lines}


def check(claim: str, holds: bool) -> None:
    """Print a claim with its verdict, and stop where it does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'}  {claim}")
    if not holds:
        raise SystemExit(1)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = train(f"{folder}/whole")
        check(f"{len(whole)} steps on {PROCESSES} x {DEVICES} devices", list(whole) == list(range(STEPS)))
        check("the loss falls", float(whole[STEPS - 1]) < 0.8 * float(whole[0]))
        train(f"{folder}/killed", dies_after=23)
        rest = train(f"{folder}/killed")
        check(f"one was killed after step 23, and both went on from step {min(rest)}", 0 < min(rest) <= 20)
        check("the losses are the same to the last bit", all(whole[number] == loss for number, loss in rest.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", nargs=3, metavar=("PROCESS", "ADDRESS", "FOLDER"), help="be one of the processes")
    parser.add_argument("--dies-after", type=int, help="the step after which this process is killed")
    options = parser.parse_args()
    if options.work:
        work(int(options.work[0]), *options.work[1:], options.dies_after)
    else:
        main()
