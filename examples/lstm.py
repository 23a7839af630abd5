"""Train an LSTM that reads 1,797 scanned digits row by row: eight steps of eight grey values.

Run it with ``python -m examples.lstm``, or with ``--output some/folder``; with ``--quick`` it trains a quarter as long.
The data ships with scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import brainstate_nn as nn
from brainstate_transform import for_loop, jit, value_and_grad
from examples.digits import BATCH, check, draw_curve, load_digits

TARGET, QUICK_TARGET = 0.96, 0.90  # the accuracy on the held-out quarter that this example promises


class RowReader(nn.Module):
    """An LSTM over the rows of a picture, and a linear layer on what it holds after the last one."""

    def __init__(self, hidden: int = 64):
        self.rows = nn.RNN(nn.LSTMCell(8, hidden))
        self.head = nn.Linear(hidden, 10)

    def __call__(self, images: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
        """Map pictures of shape ``(batch, 8, 8)``, or their first rows, to logits of shape ``(batch, 10)``."""
        (h, _), _ = self.rows(images, lengths=lengths, return_carry=True)
        return self.head(h)


def batches(images: np.ndarray, labels: np.ndarray, epochs: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go over the data in another order each time, with a progress bar."""
    order, steps = np.random.default_rng(0), len(images) // BATCH
    with tqdm(total=epochs * steps, desc="training", unit="step") as bar:
        for _ in range(epochs):
            for batch in order.permutation(len(images))[: steps * BATCH].reshape(steps, BATCH):
                yield images[batch], labels[batch]
                bar.update()


def train(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    rate: float = 5e-3,
    watch: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train in place and return the loss of each step; `watch` is called after each epoch."""
    steps = len(images) // BATCH
    schedule = optax.cosine_decay_schedule(rate, epochs * steps)
    params = model.states(nn.ParamState)
    optimizer = nn.Optimizer(params, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)))

    def loss(x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    @jit
    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        value, grads = value_and_grad(loss, params)(x, y)
        optimizer.update(grads)
        return value

    losses: list[jax.Array] = []
    for x, y in batches(images, labels, epochs):
        losses.append(step(x, y))
        if len(losses) % steps == 0:
            watch()
    return [float(value) for value in losses]


def read_aloud(model: RowReader, images: jax.Array) -> jax.Array:
    """Return the logits after each row, of shape ``(rows, batch, 10)``, from a cell that keeps its own state."""
    cell = model.rows.cell
    cell.init_state(len(images))
    return for_loop(lambda row: model.head(cell(row)), jnp.swapaxes(images, 0, 1))


def main(output: Path, quick: bool) -> None:
    output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    nn.seed(0)
    train_x, train_y, test_x, test_y = load_digits()
    train_x, test_x = train_x[..., 0], test_x[..., 0]
    model = RowReader()
    losses = train(model, train_x, train_y, epochs=10 if quick else 40)
    logits = jit(model)(test_x)
    accuracy = float((logits.argmax(-1) == test_y).mean())
    seconds = time.perf_counter() - start
    target = QUICK_TARGET if quick else TARGET
    check(f"accuracy {accuracy:.2%} on {len(test_y)} held-out digits, after {seconds:.0f} s", accuracy >= target)

    after = read_aloud(model, test_x)
    check(
        "a cell that keeps its state, row by row, ends with the same logits", jnp.allclose(after[-1], logits, atol=1e-4)
    )
    five = model(test_x, lengths=jnp.full(len(test_x), 5))
    check("the first five rows alone give what it thinks after five", jnp.allclose(after[4], five, atol=1e-4))
    for row, seen in enumerate((after.argmax(-1) == test_y[None]).mean(-1), start=1):
        print(f"      after {row} rows: {float(seen):.0%}")

    draw_curve(losses, output / "lstm.png")
    print(f"\nIn {output.resolve()}:\n  lstm.png  the training curve")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    parser.add_argument("--quick", action="store_true", help="train a quarter as long")
    options = parser.parse_args()
    main(options.output, options.quick)
