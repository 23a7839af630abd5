"""Every layer over four devices, explicitly sharded; `test_several_devices.py` gives this file a process with four."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_transform import for_loop, jit
from tests.laws.layers import Layer, layers
from tests.laws.neurons import NEURONS

MESH = jax.make_mesh((4,), ("data",))  # with explicit axes, as is the default


def test_there_are_four_devices():
    assert len(jax.devices()) == 4
    assert MESH.axis_types == (jax.sharding.AxisType.Explicit,)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
@layers()
def test_a_batch_over_four_devices(row: Layer, compiled: bool) -> None:
    alone, inputs = row.make(), row.inputs()
    want = alone(*inputs)
    with jax.set_mesh(MESH):
        layer = row.make()  # made under the mesh
        sharded = [jax.device_put(x, NamedSharding(MESH, P("data"))) for x in inputs]
        out = (jit(layer) if compiled else layer)(*sharded)
    for ours, other in zip(jax.tree.leaves(out), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(other), rtol=2e-4, atol=2e-4)
        assert jax.typeof(ours).sharding.spec[0] == "data"


@pytest.mark.parametrize("leading", [(), (2,), (4, 3)], ids=str)
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_a_convolution_with_a_sharded_kernel(kind: type, leading: tuple[int, ...]) -> None:
    x = jax.random.normal(jax.random.key(0), (*leading, 9, 4))
    want = kind(4, 6, 3, rng=nn.RandomState(0))(x)
    batch = ("data", None)[: len(leading)]
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    with jax.set_mesh(mesh):
        layer = kind(4, 6, 3, rng=nn.RandomState(0))
        for state, spec in ((layer.weight, P(None, None, "model")), (layer.bias, P("model"))):
            state.value = jax.device_put(state.value, NamedSharding(mesh, spec))
        x = jax.device_put(x, NamedSharding(mesh, P(*batch)))
        with pytest.raises(Exception, match="out_sharding"):
            layer(x)
        wanted = P(*batch, None, "model")
        for spec in (wanted, NamedSharding(mesh, wanted)):
            out = jit(lambda x, spec=spec: layer(x, out_sharding=spec))(x)
            assert jax.typeof(out).sharding.spec == wanted
            np.testing.assert_allclose(np.asarray(out), np.asarray(want), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("spec", [P(None, "model"), P("model"), P("data", "model")], ids=str)
def test_statistics_keep_their_layout_where_the_features_are_sharded(spec: P) -> None:
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    xs = jax.random.normal(jax.random.key(0), (2, 8, 4))
    mask = np.arange(8)[:, None] < 6

    def run(place: Callable[[Any, P], Any]) -> tuple[nn.SpectralNorm, nn.BatchNorm, Any]:
        linear, batch = nn.Linear(4, 6, rng=nn.RandomState(0)), nn.BatchNorm(6)
        norm = nn.SpectralNorm(linear, rng=nn.RandomState(1))
        linear.weight.value = place(linear.weight.value, spec)

        def step(x: Any) -> Any:
            y = norm(x, out_sharding=None if place is keep else P("data", "model"))
            return batch(y, mask=place(mask, P("data"))) + batch(y)

        return norm, batch, for_loop(step, place(xs, P(None, "data")))

    def keep(x: Any, spec: P) -> Any:
        return x

    norm, batch, want = run(keep)
    with jax.set_mesh(mesh):
        other, gathered, out = run(lambda x, spec: jax.device_put(np.asarray(x), NamedSharding(mesh, spec)))
    pairs = [(out, want), (other.u["weight"].value, norm.u["weight"].value)]
    pairs += [(gathered.running_mean.value, batch.running_mean.value)]
    pairs += [(gathered.running_var.value, batch.running_var.value)]
    for ours, alone in pairs:
        np.testing.assert_allclose(np.asarray(ours), np.asarray(alone), rtol=1e-4, atol=1e-5)
        assert jax.typeof(ours).sharding.spec == (P(None, "data", "model") if ours is out else P(None))


@pytest.mark.parametrize("table", [P(), P("model"), P(None, "model")], ids=["whole", "by rows", "by features"])
def test_a_table_and_what_is_looked_up_over_two_axes(table: P) -> None:
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    layer, x = nn.Embedding(8, 4, padding_idx=3), jax.random.randint(jax.random.key(0), (4, 3), 0, 8)
    want = layer(x)
    logits = layer.attend(want)
    with jax.set_mesh(mesh):
        layer.weight.value = jax.device_put(np.asarray(layer.weight.value), NamedSharding(mesh, table))
        rows = layer(jax.device_put(np.asarray(x), NamedSharding(mesh, P("data"))))
        assert jax.typeof(rows).sharding.spec == P("data", None, "model" if len(table) == 2 else None)
        np.testing.assert_array_equal(np.asarray(rows), np.asarray(want))
        found = layer.attend(rows, out_sharding=P("data", None, None))
    np.testing.assert_allclose(np.asarray(found), np.asarray(logits), rtol=1e-5, atol=1e-6)


def test_a_correction_of_a_weight_that_is_split_by_its_inputs() -> None:
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    layer = nn.LoRA(8, 2, 4, base=nn.Linear(8, 4), b_init=jax.nn.initializers.normal(1.0))
    x = jax.random.normal(jax.random.key(0), (4, 8))
    want = layer(x)
    with jax.set_mesh(mesh):
        for state in (layer.base.weight, layer.lora_a):
            state.value = jax.device_put(np.asarray(state.value), NamedSharding(mesh, P("model")))
        y = layer(jax.device_put(np.asarray(x), NamedSharding(mesh, P("data", "model"))), out_sharding=P("data", None))
    assert jax.typeof(y).sharding.spec == P("data", None)
    np.testing.assert_allclose(np.asarray(y), np.asarray(want), rtol=1e-5, atol=1e-5)


SENT = {"whole": P(), "by neurons": P("model"), "batch": P("data"), "batch, by neurons": P("data", "model")}


@pytest.mark.parametrize("number", [20, 80], ids=["all connections", "events"])  # which takes 8192
def test_connections_over_two_axes(number: int) -> None:
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    layer = nn.SparseLinear(200, 152, nn.fixed_number(200, 152, number, rng=nn.RandomState(0)), rng=nn.RandomState(1))
    few = (np.arange(200) % 40 == 3).astype(np.float32)
    batch = np.stack([few, -few, 0 * few, np.linspace(-1, 1, 200, dtype=np.float32)])

    def slope(x: Any) -> jax.Array:
        return jax.grad(lambda x: jax.numpy.sin(layer(x)).sum())(x)

    for name, spec in SENT.items():
        x = batch if "batch" in name else few
        want = layer(x), slope(x)
        with jax.set_mesh(mesh):
            whole = layer.weight.value
            layer.weight.value = jax.device_put(np.asarray(whole), NamedSharding(mesh, P("model")))
            given = jax.device_put(x, NamedSharding(mesh, spec))
            found = layer(given), slope(given)
            compiled = jit(layer)(given), jit(slope)(given)
            layer.weight.value = whole
        for outs in (found, compiled):
            assert jax.typeof(outs[0]).sharding.spec == (P("data", None) if "batch" in name else P(None))
            for ours, alone in zip(outs, want, strict=True):
                np.testing.assert_allclose(np.asarray(ours), np.asarray(alone), rtol=1e-5, atol=1e-5, err_msg=name)
    split = jax.device_put(batch, NamedSharding(mesh, P("data")))
    for one_by_one in (jax.lax.map, lambda layer, xs: jax.vmap(layer)(xs)):
        run = jax.shard_map(lambda xs, f=one_by_one: f(layer, xs), mesh=mesh, in_specs=P("data"), out_specs=P("data"))
        np.testing.assert_allclose(np.asarray(run(split)), np.asarray(layer(batch)), rtol=1e-5, atol=1e-5)


def test_neurons_whose_features_are_spread_too() -> None:
    mesh = jax.make_mesh((2, 2), ("data", "model"))
    spec = P(None, "data", "model")
    for row in NEURONS:
        cell, (x,) = row.make(), row.inputs()
        xs = jax.numpy.stack([x, 2 * x, -x])
        want = nn.RNN(cell, time_major=True)(xs)
        with jax.set_mesh(mesh):
            out = jit(nn.RNN(cell, time_major=True))(jax.device_put(xs, NamedSharding(mesh, spec)))
        assert jax.typeof(out).sharding.spec == spec, row.name
        np.testing.assert_allclose(np.asarray(out), np.asarray(want), rtol=2e-4, atol=2e-4, err_msg=row.name)


CELLS = ("LSTMCell", "LIF", "Delay")


@layers(lambda row: row.name in CELLS)
def test_hidden_states_over_four_devices_in_a_loop(row: Layer) -> None:
    cell, (x,) = row.make(), row.inputs()
    xs, lengths = jax.numpy.stack([x, 2 * x, -x]), np.array([3, 1, 0, 2])
    cell.reset_state()
    want = for_loop(cell, xs)
    some = nn.RNN(cell, reverse=True, time_major=True)(xs, lengths=lengths)
    with jax.set_mesh(MESH):
        sharded = jax.device_put(xs, NamedSharding(MESH, P(None, "data")))
        runner = nn.RNN(cell, time_major=True)
        cell.init_state(len(x), out_sharding=P("data"))
        outs = [jit(for_loop)(cell, sharded), runner(sharded), jit(runner)(sharded)]
        for state in cell.states(nn.HiddenState).values():
            assert state.value.ndim == 0 or jax.typeof(state.value).sharding.spec[0] == "data"
        cell.reset_state()
        outs.append(for_loop(cell, sharded))
        for out in outs:
            np.testing.assert_allclose(np.asarray(out), np.asarray(want), rtol=2e-4, atol=2e-4)
            assert jax.typeof(out).sharding.spec[1] == "data"
        again = nn.RNN(cell, reverse=True, time_major=True)(sharded, lengths=lengths)
        np.testing.assert_allclose(np.asarray(again), np.asarray(some), rtol=2e-4, atol=2e-4)


def test_a_window_while_decoding_over_four_devices() -> None:
    def run(place: Callable[[np.ndarray], Any]) -> list[Any]:
        layer = nn.MultiHeadAttention(
            2, 8, window=3, softcap=2.0, rotary=nn.RotaryEmbedding(4, rotary_size=2), normalize_qk=nn.RMSNorm,
            attention_dot_general=jax.lax.dot_general, rng=nn.RandomState(0),
        )  # fmt: skip
        x, mask = (
            place(np.asarray(jax.random.normal(jax.random.key(0), (4, 7, 8)))),
            place(np.ones((4, 1, 1, 20), bool)),
        )
        layer.init_cache(4, 20)
        bias = np.arange(20, dtype=np.float32)[None]
        step = jit(lambda x: layer(x, decode=True, mask=mask, bias=bias, return_weights=True))
        found = [step(part) for part in (x[:, :4], x[:, 4:5], x[:, 5:])]
        return jax.tree.leaves([found, layer.cache.key.value, layer.cache.value.value])

    want = run(np.asarray)
    with jax.set_mesh(MESH):
        found = run(lambda x: jax.device_put(x, NamedSharding(MESH, P("data"))))
    for ours, alone in zip(found, want, strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(alone), rtol=2e-4, atol=2e-4)
        assert jax.typeof(ours).sharding.spec[0] == "data"
