"""Settings: who sees them, traced values, and errors that change nothing. `tests/laws/places` has what programs see."""

from __future__ import annotations

import contextlib
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_nn.compat import environ
from tests.tables import each, pairs


@pytest.fixture(autouse=True)
def _as_it_was():
    x64 = jax.config.jax_enable_x64
    yield
    environ.reset()
    jax.config.update("jax_enable_x64", x64)


# -- traced values -----------------------------------------------------------------------------------------------------

LOOPS = {
    "for_loop": bt.for_loop,
    "jit_of_loop": lambda f, xs: bt.jit(lambda: bt.for_loop(f, xs))(),
    "vmap": lambda f, xs: bt.vmap(f)(xs),
    "scan": lambda f, xs: bt.scan(lambda c, x: (c, f(x)), 0.0, xs)[1],
    "jit": lambda f, xs: jnp.stack([bt.jit(f)(x) for x in xs]),
    "stateful": lambda f, xs: jnp.stack([bt.StatefulFunction(f)(x) for x in xs]),
    "tangents": lambda f, xs: jnp.stack([bt.jvp(f, (x,), (jnp.ones_like(x),))[0] for x in xs]),
    "python": lambda f, xs: jnp.stack([jnp.asarray(f(x)) for x in xs]),
}


def look():
    return environ.get("i") + 2 * environ.get("t")


inner = bt.jit(look)
READS = {
    "itself": look,
    "jit": inner,
    "loop": lambda: bt.for_loop(lambda _: look(), jnp.zeros(1))[0],
    "branch": lambda: bt.cond(environ.get("t") >= 0, look, lambda: environ.get("t")),
    "derivative": lambda: bt.grad(lambda x: x * look(), argnums=0)(1.0),
}


@pairs(loop=LOOPS, read=READS)
def test_a_traced_value_is_that_of_its_step(loop, read):
    def step(i):
        with environ.context(i=i, t=i * environ.get_dt()):
            return read()

    steps = jnp.arange(3.0)
    for dt in (0.5, 0.25, 0.5):
        environ.set(dt=dt)
        np.testing.assert_allclose(loop(step, steps), [i + 2 * i * dt for i in range(3)], rtol=1e-6)
        assert environ.all() == {"precision": 32, "dt": dt}


def test_a_traced_value_leaves_with_its_trace():
    def step(i):
        with environ.context(t=i):
            return inner_t()

    inner_t = bt.jit(lambda: environ.get("t") * 2)
    with jax.checking_leaks():
        bt.for_loop(step, jnp.arange(2.0))
    with pytest.raises(ZeroDivisionError):
        bt.for_loop(lambda i: [environ.context(t=i).__enter__, 1 / 0], jnp.arange(2.0))
    assert "t" not in environ.all()


def test_what_a_program_sets_is_set_after_it():
    @bt.jit
    def count(x):
        environ.set(total=x + 1)
        return environ.get("total")

    for x in (1.0, 2.0):
        assert count(x) == x + 1 == environ.get("total")


def test_a_loop_sets_what_was_set_before_it():
    def step(i):
        environ.set(total=environ.get("total") + i)
        return environ.get("total")

    environ.set(total=jnp.int32(0))
    assert bt.for_loop(step, jnp.arange(4)).tolist() == [0, 1, 3, 6]
    assert environ.get("total") == 6


def test_to_set_one_setting_reads_no_other():
    environ.set(a=jnp.float32(1), b=jnp.float32(2))
    trace = bt.StatefulFunction(lambda: environ.set(a=jnp.float32(3))).get_state_trace()
    assert [state.name for state in trace.get_write_states()] == ["a"]
    assert "b" not in [state.name for state in trace.get_read_states()]


def test_what_raw_jax_keeps_is_told():
    environ.set(rate=jnp.float32(2))
    f = jax.jit(lambda x: environ.get("rate") * x)
    assert f(1.0) == 2.0
    with pytest.warns(UserWarning, match=r"^Setting .*rate.* was assigned, but .* keeps the old value"):
        environ.set(rate=jnp.float32(3))


def test_an_error_sets_nothing():
    @bt.jit
    def fails(x):
        environ.set(total=x)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails(1.0)
    assert environ.get("total", None) is None


def test_a_layer_that_reads_a_setting_trains_and_evaluates():
    class Net(nn.Module):
        def __init__(self):
            self.w = nn.ParamState(jnp.float32(3.0))

        def update(self, x):
            return self.w.value * x if environ.get("fit") else x

    net = Net()
    gradient = bt.jit(lambda x: bt.grad(lambda: net(x), net.w, allow_unused=True)())
    for fit, want in [(True, 2.0), (False, 0.0), (True, 2.0)]:
        with environ.context(fit=fit):
            assert gradient(2.0) == want


# -- blocks and threads ------------------------------------------------------------------------------------------------


def test_blocks_are_left_in_order_and_by_errors():
    environ.set(k=1)
    with contextlib.suppress(ZeroDivisionError), environ.context(k=2, j=2) as settings:
        assert settings == {"precision": 32, "k": 2, "j": 2}
        with environ.context(k=3):
            environ.set(k=4, m=5)
            assert [environ.get(name) for name in "kjm"] == [3, 2, 5]
        assert environ.get("k") == 2
        1 / 0  # noqa: B018
    assert environ.all() == {"precision": 32, "k": 4, "m": 5}


def test_arrays_of_a_block_are_its_own():
    def values():
        return [float(environ.get(name, -1)) for name in ("t", "a", "b")]

    environ.set(a=jnp.float32(0))
    for first in (1.0, 2.0):  # the second time in the blocks of the first
        with environ.context(t=first, a=jnp.float32(first)) as all_of_it:
            assert (all_of_it["t"], all_of_it["a"]) == (first, first)
            with environ.context(t=7.0, b=np.float32(8)), environ.context(a=np.float32(9)):
                assert values() == [7, 9, 8]
            assert values() == [first, first, -1]
            with environ.context(t=first, a=jnp.float32(first)), environ.context(t=3.0, a=jnp.float32(4)):
                assert values() == [3, 4, -1]
            assert values() == [first, first, -1]
        assert values() == [-1, 0, -1]


@each("inner, outer", [(0.0, -0.0), (True, 1), (1, 1.0), (np.float32(1), 1.0), ("1", 1), ([1], [1]), (2, None)])
def test_a_block_has_the_values_that_it_was_given(inner, outer):
    for value in (outer, inner, outer):
        with environ.context(x=value) as settings:
            for got in (environ.get("x"), settings["x"]):
                assert got is value


@pytest.mark.graph_cache
def test_a_call_in_a_block_looks_at_no_graph():
    net = nn.Sequential(*[nn.Linear(2, 2, rng=nn.RandomState(0)) for _ in range(30)])
    f, x = bt.jit(lambda x: net(x) * environ.get("t") * (2 if environ.get("fit") else 1)), jnp.ones(2)

    def in_a_block(t):
        with environ.context(fit=True, t=t):
            return f(x)

    def after_a_setting(t):
        environ.set(t=t, fit=True)
        return f(x)

    for call in (in_a_block, after_a_setting):
        call(1.0)
        call(2.0)
        assert calls_of_python(call, 3.0) < 120  # and 1,127 where the graph is taken apart


def calls_of_python(fun, *args):
    count = 0

    def note(_, event, __):
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        fun(*args)
    finally:
        sys.setprofile(None)
    return count


def test_a_block_is_that_of_its_thread():
    f, got, gates = bt.jit(lambda x: environ.get("k") * x), {}, threading.Barrier(3)

    def run(k):
        with environ.context(k=k):
            gates.wait()
            got[k] = [float(f(x)) for x in (1.0, 2.0)]
            gates.wait()

    threads = [threading.Thread(target=run, args=(k,)) for k in (2.0, 3.0)]
    for thread in threads:
        thread.start()
    environ.set(k=5.0)
    gates.wait()
    assert f(1.0) == 5.0
    gates.wait()
    for thread in threads:
        thread.join()
    assert got == {2.0: [2.0, 4.0], 3.0: [3.0, 6.0]}


# -- values and errors -------------------------------------------------------------------------------------------------


@each(
    "precision, bits, names",
    [
        (8, 8, "int8 uint8 float8_e5m2 complex64"),
        ("16", 16, "int16 uint16 float16 complex64"),
        ("bf16", 16, "int16 uint16 bfloat16 complex64"),
        (32, 32, "int32 uint32 float32 complex64"),
        (64, 64, "int64 uint64 float64 complex128"),
    ],
)
def test_precision(precision, bits, names):
    for way in (environ.set_precision, lambda precision: environ.set(precision=precision)):
        environ.reset()
        way(precision)
        dtypes = [environ.ditype(), environ.dutype(), environ.dftype(), environ.dctype()]
        assert [np.dtype(dtype).name for dtype in dtypes] == names.split()
        assert environ.get_precision() == bits
        assert jax.config.jax_enable_x64 == (bits == 64)
    with environ.context(precision=64):
        assert jnp.zeros((), float).dtype == np.float64 == environ.dftype()
        assert environ.tolerance() == 1e-12
    assert environ.get_precision() == bits


def test_platform_and_devices():
    assert environ.get("platform") == environ.get_platform() == jax.devices()[0].platform
    assert environ.get("host_device_count") == environ.get_host_device_count() == len(jax.devices("cpu"))


@each(
    "call, error, words",
    [
        (
            lambda: environ.get("x", desc="a rate"),
            KeyError,
            r"the setting 'x' \(a rate\) is not set: write `environ.set",
        ),
        (lambda: environ.get_dt(), KeyError, r"environ\.context\(dt=\.\.\.\)"),
        (lambda: environ.pop("x"), KeyError, "'x' is not set"),
        (lambda: environ.set(k=2, dt=jnp.ones(3)), TypeError, r"dt takes a number, not an array of shape \(3,\)"),
        (lambda: environ.set(k=2, precision=17), ValueError, "precision takes one of 8, 16, 32, 64, 'bf16', not 17"),
        (lambda: environ.set(k=2, platform="abacus"), ValueError, "platform takes one of"),
        (lambda: environ.set(k=2, host_device_count=0), ValueError, "host_device_count takes a positive"),
        (lambda: environ.context(platform="cpu").__enter__(), ValueError, r"write `environ\.set\(platform"),
        (lambda: environ.context(k=2, precision=17).__enter__(), ValueError, "precision takes one of"),
        (lambda: environ.set(k=2, array=jnp.ones(3), odd=1), ZeroDivisionError, "division by zero"),
        (lambda: environ.context(k=2, odd=1).__enter__(), ZeroDivisionError, "division by zero"),
        (lambda: environ.register_default_behavior("odd", print), ValueError, "replace_if_exist=True"),
        (lambda: environ.register_default_behavior("k", 1), TypeError, "not 1 for 'k'"),
    ],
)
def test_an_error_changes_nothing(call, error, words):
    environ.reset()
    environ.register_default_behavior("odd", lambda value: 1 / 0)
    array = jnp.zeros(2)
    environ.set(k=1, array=array)
    with pytest.raises(error, match=words):
        call()
    assert environ.pop("array") is array
    assert environ.all() == {"precision": 32, "k": 1}
    with environ.context(k=3), pytest.raises(ValueError, match="leave the block"):
        environ.pop("k")


def test_behaviors_are_told_each_value():
    told = []
    environ.register_default_behavior("dt", told.append)
    environ.set(dt=1)
    with environ.context(dt=2):
        pass
    assert told == [1, 2, 1]
    assert environ.list_registered_behaviors() == ["dt"]
    assert environ.unregister_default_behavior("dt")
    assert not environ.unregister_default_behavior("dt")


def test_a_setting_that_changes_often_is_told_with_the_line_to_write():
    f = bt.jit(lambda x: environ.get("rate") * x)
    for rate in (1.0, 2.0):
        environ.set(rate=rate)
        f(1.0)
    environ.set(rate=3.0)
    with pytest.warns(UserWarning, match=r"`environ\.set\(rate=jnp\.asarray\(rate\)\)`"):
        f(1.0)
