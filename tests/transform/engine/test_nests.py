"""Nests of transforms against numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import clone, treefy_states, update_states
from brainstate_transform import cond, for_loop, grad, jit, value_and_grad, vmap
from tests.laws.transforms import Net, Param, Runs


@pytest.mark.counts_traces
def test_jit_of_for_loop_of_grad_of_cond():
    w, runs = Param(jnp.array(2.0)), Runs()

    def branch(x):
        runs()
        return w.value**2 * x

    def body(x):
        return grad(lambda: cond(x > 1.0, branch, lambda x: x * w.value, x), w)()

    f = jit(lambda xs: for_loop(body, xs))
    np.testing.assert_allclose(f(jnp.array([0.5, 2.0])), [0.5, 8.0])
    assert runs.count <= 2


def test_per_example_gradients():
    w = Param(jnp.array([1.0, 2.0]))
    xs = jnp.arange(6.0).reshape(3, 2)
    loss = lambda x: jnp.sum(jnp.sin(w.value * x))
    got = vmap(grad(loss, w))(xs)
    want = jax.vmap(jax.grad(lambda w, x: jnp.sum(jnp.sin(w * x))), (None, 0))(w.value, xs)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_grad_of_vmap():
    w = Param(jnp.array(2.0))
    xs = jnp.arange(3.0)
    got = grad(lambda: jnp.sum(vmap(lambda x: jnp.sin(w.value * x))(xs)), w)()
    want = jax.grad(lambda w: jnp.sum(jnp.sin(w * xs)))(w.value)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_grad_of_for_loop_through_a_written_state():
    w, h = Param(jnp.array(0.5)), Param(jnp.array(1.0))

    def body(x):
        h.value = jnp.tanh(w.value * h.value + x)
        return h.value

    xs = jnp.arange(4.0)

    def plain(w, h):
        def body(h, x):
            h = jnp.tanh(w * h + x)
            return h, h

        return jnp.sum(jax.lax.scan(body, h, xs)[1])

    got = grad(lambda: jnp.sum(for_loop(body, xs)), [w, h])()
    want = jax.grad(plain, (0, 1))(jnp.array(0.5), jnp.array(1.0))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_vmap_of_for_loop_with_a_state_per_lane():
    h = Param(jnp.zeros(3))

    def run(x):
        for_loop(lambda i: setattr(h, "value", h.value + x * i), jnp.arange(4.0))
        return h.value

    out = vmap(run, in_states=h)(jnp.arange(3.0))
    np.testing.assert_allclose(out, 6.0 * np.arange(3.0))
    np.testing.assert_allclose(h.value, 6.0 * np.arange(3.0))


def test_vmap_of_cond_with_a_batched_predicate():
    h = Param(jnp.zeros(4))

    def run(x):
        def yes(x):
            h.value = h.value + x
            return x

        return cond(x > 1.0, yes, lambda x: -x, x)

    np.testing.assert_allclose(vmap(run, in_states=h)(jnp.arange(4.0)), [0.0, -1.0, 2.0, 3.0])
    np.testing.assert_allclose(h.value, [0.0, 0.0, 2.0, 3.0])


def test_for_loop_of_vmap():
    h = Param(jnp.zeros(3))

    def lane(x):
        h.value = h.value + x

    for_loop(lambda i: vmap(lane, in_states=h)(jnp.arange(3.0) * i), jnp.arange(3.0))
    np.testing.assert_allclose(h.value, 3.0 * np.arange(3.0))


def test_an_optax_step_over_state_trees_inside_jit_trains():
    import optax

    m, oracle = Net(0.0), jnp.array(0.0)
    optimiser = optax.adam(0.1)
    opt_state = optimiser.init(treefy_states(m, Param))
    plain_state = optimiser.init(oracle)

    @jit
    def train(opt_state, x, y):
        loss, _ = value_and_grad(lambda: (m(x) - y) ** 2, m.w)()
        params = treefy_states(m, Param)
        grads = grad(lambda: (m(x) - y) ** 2, m.w)()
        grads = jax.tree.map(lambda _: grads, params)
        updates, opt_state = optimiser.update(grads, opt_state, params)
        update_states(m, optax.apply_updates(params, updates))
        return opt_state, loss

    losses = []
    for _ in range(20):
        opt_state, loss = train(opt_state, jnp.float32(2.0), jnp.float32(3.0))
        losses.append(float(loss))
        g = jax.grad(lambda w: (w * 2.0 - 3.0) ** 2)(oracle)
        updates, plain_state = optimiser.update(g, plain_state, oracle)
        oracle = optax.apply_updates(oracle, updates)
    assert losses[-1] < losses[0] / 10
    np.testing.assert_allclose(m.w.value, oracle, rtol=1e-5)
    assert m.n.value == 40.0


def test_clone_of_a_clone_across_three_levels():
    m = Net(2.0)

    @jit
    def f(x):
        a = clone(m)
        a.w.value = a.w.value + x

        def inner():
            b = clone(a)
            b.w.value = b.w.value * 2.0
            return b.w.value * a.w.value

        return grad(inner, a.w)(), a.w.value

    g, w = f(jnp.float32(1.0))
    assert (g, w) == (12.0, 3.0)  # d(2 w * w)/dw at 3
    assert m.w.value == 2.0
