"""A training on all devices of all processes; `test_distributed.py` runs this file in two processes, and in one.

``python -m tests.processes.on_two_processes COMMAND PROCESS PROCESSES PORT DIRECTORY [ARGUMENTS]``
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import treescope
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import GraphError, clone, treefy_states
from brainstate_transform import jit, value_and_grad

TX = optax.adam(1e-2)
STEPS = 8


class Training(nn.Module):
    """What a training has, and 8 MB beside it, so that a step takes a while to write."""

    def __init__(self) -> None:
        self.net = nn.Sequential(
            nn.Linear(8, 16, rng=nn.RandomState(0)), nn.relu, nn.Dropout(0.2, rng=nn.RandomState(1)),
            nn.Linear(16, 8, rng=nn.RandomState(2)),
        )  # fmt: skip
        self.ballast = nn.State(jax.random.normal(jax.random.key(0), (16, 1 << 17)))

    def loss(self, x: jax.Array) -> jax.Array:
        return jnp.mean((self.net(x) - jnp.tanh(x)) ** 2) + 1e-3 * jnp.mean(self.ballast.value)


@jit(donate_states=True)
def step(training: Training, optimizer: nn.Optimizer, x: jax.Array) -> jax.Array:
    value, grads = value_and_grad(training.loss, training.net.states(nn.ParamState))(x)
    optimizer.update(grads)
    training.ballast.value *= 1.01
    return value


def mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def make() -> dict[str, Any]:
    """The parameters lie in parts on all devices; the count of Adam and the number of steps on each process alone."""
    return with_optimizer(nn.init_sharded(Training, mesh(), nn.fully_sharded("data")))


def with_optimizer(training: Training) -> dict[str, Any]:
    return {"training": training, "optimizer": nn.Optimizer(training.net, TX)}


def batch(number: int) -> jax.Array:
    x = np.random.default_rng(number).standard_normal((16, 8), np.float32)
    return jax.device_put(x, NamedSharding(mesh(), P("data")))


def train(folder: str, last: str, dies_at: str = "", after: str = "0") -> None:
    """Go on from the latest step that there is, with a checkpoint after each second one; print the losses.

    Args:
        folder: Where the checkpoints are.
        last: The number of the step to end before.
        dies_at: The number of the step that this process dies in writing.
        after: How many seconds after it has begun to.
    """
    run = make()
    with nn.Checkpoints(folder) as checkpoints:
        latest = checkpoints.latest_step()
        if latest is not None:
            checkpoints.restore(run)
            assert checkpoints.metadata() == {"number": latest}
        for number in range(0 if latest is None else latest + 1, int(last)):
            print(number, float(step(**run, x=batch(number))).hex(), flush=True)
            if number % 2:
                if dies_at == str(number):
                    threading.Timer(float(after), os.kill, (os.getpid(), signal.SIGKILL)).start()
                checkpoints.save(number, run, metadata={"number": number})


def refused(error: type[Exception], text: str, fun: Callable[[], Any]) -> None:
    with pytest.raises(error, match=re.escape(text)):
        fun()


def check(folder: str) -> None:
    """What the rest of the library does where a process has a part of the arrays."""
    process, run = jax.process_index(), make()
    training = run["training"]

    # What looks at a model does not look at values that are elsewhere.
    shown = [repr(training), str(run), repr(treefy_states(training)), treescope.render_to_text(training)]
    shown += [str(nn.tabulate(training.net, batch(0))), repr(clone(training))]
    assert all("Linear" in text or "bias" in text for text in shown)
    assert treescope.render_to_html(training)
    text = "layers.0.weight is spread over several processes: save it with `Checkpoints`"
    refused(GraphError, text, lambda: nn.save_states(f"{folder}/x", run))

    # Random streams are the same everywhere, or are said to differ.
    text = "without a seed, each of the 2 processes would draw different numbers: write `nn.seed(0)`"
    refused(ValueError, text, nn.RandomState)
    refused(ValueError, text, lambda: nn.Linear(2, 3))
    nn.seed(0)
    refused(ValueError, text, nn.seed)
    alone, other = (
        {"net": nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), "count": nn.State(7), "none": nn.State(jnp.ones(0))}
        for _ in range(2)
    )

    # Random keys go onto the devices of all processes, which JAX refuses.
    nn.shard(other["net"], mesh(), nn.fully_sharded("data"))
    nn.from_flat_dict(other["net"], nn.to_flat_dict(alone["net"]))
    assert not other["net"][1].rng.value[0].is_fully_addressable

    with nn.Checkpoints(f"{folder}/alone") as checkpoints:
        # What each process has for itself is written once, where all have the same.
        differs = {"a": nn.Linear(4, 4, rng=nn.RandomState(process)), "b": nn.State(process), "c": nn.State(np.ones(3))}
        text = "nothing was written, because the processes have different values here: a.weight, b. Give all"
        refused(GraphError, text, lambda: checkpoints.save(0, differs))
        refused(
            GraphError, "different values here: the names", lambda: checkpoints.save(0, {"ab"[process]: nn.State(0)})
        )
        assert checkpoints.save(0, alone)

        # It goes to where the model has it: to all devices, or to this process alone.
        for model in (other, alone):
            model["net"][0].weight.value *= 0.0
            model["count"].value = 0
            checkpoints.restore(model)
            weight, (key, _) = model["net"][0].weight.value, model["net"][1].rng.value
            assert weight.is_fully_addressable == key.is_fully_addressable == (model is alone)
            assert float(abs(weight).sum()) > 0.1
            assert model["count"].value == 7
        assert not alone["net"][0].weight.value.committed
        drawn = [float(jit(model["net"][1].rng.normal)()) for model in (other, alone)]
        assert drawn[0] == drawn[1]
        assert checkpoints.load_model()["net"][1].rate == 0.5

        checkpoints.save(1, run)
        template = nn.abstract(lambda: with_optimizer(Training()), mesh(), nn.fully_sharded("data"))
        checkpoints.restore(template)
        weight = template["training"].net[0].weight.value
        assert weight.sharding.spec == training.net[0].weight.value.sharding.spec
        assert (weight == training.net[0].weight.value).all()


def main(command: str, process: str, processes: str, port: str, *args: str) -> None:
    jax.config.update("jax_num_cpu_devices", int(os.environ["DEVICES"]))
    if int(processes) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process))
    {"train": train, "check": check}[command](*args)
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
