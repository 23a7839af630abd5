"""The product of connections beside that of a matrix; the layer of both has its laws in `tests/laws`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import clone
from brainstate_transform import for_loop, grad, jit, scan
from tests.tables import each

IN, OUT = 200, 150


@functools.cache
def layer_of(kind: str) -> nn.SparseLinear:
    """Connections so many that the product is event-driven, which it is not for a few."""
    if kind == "hubs":  # two neurons have all connections, and some of them twice
        pre = np.repeat([7, 3], 6000)
        connections = pre, np.arange(len(pre)) % OUT
    else:
        connections = nn.fixed_probability(IN, OUT, 0.4, rng=nn.RandomState(0))
    return nn.SparseLinear(
        IN, OUT, connections, shared_weight=kind == "shared", w_init=jax.nn.initializers.normal(1.0),
        rng=nn.RandomState(1),
    )  # fmt: skip


def matrix_of(layer: nn.SparseLinear, weight: jax.Array) -> jax.Array:
    return jnp.zeros((layer.in_size, layer.out_size)).at[layer.connections].add(weight)


def assert_close(ours, theirs, name):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        scale = max(1.0, float(jnp.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=3e-5 * scale, err_msg=name)


KINDS = ("each", "shared", "hubs")
SENT = {
    "nothing": np.zeros(IN),
    "one": np.eye(IN)[7],
    "the last": -2.5 * np.eye(IN)[-1],
    "a few": np.where(np.arange(IN) % 40 == 3, np.arange(IN) / 50, 0.0),
    "many": (np.arange(IN) % 3 == 0).astype(float),
    "all": np.linspace(-1, 1, IN),
}


def call(layer, weight, x):
    copy = clone(layer)
    copy.weight.value = weight
    return copy(x)


@each("kind", KINDS)
def test_results_and_derivatives_are_those_of_a_matrix(kind):
    layer = layer_of(kind)
    weight = layer.weight.value

    def loss(forward, weight, x):
        return jnp.sum(jnp.sin(forward(weight, x)))

    def all_of(forward):
        value = functools.partial(loss, forward)
        gradients = jax.grad(value, (0, 1))
        along = lambda w, x: jax.jvp(gradients, (w, x), (jnp.sin(w), jnp.cos(x)))  # forward over reverse
        # one program for all that is sent: a branch is taken by the numbers alone
        return jax.jit(lambda w, x: (forward(w, x), along(w, x)))

    ours = all_of(functools.partial(call, layer))
    theirs = all_of(lambda w, x: jnp.dot(x, matrix_of(layer, w), precision="highest"))
    for name, sent in SENT.items():
        x = jnp.asarray(sent, jnp.float32)
        assert_close(ours(weight, x), theirs(weight, x), name)
    lanes = (
        jnp.stack([weight * (i + 1) for i in range(len(SENT))]),
        jnp.asarray(np.stack([*SENT.values()]), jnp.float32),
    )
    assert_close(jax.vmap(ours)(*lanes), jax.vmap(theirs)(*lanes), "lanes")


@each("dtype", ["bool", "int32", "bfloat16", "float16"])
def test_what_is_sent_may_have_any_dtype(dtype):
    layer = layer_of("each")
    spikes = jnp.asarray(SENT["one"], dtype)
    row = matrix_of(layer, layer.weight.value)[7]
    np.testing.assert_allclose(layer(spikes), row, rtol=1e-6)


@each("dtype", ["bfloat16", "float64"])
def test_dtypes_are_promoted_where_jax_is_strict_and_has_double_precision(dtype):
    weight = layer_of("hubs").weight.value
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        layer = nn.SparseLinear(IN, OUT, (*layer_of("hubs").connections, weight), dtype=dtype, param_dtype=dtype)
        for sent in SENT.values():
            x = jnp.asarray(sent, dtype)
            slope = jax.grad(lambda x: layer(x).sum())(x)
            assert layer(x).dtype == slope.dtype == dtype
            want = matrix_of(layer, layer.weight.value.astype("float64"))
            tolerance = {"rtol": 1e-12, "atol": 1e-9} if dtype == "float64" else {"rtol": 0.02, "atol": 0.5}
            np.testing.assert_allclose(layer(x).astype("float64"), x.astype("float64") @ want, **tolerance)
            np.testing.assert_allclose(jax.vmap(layer)(x[None])[0], layer(x), **tolerance)
            np.testing.assert_allclose(slope.astype("float64"), want.sum(1), **tolerance)


def test_half_precision_adds_up_in_single_precision():
    layer = nn.SparseLinear(400, 30, nn.all_to_all(400, 30), w_init=jax.nn.initializers.ones, dtype="bfloat16")
    for batch in ((), (2,)):
        for active in (20, 400):  # 257 in bfloat16 is 256
            x = jnp.broadcast_to((jnp.arange(400) < active).astype(jnp.float32), (*batch, 400))
            np.testing.assert_array_equal(layer(x), jnp.full((*batch, 30), active, jnp.bfloat16))


def test_one_weight_for_all_is_rounded_once_in_half_precision():
    layer = nn.SparseLinear(
        400, 30, nn.all_to_all(400, 30), shared_weight=True, w_init=jax.nn.initializers.constant(3.0), dtype="bfloat16"
    )
    x = (jnp.arange(400) < 259).astype(jnp.float32)
    for given in (x, x[None]):  # 3 * 259 is 777; 259 is 260 before it is multiplied
        np.testing.assert_array_equal(layer(given).reshape(-1), jnp.full(30, 777.0, jnp.bfloat16))


def test_lanes_loops_and_batches_are_one_call_each():
    layer = layer_of("hubs")
    xs = jnp.asarray(np.stack([*SENT.values()]), jnp.float32)
    want = np.stack([layer(x) for x in xs])
    for got in (layer(xs), jax.vmap(layer)(xs), for_loop(layer, xs), layer(xs[None])[0]):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def test_one_weight_for_all_is_exact_in_any_order():
    layer = layer_of("shared")
    layer.weight.value = jnp.float32(0.1)
    spikes = jnp.asarray(SENT["many"], jnp.float32)
    counts = jnp.dot(spikes, matrix_of(layer, jnp.float32(1.0)))
    for x in (spikes, spikes[None]):
        np.testing.assert_array_equal(layer(x).reshape(-1), np.float32(0.1) * counts)


def test_the_time_is_that_of_the_spikes():
    text = str(jax.make_jaxpr(layer_of("each"))(jnp.zeros(IN)))
    assert "while" in text
    # Lanes and a batch have their spikes at different neurons: most of the matrix takes part.
    for run in (layer_of("each"), jax.vmap(layer_of("each")), jax.vmap(jax.jit(layer_of("each")))):
        assert "while" not in str(jax.make_jaxpr(run)(jnp.zeros((2, IN))))


def test_a_stack_of_layers_is_one_after_another():
    pairs = nn.fixed_probability(IN, IN, 0.3, rng=nn.RandomState(0))
    rng = nn.RandomState(1)
    stack = nn.Stack(3, lambda: nn.SparseLinear(IN, IN, pairs, rng=rng))
    x = want = jnp.asarray(SENT["a few"], jnp.float32)
    for i in range(3):
        want = want @ jnp.zeros((IN, IN)).at[pairs].add(stack.layers.weight.value[i])
    np.testing.assert_allclose(stack(x), want, rtol=1e-4, atol=1e-4)
    assert (stack.layers.weight.value[0] != stack.layers.weight.value[1]).all()


def test_a_second_call_outside_of_a_trace_compiles_nothing():
    layer, x, other = layer_of("each"), *(jnp.asarray(SENT[name], jnp.float32) for name in ("one", "a few"))
    layer(x)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        messages = []
        patch.setattr("logging.Logger.handle", lambda logger, record: messages.append(record.getMessage()))
        layer(other)
    assert not [text for text in messages if "Compiling" in text]


def test_a_recurrent_spiking_network_has_the_gradients_of_the_dense_one():
    def network(sparse):
        rng = nn.RandomState(0)
        layer = nn.SparseLinear(120, 120, nn.fixed_probability(120, 120, 0.8, rng=rng), rng=rng)
        if sparse:
            recurrent, states = layer, layer.states(nn.ParamState)
        else:
            recurrent = nn.Linear(120, 120, use_bias=False)
            recurrent.weight.value = matrix_of(layer, layer.weight.value)
            states = recurrent.states(nn.ParamState)
        neurons = nn.LIF(120, tau=5.0)
        drive = 3.0 * jax.random.uniform(jax.random.key(0), (120,))

        def step(spikes, _):
            spikes = neurons(recurrent(spikes) + drive)
            return spikes, spikes

        def loss():
            neurons.init_state()
            _, spikes = scan(step, jnp.zeros(120), None, length=20)
            return jnp.mean(jnp.sin(spikes * jnp.arange(120.0)[None]))

        return layer, jit(grad(loss, states))()["weight",]

    layer, ours = network(sparse=True)
    _, theirs = network(sparse=False)
    assert jnp.abs(ours).max() > 0
    np.testing.assert_allclose(ours, theirs[layer.connections], rtol=1e-3, atol=1e-6)
