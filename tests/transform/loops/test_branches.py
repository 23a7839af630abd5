"""Branches in lanes, in loops, under derivatives and with random streams; how often they are traced."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import cond, for_loop, ifelse, jit, switch, value_and_grad, vmap
from brainstate_transform._loops.cond import _COND, _lifted
from tests.laws.transforms import Net, Param, Runs, same
from tests.tables import each
from tests.transform.loops.test_switch import three


def yes_fun():
    return {"a": jnp.ones(2)}


def no_fun():
    return {"a": jnp.ones(3)}


@pytest.mark.parametrize("under", [lambda f: f, jit])
@pytest.mark.parametrize("context", [jax.disable_jit, jax.checking_leaks, jax.named_scope])
def test_a_mapped_choice_with_a_state_per_lane(under, context):
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


def test_a_state_written_in_one_branch_and_read_in_the_other():
    s = State(jnp.array(2.0))

    def writes():
        s.value = s.value * 3.0
        return s.value

    f = jit(lambda p: cond(p, writes, lambda: s.value * 10.0))
    assert f(False) == 20.0
    assert f(True) == 6.0
    assert switch(1, [writes, lambda: s.value * 10.0]) == 60.0
    assert s.value == 6.0


def test_branches_that_touch_states_in_opposite_order():
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


def test_errors_name_the_branch_of_the_user():
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
