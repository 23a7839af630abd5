"""Programs keep no model alive, and calls make nothing that stays."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import pytest

from brainstate_transform import jit
from tests.laws.transforms import Net, Param, Stack

one = jnp.float32(1.0)


@pytest.mark.parametrize(
    "options", [{}, {"donate_states": True}, {"donate_states": Param}], ids=["plain", "all", "some"]
)
def test_alternating_structures_make_nothing_that_stays(options):
    m, extra = Stack(1.0, 2.0), Net(3.0)
    f = jit(lambda x: m(x), **options)

    def round_trip():
        for rate in (1.0, 2.0):
            m.layers[0].rate = rate
            f(one)
        m.layers.append(extra)
        f(one)
        m.layers.pop()
        f(one)

    def objects():
        gc.collect()
        return len(gc.get_objects())

    for _ in range(3):
        round_trip()
    before, traces = objects(), f.explain().traces
    for _ in range(250):  # 1,000 calls
        round_trip()
    assert objects() - before < 40
    assert f.explain().traces == traces or jax.config.jax_check_tracer_leaks


def test_a_function_and_the_model_that_it_captures_go_together():
    m = Net()
    f = jit(m, donate_states=Param)
    f(one)
    f.compile(one)
    f.explain()
    gone = weakref.ref(m)
    del m, f
    gc.collect()
    assert gone() is None


def test_programs_keep_no_model_alive():
    f, gone = jit(lambda m, x: m(x)), []
    for n in range(3):
        m = Stack(*range(n + 1))
        f(m, one)
        f.compile(m, one)(m, one)
        gone.append(weakref.ref(m))
    del m
    gc.collect()
    assert [g() for g in gone] == [None] * 3
    assert f.explain().programs == 3


def test_a_dropped_model_that_was_an_argument_is_collected():
    f = jit(lambda m, x: m(x))
    m = Net()
    f(m, one)
    f(m, one)
    gone = weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None


def test_a_dropped_second_argument_is_collected():
    f = jit(lambda m, batch: m(batch.w.value))
    m, gone = Net(), []
    for _ in range(3):
        batch = Net()
        f(m, batch)
        gone.append(weakref.ref(batch))
    del batch
    f(m, Net())
    gc.collect()
    assert sum(g() is not None for g in gone) <= 1  # the plans of the last two calls are kept


def test_repeated_calls_make_no_objects():
    m = Stack(1.0, 2.0)
    f, g = jit(lambda x: m(x)), jit(lambda m, x: m(x))

    def objects():
        gc.collect()
        return len(gc.get_objects())

    for _ in range(5):
        f(one), g(m, one)
    before = objects()
    for _ in range(50):
        f(one), g(m, one)
    assert objects() - before < 20
