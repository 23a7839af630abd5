"""Older spellings mean what today's mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

import brainstate_transform as today
from brainstate_graph import Node, State
from brainstate_transform import compat
from tests.laws.transforms import Net, Param
from tests.tables import each

one = jnp.float32(3.0)


@each("name", ["grad", "vector_grad", "jacrev", "jacfwd", "jacobian"])
def test_grad_states_is_wrt(name):
    m = Net(2.0)
    old, new = getattr(compat, name), getattr(today, name)
    want = new(lambda x: m(x), m.w)(one)
    assert old(lambda x: m(x), grad_states=m.w)(one) == old(lambda x: m(x), m.w)(one) == want == 3.0
    assert old(lambda x: x * 1.0, grad_states=m.w, check_states=False)(one) == 0.0
    with pytest.raises(ValueError, match=r"Net\.w"):
        old(lambda x: x * 1.0, grad_states=m.w)(one)


def test_return_value_and_the_first_name():
    m = Net(2.0)
    assert compat.grad(lambda x: m(x), grad_states=m.w, return_value=True)(one) == (3.0, 6.0)
    assert compat.vector_grad(func=lambda x: m(x), grad_states=m.w)(one) == 3.0
    assert compat.hessian(lambda x: m.w.value**2 * x, grad_states=m.w)(one) == 6.0


def test_fwd_grad():
    key = jax.random.key(0)
    want = today.fwd_grad(lambda x: 3.0 * x, key=key, samples=4, clip=1.0)(one)
    assert compat.fwd_grad(lambda x: 3.0 * x, key=key, tangent_size=4, drct_der_clip=1.0)(one) == want


def test_vjp():
    m = Net(2.0)
    out, back = compat.vjp(lambda x: m(x), one, grad_states=m.w)
    assert out == 6.0
    assert back(jnp.float32(1.0)) == (3.0, 2.0)  # the weight's, then that of the argument
    assert compat.vjp(lambda x: 3.0 * x, one)[1](jnp.float32(1.0)) == 3.0
    assert compat.vjp(lambda: m(one), grad_states=m.w)[1](jnp.float32(1.0)) == 3.0


def test_a_gradient_transform():
    m = Net(2.0)
    assert compat.GradientTransform(lambda x: m(x), compat.grad, grad_states=m.w)(one) == 3.0


@each("name", ["vmap", "vmap2", "StatefulMapping"])
def test_axes_of_states(name):
    total = State(jnp.zeros((2, 3)))

    def add(x):
        total.value = total.value + x

    getattr(compat, name)(fn=add, state_in_axes={1: total}, state_out_axes={1: total})(jnp.arange(3.0))
    assert total.value.tolist() == [[0.0, 1.0, 2.0]] * 2


def test_new_states():
    class Made(Node):
        def init_all_states(self, size):
            self.h = State(jnp.zeros(size))

    made = Made()
    compat.vmap2_new_states(made, {"size": 2}, state_tag="lanes", axis_size=3)
    assert made.h.value.shape == (3, 2)
    assert "lanes" in made.h.tag

    other = Made()
    compat.vmap_new_states(lambda: other.init_all_states(2), axis_size=3, state_tag="lanes")()
    assert other.h.value.shape == (3, 2)


def test_shard_map():
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    total = State(jnp.zeros(4))

    def add(x):
        total.value = total.value + x
        return x

    f = compat.shard_map(add, mesh, P("i"), P("i"), state_in_specs=P("i"), state_out_specs=P("i"))
    f(jnp.arange(4.0))
    assert total.value.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_remat():
    m = Net(2.0)
    assert today.grad(compat.remat(lambda x: m(x)), m.w)(one) == 3.0
    assert isinstance(m.w, Param)
