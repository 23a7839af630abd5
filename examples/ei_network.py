"""Simulate 4,000 neurons that excite and inhibit each other at random, for a second in steps of 0.1 ms.

It is the network of Vogels and Abbott (2005) with currents as synapses, in the form in which simulators are compared
(Brette et al., 2007, benchmark 2, "CUBA").  The guide of ANNarchy to it (notebooks/COBA.ipynb) prints 5.61 spikes of a
neuron in the second.  Run it with ``python -m examples.ei_network``, or with ``--output some/folder``; ``--dense``
simulates it with full matrices too, which takes ten seconds, and compares.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_graph import clone
from brainstate_transform import for_loop, jit
from examples.digits import check

DT = 0.1  # ms
REFRACTORY = 5.0  # ms
V_REST, V_RESET, THRESHOLD = -49.0, -60.0, -50.0  # mV: at rest a neuron is above its threshold, so that all go on
EXCITATION, INHIBITION = 1.62, -9.0  # mV for each spike
PUBLISHED_RATE = 5.61  # Hz


class Network(nn.Module):
    """Leaky integrate-and-fire neurons, four fifths of which excite, with currents that decay as synapses."""

    def __init__(self, size: int = 4000, probability: float = 0.02):
        self.excitatory = size * 4 // 5
        inhibitory = size - self.excitatory
        self.excite = nn.SparseLinear(
            self.excitatory, size, nn.fixed_probability(self.excitatory, size, probability),
            shared_weight=True, w_init=jax.nn.initializers.constant(EXCITATION),
        )  # fmt: skip
        self.inhibit = nn.SparseLinear(
            inhibitory, size, nn.fixed_probability(inhibitory, size, probability),
            shared_weight=True, w_init=jax.nn.initializers.constant(INHIBITION),
        )  # fmt: skip
        self.excitation = nn.ExponentialSynapse(size, tau=5.0, dt=DT)
        self.inhibition = nn.ExponentialSynapse(size, tau=10.0, dt=DT)
        first = nn.default_rng().uniform((size,), minval=V_RESET, maxval=THRESHOLD)
        self.neurons = nn.LIF(
            size, tau=20.0, dt=DT, threshold=THRESHOLD, v_rest=V_REST, v_reset=V_RESET, v_init=first,
            reset="hard", refractory=REFRACTORY,
        )  # fmt: skip
        nn.init_all_states(self)

    def init_state(self, batch_size: int | tuple[int, ...] = ()) -> None:
        """Start without spikes."""
        self.spikes = nn.HiddenState(jnp.zeros_like(self.neurons.v.value))

    def __call__(self) -> jax.Array:
        """Compute a step; return who spikes."""
        excite, inhibit = jnp.split(self.spikes.value, [self.excitatory])
        current = self.excitation(self.excite(excite)) + self.inhibition(self.inhibit(inhibit))
        self.spikes.value = self.neurons(current)
        return self.spikes.value > 0


class Dense(nn.Module):
    """The connections of a SparseLinear as a matrix."""

    def __init__(self, layer: nn.SparseLinear):
        self.weight = layer.weight
        matrix = jnp.zeros((layer.in_size, layer.out_size)).at[layer.connections].add(1.0)
        self.matrix = nn.LongTermState(matrix)

    def __call__(self, x: jax.Array) -> jax.Array:
        # A number of spikes is exact whatever the order of its sum: multiplied after it, both forms agree to the bit.
        return self.weight.value * (x @ self.matrix.value)


def as_dense(network: Network) -> Network:
    """Return the network with matrices for its connections, from the same first states."""
    copy = clone(network)
    copy.excite, copy.inhibit = Dense(network.excite), Dense(network.inhibit)
    return copy


def simulate(network: Network, milliseconds: float, pieces: int = 1) -> tuple[np.ndarray, float]:
    """Return who spikes in each step, of shape ``(time, neurons)``, and the seconds that a step took.

    The time is that of the pieces behind the first one, in which the program is compiled.
    """
    steps = round(milliseconds / DT / pieces)
    run = jit(lambda: for_loop(lambda _: network(), jnp.arange(steps)))
    spikes, seconds = [np.asarray(run())], 0.0
    for _ in range(pieces - 1):
        start = time.perf_counter()
        spikes.append(np.asarray(run()))
        seconds += time.perf_counter() - start
    return np.concatenate(spikes), seconds / max(1, pieces - 1) / steps


def irregularity(spikes: np.ndarray, at_least: int = 4) -> float:
    """Return the coefficient of variation of intervals between spikes, the mean over neurons that have enough."""
    variations = []
    for train in spikes.T:
        intervals = np.diff(np.nonzero(train)[0])
        if len(intervals) >= at_least:
            variations.append(intervals.std() / intervals.mean())
    return float(np.mean(variations))


def draw(spikes: np.ndarray, excitatory: int, path: Path) -> None:
    """Draw the spikes of every tenth neuron, and below them the rate of all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    raster, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for start, stop, color in ((0, excitatory, "tab:blue"), (excitatory, spikes.shape[1], "tab:red")):
        when, which = np.nonzero(spikes[:, start:stop:10])
        raster.plot(when * DT, start + 10 * which, ".", color=color, markersize=2)
    raster.set(ylabel="neuron", title="Spikes of excitatory (blue) and inhibitory (red) neurons, every tenth")
    bins = spikes[: len(spikes) // 50 * 50].mean(1).reshape(-1, 50).mean(1) * 1000 / DT
    rates.plot((np.arange(len(bins)) + 0.5) * 50 * DT, bins, color="black")
    rates.set(xlabel="time (ms)", ylabel="rate (Hz)")
    figure.savefig(path, dpi=120)


def main(output: Path, dense: bool) -> None:
    output.mkdir(parents=True, exist_ok=True)
    nn.seed(0)
    network = Network()
    other = as_dense(network) if dense else None
    spikes, step = simulate(network, 1000.0, pieces=10)
    print(f"a step of 0.1 ms takes {1e6 * step:.0f} microseconds")
    rate = 1000 * float(spikes.mean()) / DT
    near = abs(rate / PUBLISHED_RATE - 1) < 0.1
    check(f"a neuron spikes {rate:.2f} times in the second, and {PUBLISHED_RATE} times elsewhere", near)
    # The same equations in NumPy, from other connections, have 0.50 after 0.2 s.
    variation = irregularity(spikes[2000:])
    check(f"its intervals have a coefficient of variation of {variation:.2f}", 0.4 < variation < 0.6)
    draw(spikes, network.excitatory, output / "ei_network.png")
    if other is not None:
        also, longer = simulate(other, 1000.0, pieces=10)
        check("the dense network has the same spikes", np.array_equal(also, spikes))
        check(f"its step takes {1e6 * longer:.0f} microseconds, {longer / step:.0f} times as long", longer > 5 * step)
    print(f"\nIn {output.resolve()}:\n  ei_network.png  who spikes when")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    parser.add_argument("--dense", action="store_true", help="compare with full matrices")
    options = parser.parse_args()
    main(options.output, options.dense)
