"""`cond`, `switch` and `ifelse`: all branches see one graph, and carry what any of them writes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State, StateArgumentError, StructureError
from brainstate_transform import cond, grad, ifelse, jit, switch
from tests.laws.transforms import Net, Param, Runs
from tests.tables import each


class Two:
    def __init__(self):
        self.a, self.b = State(jnp.array(1.0)), State(jnp.array(2.0))


def branches(t):
    def yes(x):
        t.a.value = t.a.value + t.b.value * x
        return t.a.value

    def no(x):
        t.b.value = t.b.value + t.a.value * x
        t.a.value = t.a.value * 1.0
        return -t.b.value

    return yes, no


@each("pred", [True, False, 1, 0, 2.5, 0.0, np.bool_(True), np.float32(0), jnp.array(True), jnp.int8(0)])
@each("under", [lambda f: f, jit])
def test_against_an_if(pred, under):
    t, o = Two(), Two()
    got = under(lambda: cond(pred, *branches(t), 3.0))()
    want = branches(o)[0 if pred else 1](3.0)
    assert got == want
    assert (t.a.value, t.b.value) == (o.a.value, o.b.value)


@pytest.mark.parametrize("pred", [True, False])
def test_a_traced_predicate(pred):
    t, o = Two(), Two()
    got = jit(lambda p: cond(p > 0, *branches(t), 3.0))(1.0 if pred else -1.0)
    assert got == branches(o)[0 if pred else 1](3.0)
    assert (t.a.value, t.b.value) == (o.a.value, o.b.value)


@each("pred", [None, "yes", [True], (1,), {}, jnp.ones(2), np.array([True]), 1j, jnp.array(1j)])
def test_a_predicate_that_is_none(pred):
    with pytest.raises(TypeError, match="predicate"):
        cond(pred, lambda: 1, lambda: 2)


def test_a_state_or_node_as_predicate_or_operand():
    s = Param(jnp.array(True))
    for call in (lambda: cond(s, lambda: 1, lambda: 2), lambda: cond(True, lambda x: 1, lambda x: 2, s)):
        with pytest.raises(StateArgumentError):
            call()


def test_branches_that_are_no_functions():
    with pytest.raises(TypeError, match="functions"):
        cond(True, 1.0, 2.0)


@each("new", [lambda v: jnp.stack([v, v]), lambda v: v.astype(jnp.int32), lambda v: {"a": v}])
@each("other_writes", [False, True])
def test_a_state_that_the_branches_leave_different_is_named(new, other_writes):
    m = Net()

    def yes():
        m.w.value = m.w.value + 1.0
        m.n.value = new(m.n.value)

    def no():
        if other_writes:
            m.n.value = m.n.value + 1.0

    for first, second in ((yes, no), (no, yes)):
        with pytest.raises(TypeError, match=r"Net\.n"):
            cond(True, first, second)
    assert (m.w.value, m.n.value) == (2.0, 0.0)


def test_results_that_differ():
    m = Net()
    with pytest.raises(TypeError):
        cond(True, lambda: m(1.0), lambda: jnp.ones(2))
    assert m.n.value == 0.0


def test_both_branches_may_change_a_state_alike():
    s = State(jnp.array(1.0))

    def yes():
        s.value = jnp.ones(3)

    def no():
        s.value = jnp.zeros(3)

    cond(True, yes, no)
    np.testing.assert_allclose(s.value, np.ones(3))


def test_operands_and_results_of_every_structure():
    out = cond(False, lambda p, q: {"r": p["a"]}, lambda p, q: {"r": q[0]}, {"a": 1.0}, (2.0,))
    assert out == {"r": 2.0}
    assert cond(True, lambda: None, lambda: None) is None


def test_a_node_as_operand_and_result():
    m, other = Net(2.0), Net(3.0)
    assert cond(True, lambda m: m, lambda m: m, m) is m
    assert cond(False, lambda a, b: a(1.0), lambda a, b: b(1.0), m, other) == 3.0
    assert (m.n.value, other.n.value) == (0.0, 1.0)
    new = cond(True, lambda: Net(5.0), lambda: Net(6.0))
    assert new.w.value == 5.0


def test_gradients_of_the_taken_branch():
    w = Param(jnp.array(3.0))
    f = lambda p: cond(p, lambda: w.value**2, lambda: w.value * 5.0)
    assert grad(lambda: f(True), w)() == 6.0
    assert grad(lambda: f(False), w)() == 5.0


@pytest.mark.counts_traces
def test_an_eager_cond_is_traced_and_compiled_once():
    runs, t = Runs(), Two()
    yes, no = branches(t)

    def counted(x):
        runs()
        return yes(x)

    cond(True, counted, no, 1.0)
    assert runs.since() <= 2
    for _ in range(3):
        cond(True, counted, no, 1.0)
    assert runs.count == 0


@pytest.mark.counts_traces
def test_each_branch_is_traced_at_most_twice_when_nested():
    runs, s = Runs(), State(jnp.array(0.0))

    def leaf(x):
        runs()
        s.value = s.value + x
        return x

    def nest(depth):
        if depth == 0:
            return leaf
        return lambda x: cond(x > 0, nest(depth - 1), lambda x: x, x)

    jit(nest(4))(1.0)
    assert runs.count <= 2
    assert s.value == 1.0


def test_one_function_as_both_branches():
    m = Net()
    assert cond(jnp.array(True), m, m, 1.0) == 2.0
    assert m.n.value == 1.0


def test_states_beyond_the_captured_graph():
    hidden = {"s": State(jnp.array(1.0))}
    import sys

    sys.modules["cond-strays"] = hidden
    try:

        def yes():
            sys.modules["cond-strays"]["s"].value += 1.0

        cond(True, yes, lambda: None)
        assert hidden["s"].value == 2.0
        jit(lambda: cond(True, yes, lambda: None))()
        assert hidden["s"].value == 3.0
        with jax.disable_jit():
            cond(True, yes, lambda: None)
        assert hidden["s"].value == 4.0
    finally:
        del sys.modules["cond-strays"]


# -- what the branches may differ in: nothing ------------------------------------------------------------------------


def yes_fun():
    return {"a": jnp.ones(2)}


def no_fun():
    return {"a": jnp.ones(3)}


def other_fun():
    return {"b": jnp.ones(2)}


def test_results_that_differ_are_shown_with_the_branches_and_the_path():
    with pytest.raises(
        TypeError,
        match=r"`yes_fun` \(true_fun\) returns f32\[2\], but `no_fun` \(false_fun\) returns f32\[3\] at \['a'\]",
    ):
        cond(True, yes_fun, no_fun)
    with pytest.raises(
        TypeError, match=r"`yes_fun` \(branch 0\) .* `other_fun` \(branch 2\) returns \{b: f32\[2\]\}; the branches of"
    ):
        switch(0, [yes_fun, yes_fun, other_fun])
    with pytest.raises(TypeError, match="the branches of ifelse must return the same structure"):
        ifelse([True, False], [yes_fun, no_fun])


def test_states_that_differ_are_shown_with_the_branches_and_both_shapes():
    m = Net()

    def keeps():
        m.n.value += 1.0

    def casts():
        m.n.value = m.n.value.astype(jnp.int32)

    with pytest.raises(
        TypeError, match=r"casts` \(branch 0\) leaves .*Net\.n as i32\[\], .*keeps` \(branch 1\) as f32\[\]"
    ):
        switch(1, [casts, keeps])
    assert m.n.value == 0.0


@pytest.mark.parametrize("under", [lambda f: f, jit])
def test_structure_is_not_changed_in_a_branch(under):
    m = Net()

    def yes():
        m.rate = 2.0

    for without_jit in (False, True):
        with jax.disable_jit(without_jit), pytest.raises(StructureError, match=r"Net\.rate"):
            under(lambda: cond(True, yes, lambda: None))()
        assert m.rate == 1.0
