"""Every layer over four devices, explicitly sharded; `test_laws.py` runs this file in a process that has as many."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

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
