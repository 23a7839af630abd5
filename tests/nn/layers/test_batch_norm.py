from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import treefy_merge, treefy_split, treefy_states
from tests.nn.oracle import assert_same, give_parameters, sample
from tests.tables import each

NAMES = {"weight": "scale", "bias": "bias"}
NORMAL = jax.nn.initializers.normal(1.0)


def batch_norms(axis=-1, **options):
    ours = nn.BatchNorm(4, axis=axis, w_init=NORMAL, b_init=NORMAL, rng=nn.RandomState(0), **options)
    theirs = nnx.BatchNorm(4, axis=axis, use_fast_variance=False, rngs=nnx.Rngs(0), **options)
    return ours, theirs


@pytest.mark.parametrize("shape", [(6, 4), (6, 5, 4), (6, 3, 2, 4)], ids=str)
def test_batch_norm_in_training_is_that_of_nnx(shape):
    assert_same(*batch_norms(), 3.0 * sample(*shape) + 1.0, NAMES)


def test_batch_norm_along_another_axis():
    ours, theirs = batch_norms(axis=1)
    assert_same(ours, theirs, sample(6, 4, 5), NAMES)
    ours, theirs = batch_norms(axis=-2)
    assert_same(ours, theirs, sample(6, 4, 5), NAMES)


@each("options", [{"use_scale": False}, {"use_bias": False}, {"epsilon": 0.1}], ids=str)
def test_batch_norm_options(options):
    assert_same(*batch_norms(**options), sample(6, 4), NAMES)


def test_running_statistics_follow_those_of_nnx_and_are_used_in_evaluation():
    ours, theirs = batch_norms(momentum=0.9)
    give_parameters(ours, theirs, NAMES)
    for seed in range(3):
        x = 2.0 * sample(8, 4, seed=seed) + 1.0
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.running_mean.value, theirs.mean[...], rtol=1e-5)
    np.testing.assert_allclose(ours.running_var.value, theirs.var[...], rtol=1e-5)
    theirs.eval()
    assert_same(ours.eval(), theirs, sample(8, 4, seed=9), NAMES)


def test_evaluation_writes_nothing_and_a_call_may_override_the_mode():
    norm, _ = batch_norms()
    x = sample(8, 4)
    before = norm.running_mean.value
    np.testing.assert_allclose(norm(x, training=False), norm.eval()(x))
    assert norm.running_mean.value is before
    trained = norm(x, training=True)
    assert norm.running_mean.value is not before
    np.testing.assert_allclose(trained, norm.train()(x), rtol=1e-6)


def test_the_statistics_are_batch_states_in_single_precision():
    norm = nn.BatchNorm(4, param_dtype=jnp.bfloat16)
    norm(jnp.ones((8, 4), jnp.bfloat16))
    assert {s.value.dtype for s in norm.states(nn.BatchState).values()} == {jnp.dtype("float32")}
    assert norm(jnp.ones((8, 4), jnp.bfloat16)).dtype == jnp.bfloat16
    assert nn.BatchNorm(4, dtype=jnp.float16)(jnp.ones((8, 4))).dtype == jnp.float16


def test_a_long_half_precision_batch_has_the_right_mean():
    norm = nn.BatchNorm(1, momentum=0.0)
    norm(jnp.full((20000, 1), 0.5, jnp.float16))
    assert float(norm.running_mean.value[0]) == pytest.approx(0.5)


def test_statistics_inside_raw_jit_through_split_and_merge():
    eager, _ = batch_norms()
    shape, tree = treefy_split(eager)

    @jax.jit
    def step(tree, x):
        norm = treefy_merge(shape, tree)
        return norm(x), treefy_states(norm)

    for seed in range(2):
        y, tree = step(tree, sample(8, 4, seed=seed))
        np.testing.assert_allclose(y, eager(sample(8, 4, seed=seed)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tree["running_var"].value, eager.running_var.value, rtol=1e-5)


def test_no_gradient_flows_through_the_running_statistics():
    shape, params, rest = treefy_split(nn.BatchNorm(4), nn.ParamState, ...)

    def memory(params, x):
        norm = treefy_merge(shape, params, rest)
        norm(x)
        return norm.running_mean.value.sum()

    assert not jax.grad(memory, 1)(params, sample(8, 4)).any()


def test_statistics_over_a_mapped_axis_are_those_of_the_whole_batch():
    whole = nn.BatchNorm(4, rng=nn.RandomState(0))
    parted = nn.BatchNorm(4, axis_name="device", rng=nn.RandomState(0))
    shape, tree = treefy_split(parted)

    def step(x):
        norm = treefy_merge(shape, tree)
        return norm(x), norm.running_var.value

    x = sample(6, 4)
    y, var = jax.vmap(step, axis_name="device")(x.reshape(2, 3, 4))
    np.testing.assert_allclose(y.reshape(6, 4), whole(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(var[0], whole.running_var.value, rtol=1e-5)


@each("shape", [(6, 5, 4), (6, 5, 1), (1, 5, 1)], ids=str)
def test_a_mask_is_that_of_nnx(shape):
    ours, theirs = batch_norms(momentum=0.5)
    give_parameters(ours, theirs, NAMES)
    x, mask = 2.0 * sample(6, 5, 4) + 1.0, jax.random.bernoulli(jax.random.key(1), 0.5, shape)
    np.testing.assert_allclose(ours(x, mask=mask), theirs(x, mask=mask), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.running_mean.value, theirs.mean[...], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.running_var.value, theirs.var[...], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [-1, 1])
def test_statistics_of_padded_sequences_are_those_of_what_is_in_them(axis):
    lengths = jnp.array([5, 2, 0])
    mask = jnp.arange(5)[None] < lengths[:, None]
    x = jnp.where(mask[..., None], sample(3, 5, 4), jnp.nan)
    norm, alone = (nn.BatchNorm(4, axis=a, rng=nn.RandomState(0)) for a in (axis, -1))
    out = jnp.moveaxis(norm(jnp.moveaxis(x, -1, axis), mask=mask), axis, -1)
    np.testing.assert_allclose(out[mask], alone(x[mask]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.value, alone.running_var.value, rtol=1e-5)
    np.testing.assert_allclose(norm.running_mean.value, alone.running_mean.value, rtol=1e-5, atol=1e-7)
    norm(x[:2, 2:].swapaxes(-1, axis), mask=jnp.array([[True] * 3, [False] * 3]))  # the padding stays out of it
    assert jnp.isfinite(norm.running_mean.value).all()


def test_lanes_with_more_elements_weigh_more():
    mask = jnp.array([True, True, True, True, False, False])[:, None]
    x = sample(6, 4)
    norm = nn.BatchNorm(4, axis_name="device", rng=nn.RandomState(0))
    shape, tree = treefy_split(norm)
    out = jax.vmap(lambda x, m: treefy_merge(shape, tree)(x, mask=m), axis_name="device")(
        x.reshape(2, 3, 4), mask.reshape(2, 3, 1)
    )
    want = nn.BatchNorm(4)(x, mask=mask)
    np.testing.assert_allclose(out.reshape(6, 4), want, rtol=1e-5, atol=1e-5)


def test_a_batch_of_which_nothing_counts_moves_nothing():
    norm = nn.BatchNorm(4)
    before = norm.running_mean.value, norm.running_var.value
    out = norm(sample(3, 4), mask=jnp.zeros((3, 1), bool))
    assert jnp.isfinite(out).all()
    assert norm(jnp.ones((0, 4))).shape == (0, 4)
    for old, new in zip(before, (norm.running_mean.value, norm.running_var.value), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_single_value_for_each_feature_is_no_nan():
    norm = nn.BatchNorm(4, b_init=jax.nn.initializers.constant(3.0))
    x = sample(1, 4)
    out, pull = jax.vjp(lambda x: treefy_merge(*treefy_split(norm))(x), x)
    assert (out == 3.0).all()
    assert jnp.isfinite(pull(out)[0]).all()


def test_complex_numbers():
    x = sample(64, 2) + 2j * sample(64, 2, seed=1)
    norm = nn.BatchNorm(2, param_dtype=jnp.complex64)
    out = norm(x)
    assert (norm.running_mean.value.dtype, norm.running_var.value.dtype) == (jnp.complex64, jnp.float32)
    assert norm.eval()(x).dtype == jnp.complex64
    np.testing.assert_allclose(jnp.mean(jnp.abs(out) ** 2, 0), 1.0, rtol=1e-4)
    np.testing.assert_allclose(jnp.abs(out.mean(0)), 0.0, atol=1e-6)


def test_batch_norm_errors():
    with pytest.raises(ValueError, match=r"momentum must be the weight of the old value, between 0 and 1, not 1\.5"):
        nn.BatchNorm(4, momentum=1.5)
    with pytest.raises(ValueError, match="epsilon must be a number greater than 0, not -1"):
        nn.BatchNorm(4, epsilon=-1)
    with pytest.raises(ValueError, match=r"axis must be the number of an axis, not \(0, 1\)"):
        nn.BatchNorm(4, axis=(0, 1))
    with pytest.raises(ValueError, match="num_features must be a positive whole number"):
        nn.BatchNorm(0)
    with pytest.raises(ValueError, match=r"BatchNorm expects 4 features along axis 1 of `x`, which is f32\[4\]"):
        nn.BatchNorm(4, axis=1)(jnp.ones(4))


@each("kind", [nn.BatchNorm, nn.LayerNorm, nn.RMSNorm, lambda n: nn.GroupNorm(2, n), nn.InstanceNorm])
def test_a_wrong_mask_is_told(kind):
    net = nn.Sequential(kind(4))
    before = treefy_states(net)
    x = jnp.ones((2, 3, 4))
    for mask, text in (
        (jnp.ones((2, 3, 1)), r"takes True and False for `mask`, which is f32\[2,3,1\]: write `mask > 0`"),
        (jnp.ones((2, 3, 2), bool), r"takes a `mask` that fits `x`, which is f32\[2,3,4\], not bool\[2,3,2\]"),
        (jnp.ones(4, bool), r"takes a `mask` that fits `x`, .* not bool\[4\]"),
        ("text", r"takes an array for `mask`, not a str"),
    ):
        with pytest.raises((ValueError, TypeError), match=r"^\w+ at Sequential\.layers\.0 " + text):
            net.layers[0](x, mask=mask)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before, treefy_states(net)))
