"""The reader of rows beside the same one in flax.nnx: equal first weights, equal losses."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_transform import jit, value_and_grad
from examples.digits import BATCH, load_digits
from examples.lstm import RowReader, read_aloud

STEPS, HIDDEN = 10, 16


class Theirs(nnx.Module):
    """The network as a user of flax writes it."""

    def __init__(self, hidden: int, rngs: nnx.Rngs) -> None:
        self.rows = nnx.RNN(nnx.OptimizedLSTMCell(8, hidden, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(hidden, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.head(self.rows(images)[:, -1])


def cross_entropy(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


def test_the_losses_are_those_of_nnx():
    nn.seed(0)
    images, labels, *_ = load_digits()
    ours, theirs = RowReader(HIDDEN), Theirs(HIDDEN, nnx.Rngs(0))
    cell, other_cell = ours.rows.cell, theirs.rows.cell
    for state, value in (
        (other_cell.dense_i.kernel, cell.weight_ih),
        (other_cell.dense_h.kernel, cell.weight_hh),
        (other_cell.dense_h.bias, cell.bias),
        (theirs.head.kernel, ours.head.weight),
        (theirs.head.bias, ours.head.bias),
    ):
        state[...] = value.value
    optimizer = nn.Optimizer(ours, optax.adam(3e-2))
    other = nnx.Optimizer(theirs, optax.adam(3e-2), wrt=nnx.Param)

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
    for rows in np.random.default_rng(0).permutation(len(images))[: STEPS * BATCH].reshape(STEPS, BATCH):
        x, y = images[rows][..., 0], labels[rows]
        mine.append(float(step(x, y)))
        yours.append(float(their_step(theirs, other, x, y)))
    assert mine == pytest.approx(yours, rel=1e-4)
    assert mine[-1] < 0.9 * mine[0]
    np.testing.assert_allclose(read_aloud(ours, x[:5])[-1], ours(x[:5]), rtol=1e-4, atol=1e-5)
