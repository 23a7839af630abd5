"""The spiking network beside the same one in plain JAX: equal first weights and spikes, equal losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_transform import jit, value_and_grad
from examples.digits import load_digits
from examples.spiking import SpikingNet

BATCHES, BATCH, HIDDEN = 10, 32, 16
SYNAPSE, MEMBRANE, READOUT = np.exp(-1 / 5), np.exp(-1 / 10), np.exp(-1 / 10)


@jax.custom_vjp
def spike(v):
    return (v >= 1.0).astype(v.dtype)


spike.defvjp(lambda v: (spike(v), v), lambda v, g: (g * 5.0 / (1 + 10 * jnp.abs(v - 1.0)) ** 2,))


def logits(params, spikes):
    """The network as one writes it without a library."""

    def step(carry, s):
        current, v, out = carry
        current = SYNAPSE * current + s @ params["w"] + params["b"][None]
        v = MEMBRANE * v + (1 - MEMBRANE) * current
        hidden = spike(v)
        v = v - jax.lax.stop_gradient(hidden)
        out = READOUT * out + hidden @ params["head_w"] + params["head_b"][None]
        return (current, v, out), (out, hidden)

    zeros = jnp.zeros((spikes.shape[1], HIDDEN))
    _, (out, hidden) = jax.lax.scan(step, (zeros, zeros, jnp.zeros((spikes.shape[1], 10))), spikes)
    return out.mean(0), hidden


def cross_entropy(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def test_the_losses_are_those_of_plain_jax():
    nn.seed(0)
    images, labels, *_ = load_digits()
    net, tx = SpikingNet(HIDDEN), optax.adam(5e-3)
    optimizer = nn.Optimizer(net, tx)
    params = {
        "w": net.weights.weight.value, "b": net.weights.bias.value,
        "head_w": net.head.weight.value, "head_b": net.head.bias.value,
    }  # fmt: skip
    opt_state = tx.init(params)

    @jit
    def step(spikes, y):
        loss, grads = value_and_grad(lambda: cross_entropy(net.run(spikes)[0], y), net.states(nn.ParamState))()
        optimizer.update(grads)
        return loss

    @jax.jit
    def plain_step(params, opt_state, spikes, y):
        loss, grads = jax.value_and_grad(lambda p: cross_entropy(logits(p, spikes)[0], y))(params)
        updates, opt_state = tx.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    mine, plain = [], []
    for n in range(BATCHES):
        rows = slice(n * BATCH, (n + 1) * BATCH)
        spikes = net.encode(jnp.asarray(images[rows]))
        mine.append(float(step(spikes, labels[rows])))
        params, opt_state, loss = plain_step(params, opt_state, spikes, labels[rows])
        plain.append(float(loss))
    assert mine == pytest.approx(plain, rel=1e-4)
    assert mine[-1] < mine[0]
    hidden = net.run(spikes)[1]
    np.testing.assert_array_equal(hidden, logits({**params}, spikes)[1])
    assert 0.01 < float(hidden.mean()) < 0.4


def test_spike_trains_follow_the_pictures():
    net = SpikingNet(4)
    images = jnp.linspace(0.0, 1.0, 64).reshape(1, 8, 8, 1).repeat(200, 0)
    spikes = net.encode(images)
    assert set(np.unique(spikes)) == {0.0, 1.0}
    np.testing.assert_allclose(spikes.mean((0, 1)), 0.5 * images[0].reshape(-1), atol=0.03)
    assert (net.encode(images) != spikes).any()
