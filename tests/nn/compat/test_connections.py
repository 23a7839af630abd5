"""Connections: the products that NumPy makes of the matrices that they stand for."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse

import brainstate_transform as bt
from brainstate_nn import compat
from tests.tables import each

rng = np.random.default_rng(0)
W = rng.normal(size=(4, 5)).astype(np.float32)
SPIKES = np.array([[0, 1, 1, 0], [1, 0, 0, 0]], np.float32)
FEW = np.where(rng.random((4, 5)) < 0.5, W, 0).astype(np.float32)
LAYERS = {
    "AllToAll": (lambda: compat.AllToAll(4, 5, W), W),
    "AllToAll with a number": (lambda: compat.AllToAll((4,), (5,), 0.5), np.full((4, 5), 0.5)),
    "AllToAll of others": (lambda: compat.AllToAll(4, 5, W, include_self=False), W * (1 - np.eye(4, 5))),
    "EventLinear": (lambda: compat.EventLinear(4, 5, weight=jnp.asarray(W)), W),
    "EventLinear with a number": (lambda: compat.EventLinear(4, 5, weight=0.5), np.full((4, 5), 0.5)),
    "EventLinear of numbers": (lambda: compat.EventLinear(4, 5, jnp.asarray(W), float_as_event=False), W),
    "SparseLinear": (lambda: compat.SparseLinear(sparse.BCOO.fromdense(FEW)), FEW),
}


@each("name, row", LAYERS.items())
def test_products(name, row):
    make, matrix = row
    layer = make()
    np.testing.assert_allclose(layer(jnp.asarray(SPIKES)), SPIKES @ matrix, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.update(jnp.asarray(SPIKES[0])), SPIKES[0] @ matrix, rtol=1e-5, atol=1e-6)


def test_biases_and_products_of_one_to_one():
    every = compat.AllToAll(4, 5, W, b_init=compat.init.Constant(2.0), include_self=False)
    np.testing.assert_allclose(every(jnp.asarray(SPIKES)), SPIKES @ (W * (1 - np.eye(4, 5))) + 2, rtol=1e-5)
    each_one = compat.OneToOne(4, W[:, 0], b_init=1.0)
    np.testing.assert_allclose(each_one(jnp.asarray(SPIKES[0])), SPIKES[0] * W[:, 0] + 1, rtol=1e-6)


@each("dtype", [bool, int, float])
def test_what_is_not_zero_is_a_spike(dtype):
    layer = compat.EventLinear(4, 5, jnp.asarray(W))
    np.testing.assert_allclose(layer(jnp.asarray(3 * SPIKES, dtype)), SPIKES @ W, rtol=1e-5, atol=1e-6)


def test_the_gradient_by_spikes_is_that_of_the_product():
    layer = compat.EventLinear(4, 5, jnp.asarray(W))
    np.testing.assert_allclose(bt.grad(lambda x: layer(x).sum())(jnp.asarray(SPIKES[0])), W.sum(1), rtol=1e-5)
    one = compat.EventLinear(4, 5, 0.5)
    np.testing.assert_allclose(bt.grad(lambda x: one(x).sum())(jnp.asarray(SPIKES[0])), np.full(4, 2.5), rtol=1e-5)


@each("number, many", [(3, True), (0.5, True), (3, False), (5, False)])
def test_each_neuron_has_as_many_connections_and_by_a_seed_those_of_numpy(number, many):
    layer = compat.FixedNumConn(6, 10, number, 1.0, allow_multi_conn=many, seed=3)
    count = 5 if number == 0.5 else number
    matrix = np.asarray(layer(jnp.eye(6)))
    assert (matrix.sum(1) == count).all()
    assert many or set(np.unique(matrix)) <= {0.0, 1.0}
    if many:
        draws = np.random.RandomState(3).randint(0, 10, size=(6, count))
        assert [np.bincount(row, minlength=10).tolist() for row in draws] == matrix.tolist()
    again = compat.EventFixedProb(6, 10, number, 1.0, allow_multi_conn=many, seed=3)
    np.testing.assert_array_equal(again(jnp.eye(6, dtype=bool)), matrix)


def test_connections_have_weights_of_their_own_and_may_begin_at_few_neurons():
    weights = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    layer = compat.FixedNumConn(4, 8, 3, weights, seed=0)
    np.testing.assert_allclose(layer(jnp.eye(4)).sum(1), weights.sum(1))
    few = compat.FixedNumConn(1000, 8, 2, 1.0, afferent_ratio=0.3, seed=0)
    sending = np.asarray(few(jnp.eye(1000)).sum(1))
    assert set(np.unique(sending)) == {0.0, 2.0}
    assert 230 < (sending > 0).sum() < 370
    assert compat.FixedNumConn(4, 8, 0, 1.0)(jnp.ones(4)).tolist() == [0.0] * 8


@each("options, words", [
    ({"efferent_target": "pre"}, "efferent_target must be 'post', not 'pre'"),
    ({"afferent_ratio": 1.5}, "must be between 0 and 1"),
    ({"conn_num": 1.5}, "must be between 0 and 1"),
])  # fmt: skip
def test_what_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        compat.FixedNumConn(4, 8, **{"conn_num": 2, "conn_weight": 1.0, **options})
