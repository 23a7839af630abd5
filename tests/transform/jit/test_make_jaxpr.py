"""`make_jaxpr`: the jaxpr and the states of a function."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from brainstate_transform import StatefulFunction, make_jaxpr
from tests.laws.transforms import Net

x = jnp.array([0.5, 0.5])


one = jnp.float32(1.0)


def test_axis_env():
    sf = StatefulFunction(lambda x: jax.lax.psum(x, "i"), axis_env=[("i", 4)])
    assert sf.get_out_shapes(one)[0].shape == ()
    jaxpr, _ = make_jaxpr(lambda x: x * jax.lax.axis_index("i"), axis_env=[("i", 4)])(one)
    assert "axis_index" in str(jaxpr)


def test_make_jaxpr():
    m = Net()
    jaxpr, states = make_jaxpr(lambda x: m(x))(one)
    assert set(states) == {m.w, m.n}
    assert (len(jaxpr.jaxpr.invars), len(jaxpr.jaxpr.outvars)) == (3, 3)
    jaxpr, states, shape = make_jaxpr(lambda x: m(x), return_shape=True, return_only_write=True)(one)
    assert shape.shape == ()
    assert len(jaxpr.jaxpr.outvars) == 2
    assert m.n.value == 0.0
    jaxpr, states = make_jaxpr(lambda x, n: x * n, static_argnums=-1)(one, 3)
    assert len(jaxpr.jaxpr.invars) == 1
