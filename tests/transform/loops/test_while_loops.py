"""`while_loop`, `bounded_while_loop` and `fori_loop` against JAX and plain Python."""

from __future__ import annotations

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, StateArgumentError
from brainstate_transform import bounded_while_loop, cond, for_loop, fori_loop, jit, while_loop
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
        (lambda x: {"y": x}, r"its carry\['x'\] from f32\[\] to {y: f32\[\]}; a loop needs the same structure"),
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
