"""Eager loops and branches: one program for functions made of the same parts."""

from __future__ import annotations

import functools
import gc
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State
from brainstate_graph.extend import notes
from brainstate_transform import cond, for_loop, scan
from tests.laws.transforms import Net, Runs

pytestmark = pytest.mark.counts_traces

xs = jnp.arange(3.0)
runs = Runs()
total = State(jnp.zeros(()))


class Model(Node):
    def __init__(self):
        self.sum = State(jnp.zeros(()))

    def step(self, x):
        runs()
        self.sum.value = self.sum.value + x
        return x

    def __call__(self, x):
        return self.step(x)

    def add(self, by, x):
        return self.step(by * x)


def step(x):
    runs()
    total.value = total.value + x
    return x


def nested(model, by):
    def body(x):
        return model.step(by * x)

    return body


CALLS = {
    "function": lambda m: for_loop(step, xs),
    "method": lambda m: for_loop(m.step, xs),
    "node": lambda m: for_loop(m, xs),
    "partial": lambda m: for_loop(functools.partial(m.add, 1.0), xs),
    "lambda": lambda m: for_loop(lambda x: m.step(x), xs),
    "lambda of a global": lambda m: for_loop(lambda x: step(x), xs),
    "nested": lambda m: for_loop(nested(m, 1.0), xs),
    "scan": lambda m: scan(lambda c, x: (c, m.step(x)), 0.0, xs),
    "cond": lambda m: [cond(x > 5.0, lambda x: x, lambda x: m.step(x), x) for x in xs],
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_repeated_call_runs_no_python(call):
    model = Model()
    total.value = jnp.zeros(())
    call(model)
    runs.since()
    for _ in range(3):
        call(model)
    assert runs.since() == 0
    assert model.sum.value + total.value == 12.0


def test_other_parts_are_another_program():
    model = Model()
    for by in (1.0, 2.0, -0.0, 0.0):
        for_loop(nested(model, by), xs)
    assert model.sum.value == 9.0
    other = Model()
    for_loop(nested(other, 3.0), xs)
    assert (model.sum.value, other.sum.value) == (9.0, 9.0)


def test_an_array_in_the_closure_is_not_taken_for_another():
    model = Model()
    for by in (jnp.array(1.0), jnp.array(2.0)):
        for_loop(lambda x, by=by: model.step(by * x), xs)
        for_loop(nested(model, by), xs)
    assert model.sum.value == 2 * (3.0 + 6.0)


def test_a_rebound_variable_is_seen():
    model = Model()
    by = 1.0

    def body(x):
        return model.step(by * x)

    for_loop(body, xs)
    by = 10.0
    for_loop(body, xs)
    assert model.sum.value == 33.0


def test_two_branches_that_change_places():
    model = Net()

    def branches():
        return (lambda x: model(x)), (lambda x: -model(x))

    first, second = branches()
    assert cond(True, first, second, 1.0) == 2.0
    assert cond(True, second, first, 1.0) == -2.0
    assert cond(True, *reversed(branches()), 1.0) == -2.0


def test_a_model_is_not_kept_alive():
    def use():
        model = Model()
        for_loop(model.step, xs)
        for_loop(lambda x: model.step(x), xs)
        for_loop(nested(model, 1.0), xs)
        return weakref.ref(model)

    gone = use()
    gc.collect()
    assert gone() is None


def test_the_number_of_programs_is_bounded():
    model = Model()
    for by in range(40):
        for_loop(nested(model, float(by)), xs)
    assert all(len(kept) <= 8 for kept in notes(model).values() if isinstance(kept, list))


def test_inside_a_trace_nothing_is_kept():
    model = Model()

    def body(x):
        return model.step(x)

    jax.make_jaxpr(lambda: None)()
    with jax.checking_leaks():
        for_loop(body, xs)
        for_loop(body, xs)
    assert model.sum.value == 6.0


def test_a_changed_variable_or_a_wrapper_is_another_function():
    def scaled(by):
        def body(x):
            return x * by

        def change(to):
            nonlocal by
            by = to

        return body, change

    body, change = scaled(2.0)
    assert [float(for_loop(body, xs)[-1]) for _ in range(3)] == [4.0] * 3
    change(3.0)
    assert [float(for_loop(body, xs)[-1]) for _ in range(2)] == [6.0] * 2
    change(2.0)
    assert float(for_loop(body, xs)[-1]) == 4.0

    def twice(f):
        @functools.wraps(f)
        def wrapper(x):
            return 2.0 * f(x)

        return wrapper

    once = twice(body)
    assert [float(for_loop(once, xs)[-1]) for _ in range(2)] == [8.0] * 2
    assert [float(for_loop(twice(once), xs)[-1]) for _ in range(2)] == [16.0] * 2
    body.__code__ = (lambda by: lambda x: x + by)(0.0).__code__
    assert float(for_loop(body, xs)[-1]) == 4.0
    assert float(for_loop(once, xs)[-1]) == 8.0


def test_a_function_with_other_defaults_is_another_one():
    xs = jnp.arange(3.0)

    def scaled(x, by=2.0):
        return x * by

    assert [float(for_loop(scaled, xs)[-1]) for _ in range(2)] == [4.0] * 2
    scaled.__defaults__ = (3.0,)
    assert [float(for_loop(scaled, xs)[-1]) for _ in range(2)] == [6.0] * 2

    def with_factor(f, by):
        @functools.wraps(f)  # which copies what is remembered with `f`
        def wrapper(x, *, by=by):
            return x * by

        return wrapper

    double = with_factor(scaled, 2.0)
    assert [float(for_loop(double, xs)[-1]) for _ in range(2)] == [4.0] * 2
    assert [float(for_loop(with_factor(double, 5.0), xs)[-1]) for _ in range(2)] == [10.0] * 2


def test_both_branches_are_looked_at():
    model = Model()
    by = 1.0

    def left(x):
        return model.step(x)

    def right(x):
        return x * by

    assert [float(cond(False, left, right, 2.0)) for _ in range(2)] == [2.0] * 2
    by = 5.0
    assert [float(cond(False, left, right, 2.0)) for _ in range(2)] == [10.0] * 2
    assert float(cond(False, left, lambda x: -x, 2.0)) == -2.0
    assert float(cond(False, left, right, 2.0)) == 10.0


def add(p, q=None, x=0.0):
    return x + (100.0 if p == "x" else p)


def test_partials_that_fill_in_other_arguments_are_different():
    assert for_loop(functools.partial(add, "x", 2.0), jnp.zeros(1)) == 100.0
    assert for_loop(functools.partial(add, x=2.0), jnp.zeros(1)) == 2.0


FACTORS = {
    "array": jnp.float32,
    "numpy": lambda k: np.full((), k, np.float32),
    "scalar": np.float32,
    "list": lambda k: [k],
    "dict": lambda k: {"a": k},
    "tuple": lambda k: (k, jnp.float32(k)),
    "object": lambda k: types.SimpleNamespace(a=np.float32(k)),
}
factor = None


class Config:
    a = 1.0


def scale(x):
    by = factor
    by = by[0] if isinstance(by, (list, tuple)) else by["a"] if isinstance(by, dict) else getattr(by, "a", by)
    return x * by


@pytest.mark.filterwarnings("ignore:.* was traced three times")
def test_a_new_function_sees_a_global_that_was_bound_anew():
    global factor
    for make in FACTORS.values():
        for k in (1.0, 2.0, 1.0):
            factor = make(k)

            def body(x):
                return scale(x)

            assert for_loop(body, jnp.ones(1)) == k
            assert cond(True, lambda x: scale(x), lambda x: x, 1.0) == k
            assert cond(False, scale_not, lambda x: scale(x), 1.0) == k
            Config.a = k
            assert for_loop(lambda x: x * Config.a, jnp.ones(1)) == k
            Config.a = jnp.float32(k)
            assert for_loop(lambda x: x * Config().a, jnp.ones(1)) == k


def scale_not(x):
    return x


def test_a_new_function_sees_what_was_changed_in_place():
    numbers, table, array = [1.0], {"a": 1.0}, np.ones((), np.float32)
    for k in (1.0, 2.0, 1.0):
        numbers[0] = table["a"] = k
        array[...] = k
        assert for_loop(lambda x: x * numbers[0] * table["a"] * array, jnp.ones(1)) == k**3


def test_new_functions_that_reach_only_what_is_seen_share_a_program():
    net, runs, weights = Net(2.0), Runs(), jnp.float32(3.0)
    for rate in (1.0, 1.0, 2.0, 1.0):
        net.rate = rate
        assert for_loop(lambda x: (runs(), net(x) * weights)[1], jnp.ones(1)) == 6.0 * rate
    assert runs.count == 2


def test_one_list_under_several_names_is_not_another_one():
    p, q = [1.0], [2.0]

    def summed(r):
        return for_loop(lambda x: x * (100.0 * p[0] + 10.0 * q[0] + r[0]), jnp.ones(1))

    assert [float(summed(r)[0]) for r in (p, q, [3.0], p)] == [121.0, 122.0, 123.0, 121.0]
