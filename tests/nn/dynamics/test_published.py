"""The published equations with their numbers: spike times against a fine Euler solution in NumPy, double precision."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import for_loop, grad, jit
from tests.tables import each


def ours(neurons, x, time):
    """The times of the spikes of each neuron under a constant input."""
    neurons.init_state()
    spikes = jit(lambda: for_loop(lambda: neurons(jnp.asarray(x, jnp.float32)), length=round(time / neurons.dt)))()
    return [neurons.dt * (1 + np.nonzero(row)[0]) for row in np.asarray(spikes).T]


def assert_same_times(found, want, late, least=3):
    """As many spikes, but for one at the end, of which each is off by a part of the time that has passed."""
    assert max(map(len, want)) >= least
    for mine, other in zip(found, want, strict=True):
        assert abs(len(mine) - len(other)) <= (len(other) > 0)
        both = min(len(mine), len(other))
        np.testing.assert_allclose(mine[:both], other[:both], rtol=late, atol=0.2)


def hodgkin_huxley(x, time, dt=0.002):
    v, times = np.full(x.shape, -65.0), [[] for _ in x]

    def rates(v):
        opens = [0.1 * (v + 40) / (1 - np.exp(-(v + 40) / 10)), 0.07 * np.exp(-(v + 65) / 20),
                 0.01 * (v + 55) / (1 - np.exp(-(v + 55) / 10))]  # fmt: skip
        closes = [4 * np.exp(-(v + 65) / 18), 1 / (1 + np.exp(-(v + 35) / 10)), 0.125 * np.exp(-(v + 65) / 80)]
        return np.array(opens), np.array(closes)

    opens, closes = rates(v)
    gates = opens / (opens + closes)
    for n in range(round(time / dt)):
        opens, closes = rates(v)
        m, h, k = gates
        current = 120 * m**3 * h * (v - 50) + 36 * k**4 * (v + 77) + 0.3 * (v + 54.387)
        new = v + dt * (x - current)
        gates = gates + dt * (opens * (1 - gates) - closes * gates)
        for i in np.nonzero((v < 0) & (new >= 0))[0]:
            times[i].append((n + 1) * dt)
        v = new
    return times


def test_hodgkin_huxley():
    x = np.array([2.0, 7.0, 10.0, 20.0])  # below the rheobase, and above
    assert_same_times(ours(nn.HodgkinHuxley(4, dt=0.02), x, 50.0), hodgkin_huxley(x, 50.0), 0.01)


def test_the_squid_rests_where_its_numbers_say():
    neurons = nn.HodgkinHuxley(1)
    neurons.init_state()
    for_loop(lambda: neurons(jnp.zeros(1)), length=200)
    assert float(neurons.v.value[0]) == pytest.approx(-65.0, abs=0.1)


@each(("make", "current"), [(nn.HodgkinHuxley, 10.0), (nn.Izhikevich, 10.0), (nn.ExpIF, 30.0), (nn.AdEx, 40.0)])
def test_half_precision_changes_no_spike(make, current):
    for dtype in ("bfloat16", "float16"):
        neurons = make(1, dtype=dtype)
        found, want = ours(neurons, [current], 60.0), ours(make(1), [current], 60.0)
        assert_same_times(found, want, 1e-6, least=2)
        assert neurons(jnp.ones(1)).dtype == dtype


def test_an_absurd_current_leaves_numbers():
    neurons, x = nn.HodgkinHuxley(4), nn.ParamState(jnp.array([-1e4, -1e6, 1e4, 1e6]))
    run = lambda: (neurons.init_state(), for_loop(lambda: neurons(x.value), length=20).sum())[1]
    assert jnp.isfinite(jit(grad(run, x))()).all()
    assert jnp.isfinite(neurons.v.value).all()


# of the source: regular spiking, intrinsically bursting, chattering, fast spiking
KINDS = {"a": [0.02, 0.02, 0.02, 0.1], "b": [0.2] * 4, "c": [-65.0, -55.0, -50.0, -65.0], "d": [8.0, 4.0, 2.0, 2.0]}


def izhikevich(a, b, c, d, x, time, dt=0.002):
    a, b, c, d = map(np.array, (a, b, c, d))
    v, times = c.copy(), [[] for _ in c]
    u = b * v
    for n in range(round(time / dt)):
        v, u = v + dt * (0.04 * v * v + 5 * v + 140 - u + x), u + dt * a * (b * v - u)
        for i in np.nonzero(v >= 30)[0]:
            times[i].append((n + 1) * dt)
        v, u = np.where(v >= 30, c, v), np.where(v >= 30, u + d, u)
    return times


def test_izhikevich():
    neurons = nn.Izhikevich(4, a=KINDS["a"], b=KINDS["b"], v_reset=KINDS["c"], d=KINDS["d"], dt=0.02)
    assert_same_times(ours(neurons, np.full(4, 10.0), 100.0), izhikevich(**KINDS, x=10.0, time=100.0), 0.02)


def adex(x, time, rise, reset, threshold, rest, tau, delta, tau_w=1.0, a=0.0, b=0.0, dt=0.002):
    v, w, times = np.full(x.shape, rest), np.zeros(x.shape), [[] for _ in x]
    for n in range(round(time / dt)):
        rising = delta * np.exp(np.minimum((v - rise) / delta, 50))
        v, w = v + dt / tau * (rest - v + rising - w + x), w + dt / tau_w * (a * (v - rest) - w)
        spike = v >= threshold
        for i in np.nonzero(spike)[0]:
            times[i].append((n + 1) * dt)
        v, w = np.where(spike, reset, v), w + b * spike
    return times


def test_exponential_neurons():
    x = np.array([10.0, 20.0, 40.0])
    want = adex(x, 100.0, rise=-59.9, reset=-68.0, threshold=-30.0, rest=-65.0, tau=10.0, delta=3.48)
    assert_same_times(ours(nn.ExpIF(3, dt=0.02), x, 100.0), want, 0.02)


def test_adaptive_exponential_neurons():
    x = np.array([15.0, 30.0, 40.0])
    source = {"tau_w": 144.0, "a": 4 / 30, "b": 80.5 / 30}
    want = adex(x, 150.0, rise=-50.4, reset=-70.6, threshold=20.0, rest=-70.6, tau=281 / 30, delta=2.0, **source)
    assert_same_times(ours(nn.AdEx(3, dt=0.02), x, 150.0), want, 0.02)


@each("make", [nn.AdEx, nn.ExpIF, nn.Izhikevich])
def test_a_membrane_that_shoots_up_is_put_back_to_the_last_digit(make):
    neurons = make(1)
    neurons.init_state()
    assert neurons(jnp.full(1, 1e7)).tolist() == [1.0]
    assert neurons.v.value.tolist() == [pytest.approx(neurons.v_reset, rel=1e-7)]
