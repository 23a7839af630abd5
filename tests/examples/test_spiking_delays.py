"""The network with trained constants: where it begins, what is trained, and what it promises."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import grad, jit
from examples.spiking_delays import NETWORKS, TimedNet, main


def made(*trained: str) -> TimedNet:
    nn.seed(0)
    return TimedNet(trained, hidden=16)


def test_all_networks_begin_as_one_and_each_trains_what_it_says():
    nets = {name: made(*constants) for name, constants in NETWORKS.items()}
    held, trained = nets["all held"], nets["both trained"]
    paths = {name: set(net.states(nn.ParamState)) - set(held.states(nn.ParamState)) for name, net in nets.items()}
    delays, taus = {("delays", "delay")}, {("current", "tau"), ("neurons", "tau"), ("readout", "tau")}
    assert paths == {"all held": set(), "delays": delays, "time constants": taus, "both trained": delays | taus}
    images = jnp.asarray(np.random.default_rng(0).random((5, 8, 8, 1)), jnp.float32)
    np.testing.assert_allclose(jit(trained)(images), jit(held)(images), rtol=1e-3, atol=1e-4)
    grads = jit(grad(lambda: (trained(images) ** 2).sum(), trained.states(nn.ParamState)))()
    for path in delays | taus:
        assert jnp.isfinite(grads[path]).all(), path
        assert (grads[path] != 0).any(), path


@pytest.mark.exhaustive
def test_it_keeps_what_it_promises(tmp_path):
    main(tmp_path, quick=True)  # it stops where a claim does not hold
    assert (tmp_path / "spiking_delays.png").stat().st_size > 0
