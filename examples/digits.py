"""Train a small convolutional network on 1,797 scanned digits; split it for raw JAX; save it, and restore it elsewhere.

Run it with ``make demo``, or ``python examples/digits.py --output some/folder``.  The data ships with scikit-learn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import brainstate_nn as nn
from brainstate_graph import treefy_merge, treefy_split
from brainstate_transform import jit, value_and_grad

EPOCHS = 30
BATCH = 64
TARGET = 0.975  # the accuracy on the held-out quarter that this example promises


class DigitNet(nn.Module):
    """Two convolutions and one linear layer, for pictures of 8 by 8 grey values."""

    def __init__(self, width: int = 32):
        self.features = nn.Sequential(
            nn.Conv(1, width, (3, 3)),
            nn.BatchNorm(width),
            nn.relu,
            nn.Conv(width, 2 * width, (3, 3)),
            nn.BatchNorm(2 * width),
            nn.relu,
            nn.MaxPool((2, 2)),
        )
        self.dropout = nn.Dropout(0.25)
        self.head = nn.Linear(4 * 4 * 2 * width, 10)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images of shape ``(batch, 8, 8, 1)`` to logits of shape ``(batch, 10)``."""
        x = self.features(images)
        return self.head(self.dropout(x.reshape(len(x), -1)))


def load_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images, training labels, and the held-out quarter of both."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    images, labels = load(return_X_y=True)
    images = (images / 16.0).astype(np.float32).reshape(-1, 8, 8, 1)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels.astype(np.int32), test_size=0.25, random_state=0, stratify=labels
    )
    return train_x, train_y, test_x, test_y


def train(model: DigitNet, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """Train in place and return the loss of each step."""
    steps = len(images) // BATCH
    schedule = optax.cosine_decay_schedule(3e-3, EPOCHS * steps)
    params = model.states(nn.ParamState)
    optimizer = nn.Optimizer(params, optax.adam(schedule))

    def loss(x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    @jit
    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        value, grads = value_and_grad(loss, params)(x, y)
        optimizer.update(grads)
        return value

    model.train()
    order = np.random.default_rng(0)
    losses = []
    with tqdm(total=EPOCHS * steps, desc="training", unit="step") as bar:
        for _ in range(EPOCHS):
            for batch in order.permutation(len(images))[: steps * BATCH].reshape(steps, BATCH):
                losses.append(step(images[batch], labels[batch]))
                bar.update()
            bar.set_postfix(loss=f"{float(losses[-1]):.4f}")
    return [float(value) for value in losses]


def evaluate(model: DigitNet, images: np.ndarray, labels: np.ndarray) -> tuple[float, jax.Array]:
    """Return the accuracy and the logits, with the model in evaluation mode."""
    logits = jit(model.eval())(images)
    return float((logits.argmax(-1) == labels).mean()), logits


def restored_accuracy(path: Path) -> float:
    """Load a saved model into a new one and return its accuracy on the held-out quarter."""
    _, _, images, labels = load_digits()
    model = DigitNet()
    nn.load_states(path, model, nn.ParamState, nn.BatchState)
    return evaluate(model, images, labels)[0]


def draw_curve(losses: list[float], path: Path) -> None:
    """Draw the loss of each step and its running mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    smooth = np.convolve(losses, np.ones(20) / 20, mode="valid")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.semilogy(losses, color="0.8", linewidth=0.8, label="each step")
    axes.semilogy(np.arange(len(smooth)) + 19, smooth, color="tab:blue", label="mean of 20 steps")
    axes.set(xlabel="step", ylabel="cross entropy", title="Training on the scanned digits")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write_page(model: DigitNet, path: Path) -> None:
    """Write the model as a page to unfold in a browser."""
    import treescope

    with treescope.active_autovisualizer.set_scoped(treescope.ArrayAutovisualizer()):
        path.write_text(treescope.render_to_html(model))


def check(claim: str, holds: bool) -> None:
    """Print a claim with its verdict, and stop where it does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'}  {claim}")
    if not holds:
        raise SystemExit(1)


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    nn.seed(0)
    train_x, train_y, test_x, test_y = load_digits()
    model = DigitNet()
    losses = train(model, train_x, train_y)
    accuracy, logits = evaluate(model, test_x, test_y)
    seconds = time.perf_counter() - start
    check(f"accuracy {accuracy:.2%} on {len(test_y)} held-out digits, after {seconds:.0f} s", accuracy >= TARGET)

    graphdef, params, others = treefy_split(model, nn.ParamState, ...)
    raw = jax.jit(lambda params, others, x: treefy_merge(graphdef, params, others)(x))
    same = bool(jnp.array_equal(raw(params, others, test_x), logits))
    check("the split model gives the same logits under raw jax.jit", same)

    saved = output / "digits.msgpack"
    nn.save_states(saved, model, nn.ParamState, nn.BatchState)
    answer = subprocess.run(
        [sys.executable, __file__, "--accuracy-of", str(saved)], check=True, capture_output=True, text=True
    )
    again = float.fromhex(answer.stdout.strip())
    check(f"restored in a fresh process, the accuracy is the same to the last bit: {again.hex()}", again == accuracy)

    draw_curve(losses, output / "training.png")
    write_page(model, output / "model.html")
    print(f"\nIn {output.resolve()}:")
    print("  training.png    the training curve\n  model.html      the model, to unfold in a browser")
    print("  digits.msgpack  the parameters and running statistics")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    parser.add_argument("--accuracy-of", type=Path, help="print the accuracy of a saved model, and nothing else")
    options = parser.parse_args()
    if options.accuracy_of:
        print(restored_accuracy(options.accuracy_of).hex())
    else:
        main(options.output)
