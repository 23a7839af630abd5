"""`bounded_while_loop`: Python's loop with an exact cap, and its gradients."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import BatchAxisError, bounded_while_loop, grad, jit, value_and_grad, vmap, while_loop
from tests.laws.transforms import Net, Param


def bounded(cond_fun, body_fun, init_val):
    return bounded_while_loop(cond_fun, body_fun, init_val, max_steps=50, base=4)


both = pytest.mark.parametrize("loop", [while_loop, bounded], ids=["while", "bounded"])


disabled = pytest.mark.parametrize("disabled", [False, True], ids=["jit", "disabled"])


@hypothesis.given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 5))
@hypothesis.settings(max_examples=8)
def test_the_bounded_loop_is_python_with_an_exact_cap(goal, max_steps, base):
    s = State(jnp.int32(0))

    def body(c):
        s.value += 3
        return c[0] + 1, c[1] * 1.25 + 1.0

    got = jit(lambda goal: bounded_while_loop(lambda c: c[0] < goal, body, (0, 0.0), max_steps=max_steps, base=base))(
        goal
    )
    n = min(goal, max_steps)
    want = 0.0
    for _ in range(n):
        want = want * 1.25 + 1.0
    assert got[0] == n
    np.testing.assert_allclose(got[1], want, rtol=1e-5)
    assert s.value == 3 * n


def test_a_false_condition_with_one_step():
    assert bounded_while_loop(lambda x: x < 0.0, lambda x: x + 1.0, 3.0, max_steps=1) == 3.0


def test_the_cap_is_exact_where_it_is_no_power_of_the_base():
    assert bounded_while_loop(lambda x: True, lambda x: x + 1, 0, max_steps=2, base=16) == 2
    assert bounded_while_loop(lambda x: True, lambda x: x + 1, 0, max_steps=17, base=16) == 17


@both
@disabled
def test_each_lane_stops_by_its_own_condition(loop, disabled):
    count = State(jnp.zeros(4, jnp.int32))
    rng, alone = nn.RandomState(5), nn.RandomState(5)

    def lane(x):
        def body(x):
            count.value += 1
            return x * 2.0 + rng.uniform()

        return loop(lambda x: x < 40.0, body, x)

    xs = jnp.array([1.0, 3.0, 9.0, 50.0])
    with jax.disable_jit(disabled):
        got = vmap(lane, in_states=count)(xs)
    key = jax.random.fold_in(*alone.value)
    for i, x in enumerate(xs):
        own, n = nn.RandomState(jax.random.fold_in(key, i)), 0
        while x < 40.0:
            x, n = x * 2.0 + own.uniform(), n + 1
        np.testing.assert_allclose(got[i], x, rtol=1e-6)
        assert count.value[i] == n
    assert rng.value[1] == 1


def test_lanes_are_done_when_the_last_one_is():
    # A block is left out when no lane is active: of 4096 steps only the first block of 16 runs its body.
    ran = []

    def body(x):
        jax.debug.callback(lambda: ran.append(1))
        return x + 1.0

    jit(vmap(lambda x: bounded_while_loop(lambda x: x < 3.0, body, x, max_steps=4096)))(jnp.arange(2.0))
    jax.effects_barrier()
    assert 3 * 2 <= len(ran) <= 16 * 2


def test_a_shared_state_written_per_lane_is_refused_by_name():
    m = Net()

    def lane(x):
        return while_loop(lambda x: x < 3.0, lambda x: (setattr(m.n, "value", m.n.value + 1.0), x + 1.0)[1], x)

    with pytest.raises(BatchAxisError, match=r"Net\.n"):
        vmap(lane)(jnp.arange(2.0))
    assert m.n.value == 0.0


def test_gradients_of_the_bounded_loop():
    w, h = Param(jnp.float32(1.3)), State(jnp.float32(1.0))

    def loss(x):
        h.value = x
        bounded_while_loop(
            lambda c: h.value < 50.0, lambda c: (setattr(h, "value", h.value * w.value + c), c)[1], x, max_steps=12,
            base=3,
        )  # fmt: skip
        return h.value

    def plain(w, x, steps):
        h = x
        for _ in range(steps):
            h = h * w + x
        return h

    def steps(x):
        n = 0
        while plain(1.3, x, n) < 50.0:
            n += 1
        return n

    value, grads = value_and_grad(loss, w, argnums=0)(jnp.float32(0.7))
    n = steps(0.7)
    np.testing.assert_allclose(value, plain(1.3, 0.7, n), rtol=1e-5)
    np.testing.assert_allclose(grads, jax.grad(plain, (0, 1))(1.3, 0.7, n), rtol=1e-4)
    per_lane = jit(vmap(lambda x: grad(loss, w)(x), out_states=h))(jnp.array([0.9, 0.7, 60.0]))
    np.testing.assert_allclose(per_lane, [jax.grad(plain)(1.3, x, steps(x)) for x in (0.9, 0.7, 60.0)], rtol=1e-4)
    h.value = jnp.float32(1.0)

    def summed():
        return jnp.sum(vmap(loss, out_states=h)(jnp.array([0.9, 0.7])))

    np.testing.assert_allclose(grad(summed, w)(), per_lane[:2].sum(), rtol=1e-4)


def test_forward_derivatives_of_both():
    def power(loop):
        return lambda x: loop(lambda y: y < 100.0, lambda y: y * x, x)

    for loop in (while_loop, bounded):
        value, along = jax.jvp(power(loop), (3.0,), (1.0,))
        np.testing.assert_allclose((value, along), (243.0, 405.0))
