"""`ifelse`: the first condition that holds, as in ``if``, ``elif``, ``else``."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import State, StateArgumentError
from brainstate_transform import ifelse, jit, value_and_grad, vmap
from tests.tables import each


def grade(x, s):
    def high():
        s.value += 100.0
        return 3.0

    def middle():
        s.value += 10.0
        return 2.0

    return ifelse([x > 2, x > 1], [high, middle, lambda: 0.0])


@each("x", [0.0, 1.5, 3.0])
@each("under", [lambda f: f, jit, lambda f: jit(jit(f)), lambda f: lambda x: value_and_grad(f)(x)[0]])
def test_the_first_condition_that_holds_wins(x, under):
    for without_jit in (False, True):
        s = State(jnp.array(0.0))
        with jax.disable_jit(without_jit):
            assert under(functools.partial(grade, s=s))(x) == (3.0 if x > 2 else 2.0 if x > 1 else 0.0)
        assert s.value == (100.0 if x > 2 else 10.0 if x > 1 else 0.0)


@pytest.mark.parametrize("under", [lambda f: f, jit])
def test_true_as_the_last_condition_is_the_else(under):
    f = under(lambda x: ifelse([x > 1, x > 0, True], [lambda: 2, lambda: 1, lambda: 0]))
    assert [int(f(x)) for x in (5.0, 0.5, -1.0)] == [2, 1, 0]


@each("mapped", [False, True])
@each("compiled", [False, True])
def test_without_an_else_some_condition_must_hold(mapped, compiled):
    s = State(jnp.array(0.0))

    def f(x, check_cond=True):
        return ifelse([x > 1, x > 0], [lambda: 2, lambda: 1], check_cond=check_cond)

    def counting(x):
        s.value += 1.0
        return f(x)

    def under(f):
        f = vmap(f) if mapped else f
        return jit(f) if compiled else f

    bad = jnp.array([3.0, -1.0]) if mapped else jnp.array(-1.0)
    good = jnp.abs(bad)
    for without_jit in (False, True):
        with jax.disable_jit(without_jit):
            with pytest.raises(ValueError, match="none of the 2 conditions of ifelse holds: add a branch for `else`"):
                under(counting)(bad)
            assert s.value == 0.0 or not (mapped or compiled)  # Python keeps what it has written
            assert jnp.all(under(f)(good) >= 1)
            assert jnp.all(under(lambda x: f(x, check_cond=False))(bad) >= 1)  # the last branch


def test_conditions_and_branches_that_do_not_fit():
    f = lambda: 1
    for conditions, branches in (([], []), ([True], []), ([], [f, f]), ([True, False], [f]), ([True], [f, f, f])):
        with pytest.raises(ValueError, match=r"conditions and|no branches"):
            ifelse(conditions, branches)
    assert ifelse([], [f]) == 1
    assert ifelse([True], [f]) == 1
    assert ifelse(jnp.array([False, True]), [lambda: 1, lambda: 2]) == 2
    assert jit(lambda c: ifelse(c, [lambda: 1, lambda: 2]))(jnp.array([False, True])) == 2


@each("conditions", [True, "ab", {"a": True}, ["x", True], [None, True], [jnp.ones(2), True], [[True], True]])
def test_conditions_that_are_no_scalars(conditions):
    with pytest.raises(TypeError, match=r"the conditions of ifelse|condition 0 of ifelse"):
        ifelse(conditions, [lambda: 1, lambda: 2])


def test_states_as_conditions():
    with pytest.raises(StateArgumentError, match="condition 1 of ifelse"):
        ifelse([True, State(True)], [lambda: 1, lambda: 2])
