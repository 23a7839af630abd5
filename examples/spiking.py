"""Train a spiking network on 1,797 scanned digits, shown as spike trains, by surrogate gradients through time.

Run it with ``python -m examples.spiking``, or with ``--output some/folder``; with ``--quick`` it trains a quarter as
long.  The data ships with scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_transform import for_loop, jit
from examples.digits import check, draw_curve, load_digits
from examples.lstm import train

STEPS = 30  # of 1 ms
TARGET, QUICK_TARGET = 0.94, 0.90  # the accuracy on the held-out quarter that this example promises


class SpikingNet(nn.Module):
    """Spikes of 64 inputs, one layer of leaky integrate-and-fire neurons, and a leaky readout that does not spike."""

    def __init__(self, hidden: int = 128):
        self.rng = nn.default_rng().fork()
        self.weights = nn.Linear(64, hidden)
        self.current = nn.ExponentialSynapse(hidden, tau=5.0)
        self.neurons = nn.LIF(hidden, tau=10.0, surrogate="fast_sigmoid")
        self.head = nn.Linear(hidden, 10)
        self.readout = nn.ExponentialSynapse(10, tau=10.0)

    def encode(self, images: jax.Array) -> jax.Array:
        """Draw spikes of shape ``(time, batch, 64)``; the brighter a pixel, the more: up to one in two steps."""
        rates = 0.5 * images.reshape(1, len(images), -1)
        return self.rng.bernoulli(rates, (STEPS, *rates.shape[1:])).astype(jnp.float32)

    def step(self, spikes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Show one step of the spikes; return the readout and the spikes of the hidden layer."""
        hidden = self.neurons(self.current(self.weights(spikes)))
        return self.readout(self.head(hidden)), hidden

    def run(self, spikes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Show spike trains from rest; return the logits, which are the mean of the readout, and all hidden spikes."""
        nn.init_all_states(self, spikes.shape[1])
        readout, hidden = for_loop(self.step, spikes)
        return readout.mean(0), hidden

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map pictures of shape ``(batch, 8, 8, 1)`` to logits of shape ``(batch, 10)``."""
        return self.run(self.encode(images))[0]


def draw_spikes(shown: jax.Array, hidden: jax.Array, label: int, path: Path) -> None:
    """Draw the spikes of one digit: its pixels above, the hidden layer below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
    for axes, spikes, name in zip(rows, (shown, hidden), ("pixel", "neuron"), strict=True):
        when, which = np.nonzero(np.asarray(spikes))
        axes.plot(when, which, "|", color="black", markersize=3)
        axes.set(ylabel=name)
    rows[0].set(title=f"The spikes of one digit, {label}")
    rows[1].set(xlabel="time (ms)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(output: Path, quick: bool) -> None:
    output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    nn.seed(0)
    train_x, train_y, test_x, test_y = load_digits()
    model = SpikingNet()
    losses = train(model, train_x, train_y, epochs=10 if quick else 40, rate=2e-3)
    accuracy = float((jit(model)(test_x).argmax(-1) == test_y).mean())
    seconds = time.perf_counter() - start
    target = QUICK_TARGET if quick else TARGET
    check(f"accuracy {accuracy:.2%} on {len(test_y)} held-out digits, after {seconds:.0f} s", accuracy >= target)

    shown = model.encode(test_x)
    _, hidden = jit(model.run)(shown)
    rate = 1000 * float(hidden.mean())
    check(f"a hidden neuron spikes {rate:.0f} times in a second, on average", 1 < rate < 200)
    draw_spikes(shown[:, 0], hidden[:, 0], int(test_y[0]), output / "spikes.png")
    draw_curve(losses, output / "spiking.png")
    print(f"\nIn {output.resolve()}:\n  spiking.png  the training curve\n  spikes.png   the spikes of one digit")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    parser.add_argument("--quick", action="store_true", help="train a quarter as long")
    options = parser.parse_args()
    main(options.output, options.quick)
