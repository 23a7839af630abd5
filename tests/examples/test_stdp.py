"""The pair rule beside a sum over all pairs of spikes in NumPy, and the neuron beside its equations."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import for_loop, jit
from examples import stdp
from examples.stdp import RATE, Neuron, PairRule, draw_inputs
from tests.processes.run import output_of
from tests.tables import each


def by_pairs(weight, pre, post, before, after, rise, fall, tau):
    """The weights after each pair of spikes, in the order in which the later ones come; fall before rise."""
    weight = np.array(weight, np.float64)
    for t in range(len(before)):
        for spiking, others, sign in ((before, after, -fall), (after, before, rise)):
            for c, (i, j) in enumerate(zip(pre, post, strict=True)):
                own, other = (i, j) if sign < 0 else (j, i)
                if spiking[t, own]:
                    earlier = np.nonzero(others[:t, other])[0]
                    weight[c] = np.clip(weight[c] + sign * np.exp(-(t - earlier) / tau).sum(), 0.0, 1.0)
    return weight


@each("size", [0.01, 0.5], ids=["none ends", "many end at 0 or 1"])
def test_weights_are_those_of_all_pairs(size):
    rng = np.random.default_rng(0)
    before, after = (rng.random((60, n)) < 0.2 for n in (5, 4))
    pre, post = nn.fixed_probability(5, 4, 0.6, rng=nn.RandomState(0))
    synapses = nn.SparseLinear(5, 4, (pre, post, rng.uniform(0.4, 0.6, len(pre))))
    want = by_pairs(synapses.weight.value, pre, post, before, after, size, 1.1 * size, tau=8.0)
    rule = PairRule(synapses, rise=size, fall=1.1 * size, tau=4.0, dt=0.5)
    nn.init_all_states(rule)
    jit(for_loop)(rule, jnp.asarray(before, jnp.float32), jnp.asarray(after, jnp.float32))
    np.testing.assert_allclose(synapses.weight.value, want, rtol=1e-4, atol=1e-5)
    assert ((want == 0.0) | (want == 1.0)).any() == (size == 0.5)


def test_the_neuron_obeys_its_equations():
    nn.seed(0)
    neuron = Neuron(300, rise=0.02, fall=0.021)
    inputs = np.random.default_rng(0).random((200, 300)) < 0.05
    weight = np.array(neuron.synapses.weight.value, np.float64)
    v, conductance, sent, received, want = -74.0, 0.0, np.zeros(300), 0.0, []
    for spikes in inputs:
        conductance = conductance * np.exp(-1 / 5) + 0.01 * weight[spikes].sum()
        goal = -74.0 + conductance * (0.0 - v)
        v = goal + (v - goal) * np.exp(-1 / 10)
        after = v >= -54.0
        sent, received = sent * np.exp(-1 / 20), received * np.exp(-1 / 20)
        weight = np.clip(weight - 0.021 * received * spikes, 0.0, 1.0)
        weight = np.clip(weight + 0.02 * sent * after, 0.0, 1.0)
        sent, received, v = sent + spikes, received + after, -60.0 if after else v
        want.append(after)
    got = jit(for_loop)(neuron, jnp.asarray(inputs, jnp.float32))
    assert 5 < np.sum(want) < 100
    np.testing.assert_array_equal(got[:, 0], want)
    np.testing.assert_allclose(neuron.synapses.weight.value, weight, rtol=1e-4, atol=1e-4)


def test_half_of_the_inputs_spike_together_and_all_at_one_rate(monkeypatch):
    monkeypatch.setattr(stdp, "RATE", 0.1)
    rng = nn.RandomState(0)
    spikes = np.asarray(jit(lambda: for_loop(lambda _: draw_inputs(rng, 8, 0.6), jnp.arange(20_000)))())
    assert RATE == 0.015
    np.testing.assert_allclose(spikes.mean(0), 0.1, atol=0.012)  # five standard deviations
    found = np.corrcoef(spikes.T)[~np.eye(8, dtype=bool)].reshape(8, 7)
    np.testing.assert_allclose(found[:4, :3], 0.36, atol=0.05)  # both follow, in 0.6 ** 2 of the steps
    np.testing.assert_allclose(found[:4, 3:], 0.0, atol=0.04)
    np.testing.assert_allclose(found[4:], 0.0, atol=0.04)


@pytest.mark.exhaustive
def test_it_keeps_what_it_promises(tmp_path):
    # It stops where a claim does not hold. Not optimised, as in the tests, it takes eight times as long.
    output_of("-m", "examples.stdp", "--output", tmp_path, JAX_DISABLE_MOST_OPTIMIZATIONS="0", XLA_FLAGS="")
    assert (tmp_path / "stdp.png").stat().st_size > 0
