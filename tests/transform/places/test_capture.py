"""The touched graph: what a function reaches by name, and the places that are watched."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, State
from brainstate_transform import jit
from tests.laws.transforms import Net

one = jnp.float32(1.0)


def test_a_rebound_helper_between_the_function_and_the_model():
    m = Net(2.0)

    def plus(x):
        return m(x)

    def minus(x):
        return -m(x)

    helper = plus
    f = jit(lambda x: helper(x))
    assert f(one) == 2.0
    helper = minus
    assert f(one) == -2.0


def test_a_rebound_helper_with_another_default():
    m = Net(2.0)

    def make(by):
        def helper(x, by=by):
            return m(x) * by

        return helper

    helper = make(1.0)
    f = jit(lambda x: helper(x))
    for by in (1.0, 3.0, 1.0):
        helper = make(by)
        assert f(one) == 2.0 * by


def test_a_rebound_callable_object():
    class Scale:
        def __init__(self, model, by):
            self.model, self.by = model, by

        def __call__(self, x):
            return self.model(x) * self.by

    m = Net(2.0)
    scale = Scale(m, 1.0)
    f = jit(lambda x: scale(x))
    assert f(one) == 2.0
    scale = Scale(Net(5.0), 1.0)
    assert f(one) == 5.0
    scale.model = Net(7.0)
    assert f(one) == 7.0


def test_a_model_that_appears_in_a_watched_container():
    models = {"a": Net(2.0)}
    f = jit(lambda x: sum(m(x) for m in models.values()))
    assert f(one) == 2.0
    models["b"] = Net(3.0)
    assert f(one) == 5.0
    del models["a"]
    assert f(one) == 3.0


def test_two_closure_variables_that_change_places():
    a, b = Net(2.0), Net(3.0)
    f = jit(lambda x: a(x) - b(x))
    assert f(one) == -1.0
    a, b = b, a
    assert f(one) == 1.0
    b = a
    assert f(one) == 0.0
    assert a.n.value == 4.0


def test_a_variable_that_is_emptied():
    a = Net(2.0)
    f = jit(lambda x: x if a is None else a(x))
    assert f(one) == 2.0
    a = None
    assert f(one) == 1.0
    a = Net(5.0)
    assert f(one) == 5.0


def test_a_variable_that_is_not_assigned_yet():
    f = jit(lambda x: late(x))
    with pytest.raises(NameError):
        f(one)
    late = Net(2.0)
    assert f(one) == 2.0


def test_cycles_between_functions_and_objects():
    class Holder:
        pass

    h = Holder()
    h.me, h.model = h, Net(2.0)

    def even(n, x):
        return x if n == 0 else odd(n - 1, h.model(x))

    def odd(n, x):
        return even(n - 1, h.me.model(x))

    f = jit(even, static_argnums=0)
    assert f(2, one) == 4.0
    h.model = Net(3.0)
    assert f(2, one) == 9.0


def test_a_state_in_a_closure_by_itself_and_in_a_model():
    m = Net(2.0)
    w = m.w

    @jit
    def f(x):
        w.value = w.value + x
        return m.w.value

    assert f(one) == 3.0
    assert m.w.value == 3.0
    m.w = State(jnp.float32(10.0))
    assert f(one) == 10.0
    assert w.value == 4.0


def test_a_node_held_by_a_method_of_another_node():
    shared = Net(2.0)

    class Outer(Node):
        def __init__(self):
            self.k = State(jnp.float32(1.0))

        def __call__(self, x):
            return shared(x) * self.k.value

    outer = Outer()
    f = jit(lambda x: outer(x))
    assert f(one) == 2.0
    shared.w.value = jnp.float32(3.0)
    assert f(one) == 3.0
    shared.rate = 2.0  # the method of a node is code that the function reaches
    assert f(one) == 6.0


def test_a_comprehension_and_a_default_factory():
    nets = [Net(2.0), Net(3.0)]
    f = jit(lambda x: sum([(lambda n=n: n(x))() for n in nets]))
    assert f(one) == 5.0
    nets.reverse()
    nets.append(Net(4.0))
    assert f(one) == 9.0


def test_names_in_the_code_of_the_library_are_no_places_of_the_user():
    # `init_all_states` looks at modules by such names; each would be asked at each call of every object of the user's.
    class Settings:
        scale = 2.0

    settings, net, count = Settings(), nn.Sequential(nn.GRUCell(2, 2)), []
    nn.init_all_states(net, 1)

    @jit
    def f(x):
        count.append(1)
        nn.init_all_states(net, 1)
        return net(x) * settings.scale

    f(jnp.ones((1, 2)))
    for name in ("init_state", "inits_what_it_holds", "_state"):
        setattr(settings, name, 1)
    f(jnp.ones((1, 2)))
    assert len(count) == 1
    settings.scale = 3.0
    f(jnp.ones((1, 2)))
    assert len(count) == 2
