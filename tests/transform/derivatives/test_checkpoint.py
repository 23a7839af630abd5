"""`checkpoint`: gradients equal, writes once, nothing remembered that was traced or closed over."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State
from brainstate_transform import checkpoint, grad, jit, remat, value_and_grad
from tests.laws.transforms import Net, Param, Runs, Stack

one = jnp.float32(1.0)


def test_gradients_are_those_of_the_plain_function():
    m = Stack(0.5, 0.7)
    f = lambda x: jnp.sin(m(jnp.sin(x)))
    states = [layer.w for layer in m.layers]
    np.testing.assert_allclose(grad(checkpoint(f), states)(one), grad(f, states)(one), rtol=1e-6)
    np.testing.assert_allclose(grad(checkpoint(f))(one), grad(f)(one), rtol=1e-6)
    assert m.layers[0].n.value == 4.0


@pytest.mark.parametrize("calls", [2, 3])
def test_one_checkpointed_function_in_several_traces(calls):
    w = Param(jnp.array(2.0))
    f = checkpoint(lambda x: jnp.sin(w.value * x))
    g = grad(f, w)
    for v in range(calls):
        w.value = jnp.array(float(v))
        np.testing.assert_allclose(g(1.0), np.cos(v), rtol=1e-5)
        np.testing.assert_allclose(f(1.0), np.sin(v), rtol=1e-5)
        np.testing.assert_allclose(jit(lambda x: f(x) + f(x))(1.0), 2 * np.sin(v), rtol=1e-5)


def test_a_write_at_each_call():
    s = State(jnp.array(0.0))

    @checkpoint
    def f(x):
        s.value = s.value + x
        return s.value

    assert [float(f(1.0)) for _ in range(3)] == [1.0, 2.0, 3.0]


def primitives(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for sub in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(sub, "eqns"):
                yield from primitives(sub)


def test_the_policy_is_used():
    w = Param(jnp.ones((3, 3)))
    f = lambda x: jnp.sum(jnp.sin(jnp.sin(x @ w.value) @ w.value))

    def dots(policy):
        text = str(jax.make_jaxpr(grad(checkpoint(f, policy=policy)))(jnp.ones((3, 3))))
        return text.count("dot_general")

    def plain(policy):
        value = w.value
        g = lambda x: jnp.sum(jnp.sin(jnp.sin(x @ value) @ value))
        return str(jax.make_jaxpr(jax.grad(jax.checkpoint(g, policy=policy)))(jnp.ones((3, 3)))).count("dot_general")

    nothing, everything = jax.checkpoint_policies.nothing_saveable, jax.checkpoint_policies.everything_saveable
    assert dots(nothing) == plain(nothing)
    assert dots(everything) == plain(everything)
    assert dots(nothing) > dots(everything)


def test_static_arguments():
    m = Net()
    f = checkpoint(lambda x, flag: m(x) if flag else -m(x), static_argnums=1)
    assert (f(one, True), f(one, False)) == (2.0, -2.0)
    assert (grad(f)(one, True), grad(f)(one, False)) == (2.0, -2.0)
    assert checkpoint(lambda flag, x: x if flag else -x, static_argnums=(0,))(False, one) == -1.0
    with pytest.raises(ValueError, match="static_argnums"):
        checkpoint(lambda x, n: x, static_argnums=-1)


def test_as_decorators():
    m = Net()

    @checkpoint(prevent_cse=False)
    def f(x):
        return m(x)

    @remat
    def g(x):
        return m(x)

    assert f(one) == g(one) == 2.0
    assert m.n.value == 2.0


def test_of_layers_in_a_jitted_training_step():
    m = Stack(0.5, 0.7, 0.9)
    params = [layer.w for layer in m.layers]

    def loss(x, wrap):
        for layer in m.layers:
            x = wrap(layer)(jnp.sin(x))
        return x

    step = jit(lambda x: grad(lambda x: loss(x, checkpoint), params)(x))
    for x in (1.0, 2.0):
        np.testing.assert_allclose(step(x), grad(lambda x: loss(x, lambda f: f), params)(x), rtol=1e-5)


def test_a_node_as_argument_and_result():
    a, b = Net(2.0), Net(3.0)
    f = checkpoint(lambda m, x: (m(x), m, Net(m.w.value)))
    for m, w in ((a, 2.0), (b, 3.0), (a, 2.0)):
        y, same, new = f(m, one)
        assert same is m
        assert (y, new.w.value) == (w, w)
    a.w.value = jnp.array(7.0)
    assert f(a, one)[0] == 7.0
    assert (a.n.value, b.n.value) == (3.0, 1.0)


def test_a_dropped_argument_is_collected():

    f, m = checkpoint(lambda m: m(one)), Net()
    f(m)
    gone = weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None


def test_static_arguments_of_a_method_are_counted_with_self():
    class Plain:
        def __init__(self):
            self.net = Net()

        @checkpoint(static_argnums=2)
        def call(self, x, flag):
            return self.net(x) if flag else -self.net(x)

    plain = Plain()
    assert (plain.call(one, True), plain.call(one, False)) == (2.0, -2.0)
    assert (grad(plain.call)(one, True), grad(plain.call)(one, False)) == (2.0, -2.0)
    assert plain.net.n.value == 4.0


def test_outside_of_a_trace_the_function_runs_in_python_once():
    m, runs = Net(), Runs()

    @checkpoint
    def f(x):
        runs()
        return m(x)

    assert [float(f(one)) for _ in range(3)] == [2.0, 2.0, 2.0]
    assert runs.count == 1
    m.rate = 3.0
    assert f(one) == 6.0
    assert (runs.count, m.n.value) == (2, 4.0)


@pytest.mark.filterwarnings("ignore:.* was traced three times")
def test_an_array_that_was_bound_anew_is_seen():
    factor, table = jnp.float32(1.0), {"a": np.ones(())}
    f = checkpoint(lambda x: x * factor * table["a"])
    for k in (1.0, 2.0, 1.0):
        factor = jnp.float32(k)
        assert f(one) == value_and_grad(f)(one)[0] == k
    table["a"] = 3.0
    assert f(one) == value_and_grad(f)(one)[0] == 3.0


def test_each_call_in_one_trace_has_the_values_of_its_moment():
    m = Net(2.0)
    remembered = checkpoint(lambda x: m.w.value * x)

    @jit
    def f(x):
        before = remembered(x)
        m.w.value = m.w.value * 3.0
        return before, remembered(x)

    assert f(jnp.float32(1.0)) == (2.0, 6.0)


def test_a_negative_static_position_of_a_checkpoint_is_refused():
    m = Net()
    with pytest.raises(ValueError, match="static_argnums=-1: count from the front"):
        checkpoint(lambda x, n: m(x) * n, static_argnums=-1)
    assert checkpoint(lambda x, n: m(x) * n, static_argnums=1)(one, 3) == 6.0
    assert m.n.value == 1.0
