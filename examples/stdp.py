"""Let the inputs of one neuron compete, by plasticity that depends on the times of spikes.

A thousand inputs spike at random, 15 times a second each.  An input that spikes shortly before the neuron gets
stronger, and one that spikes shortly after it gets weaker (Song, Miller and Abbott, 2000).  The weights, spread evenly
at first, go to one of the two ends.  Where half of the inputs often spike together, these win.  Run it with
``python -m examples.stdp``, or with ``--output some/folder``.
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
from examples.digits import check

DT = 1.0  # ms
SECONDS = 200
RATE = 0.015  # spikes in a ms
TAU_MEMBRANE, TAU_SYNAPSE = 10.0, 5.0  # ms
V_REST, V_RESET, THRESHOLD, V_EXCITATION = -74.0, -60.0, -54.0, 0.0  # mV
CONDUCTANCE = 0.01  # of an input of weight 1, as a part of the leak


class PairRule(nn.Module):
    """Spike-timing-dependent plasticity: each pair of a spike that is sent and one that follows changes a weight.

    A neuron that spikes ``t`` after its input adds ``rise * exp(-t / tau)`` to the weight between them, and one that
    spikes ``t`` before takes ``fall * exp(-t / tau)`` away.  Two traces have the sum over all pairs: they jump by 1
    with each spike, and decay.  Spikes in one step are no pair.
    """

    def __init__(self, synapses: nn.SparseLinear, *, rise: float, fall: float, tau: float = 20.0, dt: float = DT):
        self.synapses, self.rise, self.fall = synapses, rise, fall
        self.sent = nn.ExponentialSynapse(synapses.in_size, tau=tau, dt=dt)
        self.received = nn.ExponentialSynapse(synapses.out_size, tau=tau, dt=dt)

    def __call__(self, before: jax.Array, after: jax.Array) -> None:
        """Learn from the spikes of a step, on either side of the connections; the weights stay between 0 and 1."""
        pre, post, weight = self.synapses.pre.value, self.synapses.post.value, self.synapses.weight
        weaker = self.fall * before[pre] * (self.received(after) - after)[post]
        weight.value = jnp.clip(weight.value - weaker, 0.0, 1.0)
        stronger = self.rise * after[post] * (self.sent(before) - before)[pre]
        weight.value = jnp.clip(weight.value + stronger, 0.0, 1.0)


class Neuron(nn.Module):
    """A leaky integrate-and-fire neuron with conductances as synapses, whose weights learn."""

    def __init__(self, inputs: int, *, rise: float = 0.01, fall: float = 0.0105):
        self.synapses = nn.SparseLinear(
            inputs, 1, nn.all_to_all(inputs, 1), w_init=jax.nn.initializers.uniform(1.0)
        )  # fmt: skip
        self.conductance = nn.ExponentialSynapse(1, tau=TAU_SYNAPSE, dt=DT)
        self.soma = nn.LIF(
            1, tau=TAU_MEMBRANE, dt=DT, threshold=THRESHOLD, v_rest=V_REST, v_reset=V_RESET, reset="hard"
        )  # fmt: skip
        self.rule = PairRule(self.synapses, rise=rise, fall=fall)
        nn.init_all_states(self)

    def __call__(self, spikes: jax.Array) -> jax.Array:
        """Compute a step, and learn; return whether it spikes."""
        conductance = self.conductance(CONDUCTANCE * self.synapses(spikes))
        after = self.soma(conductance * (V_EXCITATION - self.soma.v.value))
        self.rule(spikes, after)
        return after


def draw_inputs(rng: nn.RandomState, inputs: int, together: float) -> jax.Array:
    """Draw the spikes of a step; the first half follows a common train, with this probability at each step."""
    alone, common, follows = rng.uniform((3, inputs))
    common = jnp.where((follows < together) & (jnp.arange(inputs) < inputs // 2), common[0], alone)
    return (common < RATE * DT).astype(jnp.float32)


def learn(neuron: Neuron, together: float, seconds: float) -> np.ndarray:
    """Show random spikes; return how often the neuron spikes in each second, in Hz."""
    rng, inputs = nn.default_rng().fork(), neuron.synapses.in_size

    def second(_: jax.Array) -> jax.Array:
        return for_loop(lambda _: neuron(draw_inputs(rng, inputs, together)), jnp.arange(round(1000 / DT))).sum()

    return np.asarray(jit(lambda: for_loop(second, jnp.arange(round(seconds))))())


def draw(weights: dict[str, np.ndarray], path: Path) -> None:
    """Draw the weights of both neurons, input by input and as a histogram."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    for row, (name, values) in zip(figure.subplots(2, 2), weights.items(), strict=True):
        row[0].plot(values, ".", markersize=3)
        row[0].set(xlabel="input", ylabel="weight", title=name)
        row[1].hist(values, bins=20, range=(0.0, 1.0))
        row[1].set(xlabel="weight", ylabel="inputs")
    figure.savefig(path, dpi=120)


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    weights: dict[str, np.ndarray] = {}
    for name, together in (("alone", 0.0), ("half together", 0.3)):
        start = time.perf_counter()
        nn.seed(0)
        neuron = Neuron(1000)
        rates = learn(neuron, together, SECONDS)
        weights[name] = np.asarray(neuron.synapses.weight.value)
        print(f"{name}: {rates[0]:.0f} spikes in the first second, {rates[-1]:.0f} in the last one; "
              f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    low, high = (float((np.abs(weights["alone"] - end) < 0.2).mean()) for end in (0.0, 1.0))
    check(f"{low:.0%} of the weights end near 0, and {high:.0%} near 1; at first it was a fifth each",
          min(low, high) > 0.2 and low + high > 0.6)  # fmt: skip
    first, second = np.split(weights["half together"], 2)
    check(f"inputs that spike together have weights of {first.mean():.2f}, the others of {second.mean():.2f}",
          first.mean() > 0.9 and second.mean() < 0.4)  # fmt: skip
    draw(weights, output / "stdp.png")
    print(f"\nIn {output.resolve()}:\n  stdp.png  the weights")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    main(parser.parse_args().output)
