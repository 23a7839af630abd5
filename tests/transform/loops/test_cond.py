"""`cond`, `switch` and `ifelse`: all branches see one graph, and carry what any of them writes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, StateArgumentError, StructureError
from brainstate_transform import cond, for_loop, grad, ifelse, jit, switch, value_and_grad, vmap
from brainstate_transform._loops.cond import _COND, _lifted
from tests.laws.transforms import Net, Param, Runs, same
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
        TypeError, match=r"`yes_fun` \(true_fun\) returns f32\[2\], `no_fun` \(false_fun\) f32\[3\] at \['a'\]"
    ):
        cond(True, yes_fun, no_fun)
    with pytest.raises(
        TypeError, match=r"`yes_fun` \(branch 0\) .* `other_fun` \(branch 2\) \{b: f32\[2\]\}; the branches of switch"
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


# -- switch ----------------------------------------------------------------------------------------------------------


def three(s):
    def first(x):
        return x

    def second(x):
        s.value = s.value + x
        return -x

    def third(x):
        s.value = s.value * 2.0
        return x + s.value

    return [first, second, third]


@each("index", [0, 1, 2, -3, 7, np.int64(1), np.uint8(2), jnp.array(2), jnp.int8(-1)])
@each("under", [lambda f: f, jit])
def test_switch_against_a_list(index, under):
    for without_jit in (False, True):
        s, o = State(jnp.array(5.0)), State(jnp.array(5.0))
        want = three(o)[min(max(int(index), 0), 2)](3.0)
        with jax.disable_jit(without_jit):
            assert under(lambda s=s: switch(index, three(s), 3.0))() == want
        assert s.value == o.value


@each("index", [None, True, 1.0, "1", [1], jnp.array([1]), jnp.array(1.0), np.bool_(True), 1j])
def test_an_index_that_is_none(index):
    with pytest.raises(TypeError, match="the index of switch is an integer"):
        switch(index, [lambda: 1, lambda: 2])


def test_branches_that_are_no_list_of_functions():
    with pytest.raises(ValueError, match="switch has no branches"):
        switch(0, [])
    with pytest.raises(TypeError, match="list of functions"):
        switch(0, lambda: 1)
    with pytest.raises(TypeError, match="functions, not 3"):
        switch(0, [lambda: 1, 3])
    with pytest.raises(StateArgumentError, match="the index of switch"):
        switch(State(0), [lambda: 1])
    with pytest.raises(StateArgumentError):
        switch(0, [lambda x: 1], State(0))


def test_one_branch_is_called():
    s = State(jnp.array(5.0))
    assert switch(7, [three(s)[1]], 1.0) == -1.0
    assert jit(lambda i: switch(i, [three(s)[1]], 1.0))(0) == -1.0
    assert s.value == 7.0


# -- ifelse ----------------------------------------------------------------------------------------------------------


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


# -- lanes, loops, gradients, streams --------------------------------------------------------------------------------


@pytest.mark.parametrize("under", [lambda f: f, jit])
@pytest.mark.parametrize("context", [jax.disable_jit, jax.checking_leaks, jax.named_scope])
def test_trap_24_a_mapped_choice_with_a_state_per_lane(under, context):
    xs = jnp.array([0.0, 1.0, 2.0, 3.0])
    s = State(jnp.zeros(4))

    def up(x):
        s.value += x
        return x

    choices = {
        "cond": lambda x: cond(x > 1, up, lambda x: -x, x),
        "switch": lambda x: switch(x.astype(int), [lambda x: -x, lambda x: -x, up], x),
        "ifelse": lambda x: ifelse([x < 2], [lambda x: -x, up], x),
    }
    with context(*(("scope",) if context is jax.named_scope else ())):
        for choice in choices.values():
            s.value = jnp.zeros(4)
            np.testing.assert_array_equal(under(vmap(choice, in_states=s))(xs), [0.0, -1.0, 2.0, 3.0])
            np.testing.assert_array_equal(s.value, [0.0, 0.0, 2.0, 3.0])


def test_trap_67_a_state_written_in_one_branch_and_read_in_the_other():
    s = State(jnp.array(2.0))

    def writes():
        s.value = s.value * 3.0
        return s.value

    f = jit(lambda p: cond(p, writes, lambda: s.value * 10.0))
    assert f(False) == 20.0
    assert f(True) == 6.0
    assert switch(1, [writes, lambda: s.value * 10.0]) == 60.0
    assert s.value == 6.0


def test_trap_68_branches_that_touch_states_in_opposite_order():
    a, b = State(jnp.array(1.0)), State(jnp.array(10.0))

    def forward():
        a.value = a.value + 1.0
        b.value = b.value + 2.0

    def backward():
        b.value = b.value + 3.0
        a.value = a.value + 4.0

    for index, (da, db) in enumerate(((1.0, 2.0), (4.0, 3.0), (4.0, 3.0))):
        for choose in (lambda i: switch(i, [forward, backward, backward]), lambda i: cond(i == 0, forward, backward)):
            before = (a.value, b.value)
            jit(choose)(index)
            assert (a.value - before[0], b.value - before[1]) == (da, db)


def test_trap_83_errors_name_the_branch_of_the_user():
    with pytest.raises(TypeError, match=r"`yes_fun`.*`no_fun`"):
        jit(lambda p: cond(p, yes_fun, no_fun))(True)


@pytest.mark.parametrize("without_jit", [False, True])
@pytest.mark.parametrize("under", [lambda f: f, jit])
def test_a_random_stream_advances_in_the_taken_branch_only(under, without_jit):
    stream, oracle = nn.RandomState(7), nn.RandomState(7)
    draw = lambda: stream.uniform()
    with jax.disable_jit(without_jit):
        for p in (True, False, True):
            got = under(lambda p: cond(p, draw, lambda: jnp.zeros(())))(p)
            assert got == (oracle.uniform() if p else 0.0)
        for i in (0, 1, 2):
            got = under(lambda i: switch(i, [lambda: jnp.zeros(()), draw, lambda: draw() + draw()]))(i)
            assert got == sum((oracle.uniform() for _ in range(i)), start=0.0)
        assert jax.tree.all(jax.tree.map(jnp.array_equal, stream.value, oracle.value))


def test_lanes_draw_in_a_mapped_branch():
    stream = nn.RandomState(0)
    f = vmap(lambda x: cond(x > 0, lambda: stream.uniform(), lambda: jnp.zeros(())))
    xs = jnp.array([0.0, 1.0, 1.0, 0.0])
    got = f(xs)
    assert len(set(got.tolist())) == 3
    assert got[0] == got[3] == 0.0
    other = nn.RandomState(0)
    assert jnp.array_equal(vmap(lambda x: other.uniform() * x)(xs), got)


def test_against_jax_in_a_loop_under_grad():
    s, w = State(jnp.array(0.0)), Param(jnp.array(0.5))

    def step(x):
        def twice():
            s.value += w.value * x
            return w.value**2 * x

        return switch(jnp.int32(x), [lambda: x * 1.0, twice, lambda: s.value * w.value])

    def total(xs):
        return for_loop(step, xs).sum() + s.value

    def plain(w, xs):
        s, out = 0.0, 0.0
        for x in xs:
            if x == 0:
                out = out + x
            elif x == 1:
                s, out = s + w * x, out + w**2 * x
            else:
                out = out + s * w
        return out + s

    xs = [0.0, 1.0, 2.0, 1.0, 2.0]
    for under in (lambda f: f, jit):
        s.value = jnp.array(0.0)
        got = under(value_and_grad(total, w))(jnp.array(xs))
        assert same(got, jax.value_and_grad(plain)(0.5, xs))
        assert same(s.value, jnp.array(1.0))


@pytest.mark.counts_traces
def test_each_branch_is_traced_once_however_deep():
    runs, s = Runs(), State(jnp.array(0.0))

    def leaf(x):
        runs()
        s.value = s.value + x
        return x

    def nest(depth):
        if depth == 0:
            return leaf
        return lambda x: switch(0, [nest(depth - 1), lambda x: x, lambda x: -x], x)

    for depth in (1, 2, 3, 4):
        jit(nest(depth))(1.0)
        assert runs.since() == 1


@pytest.mark.counts_traces
def test_an_eager_switch_is_compiled_once():
    runs, s = Runs(), State(jnp.array(5.0))

    def counted(x):
        runs()
        return x

    functions = [counted, *three(s)[1:]]
    for i in (0, 1, 2, 0):
        switch(i, functions, 1.0)
    assert runs.since() == 1
    conditions = ([True, False], [False, True], [False, False])
    for tests in conditions:
        ifelse(tests, functions, 1.0)
    assert runs.since() == 1


def test_an_error_in_a_branch_leaves_states_alone():
    m = Net()

    def fails():
        m.n.value += 100.0
        raise KeyError("half way")

    for without_jit in (False, True):
        for call in (lambda: switch(0, [fails, lambda: None]), lambda: ifelse([True], [fails])):
            with jax.disable_jit(without_jit), pytest.raises(KeyError, match="half way"):
                call()
            assert m.n.value == 0.0


def test_nodes_through_switch_and_ifelse():
    m, other = Net(2.0), Net(3.0)
    assert switch(1, [lambda a, b: a(1.0), lambda a, b: b(1.0)], m, other) == 3.0
    assert (m.n.value, other.n.value) == (0.0, 1.0)
    assert ifelse([False], [lambda m: m, lambda m: m], m) is m
    assert switch(0, [lambda m: m], m) is m


def test_python_sees_values_where_jit_is_disabled():
    seen = []
    with jax.disable_jit():
        switch(1, [lambda x: x, lambda x: seen.append(float(x)) or x], jnp.array(3.0))
        ifelse([jnp.array(False)], [lambda x: x, lambda x: seen.append(float(x)) or x], jnp.array(4.0))
    assert seen == [3.0, 4.0]


@pytest.mark.counts_traces
def test_branches_in_a_list_are_followed_to_their_models():
    runs, m = Runs(), Net(2.0)

    def through(x):
        runs()
        return m(x)

    table = [through, lambda x: -x]
    f = jit(lambda i, x: switch(i, table, x))
    assert (f(0, 3.0), runs.since()) == (6.0, 1)
    m.rate = 10.0
    assert (f(0, 3.0), runs.since()) == (60.0, 1)
    assert m.n.value == 2.0


def test_whatever_branch_jax_traces_first():
    s, runs = State(jnp.array(1.0)), Runs()

    def write(x):
        runs()
        s.value = s.value * x
        return x

    def backwards(pred, branches, *operands):
        return jax.lax.cond(jnp.logical_not(pred), *branches[::-1], *operands)

    for funs in ((write, lambda x: x + 1.0), (lambda x: x + 1.0, write)):
        f = jit(lambda pred, x, funs=funs: _lifted(_COND._replace(traced=backwards), funs)(pred, x))
        s.value = jnp.array(3.0)
        assert f(funs[0] is write, 2.0) == 2.0
        assert s.value == 6.0
        assert runs.since() == 1
        assert f(funs[0] is not write, 2.0) == 3.0
        assert s.value == 6.0


@each("wrap", [lambda f: f, jit], ids=["eager", "jit"])
@each("index", [-3, 0, 1, 2, 3, 9])
def test_a_branch_with_many_states_may_stand_anywhere(wrap, index):
    many, total = [State(jnp.array(float(n))) for n in range(40)], State(jnp.array(0.0))

    def large():
        total.value = total.value + 1.0
        return sum(state.value for state in many)

    funs = [lambda: 0.0, lambda: total.value * 1.0 - 5.0, large, lambda: 7.0]
    out = wrap(lambda i: switch(i, funs))(jnp.int32(index))
    want = [0.0, -5.0, 780.0, 7.0][min(max(index, 0), 3)]
    assert out == want
    assert total.value == (1.0 if want == 780.0 else 0.0)
    pred = index > 0
    assert wrap(lambda p: cond(p, funs[0], large))(jnp.float32(pred)) == (0.0 if pred else 780.0)
    assert wrap(lambda p: cond(p, large, funs[0]))(jnp.float32(pred)) == (780.0 if pred else 0.0)
    lanes = jnp.arange(-1, 4)
    assert jnp.array_equal(
        vmap(lambda i: switch(i, [lambda: 0.0, lambda: sum(s.value for s in many)]))(lanes), (lanes > 0) * 780.0
    )
