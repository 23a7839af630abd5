"""A run that is stopped after any step and goes on elsewhere has the losses that it would have had, to the last bit."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import clone, treefy_states, update_states
from brainstate_transform import jit, value_and_grad
from tests.processes.run import output_of
from tests.tables import each

STEPS = 6
SCHEDULE = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, STEPS)
TX = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(SCHEDULE))  # one, so that all runs are one program


class Run(nn.Module):
    """All that a training has: the model, what moves it, what is gathered, and where the data are drawn from."""

    def __init__(self, seed: int) -> None:
        streams = nn.RandomStreams(seed, dropout=seed + 1)
        self.net = nn.Sequential(
            nn.Linear(3, 8, rng=streams),
            nn.BatchNorm(8),
            nn.relu,
            nn.Dropout(0.5, rng=streams),
            nn.Linear(8, 3, rng=streams),
        )
        self.optimizer = nn.Optimizer(self.net, TX)
        self.ema = nn.EMA(self.net, 0.9, debias=True)
        self.metrics = nn.MultiMetric(loss=nn.Average("loss"), spread=nn.Welford("loss"), accuracy=nn.Accuracy())
        self.data = nn.RandomState(seed + 2)

    def step(self) -> jax.Array:
        x = self.data.normal((16, 3))
        labels = jnp.argmax(x + 0.1 * self.data.normal((16, 3)), -1)

        def loss() -> tuple[jax.Array, jax.Array]:
            logits = self.net(x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits

        (value, logits), grads = value_and_grad(loss, self.net.states(nn.ParamState), has_aux=True)()
        self.optimizer.update(grads)
        self.ema.update()
        self.metrics.update(loss=value, logits=logits, labels=labels)
        return value


@jit
def step(run: Run) -> jax.Array:
    return run.step()


@jit
def result(run: Run) -> list[jax.Array]:
    """What was gathered and averaged in the end."""
    with run.ema.swapped(), nn.mode(run.net, training=False):
        return [*jax.tree.leaves(run.metrics.compute()), run.net(jnp.ones((1, 3))).sum()]


def go_on(run: Run, steps: int) -> list[str]:
    """The losses and the result, digit by digit."""
    losses = [step(run) for _ in range(steps)]
    return [float(value).hex() for value in (*losses, *result(run))]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A folder with the run as it was before each step, and the losses from there on."""
    folder = tmp_path_factory.mktemp("stopped")
    run, rest = Run(0), {}
    for k in range(STEPS):
        nn.save_states(folder / str(k), run)
        rest[k] = go_on(clone(run), STEPS - k)
        step(run)
    return folder, rest


@each("k", [0, 1, 2, STEPS - 1])
def test_in_a_fresh_object(stopped, k):
    folder, rest = stopped
    run = Run(99)
    assert go_on(clone(run), STEPS - k) != rest[k]
    nn.load_states(folder / str(k), run)
    assert go_on(run, STEPS - k) == rest[k]


def test_in_an_object_that_has_run_already(stopped):
    folder, rest = stopped
    run = Run(0)
    go_on(run, 4)
    nn.load_states(folder / "3", run)
    assert run.optimizer.step.value == 3
    assert go_on(run, STEPS - 3) == rest[3]


def test_in_a_fresh_process(stopped):
    folder, rest = stopped
    assert output_of("-m", "tests.processes.test_resume", folder / "2", STEPS - 2).split() == rest[2]


def test_through_orbax(stopped, tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    folder, rest = stopped
    run, other = Run(0), Run(99)
    nn.load_states(folder / "2", run)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "run", treefy_states(run))
        checkpointer.wait_until_finished()
        update_states(other, checkpointer.restore(tmp_path / "run", treefy_states(other)))
    assert go_on(other, STEPS - 2) == rest[2]


if __name__ == "__main__":
    resumed = Run(7)
    nn.load_states(sys.argv[1], resumed)
    print(*go_on(resumed, int(sys.argv[2])))
