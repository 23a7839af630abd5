"""States under `vmap` between calls, and what is said of those that differ per lane."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State
from brainstate_transform import BatchAxisError, jit, vmap
from tests.laws.transforms import Count, Net, Param, Tied
from tests.tables import each

xs = jnp.arange(3.0)


def test_one_leaf_per_lane_and_one_shared():
    s = State({"a": jnp.zeros(()), "b": jnp.zeros(2)})

    def f(x):
        s.value = {"a": x, "b": jnp.ones(2)}

    vmap(f, out_states=s)(xs)
    np.testing.assert_allclose(s.value["a"], xs)
    np.testing.assert_allclose(s.value["b"], np.ones((3, 2)))


@pytest.mark.parametrize("size", [3, 5])
def test_no_axis_grows_and_no_size_is_guessed(size):
    counter, wide = State(jnp.zeros(())), State(jnp.zeros(size))

    def f(x):
        counter.value = counter.value + 1.0
        wide.value = wide.value + 1.0
        return x

    for n in range(1, 4):
        vmap(f)(xs)
        assert counter.value == n
        np.testing.assert_allclose(wide.value, np.full(size, n))
    before = wide.value
    with pytest.raises(BatchAxisError):
        vmap(lambda x: setattr(wide, "value", wide.value + x))(xs)
    assert wide.value is before


def test_axis_size_against_the_arguments():
    with pytest.raises(ValueError, match="3 in axis_size, 4 in argument 'x'"):
        vmap(lambda x: x, axis_size=3)(jnp.ones(4))


def test_the_message_names_out_states():
    s = State(jnp.zeros(()))
    with pytest.raises(BatchAxisError, match="`out_states`"):
        vmap(lambda x: setattr(s, "value", x))(xs)


def test_a_flag_that_is_closed_over_is_not_mapped():
    def f(x, flag):
        return x * 2.0 if flag else x

    np.testing.assert_allclose(vmap(lambda x: f(x, True))(xs), 2.0 * xs)


def test_the_states_written_may_change_between_calls():
    m, flag = Net(2.0), False

    def f(x):
        if flag:
            m.w.value = m.w.value + 1.0
        return m(x)

    mapped = vmap(f)
    for step in range(4):
        flag = step % 2 == 1
        mapped(xs)
    assert m.w.value == 4.0
    assert m.n.value == 4.0


def test_a_model_made_anew_between_calls():
    def run(m):
        return vmap(lambda x: m(x), in_states=m.w)(xs)

    for w in (xs, 2.0 * xs):
        m = Net(w)
        np.testing.assert_allclose(run(m), w * xs)
        assert m.n.value == 1.0


def test_the_axis_is_the_one_asked_for():
    s = State(jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"2 in State|4 in argument"):
        vmap(lambda x: setattr(s, "value", s.value + x), in_states={1: s})(jnp.ones(4))
    t = State(jnp.zeros((2, 4)))
    vmap(lambda x: setattr(t, "value", t.value + x), in_states={1: t})(jnp.arange(4.0))
    np.testing.assert_allclose(t.value, np.tile(np.arange(4.0), (2, 1)))


def test_filters_with_an_axis_and_the_axis_none():
    m = Net(xs)
    for selector in ({Param: 0}, {0: Param}, {0: Param, None: Count}, {Param: 0, Count: None}, {"*.w": 0}, [m.w]):
        np.testing.assert_allclose(vmap(lambda x: m(x), in_states=selector)(xs), xs * xs)
    for junk in (3, 1.5, {"a": 1.0}, {0: 2}):
        with pytest.raises((TypeError, ValueError), match="in_states"):
            vmap(lambda x: m(x), in_states=junk)(xs)


def test_filters_get_the_real_path():
    from brainstate_graph import PathContains

    m = Net(xs)
    np.testing.assert_allclose(vmap(lambda x: m(x), in_states=PathContains("w"))(xs), xs * xs)


def test_no_tracer_is_left_under_raw_jit():
    from brainstate_graph import TraceContextError

    s = State(xs)
    before = s.value
    with pytest.raises(TraceContextError, match="State"):
        jax.jit(vmap(lambda x: setattr(s, "value", s.value + x), in_states=s))(xs)
    assert s.value is before


def test_a_second_look_finds_the_attributes_of_before():
    m = Net()

    def f(x):
        if m.rate == 1.0:
            m.rate = 2.0
            m.n.value = x

    with pytest.raises(BatchAxisError, match=r"Net\.n"):
        vmap(f)(jnp.arange(3.0))
    assert (m.rate, m.n.value) == (1.0, 0.0)


# `Tied` holds one parameter as `a.w` and as `b.w`.
BOTH_WAYS = {
    "a list": lambda m: [m.a.w, m.b.w],
    "nodes": lambda m: (m.a, m.b),
    "a mapping": lambda m: {"one": m.a, "other": m.b},
    "places by states": lambda m: {m.a: 0, m.b: 0},
    "states by places": lambda m: {0: [m.a, m.b]},
}


@each("named", BOTH_WAYS.values(), ids=BOTH_WAYS)
def test_a_tied_state_may_be_named_by_both_its_ways(named):
    m = Tied()
    counts = [m.a.n, m.b.n]

    def f(x):
        m.a.w.value, m.b.n.value = m.b.w.value * x, m.a.n.value + x

    for s in (m.a.w, *counts):
        s.value = xs
    vmap(f, in_states={0: [m.a.w, *counts]}, out_states=named(m))(xs)
    np.testing.assert_allclose(m.a.w.value, xs * xs)
    np.testing.assert_allclose(m.b.n.value, xs + xs)
    m.a.w.value = xs
    vmap(lambda x: setattr(m.a.w, "value", m.b.w.value * x), in_states=named(m))(xs)
    np.testing.assert_allclose(m.a.w.value, xs * xs)


def test_two_places_of_a_tied_state_are_refused():
    m = Tied()
    with pytest.raises(ValueError, match=r"out_states gives Param at Tied\.[ab]\.w two places, 0 and -1: leave it out"):
        vmap(lambda x: m.a.w.value * x, out_states={m.a: 0, m.b: -1})(xs)


def test_a_tied_state_is_donated_once():
    m = Tied()
    old = m.a.w.value
    jit(lambda x: setattr(m.a.w, "value", m.b.w.value * x), donate_states=[m.a, m.b])(jnp.float32(3.0))
    assert old.is_deleted()
    assert m.a.w.value == 6.0
