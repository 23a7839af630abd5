"""Threads: no error, no tracer seen from another thread, no write lost by a call that only reads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import Node, State, treefy_split
from brainstate_graph.extend import read_values, write_values
from brainstate_transform import StatefulFunction, checkpoint, cond, for_loop, grad, jit, scan, value_and_grad, vmap
from tests.laws.graphs import Gadget
from tests.laws.transforms import Net, Param, Stack, holds_tracer, transforms
from tests.transform.engine.threads import THREADS, Watch, hasty, times, together  # noqa: F401 - a fixture

one = jnp.float32(1.0)


# ------------------------------------------------------------------------------------------------ 10,000 calls


def test_ten_thousand_calls_of_shared_and_separate_functions():
    model = Stack(1.0, 2.0, 3.0)
    own = [Net() for _ in range(THREADS)]
    shared = jit(lambda x: model.layers[0].w.value * x + model.layers[2].w.value)
    slope = jit(lambda x: grad(lambda: model.layers[1].w.value ** 2 * x, model.layers[1].w)())
    wrong = []

    def work(k):
        def body(x):
            own[k].n.value = own[k].n.value + 1.0
            return model.layers[1].w.value * x

        separate = jit(body)  # a first call, while others trace or call what reads the same states
        for i in range(1250 // 5):
            x = jnp.float32(i % 7)
            results = (shared(x), separate(x), slope(x), shared(x), separate(x))
            if [float(r) for r in results] != [x + 3.0, 2.0 * x, 4.0 * x, x + 3.0, 2.0 * x]:
                wrong.append((k, i, results))

    with Watch(model, *own) as watch:
        together([lambda k=k: work(k) for k in range(THREADS)])
    assert not wrong
    assert not watch.seen
    assert watch.looks > 3
    assert [float(net.n.value) for net in own] == [500.0] * THREADS
    assert [float(layer.w.value) for layer in model.layers] == [1.0, 2.0, 3.0]


# ------------------------------------------------------------------------------------------------ first calls


@transforms(in_short=True)
def test_first_calls_of_one_function(wrap):
    m = Net(3.0)
    f = wrap(lambda x: m.w.value * x + m.rate)
    assert [float(r) for r in together([lambda k=k: f(jnp.float32(k)) for k in range(THREADS)])] == [
        3.0 * k + 1.0 for k in range(THREADS)
    ]
    assert not holds_tracer(m)


@pytest.mark.parametrize("layers", [2, 30])
def test_first_calls_of_one_function_over_few_and_many_states(layers):
    for _ in range(3):
        m = Stack(*range(1, layers + 1))
        f = jit(lambda x, m=m: m.layers[1].w.value * x + m.layers[0].w.value)
        results = together([lambda k=k, f=f: f(jnp.float32(k)) for k in range(6)])
        assert [float(r) for r in results] == [2.0 * k + 1.0 for k in range(6)]


def test_first_calls_of_different_functions_over_shared_states():
    m = Stack(*map(float, range(1, 5)))

    def make(k):
        f = jit(grad(lambda x: m.layers[0].w.value * m.layers[k % 4].w.value * x * k))
        return lambda: f(one)

    for _ in range(15):
        results = together([make(k) for k in range(6)])
        assert [float(r) for r in results] == [float((k % 4 + 1) * k) for k in range(6)]
        assert not holds_tracer(m)


def test_first_calls_over_many_states_of_which_few_are_used():
    for _ in range(3):
        m = Stack(*map(float, range(40)))
        f = jit(lambda x, m=m: m.layers[3](x) + m.layers[7].w.value, donate_states=False)
        results = together([lambda k=k, f=f: f(jnp.float32(k)) for k in range(THREADS)])
        assert [float(r) for r in results] == [3.0 * k + 7.0 for k in range(THREADS)]
        assert not holds_tracer(m)
        before = float(m.layers[3].n.value)  # several threads may have read 0 before any of them wrote
        assert 1.0 <= before <= THREADS
        f(one)
        assert m.layers[3].n.value == before + 1.0


def test_first_calls_with_models_as_arguments():
    models = [Net(float(k)) for k in range(4)]
    f = jit(lambda a, b, x: a(x) + b.w.value)
    pairs = [(models[k % 4], models[(k + 1 + k // 4) % 4]) for k in range(THREADS)]
    for _ in range(10):
        results = together([lambda a=a, b=b: [float(f(a, b, one)) for _ in range(3)] for a, b in pairs])
        assert results == [[float(a.w.value + b.w.value)] * 3 for a, b in pairs]


def test_first_calls_of_a_method_of_one_object():
    class Plain:  # no Node: each object gets a form of its own
        def __init__(self, net):
            self.net = net

        @jit
        def run(self, x):
            return self.net.w.value * x

    for _ in range(4):
        plain = Plain(Net(4.0))
        assert together([lambda p=plain: float(p.run(one))] * THREADS) == [4.0] * THREADS


def test_first_calls_that_meet_strays():
    nets = [Net(float(k)) for k in range(THREADS)]
    sys.modules["thread-strays"] = nets
    try:
        for _ in range(2):
            before = [float(n.n.value) for n in nets]
            f = jit(lambda k, x: sys.modules["thread-strays"][k](x), static_argnums=0)
            want = list(map(float, range(THREADS)))
            assert [float(r) for r in together([lambda k=k, f=f: f(k, one) for k in range(THREADS)])] == want
            assert [float(f(k, one)) for k in range(THREADS)] == want
            assert [float(n.n.value) for n in nets] == [n + 2.0 for n in before]
    finally:
        del sys.modules["thread-strays"]


def test_first_eager_loops_and_branches_that_meet_strays():
    nets = [Net(float(k)) for k in range(THREADS)]
    sys.modules["thread-strays"] = nets
    try:

        def make(k):
            body = lambda x: sys.modules["thread-strays"][k](x)
            return lambda: float(for_loop(body, jnp.ones(2))[1] + cond(True, body, lambda x: -x, one))

        assert together([make(k) for k in range(THREADS)]) == [2.0 * k for k in range(THREADS)]
        assert [float(n.n.value) for n in nets] == [3.0] * THREADS
    finally:
        del sys.modules["thread-strays"]


# ------------------------------------------------------------------------------------------------ writes


READERS: dict[str, Callable] = {
    "jit": jit,
    "jit, eager grad": lambda f: value_and_grad(f),
    "vmap": lambda f: vmap(f, in_axes=None, axis_size=2),
    "stateful": StatefulFunction,
    "checkpoint": checkpoint,
}


@pytest.mark.parametrize("wrap", READERS.values(), ids=READERS)
def test_a_call_that_only_reads_loses_no_write_of_another_thread(wrap):
    m = Net()
    f = wrap(lambda x: m.w.value * x)
    f(one)
    stop = threading.Event()

    def reader():
        while not stop.is_set():
            f(one)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        lost = []
        for k in range(200):
            m.w.value = value = jnp.float32(k)
            time.sleep(1e-4 if k % 4 else 0.0)
            if m.w.value is not value:
                lost.append(k)
    finally:
        stop.set()
        thread.join()
    assert not lost


def test_a_call_that_writes_other_states_loses_no_write_of_another_thread():
    m = Net()
    f = jit(lambda x: m(x))  # reads w, counts n
    f(one)

    def assign():
        for k in range(200):
            m.w.value = value = jnp.float32(k)
            f_sees = m.w.value is value
            assert f_sees

    together([assign, times(500, lambda: f(one))])
    assert m.n.value == 501.0
    assert m.w.value == 199.0


LOOKS = {
    "jit": lambda model: jit(lambda: [state.value for state in model.many]),
    "split": lambda model: lambda: jax.tree.leaves(treefy_split(model)[1]),
    "read_values": lambda model: lambda: read_values(model.many, False),
}


@pytest.mark.parametrize("name", LOOKS)
def test_whoever_reads_finds_all_values_that_are_stored_at_once_or_none(name):
    model = Node()
    model.many = [State(0) for _ in range(2000)]
    look, torn, stop = LOOKS[name](model), [], threading.Event()
    look()

    def reader():
        sys.setswitchinterval(1e-6)
        while not stop.is_set():
            seen = look()
            if min(seen) != max(seen):
                torn.append(seen)

    def writer():
        end = time.perf_counter() + 0.5
        try:
            while time.perf_counter() < end:
                write_values(model.many, [model.many[0].value + 1] * len(model.many))
        finally:
            stop.set()

    together([writer, reader])
    assert not torn


def test_counting_under_a_lock_is_exact():
    m, lock = Net(), threading.Lock()
    f = jit(lambda x: m(x))

    def locked():
        with lock:
            f(one)

    together([times(100, locked)] * THREADS)
    assert m.n.value == 100.0 * THREADS


# ------------------------------------------------------------------------------------------------ transforms


@transforms(without=["jit_donating"], in_short=True)  # which gives away what another thread is reading
def test_every_transform_of_shared_states_in_many_threads(wrap):
    m = Net(2.0)
    own = [State(jnp.zeros(())) for _ in range(THREADS)]

    def work(k):
        def body(x):
            own[k].value = own[k].value + 1.0
            return m.w.value * x

        f = wrap(body)
        return lambda: [float(f(jnp.float32(i))) for i in range(6)]

    with Watch(m) as watch:
        results = together([work(k) for k in range(THREADS)])
    assert results == [[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]] * THREADS
    assert [float(s.value) for s in own] == [6.0] * THREADS
    assert not watch.seen


def test_one_body_in_the_eager_loops_of_many_threads():
    # The compiled forms are kept with the body, and some are dropped again: more kinds than are kept.
    m = Net(2.0)

    def body(x):
        return m.w.value * x

    def work(k):
        n = 1 + k % 4
        ys = [for_loop(body, jnp.ones(n), unroll=1 + i % 10) for i in range(14)]
        zs = [scan(lambda c, x: (c + body(x), x), 0.0, jnp.ones(n))[0] for _ in range(2)]
        return {float(jnp.sum(y)) for y in ys} | {float(z) for z in zs}

    assert together([lambda k=k: work(k) for k in range(THREADS)]) == [{2.0 * (1 + k % 4)} for k in range(THREADS)]


def test_plans_of_one_model_beside_many_others():
    # The plans are kept with the first node, and some are dropped again.
    first, others = Net(2.0), [Net(float(k)) for k in range(6)]
    f = jit(lambda a, b, x: a.w.value * x + b.w.value)

    def work(k):
        return [float(f(first, others[(k + i) % 6], one)) for i in range(60)]

    results = together([lambda k=k: work(k) for k in range(THREADS)])
    assert results == [[2.0 + (k + i) % 6 for i in range(60)] for k in range(THREADS)]


def test_a_nest_in_many_threads():
    w = Param(jnp.array(2.0))

    def make(k):
        def branch(x):
            return w.value**2 * x * k

        def body(x):
            return grad(lambda: cond(x > 1.0, branch, lambda x: x * w.value, x), w)()

        f = jit(lambda xs: for_loop(body, xs))
        return lambda: [f(jnp.array([0.5, 2.0])).tolist() for _ in range(3)]

    assert together([make(k) for k in range(THREADS)]) == [[[0.5, 8.0 * k]] * 3 for k in range(THREADS)]
    assert w.value == 2.0


def test_first_calls_at_once_and_no_lost_update_under_a_lock():
    model, lock = Gadget(n=State(jnp.int32(0)), w=Param(one)), threading.Lock()
    step = jit(lambda: setattr(model.n, "value", model.n.value + 1))
    reading = jit(lambda x: model.w.value * x)
    barrier = threading.Barrier(6)

    def work(k: int) -> list[float]:
        barrier.wait(20)
        out = []
        for _ in range(50):
            with lock:
                step()
            out.append(float(reading(jnp.float32(k))))
        return out

    with ThreadPoolExecutor(6) as pool:
        for k, out in enumerate(pool.map(work, range(6))):
            assert out == [float(k)] * 50
    assert model.n.value == 300
    assert not holds_tracer(model)
