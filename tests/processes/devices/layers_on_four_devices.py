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
    some = None if row.name == "Delay" else nn.RNN(cell, reverse=True, time_major=True)(xs, lengths=lengths)
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
        if some is not None:
            again = nn.RNN(cell, reverse=True, time_major=True)(sharded, lengths=lengths)
            np.testing.assert_allclose(np.asarray(again), np.asarray(some), rtol=2e-4, atol=2e-4)
