from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import GraphError, graphdef, states
from brainstate_transform import jit, value_and_grad
from tests.nn.oracle import sample
from tests.tables import each


def make():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=nn.RandomState(0)),
        nn.BatchNorm(4),
        nn.relu,
        nn.GlobalAvgPool(),
        nn.LayerNorm(4),
        nn.Linear(4, 3, rng=nn.RandomState(1)),
        nn.Dropout(0.0),
    )


class Theirs(nnx.Module):
    """The same model by flax, in the dtypes of its arguments."""

    def __init__(self, ours, dtype, param_dtype):
        options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": nnx.Rngs(0)}
        self.conv = nnx.Conv(1, 4, (3, 3), **options)
        self.batch = nnx.BatchNorm(4, use_fast_variance=False, **options)
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, use_fast_variance=False, **options)
        self.out = nnx.Linear(4, 3, **options)
        for mine, other in ((ours[0], self.conv), (ours[5], self.out)):
            other.kernel[...] = mine.weight.value.astype(param_dtype)
            other.bias[...] = mine.bias.value.astype(param_dtype)

    def __call__(self, x):
        return self.out(self.norm(nnx.relu(self.batch(self.conv(x))).mean((1, 2))))


POLICIES = ["params=float32,compute=bfloat16,output=float32", "bfloat16", "params=f32,compute=f16"]


@pytest.mark.parametrize("text", POLICIES)
def test_a_model_computes_as_that_of_nnx(text):
    policy, model, x = nn.Policy.parse(text), make(), sample(2, 6, 6, 1)
    theirs = Theirs(model, policy.compute_dtype, policy.param_dtype)
    assert policy.apply(model) is model
    y, other = jit(model)(x), nnx.jit(lambda m, x: m(x))(theirs, x)
    assert y.dtype == other.dtype == policy.compute_dtype
    np.testing.assert_allclose(np.float32(y), np.float32(other), rtol=5e-2, atol=5e-2)
    exact = np.float32(make()(x))
    assert 0 < np.abs(np.float32(y) - exact).max() < 0.1  # it is another precision indeed
    assert policy.cast_to_output(y).dtype == policy.output_dtype


@pytest.mark.parametrize("text", POLICIES)
def test_dtypes_of_parameters_statistics_gradients_and_moments(text):
    policy = nn.Policy.parse(text)
    model = policy.apply(make())
    optimizer = nn.Optimizer(model, optax.adam(1e-2))

    @jit
    def step(x):
        loss = lambda: jnp.mean(policy.cast_to_output(model(x)) ** 2)
        value, grads = value_and_grad(loss, nn.ParamState)()
        optimizer.update(grads)
        return value, grads

    value, grads = step(sample(2, 6, 6, 1))
    assert value.dtype == policy.output_dtype
    dtypes = lambda tree: {leaf.dtype for leaf in jax.tree.leaves(tree)}
    params = [state.value for state in model.states(nn.ParamState).values()]
    moments = [optimizer.opt_state.value[0].mu, optimizer.opt_state.value[0].nu]
    assert dtypes(params) == dtypes(grads) == dtypes(moments) == {policy.param_dtype}
    assert dtypes([state.value for state in model.states(nn.BatchState).values()]) == {jnp.dtype("float32")}


def test_equal_policies_make_equal_structures():
    one = nn.Policy(jnp.float32, jnp.bfloat16).apply(nn.Linear(2, 3))
    two = nn.Policy.parse("params=float32,compute=bfloat16").apply(nn.Linear(2, 3))
    assert graphdef(one) is graphdef(two)
    assert graphdef(one) is graphdef(nn.Linear(2, 3, dtype="bfloat16"))
    nn.Policy.parse("params=float32,compute=float32").apply(one)
    assert graphdef(one) is not graphdef(two)
    assert hash(nn.Policy("float32")) == hash(nn.Policy(np.float32, jnp.float32, "f32"))


@each(
    ("text", "parts"),
    [
        ("params=float32,compute=bfloat16,output=float32", ("float32", "bfloat16", "float32")),
        ("compute=bf16", ("float32", "bfloat16", "float32")),
        (" params = f16 , output=full", ("float16", "float16", "float32")),
        ("bfloat16", ("bfloat16", "bfloat16", "bfloat16")),
    ],
)
def test_policies_in_words(text, parts):
    policy = nn.Policy.parse(text)
    assert (policy.param_dtype, policy.compute_dtype, policy.output_dtype) == tuple(map(jnp.dtype, parts))


def test_a_cast_is_of_floats_alone():
    policy = nn.Policy("float32", "bfloat16", "float16")
    tree = {
        "x": jnp.ones(2),
        "n": jnp.arange(2),
        "b": np.array(True),
        "k": jax.random.key(0),
        "p": 1.0,
        "c": 1j * jnp.ones(1),
    }
    found = policy.cast_to_compute(tree)
    assert found["x"].dtype == jnp.bfloat16
    assert all(found[name] is tree[name] for name in "nbkpc")
    assert policy.cast_to_output({"x": np.ones(2)})["x"].dtype == np.float16
    assert policy.cast_to_param(found)["x"].dtype == jnp.float32


def test_shared_layers_and_other_kinds_of_state_are_left_or_met_once():
    layer = nn.Linear(2, 2)
    layer.steps = nn.ParamState(jnp.arange(3))  # type: ignore[attr-defined]
    layer.memory = nn.HiddenState(jnp.zeros(2))  # type: ignore[attr-defined]
    nn.Policy("bfloat16").apply([layer, {"again": layer}])
    assert [str(s.value.dtype) for s in states(layer).values()] == ["bfloat16", "float32", "int32", "bfloat16"]


def test_x64_is_never_switched_on():
    before = jax.config.jax_enable_x64
    with pytest.raises(ValueError, match=r"compute_dtype is float64, which JAX has off: write `jax\.config\.update\("):
        nn.Policy(compute_dtype="float64")
    assert jax.config.jax_enable_x64 == before
    with jax.enable_x64(True):
        layer = nn.Policy("float64").apply(nn.Linear(2, 3))
        assert layer(jnp.ones(2)).dtype == jnp.float64


def test_refusals():
    with pytest.raises(TypeError, match=r"param_dtype must be a float dtype such as jnp.bfloat16, not 'int8'"):
        nn.Policy("int8")
    with pytest.raises(TypeError, match=r"output_dtype must be a float dtype such as jnp.bfloat16, not 'long'"):
        nn.Policy(output_dtype="long")
    for text in ("param=float32,compute=bfloat16", "params=float32,params=bfloat16", "params=", "compute=bf16,"):
        with pytest.raises(
            ValueError, match=r"is not a part of a policy: write `params=float32,compute=bfloat16,output="
        ):
            nn.Policy.parse(text)
    with pytest.raises(GraphError, match="Dropout has no parameters and no layers with a `dtype`"):
        nn.Policy().apply(nn.Dropout(0.5))
