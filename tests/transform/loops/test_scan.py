"""`scan` and `for_loop` against `jax.lax.scan`, with states in the carry."""

from __future__ import annotations

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State, StateArgumentError
from brainstate_transform import for_loop, grad, jit, scan
from tests.laws.transforms import Net, Param, Runs, same
from tests.tables import each

xs = jnp.arange(1.0, 5.0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 2, True])
def test_scan_is_lax_scan_with_the_state_in_the_carry(reverse, unroll):
    s = State(jnp.array(1.0))

    def body(c, x):
        s.value = s.value * 0.5 + c
        return c + x, (s.value, {"x": x})

    def plain(c, x):
        c, v = c
        v = v * 0.5 + c
        return (c + x, v), (v, {"x": x})

    (c, v), ys = jax.lax.scan(plain, (0.0, jnp.array(1.0)), xs, reverse=reverse, unroll=unroll)
    got = scan(body, 0.0, xs, reverse=reverse, unroll=unroll)
    assert same(got, (c, ys))
    np.testing.assert_allclose(s.value, v)


def test_several_inputs_and_trees():
    s = State(jnp.array(0.0))

    def body(a, b):
        s.value = s.value + a * b["k"]
        return b

    out = for_loop(body, xs, {"k": xs})
    assert same(out, {"k": xs})
    assert s.value == jnp.sum(xs**2)


def test_length_alone():
    s = State(0)

    def body():
        s.value = s.value + 1
        return s.value

    np.testing.assert_array_equal(for_loop(body, length=4), [1, 2, 3, 4])
    assert s.value == 4
    assert scan(lambda c, x: (c + 1, x), 0, None, length=3) == (3, None)


def test_zero_steps():
    s = State(jnp.array(2.0))

    def body(x):
        s.value = s.value + x
        return x

    assert for_loop(body, jnp.zeros((0, 3))[:, 0]).shape == (0,)
    assert for_loop(lambda: s.value, length=0).shape == (0,)
    assert s.value == 2.0
    assert scan(lambda c, x: (c * x, x), 3.0, jnp.zeros(0))[0] == 3.0


@each(
    ("call", "text"),
    [
        (lambda f: scan(f, 0.0), "not known"),
        (lambda f: for_loop(f), "not known"),
        (lambda f: for_loop(f, xs, jnp.ones(2)), "not the same"),
        (lambda f: for_loop(f, xs, length=3), "not the same"),
        (lambda f: for_loop(f, 1.0), "scalar"),
        (lambda f: scan(f, 0.0, {"a": xs, "b": 2.0}), r"\['b'\].*scalar"),
    ],
)
def test_the_number_of_steps(call, text):
    with pytest.raises(ValueError, match=text):
        call(lambda *args: args)


@each("out", [lambda c, x: c, lambda c, x: (c, x, x), lambda c, x: None, lambda c, x: (c,)])
def test_the_body_of_scan_returns_a_pair(out):
    m = Net()

    def body(c, x):
        m(x)
        return out(c, x)

    with pytest.raises(TypeError, match="pair"):
        scan(body, 0.0, xs)
    assert m.n.value == 0.0


@each("carry", [lambda c: jnp.stack([c, c]), lambda c: (c, c), lambda c: c.astype(jnp.int32)])
def test_a_carry_that_changes(carry):
    m = Net()

    def body(c, x):
        m(x)
        return carry(c), x

    with pytest.raises(TypeError):
        jax.lax.scan(lambda c, x: (carry(c), x), jnp.array(0.0), xs)
    with pytest.raises(TypeError):
        scan(body, jnp.array(0.0), xs)
    assert m.n.value == 0.0


@each("new", [lambda v: jnp.stack([v, v]), lambda v: v.astype(jnp.int32), lambda v: {"a": v}, lambda v: None])
def test_a_state_that_drifts_is_named(new):
    m = Net()
    m.n.value = jnp.array(0.0)

    def body(x):
        m.w.value = m.w.value + x
        m.n.value = new(m.n.value)

    with pytest.raises(TypeError, match=r"Net\.n"):
        for_loop(body, xs)
    assert m.w.value == 2.0


def test_a_weak_state_takes_the_type_of_what_is_written():
    s, plain = State(0), 0

    def body(x):
        s.value = s.value + x

    for_loop(body, xs)
    for x in xs:
        plain = plain + x
    assert same(s.value, plain)


@pytest.mark.counts_traces
@each(
    ("start", "new", "other", "runs"),
    [
        (0.0, jnp.float32(1.0), jnp.bfloat16(1.0 + 2.0**-7), 2),
        (0, jnp.int32(300), jnp.int8(1), 2),
        (0.0, jnp.float32(1.0), jnp.float32(1.0), 1),
        (0.0, 1.0, jnp.bfloat16(1.0), 1),
        (0, 1, jnp.int8(1), 1),
    ],
    ids=str,
)
def test_a_number_among_narrower_types_is_what_it_is_in_python(start, new, other, runs):
    counted, s, plain = Runs(), State(start), start

    def body(i):
        counted()
        s.value = s.value + new
        return s.value * other

    got = jit(lambda: for_loop(body, jnp.arange(3)))()
    want = []
    for _ in range(3):
        plain = plain + new
        want.append(plain * other)
    assert same(s.value, plain)
    assert same(got, jnp.stack(want))
    assert counted.count == runs


def test_the_output_does_not_lose_precision():
    s = State(1.0)

    def body(x):
        y = s.value * x
        s.value = s.value + jnp.float32(2.0**-12)
        return y

    got = for_loop(body, jnp.ones(3, jnp.bfloat16))
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, 1.0 + 2.0**-12 * np.arange(3.0, dtype=np.float32))


def test_written_states_only_are_carried():
    m = Net()
    jaxpr = jax.make_jaxpr(lambda x: for_loop(lambda y: m.w.value * y, x))(xs)
    (loop,) = [eqn for eqn in jaxpr.jaxpr.eqns if eqn.primitive.name == "scan"]
    assert len(loop.outvars) == 1  # the stacked result, and no carry


def test_a_loop_over_keys():
    keys = jax.random.split(jax.random.key(0), 3)
    np.testing.assert_allclose(for_loop(jax.random.normal, keys), jax.vmap(jax.random.normal)(keys))
    assert for_loop(lambda k, x: jax.random.normal(k) * x, keys, jnp.zeros(3)).shape == (3,)


def test_integer_and_boolean_inputs_keep_their_type():
    out = for_loop(lambda i, b: (i, b), np.arange(3, dtype=np.int8), np.array([True, False, True]))
    assert (out[0].dtype, out[1].dtype) == (jnp.int8, jnp.bool_)


def test_a_state_as_argument():
    s = Param(jnp.ones(3))
    for call in (lambda: for_loop(lambda x: x, s), lambda: scan(lambda c, x: (c, x), s, xs)):
        with pytest.raises(StateArgumentError, match="argument"):
            call()


def test_a_node_in_the_carry_and_in_the_inputs():
    m = Net()
    c, ys = scan(lambda c, x: (c, c(x)), m, xs)
    assert c is m
    np.testing.assert_allclose(ys, 2.0 * xs)
    assert m.n.value == 4.0


def test_new_nodes_are_stacked():
    made = for_loop(lambda x: Net(x), xs)
    np.testing.assert_allclose(made.w.value, xs)
    carry, made = scan(lambda c, x: (c + x, {"net": Net(c)}), 0.0, xs)
    assert carry == 10.0
    np.testing.assert_allclose(made["net"].w.value, [0.0, 1.0, 3.0, 6.0])


@pytest.mark.counts_traces
@pytest.mark.parametrize("state", [jnp.array(0.0), 0.0, 0])
def test_the_body_is_traced_at_most_twice(state):
    runs, s = Runs(), State(state)

    def body(x):
        runs()
        s.value = s.value + x
        return x

    for_loop(body, xs)
    assert runs.count <= 2


@pytest.mark.counts_traces
def test_an_eager_loop_is_traced_and_compiled_once():
    runs, s = Runs(), State(jnp.float32(0.0))

    def body(x):
        runs()
        s.value = s.value + x
        return x

    for_loop(body, xs)
    runs.since()
    for _ in range(3):
        for_loop(body, xs)
    assert runs.count == 0
    assert s.value == 40.0


def test_an_eager_loop_sees_new_values_of_what_it_reads():
    m = Net()

    def body(x):
        return m.w.value * x * m.rate

    np.testing.assert_allclose(for_loop(body, xs), 2.0 * xs)
    m.w.value = jnp.array(3.0)
    np.testing.assert_allclose(for_loop(body, xs), 3.0 * xs)
    m.rate = 2.0
    np.testing.assert_allclose(for_loop(body, xs), 6.0 * xs)


@pytest.mark.counts_traces
def test_repeated_eager_loops_do_not_pile_up():
    s = State(jnp.array(0.0))

    def body(x):
        s.value = s.value + x

    def objects():
        gc.collect()
        return len(gc.get_objects())

    for _ in range(3):
        for_loop(body, xs)
    before = objects()
    for _ in range(10):
        for_loop(body, xs)
    assert objects() - before < 50


def test_nested_loops_share_a_state():
    s = State(jnp.array(0.0))

    def inner(y):
        s.value = s.value + y
        return s.value

    def outer(x):
        return for_loop(inner, jnp.ones(2) * x)

    out = jit(lambda: for_loop(outer, xs))()
    np.testing.assert_allclose(out.reshape(-1), np.cumsum(np.repeat(xs, 2)))
    assert s.value == 20.0


def test_the_gradient_flows_through_the_carry():
    s = Param(jnp.array(2.0))

    def loss():
        for_loop(lambda x: setattr(s, "value", s.value * x), xs)
        return s.value

    assert grad(loss, s)() == 24.0
