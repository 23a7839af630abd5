"""The digits network beside the same one in flax.nnx: equal first weights, equal losses."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_transform import jit, value_and_grad
from examples.digits import BATCH, DigitNet, load_digits

STEPS, WIDTH = 10, 8


class Theirs(nnx.Module):
    """The network as a user of flax writes it."""

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        norm = {"use_fast_variance": False, "rngs": rngs}
        self.conv1 = nnx.Conv(1, width, (3, 3), rngs=rngs)
        self.norm1 = nnx.BatchNorm(width, **norm)
        self.conv2 = nnx.Conv(width, 2 * width, (3, 3), rngs=rngs)
        self.norm2 = nnx.BatchNorm(2 * width, **norm)
        self.head = nnx.Linear(4 * 4 * 2 * width, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm1(self.conv1(images)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        x = nnx.max_pool(x, (2, 2), (2, 2))
        return self.head(x.reshape(len(x), -1))


def cross_entropy(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


def batches():
    images, labels, *_ = load_digits()
    for rows in np.random.default_rng(0).permutation(len(images))[: STEPS * BATCH].reshape(STEPS, BATCH):
        yield images[rows], labels[rows]


def test_the_losses_are_those_of_nnx():
    nn.seed(0)
    ours = DigitNet(WIDTH)
    ours.dropout.rate = 0.0  # the masks of two libraries cannot be equal
    theirs = Theirs(WIDTH, nnx.Rngs(0))
    for mine, other in ((ours.features[0], theirs.conv1), (ours.features[3], theirs.conv2), (ours.head, theirs.head)):
        other.kernel[...] = mine.weight.value
        other.bias[...] = mine.bias.value

    optimizer = nn.Optimizer(ours, optax.adam(3e-3))
    other = nnx.Optimizer(theirs, optax.adam(3e-3), wrt=nnx.Param)

    @jit
    def step(x, y):
        loss, grads = value_and_grad(cross_entropy, nn.ParamState)(ours, x, y)
        optimizer.update(grads)
        return loss

    @nnx.jit
    def their_step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(cross_entropy)(model, x, y)
        optimizer.update(model, grads)
        return loss

    mine, yours = [], []
    for x, y in batches():
        mine.append(float(step(x, y)))
        yours.append(float(their_step(theirs, other, x, y)))
    assert mine == pytest.approx(yours, rel=1e-4)
    assert mine[-1] < 0.7 * mine[0]
    np.testing.assert_allclose(ours.features[1].running_mean.value, theirs.norm1.mean[...], rtol=1e-2, atol=1e-5)
