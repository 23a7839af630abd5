from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import for_loop
from tests.tables import each


def alpha(t, tau):
    return t / tau * np.exp(1 - t / tau)


def dual(t, rise, fall):
    top = math.log(fall / rise) * rise * fall / (fall - rise)
    return (np.exp(-t / fall) - np.exp(-t / rise)) / (math.exp(-top / fall) - math.exp(-top / rise))


KERNELS = {
    "exponential": (lambda **o: nn.ExponentialSynapse(3, tau=4.0, **o), lambda t: np.exp(-t / 4.0)),
    "alpha": (lambda **o: nn.AlphaSynapse(3, tau=4.0, **o), lambda t: alpha(t, 4.0)),
    "dual": (lambda **o: nn.DualExponentialSynapse(3, tau_rise=1.5, tau_decay=4.0, **o), lambda t: dual(t, 1.5, 4.0)),
    "alpha of each": (
        lambda **o: nn.AlphaSynapse(3, tau=[1.0, 2.0, 4.0], **o), lambda t: alpha(t[..., None], np.array([1, 2, 4.0])),
    ),
    "dual, states": (
        lambda **o: nn.DualExponentialSynapse(
            3, tau_rise=nn.ParamState(jnp.array(1.5)), tau_decay=nn.ParamState(jnp.full(3, 4.0)), **o),
        lambda t: dual(t, 1.5, 4.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_the_answer_to_spikes_is_a_sum_of_the_closed_form(name):
    make, kernel = KERNELS[name]
    spikes = (np.random.default_rng(0).random((60, 3)) < 0.2).astype(np.float32)
    synapse = make(dt=0.5)
    synapse.init_state()
    since = 0.5 * (np.arange(60)[:, None] - np.arange(60))
    answer = kernel(np.maximum(since, 0))
    answer = np.where((since >= 0).reshape(60, 60, *[1] * (answer.ndim - 2)), answer, 0.0)
    want = np.einsum("tsn,sn->tn", np.broadcast_to(answer.reshape(60, 60, -1), (60, 60, 3)), spikes)
    np.testing.assert_allclose(for_loop(synapse, jnp.asarray(spikes)), want, rtol=1e-4, atol=1e-5)
    synapse.reset_state()
    assert not any(state.value.any() for state in synapse.states(nn.HiddenState).values())


@each("name", KERNELS)
def test_the_highest_current_of_a_spike_is_one(name):
    synapse = KERNELS[name][0](dt=0.01)
    synapse.init_state()
    y = for_loop(lambda x: synapse(x * jnp.ones(3)), jnp.zeros(1200).at[0].set(1.0))
    np.testing.assert_allclose(y.max(0), 1.0, rtol=1e-4)


def test_any_shape_and_dtype():
    synapse = nn.ExponentialSynapse((2, 3), dtype="bfloat16", tau=np.full((2, 3), 5.0))
    synapse.init_state(4)
    assert synapse(jnp.ones((4, 2, 3))).dtype == synapse.g.value.dtype == jnp.bfloat16
    spikes = nn.ExponentialSynapse(3)
    spikes.init_state()
    assert spikes(jnp.array([True, False, True])).tolist() == [1.0, 0.0, 1.0]


@each(
    ("make", "message"),
    [
        (lambda: nn.ExponentialSynapse(3, tau=0.0), "tau must be a number greater than 0, not 0.0"),
        (lambda: nn.AlphaSynapse(3, dt=None), "dt must be a number greater than 0"),
        (lambda: nn.DualExponentialSynapse(3, tau_rise=5.0), "tau_decay must be above tau_rise=5.0, not 5.0"),
        (lambda: nn.DualExponentialSynapse(2, tau_decay=[0.5, 2.0]), r"tau_decay must be above tau_rise.* \[0.5, 2.0]"),
        (lambda: nn.ShortTermPlasticity(3, use=1.5), "use must be a number greater than 0 and not greater than 1"),
    ],
)
def test_options_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
