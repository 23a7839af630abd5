from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_transform import grad, jit
from tests.nn.oracle import sample
from tests.tables import each


def test_attend_is_that_of_nnx():
    ours, theirs = nn.Embedding(5, 3), nnx.Embed(5, 3, rngs=nnx.Rngs(0))
    theirs.embedding = nnx.Param(ours.weight.value)
    for query in (sample(2, 4, 3), sample(3)):
        np.testing.assert_allclose(ours.attend(query), theirs.attend(query), rtol=1e-5, atol=1e-6)


@each("dtype", [None, jnp.bfloat16, jnp.float32])
@each("param_dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_are_those_of_nnx(dtype, param_dtype):
    ours = nn.Embedding(5, 3, dtype=dtype, param_dtype=param_dtype)
    theirs = nnx.Embed(5, 3, dtype=dtype, param_dtype=param_dtype, rngs=nnx.Rngs(0))
    tokens, query = jnp.array([0, 4]), jnp.ones(3, jnp.bfloat16)
    assert ours(tokens).dtype == theirs(tokens).dtype
    assert ours.attend(query).dtype == (dtype or jnp.result_type(query, ours.weight.value))


def test_vectors_have_length_one_on_average():
    table = nn.Embedding(400, 64, rng=nn.RandomState(0)).weight.value
    np.testing.assert_allclose(jnp.square(table).sum(1).mean(), 1.0, rtol=0.05)
    theirs = nnx.Embed(400, 64, rngs=nnx.Rngs(0)).embedding
    np.testing.assert_allclose(table.std(), theirs.std(), rtol=0.05)


@pytest.mark.parametrize("dtype", ["int32", "int8", "uint8"])
def test_what_is_no_row_gives_nan_and_moves_nothing(dtype):
    table = nn.Embedding(5, 3)
    out = [5, 100, 255] if dtype == "uint8" else [5, -1, -5, -100, 100]
    tokens = jnp.array([4, *out, 0], dtype)
    for call in (table, jit(table)):
        rows = call(tokens)
        assert jnp.isnan(rows[1:-1]).all()
        np.testing.assert_array_equal(rows[jnp.array([0, -1])], table.weight.value[jnp.array([4, 0])])
    grads = grad(lambda: jnp.nansum(table(tokens)), table.states(nn.ParamState))()
    np.testing.assert_array_equal(grads["weight",], jnp.zeros((5, 3)).at[jnp.array([0, 4])].set(1.0))


def test_padding_gives_zeros_and_has_no_gradient():
    table = nn.Embedding(5, 3, padding_idx=2)
    assert jnp.abs(table.weight.value[2]).sum() > 0
    tokens = jnp.array([[1, 2], [2, 4]])
    np.testing.assert_array_equal(table(tokens)[tokens == 2], jnp.zeros((2, 3)))
    logits = table.attend(jnp.ones((7, 3)))
    np.testing.assert_array_equal(logits[:, 2], jnp.zeros(7))
    np.testing.assert_allclose(logits[0, 1], table.weight.value[1].sum(), rtol=1e-5)

    def loss():
        x = table(tokens)
        return jnp.sum(jnp.sin(x)) + jnp.sum(jnp.exp(table.attend(x + 1.0)))

    moved = jnp.abs(grad(loss, table.states(nn.ParamState))()["weight",]).sum(1)
    assert (moved > 0).tolist() == [True, True, False, True, True]


def test_a_shared_table_gets_both_gradients():
    table = nn.Embedding(4, 3)

    def loss(weight):
        return jnp.sum(jnp.sin(weight[jnp.array([1, 1])] @ weight.T))

    grads = grad(lambda: jnp.sum(jnp.sin(table.attend(table(jnp.array([1, 1]))))), table.states(nn.ParamState))()
    np.testing.assert_allclose(grads["weight",], jax.grad(loss)(table.weight.value), rtol=1e-5, atol=1e-6)


@each(
    ("options", "text"),
    [
        ({"num_embeddings": 0}, "num_embeddings must be a positive whole number, not 0"),
        ({"features": 2.0}, r"features must be a positive whole number, not 2\.0"),
        ({"padding_idx": 5}, "padding_idx must be the number of a row, from 0 to 4, or None, not 5"),
        ({"padding_idx": -1}, "padding_idx must be the number of a row, from 0 to 4, or None, not -1"),
        ({"padding_idx": True}, "padding_idx must be the number of a row"),
        ({"w_init": lambda key, shape, dtype: jnp.zeros(3)}, r"w_init returned .* where the layer needs \(5, 3\)"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_wrong_options(options, text):
    with pytest.raises(ValueError, match=text):
        nn.Embedding(**{"num_embeddings": 5, "features": 3, **options})


def test_a_wrong_input_is_told_with_its_place():
    net = nn.Sequential(nn.Embedding(5, 3))
    where = r"^Embedding at Sequential\.layers\.0 "
    with pytest.raises(TypeError, match=where + r"takes whole numbers for `x`, which is f32\[2\]"):
        net(jnp.ones(2))
    with pytest.raises(TypeError, match=where + r"takes whole numbers for `x`, which is bool\[2\]"):
        net(jnp.ones(2, bool))
    with pytest.raises(TypeError, match=where + "takes an array for `x`, not None"):
        net(None)
    with pytest.raises(ValueError, match=r"expects 3 features along axis -1 of `query`, which is f32\[2\]"):
        net.layers[0].attend(jnp.ones(2))


def test_out_sharding():
    table = nn.Embedding(5, 4, padding_idx=0)
    with jax.set_mesh(jax.make_mesh((1, 1), ("data", "model"))):
        rows = table(jnp.array([[1, 2]]), out_sharding=jax.P("data", None, "model"))
        logits = table.attend(rows, out_sharding=jax.P("data", None, None))
    assert jax.typeof(rows).sharding.spec == jax.P("data", None, "model")
    assert jax.typeof(logits).sharding.spec == jax.P("data", None, None)
