from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import graphdef
from brainstate_transform import jit
from tests.nn.oracle import assert_same, by_text, sample
from tests.tables import each, pairs


@pairs(shape=by_text([(3,), (5, 3), (2, 4, 3), (0, 3)]), use_bias=by_text([True, False]))
def test_is_that_of_nnx(shape, use_bias):
    ours = nn.Linear(3, 4, use_bias=use_bias, b_init=jax.nn.initializers.normal(1.0), rng=nn.RandomState(0))
    theirs = nnx.Linear(3, 4, use_bias=use_bias, rngs=nnx.Rngs(0))
    assert_same(ours, theirs, sample(*shape))


@each("dtype", [None, jnp.bfloat16, jnp.float32])
@each("param_dtype", [jnp.bfloat16, jnp.float32])
@each("input_dtype", [jnp.bfloat16, jnp.float32, jnp.int32])
def test_dtypes_are_those_of_nnx(dtype, param_dtype, input_dtype):
    ours = nn.Linear(3, 4, dtype=dtype, param_dtype=param_dtype, rng=nn.RandomState(0))
    theirs = nnx.Linear(3, 4, dtype=dtype, param_dtype=param_dtype, rngs=nnx.Rngs(0))
    assert ours.weight.value.dtype == ours.bias.value.dtype == param_dtype
    assert ours(jnp.ones((2, 3), input_dtype)).dtype == theirs(jnp.ones((2, 3), input_dtype)).dtype


def test_layout_and_names():
    layer = nn.Linear(3, 4)
    assert {path: state.value.shape for path, state in layer.states(nn.ParamState).items()} == {
        ("bias",): (4,),
        ("weight",): (3, 4),
    }
    assert (layer.in_size, layer.out_size) == (3, 4)
    assert nn.Linear(3, 4, use_bias=False).bias is None


def test_initialisers_get_key_shape_and_dtype_and_are_not_kept():
    seen = []

    def init(key, shape, dtype):
        seen.append((key.shape, shape, dtype))
        return jnp.full(shape, 2, dtype)

    layer = nn.Linear(3, 4, w_init=init, param_dtype="bfloat16")
    assert seen == [((), (3, 4), jnp.bfloat16)]
    assert graphdef(layer) is graphdef(nn.Linear(3, 4, w_init=lambda key, shape, dtype: jnp.zeros(shape, dtype)))


def test_a_dtype_has_one_spelling():
    assert graphdef(nn.Linear(3, 4, dtype="float32")) is graphdef(nn.Linear(3, 4, dtype=jnp.float32))
    assert graphdef(nn.Linear(3, 4, dtype="float32")) is not graphdef(nn.Linear(3, 4))


def test_same_stream_same_weights():
    first, second = (nn.Linear(3, 4, rng=nn.RandomState(1)) for _ in range(2))
    np.testing.assert_array_equal(first.weight.value, second.weight.value)


@each("size", [0, -1, 2.0, "3", None, True])
def test_sizes_are_checked(size):
    with pytest.raises(ValueError, match="in_size must be a positive whole number, not"):
        nn.Linear(size, 3)
    with pytest.raises(ValueError, match="out_size must be a positive whole number, not"):
        nn.Linear(3, size)


def test_an_initialiser_must_be_one():
    with pytest.raises(TypeError, match=r"write `w_init=jax.nn.initializers.constant\(0.1\)`"):
        nn.Linear(3, 4, w_init=0.1)
    with pytest.raises(ValueError, match=r"b_init returned an array of shape \(1,\) where the layer needs \(4,\)"):
        nn.Linear(3, 4, b_init=lambda key, shape, dtype: jnp.zeros(1))


def test_a_wrong_input_is_refused():
    layer = nn.Linear(3, 4)
    with pytest.raises(ValueError, match=r"^Linear expects 3 features along axis -1 of `x`, which is f32\[5,4\]$"):
        layer(jnp.ones((5, 4)))
    with pytest.raises(ValueError, match=r"of `x`, which is f32\[\]"):
        layer(1.0)
    for wrong in ("text", None, {"x": 1.0}, nn.ParamState(jnp.ones(3))):
        with pytest.raises(TypeError, match=r"^Linear takes an array for `x`, not "):
            layer(wrong)


def test_an_error_says_where_the_layer_is():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 5))
    with pytest.raises(ValueError, match=r"^Linear at Sequential\.layers\.1 expects 4 features"):
        jit(net)(jnp.ones((1, 2)))


@each("dtype", [int, bool, "text", "uint8"])
def test_dtypes_are_checked(dtype):
    with pytest.raises(TypeError, match=r"^dtype must be a (float or complex )?dtype"):
        nn.Linear(2, 3, dtype=dtype)
    with pytest.raises(TypeError, match=r"^param_dtype must be a (float or complex )?dtype"):
        nn.Linear(2, 3, param_dtype=dtype)


def test_rng_is_checked():
    with pytest.raises(
        TypeError, match=r"rng takes a RandomState or RandomStreams, not int: write `rng=RandomState\(0\)`"
    ):
        nn.Linear(2, 3, rng=0)


def test_precision_reaches_the_product():
    x = jnp.ones((2, 3))
    assert "HIGHEST" in str(jax.make_jaxpr(nn.Linear(3, 4, precision="highest"))(x))
    assert "HIGHEST" not in str(jax.make_jaxpr(nn.Linear(3, 4))(x))
    assert graphdef(nn.Linear(3, 4, precision="highest")) is graphdef(
        nn.Linear(3, 4, precision=jax.lax.Precision.HIGHEST)
    )
    nn.Linear(3, 4, precision=("high", "default"))
    nn.Linear(3, 4, precision="F32_F32_F32")


@each("wrong", ["precise", 3, True, ("a", "b"), ["high"], jnp.ones(3)], ids=str)
def test_precision_is_checked(wrong):
    with pytest.raises(
        ValueError, match=r'^precision must be one that jnp.dot takes, such as "highest", or None, not '
    ):
        nn.Linear(3, 4, precision=wrong)


def test_out_sharding():
    mesh = jax.make_mesh((1,), ("data",))
    layer = nn.Linear(3, 4)
    with jax.set_mesh(mesh):
        y = layer(jnp.ones((2, 3)), out_sharding=jax.P("data", None))
    assert jax.typeof(y).sharding.spec == jax.P("data", None)
