from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import for_loop


def test_the_answer_to_spikes_is_a_sum_of_exponentials():
    rng = np.random.default_rng(0)
    spikes = (rng.random((60, 3)) < 0.2).astype(np.float32)
    synapse = nn.ExponentialSynapse(3, tau=4.0, dt=0.5)
    synapse.init_state()
    t = 0.5 * np.arange(60)
    since = t[:, None] - t[None]
    kernel = np.where(since >= 0, np.exp(-np.maximum(since, 0) / 4.0), 0.0)
    np.testing.assert_allclose(for_loop(synapse, jnp.asarray(spikes)), kernel @ spikes, rtol=1e-5, atol=1e-6)
    synapse.reset_state()
    assert not synapse.g.value.any()


def test_any_shape_and_dtype():
    synapse = nn.ExponentialSynapse((2, 3), dtype="bfloat16")
    synapse.init_state(4)
    assert synapse(jnp.ones((4, 2, 3))).dtype == synapse.g.value.dtype == jnp.bfloat16
    spikes = nn.ExponentialSynapse(3)
    spikes.init_state()
    assert spikes(jnp.array([True, False, True])).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tau": 0.0}, "tau must be a number greater than 0"), ({"dt": None}, "dt must be a number greater than 0")],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        nn.ExponentialSynapse(3, **options)
