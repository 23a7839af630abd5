"""A program that is given few of many states is made from the trace for all of them."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State
from brainstate_transform import jit
from tests.laws.transforms import Net, Param, Runs, Stack

one = jnp.float32(1.0)


@pytest.mark.parametrize("unused", [0, 40], ids=["whole", "the used ones"])
def test_equations_of_every_form_survive_the_second_look(unused):
    """A program that is given only what it uses is made by evaluating the traced one again."""
    m = Stack(*[2.0] * (1 + unused))
    constant = jnp.arange(3.0)

    @jax.jit
    def half_used(x, unused):
        return x * 2.0

    @jax.checkpoint
    def remat(x, unused):
        return jnp.sin(x)

    def pure(w, x):
        with_constant = jax.lax.scan(lambda c, i: (c + constant[i], c), x, jnp.arange(3))[0]
        ignoring = jax.lax.scan(lambda c, _: (c, jnp.sum(constant)), x, None, length=2)[1]
        doubled = half_used(w, x) + remat(x, w)
        return with_constant + jnp.sum(ignoring) + doubled + jnp.sum(jnp.cos(constant))

    f = jit(lambda x: pure(m.layers[0].w.value, x))
    for _ in range(2):
        np.testing.assert_allclose(f(one), pure(jnp.float32(2.0), one), rtol=1e-6)


NET = Net(2.0)


def _helper(x):
    return NET(x)


@pytest.mark.counts_traces
def test_three_of_a_thousand():
    m, runs = Stack(*range(500)), Runs()

    @jit
    def f(x):
        runs()
        return m.layers[1].w.value * x + m.layers[2](x)

    assert f(one) == 3.0
    assert runs.count == 1
    assert f(one) == 3.0
    assert f(one) == 3.0
    assert runs.count == 1
    assert m.layers[2].n.value == 3.0


@pytest.mark.counts_traces
def test_later_calls_may_use_other_states():
    m, runs = Stack(*range(100)), Runs()

    @jit(static_argnums=0)
    def f(i, x):
        runs()
        m.layers[i].n.value = m.layers[i].n.value + jnp.sum(x)
        return m.layers[i].w.value * x + m.layers[x.size].w.value

    for _ in range(2):
        for i in (3, 50, 99):
            np.testing.assert_allclose(f(i, one), i + 1.0)
            np.testing.assert_allclose(f(i, jnp.ones(2)), jnp.full(2, i + 2.0))
    assert runs.count == 6
    assert [m.layers[i].n.value for i in (2, 3, 50, 99)] == [0.0, 6.0, 6.0, 6.0]


def test_unused_states_of_any_kind_are_no_obstacle():
    m = Stack(*range(30))
    m.extra = [
        State(jax.random.split(jax.random.key(0), 2)), State(None), State(3), State(True), State({"a": 1.0}),
        State(np.zeros((0, 2))), State(jnp.ones(2, jnp.bfloat16)), State(1j),
    ]  # fmt: skip
    f = jit(lambda x: m.layers[3].w.value * x)
    assert f(one) == 3.0
    m.extra[3].value = jnp.ones((3, 3))
    assert f(one) == 3.0
    f = jit(lambda x: (m.layers[3].w.value * x, jax.random.normal(m.extra[0].value[1])))
    assert f(one)[1] == jax.random.normal(m.extra[0].value[1])


def test_a_global_and_its_rebinding(monkeypatch):
    f = jit(lambda x: NET.w.value * x)
    g = jit(lambda x: _helper(x))
    assert (f(one), g(one)) == (2.0, 2.0)
    monkeypatch.setitem(globals(), "NET", Net(5.0))
    assert (f(one), g(one)) == (5.0, 5.0)
    monkeypatch.setitem(globals(), "_helper", lambda x: -NET.w.value * x)
    assert g(one) == -5.0


@pytest.mark.counts_traces
def test_a_state_behind_the_module_table():
    runs = Runs()

    def f(x):
        runs()
        return sys.modules[__name__].__dict__["NET"](x)

    jitted = jit(f)
    NET.n.value = jnp.zeros(())
    assert jitted(one) == 2.0
    assert runs.count == 2  # one retry
    NET.w.value = jnp.float32(3.0)
    assert jitted(one) == 3.0
    assert NET.n.value == 2.0
    assert runs.count == 2
    NET.w.value = jnp.float32(2.0)


def test_strays_that_come_one_by_one():
    hidden = {i: State(jnp.array(float(i))) for i in range(4)}
    key = "hidden-states-of-this-test"
    sys.modules[key] = hidden
    try:
        f = jit(lambda i, x: sys.modules[key][i].value * x, static_argnums=0)
        for _ in range(2):
            assert [float(f(i, one)) for i in range(4)] == [0.0, 1.0, 2.0, 3.0]
        hidden[2].value = jnp.array(7.0)
        assert f(2, one) == 7.0
    finally:
        del sys.modules[key]


def test_a_stray_that_is_also_an_argument():
    a, b = Net(2.0), Net(3.0)
    key = "strays-of-this-test"
    sys.modules[key] = {"a": a, "b": b}
    try:

        @jit
        def f(m):
            found = sys.modules[key]
            return m.w.value, found["a"].w.value, found["b"].w.value

        for m, w in ((Net(1.0), 1.0), (a, 2.0), (b, 3.0), (a, 2.0)):
            assert f(m) == (w, 2.0, 3.0)
    finally:
        del sys.modules[key]


def test_a_program_given_some_states_inside_a_raw_trace():
    many = [Param(jnp.float32(i)) for i in range(20)]
    f = jit(lambda x, i: many[i].value * x, static_argnums=1)
    assert f(one, 1) == 1.0
    assert jax.grad(lambda x: f(x, 5))(one) == 5.0
    assert jax.grad(lambda x: jit(lambda y: many[3].value * x * y)(one))(one) == 3.0
    np.testing.assert_allclose(jax.vmap(lambda x: f(x, 7))(jnp.arange(3.0)), 7.0 * jnp.arange(3.0))
    assert (f(one, 7), f(one, 1)) == (7.0, 1.0)


def test_the_shapes_of_a_program_given_some_states_are_asked_inside_a_trace():
    many = [Param(jnp.float32(i)) for i in range(20)]
    f = jit(lambda x, i: many[i].value * x, static_argnums=1)
    assert f(one, 1) == 1.0

    @jit
    def outer(x):
        many[5].value = many[5].value + x
        return jnp.zeros(f.eval_shape(x, 5).shape) + f(x, 5)

    assert (outer(one), f(one, 5), f(one, 1)) == (6.0, 6.0, 1.0)
