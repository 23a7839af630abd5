from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_transform import for_loop
from tests.tables import each


@each("use, tau_f, tau_d", [(0.5, 1.0, 100.0), (0.1, 200.0, 5.0), (0.2, 80.0, 60.0)])
def test_spikes_at_any_times_against_the_solution_between_them(use, tau_f, tau_d):
    spikes = (np.random.default_rng(0).random(60) < 0.2).astype(np.float32)
    synapse = nn.ShortTermPlasticity(1, use=use, tau_f=tau_f, tau_d=tau_d, dt=2.0)
    synapse.init_state()
    got = for_loop(synapse, jnp.asarray(spikes)[:, None])[:, 0]
    u, left, last, want = 0.0, 1.0, 0.0, np.zeros(60)
    for n in np.nonzero(spikes)[0]:
        since, last = 2.0 * n - last, 2.0 * n
        u, left = u * math.exp(-since / tau_f), 1 - (1 - left) * math.exp(-since / tau_d)
        u += use * (1 - u)
        want[n] = u * left
        left -= u * left
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_in_the_long_run_it_is_the_fixed_point():
    # Spikes every T: u = use / (1 - (1 - use) f) and x = (1 - d) / (1 - (1 - u) d), with f, d the decays over T.
    synapse = nn.ShortTermPlasticity(1, use=0.3, tau_f=50.0, tau_d=120.0, dt=20.0)
    synapse.init_state()
    last = for_loop(lambda: synapse(jnp.ones(1)), length=100)[-1, 0]
    f, d = math.exp(-20 / 50), math.exp(-20 / 120)
    u = 0.3 / (1 - 0.7 * f)
    np.testing.assert_allclose(last, u * (1 - d) / (1 - (1 - u) * d), rtol=1e-5)
