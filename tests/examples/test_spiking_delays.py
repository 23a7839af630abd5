"""The network with trained constants: where it begins, what is trained, and what it promises."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import grad, jit
from examples.spiking_delays import LONGEST, TimedNet, main


def made(trained: bool) -> TimedNet:
    nn.seed(0)
    return TimedNet(trained, hidden=16)


def test_both_networks_begin_as_one_and_only_one_trains_its_constants():
    held, trained = made(False), made(True)
    constants = {("delays", "delay"), ("current", "tau"), ("neurons", "tau"), ("readout", "tau")}
    assert set(trained.states(nn.ParamState)) - set(held.states(nn.ParamState)) == constants
    images = jnp.asarray(np.random.default_rng(0).random((5, 8, 8, 1)), jnp.float32)
    np.testing.assert_allclose(jit(trained)(images), jit(held)(images), rtol=1e-3, atol=1e-4)
    grads = jit(grad(lambda: (trained(images) ** 2).sum(), trained.states(nn.ParamState)))()
    for path in constants:
        assert jnp.isfinite(grads[path]).all(), path
        assert (grads[path] != 0).any(), path
    delays = trained.delays.delay.constrained
    assert float(delays.min()) >= 0.0
    assert float(delays.max()) <= LONGEST


@pytest.mark.slow
def test_it_keeps_what_it_promises(tmp_path):
    main(tmp_path, quick=False)  # it stops where a claim does not hold
    assert (tmp_path / "spiking_delays.png").stat().st_size > 0
