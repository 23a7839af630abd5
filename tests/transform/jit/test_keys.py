"""What is in the key of a program, and what is not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, register_state_hook
from brainstate_transform import StatefulFunction, grad, jit
from tests.laws.transforms import Net, Runs, same

one = jnp.float32(1.0)


def test_keys_do_not_depend_on_the_order_of_keywords():
    sf = StatefulFunction(lambda **kw: kw["a"] + kw["b"])
    assert sf.get_arg_cache_key(a=one, b=2.0) == sf.get_arg_cache_key(b=2.0, a=one)
    runs = Runs()
    f = jit(lambda **kw: runs() or kw["a"] + kw["b"])
    f(a=one, b=one)
    f(b=one, a=one)
    assert runs.count == 1 or jax.config.jax_check_tracer_leaks


def test_a_decorator_is_used_twice():
    decorate = jit(static_argnames="n")
    f, g = decorate(lambda x, n: x * jnp.ones(n)), decorate(lambda n, x: x + jnp.ones(n))
    for _ in range(2):
        assert f(one, n=3).shape == (3,)
        assert g(4, one).shape == (4,)


@pytest.mark.counts_traces
def test_a_state_of_another_shape_or_dtype():
    s, runs = State(jnp.ones(3)), Runs()

    @jit
    def f(x):
        runs()
        s.value = s.value * 2
        return s.value.sum() * x

    assert f(one) == 6.0
    s.value = jnp.ones((2, 2))
    assert f(one) == 8.0
    s.value = jnp.ones(3, jnp.int32)
    assert f(one) == 6.0
    assert s.value.dtype == jnp.int32
    s.value = {"a": jnp.ones(2)}
    with pytest.raises(TypeError):
        f(one)
    assert set(s.value) == {"a"}
    s.value = jnp.ones(3)
    assert f(one) == 6.0
    assert runs.count == 4


@pytest.mark.counts_traces
def test_two_shapes_of_a_state_alternate_without_new_traces():
    s, runs = State(jnp.ones(3)), Runs()
    f = jit(lambda: runs() or s.value.sum())
    for _ in range(3):
        for n in (3, 5):
            s.value = jnp.ones(n)
            assert f() == n
    assert runs.count == 2


@pytest.mark.counts_traces
def test_custom_containers_find_their_program():
    @jax.tree_util.register_pytree_node_class
    class Quantity:  # equal by value, hashed by identity
        def __init__(self, value, unit):
            self.value, self.unit = value, unit

        def tree_flatten(self):
            return (self.value,), self.unit

        @classmethod
        def tree_unflatten(cls, unit, children):
            return cls(children[0], unit)

    m, runs = Net(), Runs()
    s = State(Quantity(one, "mV"))

    @jit
    def f(q):
        runs()
        s.value = Quantity(s.value.value + q.value, q.unit)
        return m(q.value)

    for n in range(4):
        f(Quantity(one * n, "mV"))
    assert runs.count == 1
    assert (s.value.value, s.value.unit) == (7.0, "mV")


def test_initialising_a_module_again():
    m = Net()
    f = jit(lambda x: m(x))
    f(one)
    old = m.n
    Net.__init__(m, 5.0)
    assert f(one) == 5.0
    assert (m.n.value, old.value) == (1.0, 1.0)


def test_attributes_changed_after_the_first_call():
    m = Net()
    compiled, gradient = jit(lambda x: m(x)), grad(lambda x: m(x))
    for rate in (1.0, 3.0, 1.0):
        m.rate = rate
        assert compiled(one) == gradient(one) == 2.0 * rate


def test_modes_are_attributes_so_they_are_in_the_key():
    # There is no ambient context that a program could miss: how a Dropout behaves is an attribute of it.
    drop = nn.Dropout(0.5)
    f = jit(lambda x: drop(x))
    x = jnp.ones(64)
    nn.seed(0)
    assert (f(x) == 0).any()
    drop.eval()
    assert (f(x) == 1.0).all()
    drop.train()
    assert (f(x) == 0).any()


def test_a_weakly_typed_state_gives_the_dtypes_of_eager_code():
    s, t = State(1.0), State(1.0)
    x = jnp.ones(2, jnp.bfloat16)

    def step(s):
        s.value = s.value * 2
        return s.value * x

    f = jit(lambda: step(s))
    for value in (1.0, jnp.float32(1.0), 1.0, np.float32(2.0), jnp.bfloat16(1)):
        s.value = t.value = value
        got, want = f(), step(t)
        assert got.dtype == want.dtype
        assert same(s.value, t.value)


@pytest.mark.parametrize("options", [{}, {"donate_states": True}], ids=["plain", "donating"])
def test_a_hook_that_transforms_runs_once(options):
    s = State(jnp.zeros(()))

    def add_one(context):
        context.value = context.value + 1.0

    f = jit(lambda: setattr(s, "value", 5.0 * one), **options)
    with register_state_hook("write_before", add_one):
        for _ in range(2):
            f()
            assert s.value == 6.0
        f.compile()()
        assert s.value == 6.0
