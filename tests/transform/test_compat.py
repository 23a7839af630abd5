"""Older spellings mean what today's mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import brainstate_transform as today
from brainstate_graph import Node, State
from brainstate_transform import BatchAxisError, compat
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


def test_a_derivative_by_a_transform_of_ones_own():
    w, seen = State(jnp.array([1.0, 2.0])), State(0.0)

    def loss(x):
        seen.value = seen.value + 1.0
        return jnp.sum(w.value * x**2), x

    def scaled(pure, argnums, has_aux, by):
        inner = jax.grad(pure, argnums=argnums, has_aux=has_aux)

        def wrapped(*args):
            found, aux = inner(*args)
            return jax.tree.map(lambda leaf: by * leaf, found), aux

        return wrapped

    x = jnp.array([3.0, -1.0])
    options = {"argnums": 0, "has_aux": True, "return_value": True, "transform_params": {"by": 2.0}}
    (by_state, by_x), value, aux = compat.GradientTransform(loss, scaled, {"w": w}, **options)(x)
    np.testing.assert_allclose(by_state["w"], 2 * x**2)
    np.testing.assert_allclose(by_x, 4 * w.value * x)
    assert float(value) == 11.0
    assert aux is not None
    assert float(seen.value) == 1.0
    np.testing.assert_allclose(compat.GradientTransform(jnp.sin, jax.jacrev)(x), np.diag(np.cos(x)), rtol=1e-6)
    with pytest.raises(ValueError, match="does not use these states"):
        compat.GradientTransform(lambda: 0.0, jax.grad, w)()
    assert compat.GradientTransform(lambda: 0.0, jax.grad, w, check_states=False)().tolist() == [0.0, 0.0]


def test_the_states_of_a_block():
    a, b, c = State(1.0), State(2.0), State(3.0)
    with compat.StateTraceStack(name="block") as stack:
        b.value = a.value
        _ = c.value, b.value
        inside = stack.get_write_states()
    c.value = 4.0
    assert stack.get_read_states() == (a, c)
    assert stack.get_write_states() == inside == (b,)
    with pytest.raises(AttributeError), compat.StateTraceStack() as stack:
        a.value = a.missing
    b.value = 2.0
    assert stack.states == []


def test_what_has_no_meaning_here_is_taken():
    total = State(jnp.zeros(2))

    def add(x):
        total.value = total.value + x
        return total.value

    mapped = compat.vmap2(add, state_in_axes={0: total}, state_out_axes={0: total}, unexpected_out_state_mapping="auto")
    assert mapped(jnp.arange(2.0)).tolist() == [0.0, 1.0]
    with pytest.raises(BatchAxisError, match="writes a value that differs per lane"):
        compat.vmap2(add, unexpected_out_state_mapping="ignore")(jnp.arange(2.0))
    assert float(compat.vector_grad(jnp.square, unit_aware=False)(3.0)) == 6.0
