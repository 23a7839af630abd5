"""`while_loop`, `bounded_while_loop` and `fori_loop` against JAX and plain Python."""

from __future__ import annotations

import gc

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, StateArgumentError
from brainstate_transform import (
    BatchAxisError,
    bounded_while_loop,
    cond,
    for_loop,
    fori_loop,
    grad,
    jit,
    value_and_grad,
    vmap,
    while_loop,
)
from tests.laws.transforms import Net, Param, Runs, same
from tests.tables import each


def bounded(cond_fun, body_fun, init_val):
    return bounded_while_loop(cond_fun, body_fun, init_val, max_steps=50, base=4)


def fori(cond_fun, body_fun, init_val):
    """The same loop by its number of steps, for bodies that count in `init_val["n"]` up to 5."""

    def counted(i, val):
        return body_fun(val)

    counted.__qualname__ = body_fun.__qualname__
    return fori_loop(init_val["n"], 5, counted, init_val)


both = pytest.mark.parametrize("loop", [while_loop, bounded], ids=["while", "bounded"])
every = pytest.mark.parametrize("loop", [while_loop, bounded, fori], ids=["while", "bounded", "fori"])
disabled = pytest.mark.parametrize("disabled", [False, True], ids=["jit", "disabled"])


class Walk:
    """A loop whose body writes two states, one of them a stream, and whose condition reads one."""

    def __init__(self, start=0):
        self.steps = State(jnp.int32(start))
        self.total = State(jnp.float32(1.0))
        self.rng = nn.RandomState(7)

    def holds(self, val):
        return self.steps.value < 5

    def body(self, val):
        self.steps.value += 1
        self.total.value = self.total.value * 1.5 + self.rng.normal()
        return {"n": val["n"] + 1, "x": val["x"] + self.total.value}

    def plain(self, val):
        while self.holds(val):
            val = self.body(val)
        return val

    def values(self):
        return self.steps.value, self.total.value, self.rng.value[1], jax.random.key_data(self.rng.value[0])


def start():
    return {"n": 0, "x": jnp.float32(0.0)}


@every
@disabled
@each("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_it_is_the_python_loop(loop, disabled, wrap):
    ours, oracle = Walk(), Walk()
    want = oracle.plain(start())
    with jax.disable_jit(disabled):
        got = wrap(lambda: loop(lambda v: ours.holds(v), lambda v: ours.body(v), start()))()
    assert same(got, want)
    assert same(ours.values(), oracle.values())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(got))


@every
@disabled
def test_no_step_at_all(loop, disabled):
    walk = Walk(start=5)
    before = walk.values()
    init = {"n": 5, "x": jnp.float32(2.0)}
    with jax.disable_jit(disabled):
        assert same(loop(walk.holds, walk.body, init), init)
    assert same(walk.values(), before)


@both
@disabled
@each("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_a_condition_that_writes_is_refused_by_name(loop, disabled, wrap):
    m = Net()

    def holds(x):
        m.n.value += 1.0
        return x < 3.0

    def body(x):
        m.w.value += 1.0
        return x + 1.0

    with jax.disable_jit(disabled), pytest.raises(ValueError, match=r"condition `.*holds` writes Count at Net\.n"):
        wrap(lambda: loop(holds, body, 0.0))()
    assert (m.n.value, m.w.value) == (0.0, 2.0)


@both
@disabled
def test_a_condition_that_draws_is_refused(loop, disabled):
    rng = nn.RandomState(0)
    with jax.disable_jit(disabled), pytest.raises(ValueError, match="writes RandomState"):
        loop(lambda x: rng.uniform() < x, lambda x: x, 0.5)
    assert rng.value[1] == 0


def test_a_key_is_consumed_once_a_step():
    ours, plain = nn.RandomState(3), nn.RandomState(3)
    got = while_loop(lambda v: v < 2.0, lambda v: v + ours.uniform(), jnp.float32(0.0))
    want = jnp.float32(0.0)
    while want < 2.0:
        want = want + plain.uniform()
    assert same(got, want)
    assert ours.value[1] == plain.value[1]


@both
@disabled
@each("pred", [lambda x: x, lambda x: (x < 1.0,), lambda x: jnp.array([True]), lambda x: None])
def test_a_condition_is_a_boolean(loop, disabled, pred):
    def holds(x):
        return pred(x)

    with jax.disable_jit(disabled), pytest.raises(TypeError, match=r"condition `.*holds` must return a boolean"):
        loop(holds, lambda x: x, jnp.float32(0.0))


@every
@disabled
@each("new", [lambda v: jnp.stack([v, v]), lambda v: v.astype(jnp.int32), lambda v: (v,)])
def test_a_state_that_drifts_is_named(loop, disabled, new):
    m = Net()

    def body(val):
        m.w.value += 1.0
        m.n.value = new(m.n.value)
        return {**val, "n": val["n"] + 1}

    with jax.disable_jit(disabled), pytest.raises(TypeError, match=r"`.*body` changes Count at Net\.n from"):
        loop(lambda val: val["n"] < 5, body, start())
    assert (m.w.value, m.n.value) == (2.0, 0.0)


@every
@disabled
@each(
    ("new", "text"),
    [
        (lambda x: jnp.stack([x, x]), r"its carry\['x'\] from float32\[\] to float32\[2\]"),
        (lambda x: x.astype(jnp.int32), r"its carry\['x'\] from float32\[\] to int32\[\]"),
        (lambda x: {"y": x}, "its carry from a value of structure"),
    ],
)
def test_a_value_that_drifts_is_named(loop, disabled, new, text):
    m = Net()

    def body(val):
        m.n.value += 1.0
        return {"n": val["n"] + 1, "x": new(val["x"])}

    with jax.disable_jit(disabled), pytest.raises(TypeError, match=text) as caught:
        loop(lambda val: val["n"] < 5, body, start())
    assert "body`" in str(caught.value)
    assert m.n.value == 0.0


@every
@disabled
@each("by", [1, 1.5, jnp.float32(1.5), jnp.bfloat16(1.5), np.float32(2.0), np.int32(2)], ids=repr)
def test_python_numbers_follow_what_is_added(loop, disabled, by):
    s, plain = State(0), 0

    def body(val):
        s.value = s.value + by
        return {"n": val["n"] + 1, "x": val["x"] + by}

    with jax.disable_jit(disabled):
        got = loop(lambda val: val["n"] < 5, body, {"n": 0, "x": 0})
    for _ in range(5):
        plain = plain + by
    assert same(s.value, plain)
    assert same(got["x"], plain)


def test_a_number_that_would_be_cut_is_refused():
    s = State(0.5)
    with pytest.raises(TypeError, match="State"):
        while_loop(lambda i: i < 3, lambda i: (setattr(s, "value", jnp.int32(1)), i + 1)[1], 0)
    assert s.value == 0.5


@both
@disabled
def test_an_error_half_way(loop, disabled):
    m = Net()

    def body(x):
        m.w.value += 1.0
        if m.w.value is not None:
            raise KeyError("no")
        return x

    with jax.disable_jit(disabled), pytest.raises(KeyError):
        loop(lambda x: x < 3.0, body, 0.0)
    assert m.w.value == 2.0


@both
def test_a_node_is_carried_as_itself(loop):
    m = Net()
    net, x = loop(lambda c: c[1] < 10.0, lambda c: (c[0], c[0](c[1])), (m, jnp.float32(1.0)))
    assert net is m
    assert (x, m.n.value) == (16.0, 4.0)


def test_a_state_as_value_is_refused():
    s = Param(jnp.float32(1.0))
    for call in (
        lambda: while_loop(lambda x: x < 1, lambda x: x, s),
        lambda: bounded_while_loop(lambda x: x < 1, lambda x: x, s, max_steps=2),
        lambda: fori_loop(0, 2, lambda i, x: x, s),
    ):
        with pytest.raises(StateArgumentError, match="argument 'init_val'"):
            call()


@each(
    ("call", "error", "text"),
    [
        (lambda f: while_loop(True, f, 0), TypeError, "two functions"),
        (lambda f: while_loop(f, None, 0), TypeError, "two functions"),
        (lambda f: bounded_while_loop(f, f, 0, max_steps=-1), ValueError, "max_steps=-1"),
        (lambda f: bounded_while_loop(f, f, 0, max_steps=True), ValueError, "max_steps=True"),
        (lambda f: bounded_while_loop(f, f, 0, max_steps=2.0), ValueError, r"max_steps=2\.0"),
        (lambda f: bounded_while_loop(f, f, 0, max_steps=2, base=1), ValueError, "base=1"),
        (lambda f: bounded_while_loop(f, f, 0, max_steps=2, base=True), ValueError, "base=True"),
        (lambda f: bounded_while_loop(f, f, 0, max_steps=2, base=2.5), ValueError, r"base=2\.5"),
        (lambda f: fori_loop(0, 2.0, f, 0), TypeError, r"upper=2\.0"),
        (lambda f: fori_loop(jnp.arange(2), 2, f, 0), TypeError, "lower="),
        (lambda f: fori_loop(0, True, f, 0), TypeError, "upper=True"),
        (lambda f: fori_loop(0, 2, 3, 0), TypeError, "not 3"),
    ],
)
def test_wrong_arguments(call, error, text):
    m = Net()

    def f(*args):
        m(1.0)
        return args[-1]

    with pytest.raises(error, match=text):
        call(f)
    assert m.n.value == 0.0


# ----------------------------------------------------------------------------------------------------- bounded


@hypothesis.given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 5))
@hypothesis.settings(max_examples=8)
def test_trap_69_70_72_the_bounded_loop_is_python_with_an_exact_cap(goal, max_steps, base):
    s = State(jnp.int32(0))

    def body(c):
        s.value += 3
        return c[0] + 1, c[1] * 1.25 + 1.0

    got = jit(lambda goal: bounded_while_loop(lambda c: c[0] < goal, body, (0, 0.0), max_steps=max_steps, base=base))(
        goal
    )
    n = min(goal, max_steps)
    want = 0.0
    for _ in range(n):
        want = want * 1.25 + 1.0
    assert got[0] == n
    np.testing.assert_allclose(got[1], want, rtol=1e-5)
    assert s.value == 3 * n


def test_trap_70_a_false_condition_with_one_step():
    assert bounded_while_loop(lambda x: x < 0.0, lambda x: x + 1.0, 3.0, max_steps=1) == 3.0


def test_trap_72_the_cap_is_exact_where_it_is_no_power_of_the_base():
    assert bounded_while_loop(lambda x: True, lambda x: x + 1, 0, max_steps=2, base=16) == 2
    assert bounded_while_loop(lambda x: True, lambda x: x + 1, 0, max_steps=17, base=16) == 17


@both
@disabled
def test_trap_24_71_each_lane_stops_by_its_own_condition(loop, disabled):
    count = State(jnp.zeros(4, jnp.int32))
    rng, alone = nn.RandomState(5), nn.RandomState(5)

    def lane(x):
        def body(x):
            count.value += 1
            return x * 2.0 + rng.uniform()

        return loop(lambda x: x < 40.0, body, x)

    xs = jnp.array([1.0, 3.0, 9.0, 50.0])
    with jax.disable_jit(disabled):
        got = vmap(lane, in_states=count)(xs)
    key = jax.random.fold_in(*alone.value)
    for i, x in enumerate(xs):
        own, n = nn.RandomState(jax.random.fold_in(key, i)), 0
        while x < 40.0:
            x, n = x * 2.0 + own.uniform(), n + 1
        np.testing.assert_allclose(got[i], x, rtol=1e-6)
        assert count.value[i] == n
    assert rng.value[1] == 1


def test_lanes_are_done_when_the_last_one_is():
    # A block is left out when no lane is active: of 4096 steps only the first block of 16 runs its body.
    ran = []

    def body(x):
        jax.debug.callback(lambda: ran.append(1))
        return x + 1.0

    jit(vmap(lambda x: bounded_while_loop(lambda x: x < 3.0, body, x, max_steps=4096)))(jnp.arange(2.0))
    jax.effects_barrier()
    assert 3 * 2 <= len(ran) <= 16 * 2


def test_a_shared_state_written_per_lane_is_refused_by_name():
    m = Net()

    def lane(x):
        return while_loop(lambda x: x < 3.0, lambda x: (setattr(m.n, "value", m.n.value + 1.0), x + 1.0)[1], x)

    with pytest.raises(BatchAxisError, match=r"Net\.n"):
        vmap(lane)(jnp.arange(2.0))
    assert m.n.value == 0.0


def test_gradients_of_the_bounded_loop():
    w, h = Param(jnp.float32(1.3)), State(jnp.float32(1.0))

    def loss(x):
        h.value = x
        bounded_while_loop(
            lambda c: h.value < 50.0, lambda c: (setattr(h, "value", h.value * w.value + c), c)[1], x, max_steps=12,
            base=3,
        )  # fmt: skip
        return h.value

    def plain(w, x, steps):
        h = x
        for _ in range(steps):
            h = h * w + x
        return h

    def steps(x):
        n = 0
        while plain(1.3, x, n) < 50.0:
            n += 1
        return n

    value, grads = value_and_grad(loss, w, argnums=0)(jnp.float32(0.7))
    n = steps(0.7)
    np.testing.assert_allclose(value, plain(1.3, 0.7, n), rtol=1e-5)
    np.testing.assert_allclose(grads, jax.grad(plain, (0, 1))(1.3, 0.7, n), rtol=1e-4)
    per_lane = jit(vmap(lambda x: grad(loss, w)(x), out_states=h))(jnp.array([0.9, 0.7, 60.0]))
    np.testing.assert_allclose(per_lane, [jax.grad(plain)(1.3, x, steps(x)) for x in (0.9, 0.7, 60.0)], rtol=1e-4)
    h.value = jnp.float32(1.0)

    def summed():
        return jnp.sum(vmap(loss, out_states=h)(jnp.array([0.9, 0.7])))

    np.testing.assert_allclose(grad(summed, w)(), per_lane[:2].sum(), rtol=1e-4)


def test_forward_derivatives_of_both():
    def power(loop):
        return lambda x: loop(lambda y: y < 100.0, lambda y: y * x, x)

    for loop in (while_loop, bounded):
        value, along = jax.jvp(power(loop), (3.0,), (1.0,))
        np.testing.assert_allclose((value, along), (243.0, 405.0))


# -------------------------------------------------------------------------------------------------------- fori


@each(
    ("bounds", "unroll"),
    [
        ((-2, 3), None),
        ((-2, 3), 2),
        ((4, 1), None),
        ((4, 1), True),
        ((np.int8(1), np.int8(4)), None),
        ((np.int8(1), np.int8(4)), 2),
        ((0, jnp.int8(3)), None),
    ],
    ids=str,
)
@disabled
def test_fori_is_that_of_jax(bounds, unroll, disabled):
    s = State(jnp.int32(10))

    def body(i, val):
        s.value += i
        return val * 2.0 + i

    want = jax.lax.fori_loop(*bounds, lambda i, v: (v[0] + i, v[1] * 2.0 + i), (jnp.int32(10), 1.0))
    with jax.disable_jit(disabled):
        got = fori_loop(*bounds, body, 1.0, unroll=unroll)
    assert same((s.value, got), want)


def test_traced_bounds():
    s = State(jnp.int32(0))
    f = jit(lambda n: fori_loop(1, n, lambda i, v: (setattr(s, "value", s.value + i), v + 1)[1], 0))
    assert (f(5), s.value) == (4, 10)
    assert (f(3), s.value) == (2, 13)
    with jax.disable_jit():
        assert (f(3), s.value) == (2, 16)
    lanes = vmap(lambda n: fori_loop(0, n, lambda i, v: v + i, 0))
    assert lanes(jnp.array([1, 4, 0])).tolist() == [0, 6, 0]
    with jax.disable_jit():
        assert lanes(jnp.array([1, 4, 0])).tolist() == [0, 6, 0]


def test_the_gradient_of_fori_with_known_bounds():
    w = Param(jnp.float32(2.0))
    assert grad(lambda x: fori_loop(0, 3, lambda i, v: v * w.value, x), w)(1.0) == 12.0
    assert grad(jit(lambda x: fori_loop(0, 3, lambda i, v: v * w.value, x)), w)(1.0) == 12.0


# ------------------------------------------------------------------------------------- traces, nesting, repetition


@pytest.mark.counts_traces
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "loop",
    [
        lambda f: lambda x: while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, f(c[1])), (0, x))[1],
        lambda f: (
            lambda x: bounded_while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, f(c[1])), (0, x), max_steps=30)[1]
        ),
        lambda f: lambda x: fori_loop(0, 2, lambda i, c: f(c), x),
        lambda f: lambda x: fori_loop(0, x.astype(int), lambda i, c: f(c), x),
    ],
    ids=["while", "bounded", "fori", "fori traced"],
)
def test_the_body_runs_once_for_a_trace(loop, depth):
    s, runs = State(jnp.float32(0.0)), Runs()

    def f(x):
        runs()
        s.value = s.value + x
        return x * 1.5

    for _ in range(depth):
        f = loop(f)
    jit(f)(jnp.float32(1.0))
    assert runs.count == 1


@pytest.mark.counts_traces
def test_the_condition_runs_once_for_a_trace():
    for loop in (while_loop, bounded):
        for init in (0.0, 0, jnp.float32(0.0)):
            runs, s = Runs(), State(init)

            def holds(x, runs=runs, s=s):
                runs()
                return s.value < 5.0

            def body(x, s=s):
                s.value = s.value + jnp.float32(1.0)
                return x

            jit(lambda loop=loop, holds=holds, body=body: loop(holds, body, 0.0))()
            assert runs.count == 1
            assert s.value == 5.0


@pytest.mark.counts_traces
@pytest.mark.parametrize("loop", [while_loop, bounded, lambda c, b, v: fori_loop(0, 5, lambda_of(b), v)])
def test_an_eager_loop_is_compiled_once(loop):
    s, runs = State(jnp.float32(0.0)), Runs()

    def holds(x):
        return x < 5.0

    def body(x):
        runs()
        s.value = s.value + 1.0
        return x + 1.0

    for _ in range(3):
        loop(holds, body, 0.0)
    assert s.value == 15.0
    assert runs.count <= 1
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(10):
        loop(holds, body, 0.0)
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def lambda_of(body):
    """One function of two arguments for each body, as a user has it."""
    if not hasattr(body, "counted"):
        body.counted = lambda i, x: body(x)
    return body.counted


def test_eager_bounds_share_a_program():
    s, runs = State(jnp.int32(0)), Runs()

    def body(i, x):
        runs()
        s.value += i
        return x

    for upper in (3, 5, 7):
        fori_loop(0, upper, body, 0)
    assert s.value == 3 + 10 + 21
    assert runs.count <= 1 or jax.config.jax_check_tracer_leaks


def test_nested_in_other_transforms():
    s = State(jnp.float32(0.0))

    def inner(x):
        return while_loop(lambda c: c < x, lambda c: (setattr(s, "value", s.value + 1.0), c + 1.0)[1], 0.0)

    def outer(x):
        return cond(
            x > 1.0, lambda: inner(x), lambda: bounded_while_loop(lambda c: c < 2.0, inner_step, x, max_steps=9)
        )

    def inner_step(c):
        s.value = s.value * 2.0
        return c + 1.0

    with jax.checking_leaks():
        got = jit(lambda: for_loop(outer, jnp.array([3.0, 0.5, 2.0])))()
    np.testing.assert_allclose(got, [3.0, 2.5, 2.0])
    assert s.value == 3.0 * 4.0 + 2.0
