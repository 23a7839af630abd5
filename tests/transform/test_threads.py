"""Threads: no tracer is seen from another one, and first calls are right."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import pytest

from brainstate_transform import grad, jit
from tests.transform.tables import Net, Stack, holds_tracer, transforms

one = jnp.float32(1.0)


@transforms()
def test_while_one_thread_traces_another_sees_the_live_value(wrap):
    m, inside, go = Net(), threading.Event(), threading.Event()

    def f(x):
        m.w.value = m.w.value + x
        inside.set()
        assert go.wait(20)
        return m.w.value

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(wrap(f), one)
        assert inside.wait(20)
        seen = float(m.w.value)
        traced = holds_tracer(m)
        go.set()
        assert future.result(30) == 3.0
    assert not traced
    assert seen == 2.0
    assert m.w.value == 3.0


def together(functions):
    barrier = threading.Barrier(len(functions))

    def run(f):
        barrier.wait(20)
        return f()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result(60) for future in [pool.submit(run, f) for f in functions]]


@pytest.mark.parametrize("layers", [2, 30])
def test_first_calls_of_one_function(layers):
    for _ in range(3):
        m = Stack(*range(1, layers + 1))
        f = jit(lambda x, m=m: m.layers[1].w.value * x + m.layers[0].w.value)
        results = together([lambda k=k, f=f: f(jnp.float32(k)) for k in range(6)])
        assert [float(r) for r in results] == [2.0 * k + 1.0 for k in range(6)]


def test_first_calls_of_different_functions_over_shared_states():
    m = Stack(*map(float, range(1, 5)))
    params = [layer.w for layer in m.layers]

    def make(k):
        f = jit(grad(lambda x: m.layers[0].w.value * m.layers[k % 4].w.value * x * k))
        return lambda: f(one)

    for _ in range(3):
        results = together([make(k) for k in range(6)])
        assert [float(r) for r in results] == [float((k % 4 + 1) * k) for k in range(6)]
        assert not any(isinstance(p.value, jax.core.Tracer) for p in params)


def test_a_read_only_call_does_not_undo_the_write_of_another_thread():
    m = Net()
    f = jit(lambda x: m.w.value * x)
    f(one)
    stop = threading.Event()

    def reader():
        while not stop.is_set():
            f(one)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        for k in range(100):
            m.w.value = jnp.float32(k)
            f(one)
            assert m.w.value == k
    finally:
        stop.set()
        thread.join()


def test_first_calls_that_meet_strays():
    import sys

    nets = [Net(float(k)) for k in range(6)]
    sys.modules["thread-strays"] = nets
    try:
        f = jit(lambda k, x: sys.modules["thread-strays"][k](x), static_argnums=0)
        assert [float(r) for r in together([lambda k=k: f(k, one) for k in range(6)])] == list(map(float, range(6)))
        assert [float(f(k, one)) for k in range(6)] == list(map(float, range(6)))
        assert [float(n.n.value) for n in nets] == [2.0] * 6
    finally:
        del sys.modules["thread-strays"]
