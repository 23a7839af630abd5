"""Every layer over four devices, explicitly sharded; `test_laws.py` runs this file in a process that has as many."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_transform import jit
from tests.nn.layers import Layer, layers

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
