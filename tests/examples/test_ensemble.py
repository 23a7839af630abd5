"""Members that are trained at once, by one optimizer, are those that are trained one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_transform import jit, value_and_grad
from examples.digits import load_digits
from examples.ensemble import Score, cross_entropy, draw_batches, make_ensemble, member, predict, score, train

MEMBERS, STEPS = 3, 8


def test_all_at_once_is_one_by_one():
    nn.seed(0)
    images, labels, *_ = load_digits()
    ensemble = make_ensemble(MEMBERS)
    alone = [member(ensemble, number) for number in range(MEMBERS)]
    batches = draw_batches(len(images), MEMBERS, 1)[:STEPS]
    losses = train(ensemble, images, labels, batches)
    tx = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))

    @jit
    def step(model, optimizer, x, y):
        loss, grads = value_and_grad(cross_entropy, model.states(nn.ParamState))(model, x, y)
        optimizer.update(grads)
        return loss

    for number, model in enumerate(alone):
        optimizer = nn.Optimizer(model.states(nn.ParamState), tx)
        own = [float(step(model, optimizer, images[batch[number]], labels[batch[number]])) for batch in batches]
        np.testing.assert_allclose(losses[:, number], own, rtol=1e-4)
        for path, state in member(ensemble, number).states(nn.ParamState).items():
            np.testing.assert_allclose(state.value, model.states()[path].value, rtol=1e-3, atol=1e-5)
        same_stream = jax.tree.map(jnp.array_equal, member(ensemble, number).dropout.rng.value, model.dropout.rng.value)
        assert all(jax.tree.leaves(same_stream))
    apart = [nn.softmax(model.eval()(images[:5])) for model in alone]
    np.testing.assert_allclose(predict(ensemble, images[:5]), jnp.stack(apart), atol=1e-4)
    assert len(set(losses[0])) == MEMBERS  # each has first values and batches of its own


def test_scores():
    sure = jnp.array([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    labels = np.array([0, 0, 1, 0])
    assert score(sure, labels) == Score(0.75, pytest.approx(-np.log([0.75, 0.75, 0.75, 0.25]).mean()), 0.0)
    certain = jnp.array([[1.0, 1e-9]] * 2)
    assert score(certain, np.array([0, 1])).calibration_error == 0.5
