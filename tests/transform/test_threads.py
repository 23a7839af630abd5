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

from brainstate_graph import Node, State
from brainstate_transform import StatefulFunction, checkpoint, cond, for_loop, grad, jit, scan, value_and_grad, vmap
from tests.laws.transforms import TRANSFORMS, Net, Param, Stack, Tied, holds_tracer, transforms

one = jnp.float32(1.0)
THREADS = 8


@pytest.fixture(autouse=True)
def hasty():
    """Change threads often: 50 times as often as usual, so that what can happen does happen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def together(functions):
    """Run each function in a thread of its own, all from the same moment; return the results or raise."""
    barrier = threading.Barrier(len(functions))

    def run(f):
        barrier.wait(20)
        return f()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result(60) for future in [pool.submit(run, f) for f in functions]]


def times(count, f):
    def run():
        for _ in range(count):
            f()

    return run


class Watch:
    """A thread that reads states eagerly all the time, and takes down what it may never see."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.seen = False
        self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.is_set():
            self.seen = self.seen or any(map(holds_tracer, self.nodes))
            self.looks += 1
            time.sleep(1e-4)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


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


@transforms()
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


# ------------------------------------------------------------------------------------------------ one traces


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


@transforms()
def test_while_one_thread_traces_another_uses_the_same_transform(wrap):
    m, inside, go = Net(), threading.Event(), threading.Event()
    main = threading.get_ident()

    def f(x):
        if threading.get_ident() != main:
            inside.set()
            assert go.wait(20)
        return m.w.value * x

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(wrap(f), one)
        assert inside.wait(20)
        # Another function: JAX lets only one thread trace a function, the others wait for it.
        assert wrap(lambda x: m(x))(one) == 2.0
        assert m.n.value == 1.0
        go.set()
        assert future.result(30) == 2.0


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


def test_counting_under_a_lock_is_exact():
    m, lock = Net(), threading.Lock()
    f = jit(lambda x: m(x))

    def locked():
        with lock:
            f(one)

    together([times(100, locked)] * THREADS)
    assert m.n.value == 100.0 * THREADS


# ------------------------------------------------------------------------------------------------ structure


def test_structural_changes_in_one_thread_while_others_call():
    m = Stack(2.0, 3.0)
    f = jit(lambda x: m(x))
    valid = {6.0, 30.0, 12.0, 60.0}  # with and without the third layer, with rate 1 and 2
    wrong, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            y = float(f(one))
            if y not in valid:
                wrong.append(y)

    def change():
        try:
            extra = Net(5.0)
            for k in range(100):
                m.layers.append(extra)
                time.sleep(1e-4)
                m.layers[0].rate = 1.0 + k % 2
                m.layers.pop()
                if k % 10 == 0:
                    m.layers[1].w = Param(jnp.array(3.0))
                time.sleep(1e-4)
        finally:
            stop.set()

    together([change, *[call] * 3])
    assert not wrong
    assert not holds_tracer(m)
    m.layers[0].rate = 1.0
    assert f(one) == 6.0


def elsewhere(change):
    """Run `change` to its end in another thread, now."""
    thread = threading.Thread(target=change)
    thread.start()
    thread.join()


@pytest.mark.parametrize("wrap", [jit, StatefulFunction, lambda f: jit(jit(f)), lambda f: jit(f, donate_states=True)],
                         ids=["jit", "StatefulFunction", "jit of jit", "donating"])  # fmt: skip
@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m.layers[0], "rate", 2.0),
        lambda m: m.layers.append(Net(5.0)),
        lambda m: m.layers.pop(),
        lambda m: setattr(m, "layers", [Net(4.0)]),
    ],
    ids=["attribute", "append", "pop", "replace"],
)
def test_a_trace_during_which_another_thread_changed_the_structure_is_not_kept(wrap, change):
    m, changes = Stack(2.0, 3.0), []

    @wrap
    def f(x):
        if not changes:
            x = m.layers[0](x)
            changes.append(1)
            elsewhere(lambda: change(m))
            return m.layers[-1](x)
        return m(x)

    f(one)
    after = Stack(2.0, 3.0)
    change(after)
    assert f(one) == after(one)
    m.layers = [Net(2.0), Net(3.0)]
    assert f(one) == 6.0  # not what was traced under this shape, of no one structure


def test_a_graph_that_is_changed_at_every_trace_is_run_as_python_would():
    m, rates = Net(2.0), iter(range(1, 1000))

    def change():
        m.rate = float(next(rates))

    @jit
    def f(x):
        elsewhere(change)
        return m(x)

    assert f(one) == 2.0 * m.rate
    assert m.n.value == 1.0
    assert not holds_tracer(m)


def test_where_it_must_be_traced_the_other_thread_is_named():
    m, rates = Net(2.0), iter(range(1, 1000))
    before = m.n.value

    @jit
    def f(x):
        elsewhere(lambda: setattr(m, "rate", float(next(rates))))
        return m.w.value * x * m.rate

    for call in (jax.jit(f), f.lower):
        with pytest.raises(RuntimeError, match=r"^another thread changes what `.*\bf` uses .* let both hold one lock"):
            call(one)
    assert m.n.value is before


def test_a_loop_over_a_graph_that_another_thread_changes_is_traced_again():
    m, changes = Net(2.0), []

    def body(x):
        y = m(x)
        if not changes:
            changes.append(1)
            elsewhere(lambda: setattr(m, "rate", 3.0))
        return y

    for_loop(body, jnp.ones(2))
    assert jnp.array_equal(for_loop(body, jnp.ones(2)), jnp.full(2, 6.0))
    m.rate = 1.0
    assert jnp.array_equal(for_loop(body, jnp.ones(2)), jnp.full(2, 2.0))


def test_structural_changes_elsewhere_while_others_call():
    m, other = Net(), Tied()
    f = jit(lambda x: m.w.value * x)
    g = jit(lambda x: other(x))

    def change():
        for k in range(300):
            other.extra = k % 3
            g(one)

    together([change, *[times(500, lambda: f(one))] * 3])
    assert f(one) == 2.0


# ------------------------------------------------------------------------------------------------ transforms


@transforms(without=["jit_donating"])  # which gives away what another thread is reading
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


# ------------------------------------------------------------------------------------------------ exceptions


class Boom(Exception):
    pass


@pytest.mark.parametrize("name", ["jit", "value_and_grad", "vmap", "for_loop", "cond", "checkpoint", "stateful"])
def test_exceptions_in_some_threads(name):
    m, own = Net(), [Net() for _ in range(THREADS)]

    def work(k):
        def body(x):
            m.w.value  # noqa: B018
            own[k](x)
            if k % 2:
                own[k].w.value = own[k].w.value + x
                raise Boom(k)
            return m.w.value * x

        f = TRANSFORMS[name](body)

        def run():
            for _ in range(3):
                if k % 2:
                    with pytest.raises(Boom):
                        f(one)
                else:
                    assert f(one) == 2.0

        return run

    together([work(k) for k in range(THREADS)])
    assert [float(net.n.value) for net in own] == [0.0 if k % 2 else 3.0 for k in range(THREADS)]
    assert [float(net.w.value) for net in own] == [2.0] * THREADS
    assert not holds_tracer(m)


def test_an_exception_in_the_trace_of_a_function_that_others_wait_for():
    m, calls = Net(), []

    def body(x):
        calls.append(None)
        first = len(calls) == 1
        m.w.value = m.w.value * 1.0
        time.sleep(0.01)
        if first:
            raise Boom
        return m.w.value * x

    f = jit(body)

    def run():
        try:
            return float(f(one))
        except Boom:
            return None

    results = together([run] * THREADS)
    assert results.count(None) == 1
    assert set(results) == {None, 2.0}
    assert not holds_tracer(m)


def test_jit_disabled_in_one_thread_only():
    m, traced = Net(), []

    def body(x):
        traced.append(isinstance(x, jax.core.Tracer))
        return m.w.value * x

    def plain():
        with jax.disable_jit():
            return [float(jit(body)(one)) for _ in range(10)]

    assert together([plain, lambda: [float(jit(body)(one)) for _ in range(10)]]) == [[2.0] * 10] * 2
    assert sorted(traced) == [False] * 10 + [True] * 10


def test_states_made_in_threads_while_another_traces():
    inside, go = threading.Event(), threading.Event()

    class Lazy(Node):
        def __init__(self, x):
            self.s = State(x)

    def f(x):
        inside.set()
        assert go.wait(20)
        return Lazy(x * 2.0)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(jit(f), one)
        assert inside.wait(20)
        made = Lazy(jnp.float32(5.0))
        go.set()
        new = future.result(30)
    assert made.s.value == 5.0
    assert new.s.value == 2.0


def test_first_calls_with_a_model_where_a_number_was_before():
    def f(a, x):
        return a(x) if isinstance(a, Net) else a * x

    for _ in range(8):
        g = jit(f)
        assert g(3.0, one) == 3.0
        nets = [Net(float(k)) for k in range(THREADS)]
        assert together([lambda n=n, g=g: float(g(n, one)) for n in nets]) == list(map(float, range(THREADS)))


def test_jax_compares_the_static_parts_of_a_call_without_running_python():
    # JAX 0.12 crashes where threads look for a program at once and a comparison lets one of them go on: 3 runs of 6
    # of the first calls above, with pure JAX too.
    from brainstate_transform._engine import placeholders as _seal
    from brainstate_transform._engine import values as _values

    assert _values.Rows.__eq__ is tuple.__eq__
    assert _values.Rows.__hash__ is tuple.__hash__
    assert _seal.Slot.__eq__ is object.__eq__
    assert _seal.Slot(3) is _seal.Slot(3)
    assert _seal.constant("a").__class__.__eq__ is object.__eq__
    assert _seal.constant((1, "a")) is _seal.constant((1, "a"))
    assert _seal.constant(1) is not _seal.constant(1.0)


def test_an_error_that_says_where_a_state_is_disturbs_no_other_thread():
    # It looks at all live objects, and a tuple that another thread is building may have one owner only.
    m, stop = Net(), threading.Event()

    def build():
        while not stop.is_set():
            assert len(tuple(x for x in range(200))) == 200

    def fail():
        try:
            for _ in range(10):
                with pytest.raises(TypeError, match=r"Net\.n"):
                    for_loop(lambda x: setattr(m.n, "value", jnp.zeros(2)), jnp.arange(2.0))
        finally:
            stop.set()

    together([fail, build, build])
