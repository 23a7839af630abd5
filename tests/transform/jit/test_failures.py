"""Calls that fail: nothing half done, no tracer outside, and names of the user in the message."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import State, TraceContextError
from brainstate_transform import for_loop, grad, jit
from tests.laws.transforms import Net

one = jnp.float32(1.0)


@pytest.mark.parametrize("donate", [False, True])
def test_a_first_call_that_fails_leaves_nothing_half_done(donate):
    m, fail = Net(), [True]

    @jit(donate_states=donate)
    def f(x):
        y = m(x)
        if fail[0]:
            raise KeyError("first")
        return y

    for _ in range(2):
        with pytest.raises(KeyError):
            f(one)
    assert m.n.value == 0.0
    fail[0] = False
    assert f(one) == 2.0
    assert f(one) == 2.0
    assert m.n.value == 2.0


def test_a_state_made_inside_is_no_dead_tracer_outside():
    kept = []

    @jit
    def f(x):
        kept.append(State(x * 2.0))
        return kept[-1].value

    assert f(one) == 2.0
    with pytest.raises(TraceContextError):
        _ = kept[0].value
    kept[0].value = jnp.zeros(())
    assert kept[0].value == 0.0


def test_no_tracer_stays_behind():
    m = Net()
    with jax.checking_leaks():
        for _ in range(2):
            jit(grad(lambda x: m(x)))(one)
            jit(lambda x: for_loop(grad(lambda y: m(y)), x))(jnp.ones(2))
    assert m.n.value == 6.0


def test_a_write_under_raw_jax_is_refused():
    s = State(one)
    f = jit(lambda x: setattr(s, "value", x))
    for wrong in (jax.jit(lambda x: setattr(s, "value", x)), jax.jit(f), jax.vmap(f)):
        with pytest.raises(TraceContextError, match="State"):
            wrong(jnp.ones(2))
        assert s.value is one


def test_disabled_jit_runs_python_with_concrete_values():
    m, seen = Net(), []

    @jit(donate_states=True)
    def f(x):
        seen.append((float(x), float(m.w.value)))
        return m(x)

    with jax.disable_jit():
        assert f(one) == f(one) == 2.0
    assert seen == [(1.0, 2.0)] * 2
    assert m.n.value == 2.0


def test_errors_of_jax_name_the_argument_of_the_user():
    m = Net()

    @jit
    def step(velocity, x):
        return m(x)

    with pytest.raises(TypeError, match=r"step.*velocity") as caught:
        step("fast", one)
    assert "args[0]" not in str(caught.value)
    assert "_states_" not in str(caught.value)
    assert "jit_step" in jit(step.origin_fun).lower(one, one).as_text()


def test_a_state_whose_value_cannot_be_passed_is_named():
    m = Net()
    m.w.value = "text"
    f = jit(lambda x: m(x))
    with pytest.raises(TypeError, match=r"`.*<lambda>` uses Param at Net\.w, whose value 'text' is not an array"):
        f(one)
    assert m.n.value == 0.0


def test_states_without_a_value_and_of_changing_structure():
    s = State(None)

    @jit
    def f(x):
        s.value = {"x": x} if s.value is None else {**s.value, "more": x}
        return x

    f(one)
    assert set(s.value) == {"x"}
    f(one)
    assert set(s.value) == {"x", "more"}
    s.value = None
    f(2 * one)
    assert s.value == {"x": 2.0}
