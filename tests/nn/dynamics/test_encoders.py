from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import jit
from tests.tables import each


def test_counts_of_poisson_spikes_have_the_mean_and_the_variance_of_the_source():
    rates = jnp.array([[0.0, 20.0], [50.0, 200.0]])
    spikes = nn.poisson_spikes(rates, 20_000, dt=1e-3, rng=nn.RandomState(0))
    assert spikes.shape == (20_000, 2, 2)
    p = np.asarray(rates) * 1e-3
    counts = np.asarray(spikes).reshape(200, 100, 2, 2).sum(1)
    np.testing.assert_allclose(counts.mean(0), 100 * p, atol=5 * np.sqrt(100 * 0.2 / 200))
    np.testing.assert_allclose(counts.var(0), 100 * p * (1 - p), rtol=0.4)


def test_a_stream_gives_other_spikes_each_time_and_the_same_again():
    stream = nn.RandomState(0)
    draw = jit(lambda: nn.poisson_spikes(jnp.full(8, 0.5), 50, rng=stream))
    first, second = draw(), draw()
    assert (first != second).any()
    np.testing.assert_array_equal(nn.poisson_spikes(jnp.full(8, 0.5), 50, rng=nn.RandomState(0)), first)


def test_latencies_in_a_straight_line_and_of_a_membrane():
    x = np.float32([1.0, 0.9, 0.5, 0.2, 0.05, 0.0])
    line = np.asarray(nn.latency_spikes(x, 21, threshold=0.1))
    assert line.sum(0).tolist() == [1, 1, 1, 1, 0, 0]
    assert line.argmax(0)[:4].tolist() == [round(20 * (1 - v) / 0.9) for v in x[:4].tolist()]
    # The first step in which a membrane that x drives is nearest to the threshold.
    membrane = np.asarray(nn.latency_spikes(x, 40, tau=5.0, threshold=0.1, dt=0.5))
    t = 0.5 * np.arange(40)
    for n, v in enumerate(x):
        if v > 0.1 and 5 * np.log(v / (v - 0.1)) < 19:
            assert membrane[:, n].argmax() == np.abs(v * (1 - np.exp(-t / 5)) - 0.1).argmin()
        else:
            assert not membrane[:, n].any()


@each(
    ("make", "message"),
    [
        (lambda: nn.poisson_spikes([2.0], 5), "rates must be between 0 and 1 / dt, which is 1"),
        (lambda: nn.poisson_spikes([-0.1], 5), "rates must be between 0"),
        (lambda: nn.poisson_spikes([0.1], 0), "length must be a positive whole number"),
        (lambda: nn.latency_spikes([1.5], 5), "x must be numbers between 0 and 1"),
        (lambda: nn.latency_spikes([0.5], 5, tau=-1.0), "tau must be a number greater than 0"),
        (lambda: nn.latency_spikes([0.5], 5, threshold=1.0), "threshold must be below 1"),
    ],
)
def test_what_cannot_be_encoded_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()
