"""What crosses into a compiled program: donated states, and shardings of arguments."""

from __future__ import annotations

import gc
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import SingleDeviceSharding

import brainstate_nn as nn
from brainstate_graph import Node, State, TraceContextError
from brainstate_transform import LostStateError, cond, for_loop, grad, jit, value_and_grad, vmap
from tests.laws.transforms import Param, Runs, same, values
from tests.tables import each

one = jnp.float32(1.0)
HERE = SingleDeviceSharding(jax.devices()[0])


class Two(Node):
    def __init__(self):
        self.w, self.h = Param(jnp.ones(4)), State(jnp.ones(4))

    def __call__(self, x):
        self.w.value, self.h.value = self.w.value + x, self.h.value * 2.0


# -- the memory of a training step


class MLP(nn.Module):
    def __init__(self, width=64):
        self.layers = [nn.Linear(width, width) for _ in range(3)]

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return x


@pytest.mark.parametrize("donated", [False, True])
def test_the_memory_of_an_adam_step_is_that_of_a_hand_written_one(donated):
    nn.seed(0)
    net, x, tx = MLP(), jnp.ones((8, 64)), optax.adam(1e-3)
    params = net.states(nn.ParamState)
    optimizer = nn.Optimizer(params, tx)

    def step(x):
        value, grads = value_and_grad(lambda: jnp.mean(net(x) ** 2), params)()
        optimizer.update(grads)
        return value

    def by_hand(weights, opt, steps, x):
        def loss(weights):
            y = x
            for n in range(3):
                y = jnp.tanh(y @ weights["layers", n, "weight"] + weights["layers", n, "bias"][None])
            return jnp.mean(y**2)

        value, grads = jax.value_and_grad(loss)(weights)
        updates, opt = tx.update(grads, opt, weights)
        return value, optax.apply_updates(weights, updates), opt, steps + 1

    weights = {path: jnp.copy(state.value) for path, state in params.items()}
    given = (weights, tx.init(weights), jnp.int32(0), x)  # an Optimizer counts its steps too
    raw = jax.jit(by_hand, donate_argnums=(0, 1, 2) if donated else ()).lower(*given).compile()
    f = jit(step, donate_states=donated)
    ours, theirs = f.compile(x).memory_analysis(), raw.memory_analysis()
    for size in ("argument", "output", "alias", "temp"):
        name = f"{size}_size_in_bytes"
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.alias_size_in_bytes > 0) == donated
    before = [state.value for state in params.values()]
    value = f(x)
    assert all(array.is_deleted() == donated for array in before)
    want, weights, *_ = by_hand(*given)
    assert same(value, want)
    assert same({path: state.value for path, state in params.items()}, weights)


# -- which states are donated

SELECTORS = {
    "a state": lambda m: m.w,
    "a list": lambda m: [m.w],
    "by path": lambda m: m.states(Param) if hasattr(m, "states") else {"w": m.w},
    "a filter": lambda m: Param,
    "a path": lambda m: "w",
    "a glob": lambda m: "*.w",
}


@each("selector", SELECTORS.values(), ids=SELECTORS)
@each("passed", [False, True], ids=["captured", "passed"])
def test_states_by_selector(selector, passed):
    m = Two()
    f = jit(lambda net, x: net(x), donate_states=selector(m)) if passed else None
    g = jit(lambda x: m(x), donate_states=selector(m))
    for n in (2.0, 3.0, 4.0):
        w, h = m.w.value, m.h.value
        f(m, one) if passed else g(one)
        assert (w.is_deleted(), h.is_deleted()) == (True, False)
        np.testing.assert_allclose(m.w.value, np.full(4, n))


def test_all_states_of_a_node():
    m, other = Two(), Two()

    @jit(donate_states=m)
    def f(x):
        m(x)
        other(x)

    before = [s.value for s in (m.w, m.h, other.w, other.h)]
    f(one)
    assert [b.is_deleted() for b in before] == [True, True, False, False]


def test_a_state_named_for_one_model_is_not_donated_for_another_of_its_shape():
    a, b = Two(), Two()
    f = jit(lambda net, x: net(x), donate_states=a.w)
    for m, deleted in ((a, True), (b, False), (a, True), (b, False)):
        w = m.w.value
        f(m, one)
        assert w.is_deleted() == deleted
    assert same(values(a), values(b))


def test_states_that_are_only_read_are_not_donated():
    m = Two()

    @jit(donate_states=m)
    def f(x):
        m.h.value = m.h.value + m.w.value * x

    w, h = m.w.value, m.h.value
    f(one)
    assert (w.is_deleted(), h.is_deleted()) == (False, True)


def test_a_state_that_holds_a_tree_or_nothing():
    tree, nothing = State({"a": jnp.ones(3), "b": [jnp.zeros(2)]}), State(None)

    @jit(donate_states=[tree, nothing])
    def f():
        tree.value = jax.tree.map(lambda x: x + 1.0, tree.value)
        nothing.value = None

    a = tree.value["a"]
    f()
    f()
    assert a.is_deleted()
    assert tree.value["a"][0] == 3.0
    assert nothing.value is None


@each(
    ("selector", "error", "text"),
    [
        ("nope", ValueError, r"donate_states='nope' selects no state"),
        (3, TypeError, r"donate_states is 3, which names no states"),
        ([State, 3], TypeError, r"donate_states\[1\] is 3, which names no states"),
        ({}, ValueError, r"donate_states=\{\} selects no state"),
    ],
    ids=["no such path", "a number", "a number in a list", "nothing"],
)
def test_bad_selectors_are_refused_before_anything_runs(selector, error, text):
    m, runs = Two(), Runs()

    def f(x):
        runs()
        m(x)

    with pytest.raises(error, match=text):
        jit(f, donate_states=selector)(one)
    assert runs.count == 0
    assert m.w.value[0] == 1.0


def test_a_state_that_the_function_does_not_use_is_refused_by_name():
    m, other = Two(), Two()
    with pytest.raises(ValueError, match=r"donate_states names Param at Two\.w, which `.*<lambda>` does not use"):
        jit(lambda x: m(x), donate_states=other.w)(one)
    assert m.w.value[0] == 1.0
    before = m.w.value
    jit(lambda x: m(x), donate_states=[m.w, m])(one)  # named by two ways
    assert m.w.value[0] == 2.0
    assert before.is_deleted()


# -- when it goes wrong


def test_states_that_share_a_buffer_are_both_named():
    m = Two()
    m.h.value = m.w.value
    f = jit(lambda x: m(x), donate_states=True)
    with pytest.raises(ValueError, match=r"State at Two\.h and Param at Two\.w hold the same array.*Copy it"):
        f(one)
    m.h.value = jnp.array(m.w.value)
    f(one)
    assert m.w.value[0] == 2.0


def test_two_arrays_on_one_buffer_are_named():
    m = Two()
    m.h.value = jax.make_array_from_single_device_arrays((4,), HERE, [m.w.value])
    assert m.h.value is not m.w.value
    f = jit(lambda x: m(x), donate_states=True)
    with pytest.raises(ValueError, match=r"State at Two\.h and Param at Two\.w hold the same array"):
        f(one)
    assert not m.w.value.is_deleted()


def test_a_donated_state_that_is_also_an_argument_is_named():
    m = Two()
    f = jit(lambda x: m(x), donate_states=m.w)
    with pytest.raises(ValueError, match=r"array of Param at Two\.w is also passed to `.*<lambda>`"):
        f(m.w.value)
    assert m.w.value[0] == 1.0
    f(jnp.array(m.w.value))
    assert m.w.value[0] == 2.0


def _raise(x):
    if x > 1.0:
        raise ValueError("host")
    return x


def _checked(x):
    return jax.pure_callback(_raise, jax.ShapeDtypeStruct((), jnp.float32), x)


def test_a_call_that_fails_after_donating_names_the_lost_states():
    m = Two()

    @jit(donate_states=m.w)
    def f(x):
        m(_checked(x))

    @jit
    def g():
        return m.w.value + m.h.value

    f(one)
    with pytest.raises(
        LostStateError, match=r"`.*f` failed after it was given the buffers of Param at Two\.w"
    ) as caught:
        f(2.0 * one)
    assert "host" in str(caught.value.__cause__)
    assert m.h.value[0] == 2.0
    for call in (g, lambda: f(one), lambda: g.compile()()):
        with pytest.raises(LostStateError, match=r"Param at Two\.w.*Assign a new `.value`"):
            call()
    m.w.value = jnp.zeros(4)
    f(one)
    assert (m.w.value[0], g()[0]) == (1.0, 5.0)


def test_a_state_whose_array_other_code_deleted_is_named():
    m = Two()
    jax.jit(lambda w: w + 1.0, donate_argnums=0)(m.w.value)
    f = jit(lambda x: m.w.value * x)
    with pytest.raises(LostStateError, match=r"`.*<lambda>` reads Param at Two\.w, whose array was deleted"):
        f(one)


def test_a_call_that_fails_without_donating_keeps_all_states():
    m = Two()
    f = jit(lambda x: m(_checked(x)))
    f(one)
    with pytest.raises(Exception, match="host"):
        f(2.0 * one)
    assert (m.w.value[0], m.h.value[0]) == (2.0, 2.0)


def test_an_exception_while_tracing_gives_nothing_away():
    m = Two()

    @jit(donate_states=True)
    def f(x):
        m(x)
        raise KeyError("half way")

    with pytest.raises(KeyError):
        f(one)
    assert m.w.value[0] == 1.0


# -- within others


@pytest.mark.parametrize(
    "outer",
    [
        lambda f: jit(f), lambda f: jit(f, donate_states=True), lambda f: vmap(f, in_axes=None, axis_size=2),
        lambda f: for_loop(f, jnp.ones(1)), lambda f: lambda x: cond(x > 0, f, f, x),
        lambda f: lambda x: grad(lambda x: f(x) or 0.0 * x)(x),
    ],
    ids=["jit", "jit donating", "vmap", "for_loop", "cond", "grad"],
)  # fmt: skip
def test_donating_inside_another_transform(outer):
    m = Two()
    inner = jit(lambda x: m(x), donate_states=m.w)
    made = outer(inner) if outer.__code__.co_names != ("for_loop", "jnp", "ones") else None
    with jax.checking_leaks():
        made(one) if made is not None else outer(inner)
    assert (m.w.value[0], m.h.value[0]) == (2.0, 2.0)


def test_donating_with_jit_disabled():
    m = Two()
    f = jit(lambda x: m(x), donate_states=m.w)
    with jax.disable_jit():
        f(one)
    assert (m.w.value[0], m.h.value[0]) == (2.0, 2.0)


def test_a_donating_function_in_a_raw_trace_leaves_no_tracer():
    m = Two()
    f = jit(lambda x: m(x), donate_states=True)
    with pytest.raises(TraceContextError, match=r"Two\."):
        jax.jit(f)(one)
    assert m.w.value[0] == 1.0


def test_a_donating_function_keeps_no_model_alive():
    m = Two()
    f = jit(lambda m, x: m(x), donate_states=Param)
    f(m, one)
    gone = weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None


# -- places; more with four devices in test_shardings.py


def test_one_place_for_all_is_for_those_met_on_the_way_and_for_none():
    hidden = [State(jnp.zeros(2))]
    sys.modules["states-of-test-entry"] = hidden
    try:
        f = jit(lambda x: sys.modules["states-of-test-entry"][0].value + x, state_shardings=HERE)
        f(one + jnp.zeros(2))
        assert hidden[0].value.committed
    finally:
        del sys.modules["states-of-test-entry"]
    assert jit(lambda x: x, state_shardings=HERE)(one) == 1.0


def test_placed_states_under_raw_jax_stay_where_they_are():
    w = State(one)
    f = jit(lambda x: w.value * x, state_shardings=HERE)
    assert jax.jit(f)(2.0) == 2.0
    assert w.value is one
    assert f(2.0) == 2.0
    assert w.value.committed


@pytest.mark.parametrize("donating", [True, "online"])
def test_an_array_that_a_state_beside_the_call_holds_is_not_given_away(donating):
    online = State(jnp.ones(3), name="online", tag="online")
    target = State(online.value, name="target")

    def step(both):
        online.value = online.value - 1.0
        return target.value.sum() if both else 0.0

    f = jit(step, donate_states=donating, static_argnums=0)
    for both in (True, False, False):
        with pytest.raises(ValueError, match=r"State 'online' .*hold the same array|array of State 'online' is also"):
            f(both)
        assert same((online.value, target.value), (jnp.ones(3), jnp.ones(3)))
    target.value = jnp.array(online.value)
    assert f(True) == 3.0
    assert same(online.value, jnp.zeros(3))


def test_a_lost_state_is_named_by_the_first_call_too():
    lost = State(jnp.ones(3), name="lost")
    lost.value.delete()
    for options in ({}, {"donate_states": True}):
        with pytest.raises(LostStateError, match=r"`.*` reads State 'lost', whose array was deleted"):
            jit(lambda: lost.value.sum(), **options)()
