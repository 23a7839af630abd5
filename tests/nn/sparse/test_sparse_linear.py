"""What the laws of layers do not ask: the forms in which connections are given, and what is wrong with them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental import sparse

import brainstate_nn as nn
from brainstate_transform import jit
from tests.tables import each

MATRIX = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [3.0, 0.0, -4.0], [0.0, 5.0, 0.0]], np.float32)
PRE, POST = np.nonzero(MATRIX)
WEIGHTS = MATRIX[PRE, POST]
BACK = np.array([3, 0, 2, 1])
OF_JAX = {
    "jax.experimental.sparse": sparse.BCOO.fromdense(MATRIX),
    "padded": sparse.BCOO.fromdense(MATRIX, nse=7),
    "with an axis of vectors": sparse.BCOO.fromdense(MATRIX, n_dense=1),
    "CSR of JAX": sparse.BCSR.fromdense(MATRIX),
    "the older COO of JAX": sparse.COO.fromdense(MATRIX),
}

WITH_WEIGHTS = {
    "matrix": MATRIX,
    "matrix of JAX": jnp.asarray(MATRIX),
    "whole numbers": MATRIX.astype(int),
    "triple": (PRE, POST, WEIGHTS),
    "triple of lists, in another order": [side[BACK].tolist() for side in (PRE, POST, WEIGHTS)],
    "SciPy, CSR": scipy.sparse.csr_array(MATRIX),
    "SciPy, COO": scipy.sparse.coo_array(MATRIX),
    **OF_JAX,
}


@each("given", WITH_WEIGHTS.values(), WITH_WEIGHTS)
def test_weights_come_with_connections(given):
    layer = nn.SparseLinear(4, 3, given)
    assert layer.weight.value.shape == (4,)
    np.testing.assert_allclose(layer(jnp.eye(4)), MATRIX)
    np.testing.assert_array_equal(layer.connections, (PRE, POST))


@each("given", [(PRE, POST), (PRE[BACK], POST[BACK]), MATRIX != 0, jnp.asarray(MATRIX != 0),
                scipy.sparse.csr_array(MATRIX != 0)])  # fmt: skip
def test_connections_alone_have_the_weights_of_the_initialiser(given):
    layer = nn.SparseLinear(4, 3, given, w_init=jax.nn.initializers.ones)
    np.testing.assert_array_equal(layer(jnp.eye(4)), MATRIX != 0)


def test_a_sparse_matrix_may_be_larger_than_the_memory_and_have_zeros():
    size = 1_000_000
    where = jnp.array([[5, 7], [999_999, 0], [5, 8]])
    for data in (jnp.array([2.0, 3.0, 0.0]), jnp.array([True, True, True])):
        layer = nn.SparseLinear(size, size, sparse.BCOO((data, where), shape=(size, size)))
        np.testing.assert_array_equal(layer.connections, ([5, 5, 999_999], [7, 8, 0]))
    layer = nn.SparseLinear(size, size, scipy.sparse.coo_array(([2.0, 0.0], ([5, 5], [7, 8])), shape=(size, size)))
    np.testing.assert_array_equal(layer.weight.value, [2.0, 0.0])


def test_usual_weights_keep_the_variance():
    rng = nn.RandomState(0)
    layer = nn.SparseLinear(400, 300, nn.fixed_number(400, 300, 30, per="post", rng=rng), rng=rng)
    y = layer(jax.random.normal(jax.random.key(0), (200, 400)))
    assert 0.9 < float(y.std()) < 1.1


def test_no_connections_at_all():
    layer = nn.SparseLinear(4, 3, np.zeros((4, 3)), use_bias=True, b_init=jax.nn.initializers.ones)
    np.testing.assert_array_equal(layer(jnp.ones(4)), jnp.ones(3))


def test_connections_are_no_parameters_and_are_in_a_checkpoint():
    layer = nn.SparseLinear(4, 3, MATRIX)
    assert list(layer.states(nn.ParamState)) == [("weight",)]
    other = nn.SparseLinear(4, 3, MATRIX[::-1])
    nn.from_pure_dict(other, nn.to_pure_dict(layer))
    np.testing.assert_allclose(other(jnp.eye(4)), MATRIX)


@each("error, given, options, message", [
    (ValueError, ([4], [0]), {}, "connections has 4 in `pre`, where indices go from 0 to 3"),
    (ValueError, ([0], [-1]), {}, "connections has -1 in `post`, where indices go from 0 to 2"),
    (ValueError, ([0, 1], [0]), {}, "vectors of one length, not of 2, 1"),
    (ValueError, ([0, 1], [0, 1], [1.0]), {}, "vectors of one length, not of 2, 2, 1"),
    (TypeError, ([0.5], [0]), {}, "two vectors of indices, but `pre` is float64"),
    (TypeError, ([[0]], [[0]]), {}, "two vectors of indices"),
    (TypeError, np.ones((3, 4)), {}, r"a matrix of shape \(4, 3\), not of shape \(3, 4\)"),
    (TypeError, 0.1, {}, "not a float: write `connections=fixed_probability"),
    (TypeError, None, {}, "not a NoneType"),
    (ValueError, MATRIX, {"shared_weight": True}, "and shared_weight=True sets them too: .* `connections=matrix != 0`"),
    (ValueError, MATRIX, {"w_init": jax.nn.initializers.ones}, "and w_init sets them too"),
])  # fmt: skip
def test_errors_say_what_is_wrong_with_the_connections(error, given, options, message):
    with pytest.raises(error, match=message):
        nn.SparseLinear(4, 3, given, **options)


def test_connections_that_are_traced_are_refused():
    with pytest.raises(TypeError, match="connections must be known outside of jit"):
        jit(lambda pre: nn.SparseLinear(4, 3, (pre, POST))(jnp.ones(4)))(jnp.asarray(PRE))
