"""What the table of layers does not say of the cells: torch's layout, dtypes, initial values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import graphdef
from brainstate_transform import for_loop
from tests.nn.oracle import sample
from tests.tables import each

CELLS = [nn.RNNCell, nn.GRUCell, nn.MGUCell, nn.LSTMCell]
each_cell = each("kind", CELLS)
NORMAL = jax.nn.initializers.normal(1.0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_a_gru_from_the_weights_of_torch():
    # torch: weight_ih_l0 (3H, in), weight_hh_l0 (3H, H), bias_ih_l0 and bias_hh_l0 (3H,), in the order r, z, n
    rng = np.random.default_rng(0)
    weight_ih, weight_hh, bias_ih, bias_hh = (rng.normal(size=s) for s in ((9, 2), (9, 3), 9, 9))
    x, h = rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    i, j = x @ weight_ih.T + bias_ih, h @ weight_hh.T + bias_hh
    r, z = sigmoid(i[:, :3] + j[:, :3]), sigmoid(i[:, 3:6] + j[:, 3:6])
    n = np.tanh(i[:, 6:] + r * j[:, 6:])

    cell = nn.GRUCell(2, 3)
    cell.weight_ih.value, cell.weight_hh.value = jnp.float32(weight_ih.T), jnp.float32(weight_hh.T)
    cell.bias.value = jnp.float32(bias_ih + np.concatenate([bias_hh[:6], np.zeros(3)]))
    cell.bias_hn.value = jnp.float32(bias_hh[6:])
    np.testing.assert_allclose(cell.step(jnp.float32(h), jnp.float32(x))[1], (1 - z) * n + z * h, rtol=1e-5, atol=1e-6)


def test_an_lstm_from_the_weights_of_torch():
    rng = np.random.default_rng(0)
    weight_ih, weight_hh, bias_ih, bias_hh = (rng.normal(size=s) for s in ((12, 2), (12, 3), 12, 12))
    x, h, c = rng.normal(size=(4, 2)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    i, f, g, o = np.split(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh, 4, axis=1)
    after = sigmoid(f) * c + sigmoid(i) * np.tanh(g)

    cell = nn.LSTMCell(2, 3)
    cell.weight_ih.value, cell.weight_hh.value = jnp.float32(weight_ih.T), jnp.float32(weight_hh.T)
    cell.bias.value = jnp.float32(bias_ih + bias_hh)
    carry, y = cell.step((jnp.float32(h), jnp.float32(c)), jnp.float32(x))
    np.testing.assert_allclose(carry[1], after, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y, sigmoid(o) * np.tanh(after), rtol=1e-5, atol=1e-6)
    assert y is carry[0]


def test_a_gru_is_that_of_nnx_which_has_no_inner_bias():
    ours, theirs = nn.GRUCell(2, 3, b_init=NORMAL), nnx.GRUCell(2, 3, rngs=nnx.Rngs(0))
    ours.bias_hn.value = jnp.zeros(3)
    theirs.dense_i.kernel.set_value(ours.weight_ih.value)
    theirs.dense_i.bias.set_value(ours.bias.value)
    theirs.dense_h.kernel.set_value(ours.weight_hh.value)
    h, x = sample(4, 3), sample(4, 2, seed=1)
    np.testing.assert_allclose(ours.step(h, x)[1], theirs(h, x)[1], rtol=1e-5, atol=1e-6)


@each_cell
def test_layout_and_names(kind):
    cell = kind(2, 3)
    shapes = {path[0]: state.value.shape for path, state in cell.states(nn.ParamState).items()}
    gates = {"RNNCell": 1, "MGUCell": 2, "GRUCell": 3, "LSTMCell": 4}[kind.__name__]
    inner = {"bias_hn": (3,)} if kind is nn.GRUCell else {}
    assert shapes == {"weight_ih": (2, 3 * gates), "weight_hh": (3, 3 * gates), "bias": (3 * gates,), **inner}
    bare = kind(2, 3, use_bias=False)
    assert set(bare.states(nn.ParamState)) == {("weight_ih",), ("weight_hh",)}
    assert bare.bias is None
    # Without biases it computes what it does with biases of zero, as they are at first.
    bare.weight_ih.value, bare.weight_hh.value = cell.weight_ih.value, cell.weight_hh.value
    carry, x = jax.tree.map(lambda x: x + 0.5, cell.initial_carry((4,))), sample(4, 2)
    np.testing.assert_array_equal(bare.step(carry, x)[1], cell.step(carry, x)[1])


@each_cell
def test_each_gate_starts_with_an_orthogonal_matrix(kind):
    cell = kind(2, 8, rng=nn.RandomState(0))
    blocks = jnp.split(cell.weight_hh.value, cell.weight_hh.value.shape[1] // 8, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, jnp.eye(8), atol=1e-5)
    assert len({float(block[0, 0]) for block in blocks}) == len(blocks)
    assert kind(2, 3, param_dtype="bfloat16").weight_hh.value.dtype == jnp.bfloat16


def test_initialisers_see_the_whole_parameter():
    seen = []

    def init(key, shape, dtype):
        seen.append((shape, dtype))
        return jnp.zeros(shape, dtype)

    cell = nn.GRUCell(2, 3, w_init=init, recurrent_init=init, b_init=init, param_dtype="bfloat16")
    assert seen == [(shape, jnp.bfloat16) for shape in ((2, 9), (3, 9), (9,), (3,))]
    assert graphdef(cell) is graphdef(nn.GRUCell(2, 3, param_dtype="bfloat16"))


@each_cell
@each(
    ("dtype", "param_dtype", "given", "out", "kept"),
    [
        (None, "float32", "bfloat16", "float32", "float32"),
        (None, "bfloat16", "float32", "float32", "bfloat16"),
        (None, "bfloat16", "bfloat16", "bfloat16", "bfloat16"),
        ("bfloat16", "float32", "float32", "bfloat16", "bfloat16"),
        (None, "float32", "int32", "float32", "float32"),
    ],
)
def test_the_carry_keeps_its_dtype_in_a_loop(kind, dtype, param_dtype, given, out, kept):
    cell = kind(2, 3, dtype=dtype, param_dtype=param_dtype)
    cell.init_state(4)
    carry, y = jax.eval_shape(cell.step, cell.initial_carry((4,)), jnp.ones((4, 2), given))
    assert y.dtype == out
    assert {part.dtype for part in jax.tree.leaves(carry)} == {jnp.dtype(kept)}
    if kind is nn.LSTMCell:  # a loop would refuse others
        for_loop(cell, jnp.ones((3, 4, 2), given))
        assert cell.c.value.dtype == kept


def test_another_activation():
    cell = nn.RNNCell(2, 3, activation=nn.relu)
    h, x = sample(4, 3), sample(4, 2, seed=1)
    want = jax.nn.relu(x @ cell.weight_ih.value + h @ cell.weight_hh.value)
    np.testing.assert_allclose(cell.step(h, x)[1], want, rtol=1e-6)
    assert graphdef(cell) is not graphdef(nn.RNNCell(2, 3))
    with pytest.raises(TypeError, match=r"activation must be a function of an array, such as jnp.tanh, not 'relu'"):
        nn.RNNCell(2, 3, activation="relu")


@each_cell
def test_sizes_are_checked(kind):
    for wrong in (0, -1, 2.0, "3", None, True):
        with pytest.raises(ValueError, match="in_size must be a positive whole number, not"):
            kind(wrong, 3)
        with pytest.raises(ValueError, match="hidden_size must be a positive whole number, not"):
            kind(2, wrong)
    with pytest.raises(ValueError, match=r"recurrent_init returned an array of shape \(1,\) where"):
        kind(2, 3, recurrent_init=lambda key, shape, dtype: jnp.zeros(1))
