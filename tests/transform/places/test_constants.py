"""Numbers and texts that a function finds around itself are part of its program."""

from __future__ import annotations

import argparse
import dataclasses
import operator
import types

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State
from brainstate_transform import for_loop, jit
from brainstate_transform._engine import touched
from tests.laws.transforms import Net, Runs, transforms
from tests.tables import each

one = jnp.float32(1.0)
RATE = 2.0


@transforms(in_short=True)
def test_a_variable_of_the_function_around(wrap):
    m = Net(1.0)
    rate = 2.0
    f = wrap(lambda x: m(x) * rate)
    assert f(one) == 2.0
    rate = 3.0
    assert f(one) == 3.0
    rate = 2.0
    assert f(one) == 2.0


def test_going_back_finds_the_old_program():
    m, runs = Net(1.0), Runs()
    rate: float = 2.0

    @jit
    def f(x):
        runs()
        return m(x) * rate

    for rate in (2.0, 3.0, 2.0, 3.0, 3.0):  # noqa: B007 - f reads it
        f(one)
    assert runs.count == 2


@each(("old", "new"), [(1, 1.0), (1, True), (0.0, -0.0), ("a", "b"), (2, 3)])
def test_values_are_told_apart_by_type_and_value(old, new):
    m, runs = Net(1.0), Runs()
    item = old

    @jit
    def f(x):
        runs()
        return m(x) if item else -m(x)

    f(one)
    item = new
    f(one)
    assert runs.count == 2


def test_a_global(monkeypatch):
    m = Net(1.0)
    f = jit(lambda x: m(x) * RATE)
    assert f(one) == 2.0
    monkeypatch.setitem(globals(), "RATE", 5.0)
    assert f(one) == 5.0


def test_a_variable_of_a_function_that_is_called():
    m = Net(1.0)
    by = 2.0

    def scaled(x):
        return m(x) * by

    f = jit(lambda x: scaled(x))
    assert f(one) == 2.0
    by = 4.0
    assert f(one) == 4.0


@pytest.mark.parametrize("kind", [types.SimpleNamespace, argparse.Namespace])
def test_an_attribute_of_a_plain_object(kind):
    m, runs = Net(1.0), Runs()
    config = kind(rate=2.0, step=0)

    @jit
    def f(x):
        runs()
        return m(x) * config.rate

    assert f(one) == 2.0
    config.step += 1  # which f does not use
    assert f(one) == 2.0
    assert runs.count == 1
    config.rate = 3.0
    assert f(one) == 3.0


def test_an_attribute_of_a_module():
    m = Net(1.0)
    settings = types.ModuleType("settings")
    settings.rate = 2.0

    def make(settings):
        code = compile("def f(x): return m(x) * settings.rate", "f", "exec")
        scope = {"m": m, "settings": settings, "__name__": "user"}
        exec(code, scope)
        return scope["f"]

    f = jit(make(settings))
    assert f(one) == 2.0
    settings.rate = 3.0
    assert f(one) == 3.0


def test_what_the_function_assigns_itself_is_no_part_of_the_program():
    m = Net(1.0)
    count = 0

    class Trainer:
        def __init__(self):
            self.calls = 0

        def step(self, x):
            nonlocal count
            count += 1
            self.calls += 1
            return m(x)

    trainer = Trainer()
    f = jit(trainer.step)
    for _ in range(3):
        f(one)
    assert (count, trainer.calls) == (1, 1)


@pytest.mark.graph_cache  # without it each call looks anew, and does not know what the trace has changed
@pytest.mark.counts_traces
@each(
    ("cfg", "count"),
    [
        (types.SimpleNamespace(calls=0), lambda cfg: setattr(cfg, "calls", cfg.calls + 1)),
        ({"calls": 0}, lambda cfg: operator.setitem(cfg, "calls", cfg["calls"] + 1)),
    ],
)
def test_what_the_function_changes_in_a_way_that_its_code_does_not_show_is_learnt(cfg, count):
    runs = Runs()

    @jit
    def f(x):
        runs()
        count(cfg)
        return 2.0 * x

    assert [f(one) for _ in range(4)] == [2.0] * 4
    assert runs.count == 1


def test_an_eager_loop_sees_a_variable():
    s = State(jnp.array(1.0))
    by = 2.0

    def body(_):
        s.value = s.value * by

    for_loop(body, jnp.zeros(3))
    assert s.value == 8.0
    by = 1.0
    for_loop(body, jnp.zeros(3))
    assert s.value == 8.0


def test_a_variable_without_a_value_and_one_that_gets_it():
    m = Net(1.0)

    def f(x):
        return m(x) * (late if ready else 1.0)

    ready = False
    g = jit(f)
    assert g(one) == 1.0
    late, ready = 3.0, True
    assert g(one) == 3.0


def test_what_the_function_assigns_itself_brings_no_old_program_back_under_another_name():
    m, count = Net(1.0), 0

    class Trainer:
        def step(self, x):
            nonlocal count
            count += 1
            return m(x)

    f = jit(Trainer().step)
    for rate in (1.0, 2.0, 1.0, 2.0):
        m.rate = rate
        assert f(one) == rate
    assert count == 2


scale = 2.0  # the value of a default below, under the name of its parameter


@pytest.mark.counts_traces
def test_a_default_is_no_global_of_the_same_name(monkeypatch):
    m, runs = Net(3.0), Runs()

    @jit
    def f(x, scale=2.0):
        runs()
        return m.w.value * x * scale

    assert f(one) == 6.0
    monkeypatch.setitem(globals(), "scale", 5.0)
    assert f(one) == 6.0
    assert runs.count == 1


@each(
    ("dtype", "shape"),
    [(np.float32, ()), (np.float32, (256,)), (np.int8, (32, 32)), (np.complex64, (2, 3)), (np.bool_, (1,))],
)
@pytest.mark.parametrize("held", [lambda array: array, lambda array: [array], lambda array: {"in": (array,)}])
def test_the_contents_of_a_small_array_are_compared(held, dtype, shape):
    array, runs = np.zeros(shape, dtype), Runs()
    table = types.SimpleNamespace(held=held(array))

    def take(item):
        while not isinstance(item, np.ndarray):
            item = item["in"] if isinstance(item, dict) else item[0]
        return item

    @jit
    def f(x):
        runs()
        return x + take(table.held).sum()

    for number, expected in ((1, 2.0), (0, 1.0), (1, 2.0)):
        array[(-1,) * array.ndim] = number
        assert f(one) == f(one) == expected
    assert runs.count == 2


@pytest.mark.graph_cache  # without it the graph is taken apart at each call
def test_a_place_that_is_changed_and_changed_back_takes_no_graph_apart(monkeypatch):
    config = types.SimpleNamespace(rate=2.0)
    f = jit(lambda x: config.rate * x)
    for rate in (2.0, 3.0):
        config.rate = rate
        assert f(one) == rate
    looks, apart = [], touched.Touched._taken_apart
    monkeypatch.setattr(touched.Touched, "_taken_apart", lambda *args: looks.append(args) or apart(*args))
    for rate in (2.0, 3.0, 2.0, 3.0):
        config.rate = rate
        assert f(one) == rate
    assert looks == []
    config.rate = 4.0
    with pytest.warns(UserWarning, match="was traced three times in a row, each time because config.rate"):
        assert f(one) == 4.0
    assert looks


def test_a_field_of_a_dataclass_counts_where_the_code_compares():
    @dataclasses.dataclass
    class Trainer:
        rate: float
        epoch: int = 0

    trainer, other, runs = Trainer(2.0), Trainer(2.0, 1), Runs()

    @jit
    def f(x):
        runs()
        return trainer.rate * x

    same = jit(lambda x: x if trainer == other else -x)
    for epoch in (0, 1, 0):
        trainer.epoch = epoch
        assert f(one) == 2.0
        assert same(one) == (1.0 if epoch == 1 else -1.0)
    assert runs.count == 1


@each("change", [
    lambda cfg: vars(cfg).update(k=cfg.k + 1),
    lambda cfg: operator.methodcaller("update", k=cfg.k + 1)(vars(cfg)),
    lambda cfg: next(cfg.steps),
], ids=["vars", "a method by its name", "a generator"])  # fmt: skip
def test_what_a_function_changes_by_others_is_learnt_at_the_first_trace(change, monkeypatch):
    monkeypatch.setattr("threading.active_count", lambda: 1)  # whoever is left of other tests changes nothing here
    cfg, runs = types.SimpleNamespace(k=1.0), Runs()

    def steps():
        while True:
            cfg.k += 1
            yield

    cfg.steps = steps()

    @jit
    def f(x):
        runs()
        y = x * cfg.k
        change(cfg)
        return y

    for _ in range(4):
        f(1.0)
    assert runs.count == 2
