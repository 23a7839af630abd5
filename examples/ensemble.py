"""Train an ensemble of small networks on the scanned digits at once: one model by `vmap`, one optimizer for all.

Run it with ``python -m examples.ensemble``, or with ``--output some/folder``.  The data ships with scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import brainstate_nn as nn
from brainstate_graph import treefy_merge, treefy_split
from brainstate_transform import jit, value_and_grad, vmap
from examples.digits import BATCH, check, load_digits

MEMBERS = 16
EPOCHS = 150
SCANS = 500  # to train with; the fewer there are, the more the members differ


class Member(nn.Module):
    """Two linear layers, for pictures of 8 by 8 grey values."""

    def __init__(self, width: int = 32):
        self.hidden = nn.Linear(64, width)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, 10)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images of shape ``(batch, 8, 8, 1)`` to logits of shape ``(batch, 10)``."""
        x = nn.relu(self.hidden(images.reshape(len(images), -1)))
        return self.head(self.dropout(x))


def make_ensemble(members: int = MEMBERS) -> Member:
    """Make one Member whose states have the members along their first axis, each drawn from a stream of its own."""
    return vmap(Member, axis_size=members, new_states=0)()


def member(ensemble: Member, number: int) -> Member:
    """Return a copy of one member, to be used by itself."""
    shape, states = treefy_split(ensemble)
    return treefy_merge(shape, jax.tree.map(lambda value: value[number], states))


def cross_entropy(model: Member, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean loss of one member."""
    return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()


def train(ensemble: Member, images: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Train all members in place.

    Args:
        ensemble: The ensemble.
        images: All images.
        labels: All labels.
        batches: For each step and member the numbers of the images that it sees.

    Returns:
        The loss of each member at each step.
    """
    optimizer = nn.Optimizer(ensemble, optax.adam(optax.cosine_decay_schedule(1e-2, len(batches))))
    each = vmap(cross_entropy)  # of each member, its images and its labels

    @jit
    def step(batch: jax.Array) -> jax.Array:
        def total() -> tuple[jax.Array, jax.Array]:
            losses = each(ensemble, jnp.asarray(images)[batch], jnp.asarray(labels)[batch])
            return losses.sum(), losses  # the gradient of a sum has one part for each member

        (_, losses), grads = value_and_grad(total, ensemble.states(nn.ParamState), has_aux=True)()
        optimizer.update(grads)
        return losses

    ensemble.train()
    return np.array([step(batch) for batch in tqdm(batches, desc="training", unit="step")])


def draw_batches(count: int, members: int, epochs: int) -> np.ndarray:
    """Draw for each member an order of its own; of shape ``(steps, members, batch)``."""
    order, steps = np.random.default_rng(0), count // BATCH
    orders = [[order.permutation(count)[: steps * BATCH] for _ in range(epochs)] for _ in range(members)]
    return np.array(orders).reshape(members, -1, BATCH).swapaxes(0, 1)


def predict(ensemble: Member, images: np.ndarray) -> jax.Array:
    """Return the probabilities that each member gives, of shape ``(members, images, 10)``."""
    run = vmap(lambda model: nn.softmax(model(images)))
    with nn.mode(ensemble, training=False):
        return run(ensemble)


class Score(NamedTuple):
    """How good probabilities are: how often the largest is right, their loss, and how far their confidence is off."""

    accuracy: float
    loss: float
    calibration_error: float


def score(probabilities: jax.Array, labels: np.ndarray, bins: int = 10) -> Score:
    """Score probabilities of shape ``(images, 10)``; the calibration error is that of Guo et al., 2017, with bins."""
    probabilities = np.asarray(probabilities, np.float64)
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(places, weights=right - confidence.astype(np.float64), minlength=bins)
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    return Score(float(right.mean()), float(loss), float(np.abs(gaps).sum() / len(labels)))


def draw_growth(probabilities: jax.Array, labels: np.ndarray, path: Path) -> None:
    """Draw the held-out loss of the first members together against how many they are."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    counts, alone = np.arange(1, len(probabilities) + 1), [score(each, labels).loss for each in probabilities]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(counts, alone, "o", color="0.7", label="each member alone")
    axes.plot(counts, [score(probabilities[:n].mean(0), labels).loss for n in counts], label="the first together")
    axes.set(xlabel="members", ylabel="cross entropy", title="Held-out digits", ylim=(0, 1.1 * max(alone)))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    nn.seed(0)
    train_x, train_y, test_x, test_y = load_digits()
    train_x, train_y = train_x[:SCANS], train_y[:SCANS]
    ensemble = make_ensemble()
    start = time.perf_counter()
    losses = train(ensemble, train_x, train_y, draw_batches(len(train_x), MEMBERS, EPOCHS))
    seconds = time.perf_counter() - start
    probabilities = predict(ensemble, test_x)

    alone = [score(each, test_y) for each in probabilities]
    mean = Score(*np.mean(alone, 0))
    together = score(probabilities.mean(0), test_y)
    print(f"{MEMBERS} members, {len(losses)} steps in {seconds:.0f} s; on {len(test_y)} held-out digits:\n")
    print("                        accuracy    loss  calibration error")
    best = Score(max(s.accuracy for s in alone), min(s.loss for s in alone), min(s.calibration_error for s in alone))
    for name, row in (("a member, on average", mean), ("the best of each", best), ("all together", together)):
        print(f"  {name:<21} {row.accuracy:8.2%} {row.loss:8.4f} {row.calibration_error:18.4f}")
    print()
    check("together they are more accurate than one is on average", together.accuracy > mean.accuracy)
    check("and their confidence is less off", together.calibration_error < mean.calibration_error)
    check("their loss is a tenth smaller at least", together.loss < 0.9 * mean.loss)
    draw_growth(probabilities, test_y, output / "ensemble.png")
    print(f"\nIn {output.resolve()}:\n  ensemble.png  the held-out loss against the number of members")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    main(parser.parse_args().output)
