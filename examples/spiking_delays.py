"""Train a spiking network whose time constants and delays are trained too, and the same one with these held.

1,797 scanned digits are shown by the times of single spikes: the brighter a pixel, the earlier.  Run it with
``python -m examples.spiking_delays``, or with ``--output some/folder``; with ``--quick`` it trains a quarter as long.
The data ships with scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_transform import for_loop, jit
from examples.digits import check, load_digits
from examples.lstm import train

STEPS = 20  # of 1 ms
LONGEST = 8.0  # the delay, in ms
TARGET, QUICK_TARGET = 0.96, 0.90  # the accuracy on the held-out quarter that this example promises


class TimedNet(nn.Module):
    """A delay for each pixel, one layer of leaky integrate-and-fire neurons, and a leaky readout that does not spike.

    Each pixel has its delay, and each neuron and synapse its time constants, from equal first values.  They are states:
    a `Constrained` is trained, and stays where its transform leads; a `LongTermState` is not.
    """

    def __init__(self, trained: bool, hidden: int = 192):
        def constant(value: Any, transform: nn.Transform) -> nn.State[Any]:
            value = jnp.asarray(value, jnp.float32)
            return nn.Constrained(value, transform) if trained else nn.LongTermState(value)

        first = nn.default_rng().uniform((64,), minval=1.0, maxval=LONGEST - 1.0)
        self.delays = nn.Delay(64, constant(first, nn.Sigmoid(0.0, LONGEST)), max_delay=LONGEST)
        self.weights = nn.Linear(64, hidden, w_init=jax.nn.initializers.normal(0.3))
        self.current = nn.ExponentialSynapse(hidden, tau=constant(jnp.full(hidden, 5.0), nn.Exp()))
        self.neurons = nn.LIF(
            hidden, tau=constant(jnp.full(hidden, 10.0), nn.Exp()), surrogate="fast_sigmoid", slope=5.0
        )
        self.head = nn.Linear(hidden, 10)
        self.readout = nn.ExponentialSynapse(10, tau=constant(jnp.full(10, 10.0), nn.Exp()))

    def step(self, spikes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Show one step of the spikes; return the readout and the spikes of the hidden layer."""
        hidden = self.neurons(self.current(self.weights(self.delays(spikes))))
        return self.readout(self.head(hidden)), hidden

    def run(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Show pictures of shape ``(batch, 8, 8, 1)`` from rest; return the logits, and all hidden spikes."""
        nn.init_all_states(self, len(images))
        spikes = nn.latency_spikes(images.reshape(len(images), -1), STEPS - int(LONGEST), threshold=0.1)
        rest = jnp.zeros((int(LONGEST), *spikes.shape[1:]))
        readout, hidden = for_loop(self.step, jnp.concatenate([spikes, rest]))
        return readout.mean(0), hidden

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map pictures of shape ``(batch, 8, 8, 1)`` to logits of shape ``(batch, 10)``."""
        return self.run(images)[0]


def draw_curves(losses: dict[str, list[float]], path: Path) -> None:
    """Draw the loss of both networks, averaged over twenty steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in losses.items():
        axes.semilogy(np.convolve(values, np.full(20, 0.05), "valid"), label=name)
    axes.set(xlabel="step", ylabel="loss", title="Spiking digits: time constants and delays")
    axes.legend()
    figure.savefig(path, dpi=120)


def main(output: Path, quick: bool) -> None:
    output.mkdir(parents=True, exist_ok=True)
    train_x, train_y, test_x, test_y = load_digits()
    losses: dict[str, list[float]] = {}
    accuracy: dict[str, float] = {}
    for name in ("held", "trained"):
        start = time.perf_counter()
        nn.seed(0)
        model = TimedNet(name == "trained")
        first = model.delays.delay
        before = first.constrained if isinstance(first, nn.Constrained) else first.value
        losses[name] = train(model, train_x, train_y, epochs=15 if quick else 60, rate=5e-3)
        logits, hidden = jit(model.run)(test_x)
        accuracy[name] = float((logits.argmax(-1) == test_y).mean())
        rate = 1000 * float(hidden.mean())
        print(f"{name}: accuracy {accuracy[name]:.2%}, {rate:.0f} spikes of a neuron in a second, "
              f"{time.perf_counter() - start:.0f} s")  # fmt: skip
        if isinstance(first, nn.Constrained):
            moved = float(jnp.abs(first.constrained - before).mean())
            check(f"a delay moved by {moved:.1f} ms, on average", moved > 0.2)
    target = QUICK_TARGET if quick else TARGET
    check(f"accuracy {accuracy['trained']:.2%} on {len(test_y)} held-out digits", accuracy["trained"] >= target)
    last = {name: float(np.mean(values[-50:])) for name, values in losses.items()}
    check(f"the loss ends at {last['trained']:.4f}, and with constants held at {last['held']:.4f}",
          last["trained"] < last["held"])  # fmt: skip
    draw_curves(losses, output / "spiking_delays.png")
    print(f"\nIn {output.resolve()}:\n  spiking_delays.png  the training curves")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    parser.add_argument("--quick", action="store_true", help="train a quarter as long")
    options = parser.parse_args()
    main(options.output, options.quick)
