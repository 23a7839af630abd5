"""An audit: what it does to the function, the states and the error; what else it finds, and what not, stands beside."""

from __future__ import annotations

import functools
import gc
import itertools
import threading
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_transform import (
    StaleProgramError,
    StatefulFunction,
    check,
    checkify,
    grad,
    jit,
    vmap,
)
from tests.laws.transforms import Net, Runs, same, values
from tests.processes.run import output_of
from tests.tables import each

one = jnp.float32(1.0)
audited = functools.partial(jit, audit=True)


def test_it_changes_no_state_and_runs_the_function_once_more():
    net, runs = Net(), Runs()

    def step(x):
        runs()
        return net(x)

    f = audited(step)
    for count in range(1, 4):
        f(one)
        assert net.n.value == count
    assert runs.count == 1 + 3
    assert f.explain().traces == 1


def test_nothing_is_written_when_it_raises():
    net, held = Net(), bytearray(2)
    f = audited(lambda x: net(x) * len(held))
    f(one)
    before = values(net)
    held.append(0)
    with pytest.raises(StaleProgramError):
        f(one)
    assert same(values(net), before)


def test_each_kind_of_call_has_its_own_program():
    held = bytearray(2)
    f = audited(lambda x: x * len(held))
    f(one)
    held.append(0)
    assert f(jnp.ones(2)).tolist() == [3.0, 3.0]  # traced for these just now
    with pytest.raises(StaleProgramError, match=r"2\.0 is now 3\.0"):
        f(one)


def test_it_names_the_function_the_places_and_the_remedy():
    held, net = np.zeros(1000), types.SimpleNamespace(table=np.ones(1000))

    @audited
    def step(x):
        return x * float(2.0 + held.sum()) + net.table.sum()

    step(one)
    held[7] = 1.0
    with pytest.raises(StaleProgramError) as raised:
        step(one)
    line = step.__wrapped__.__code__.co_firstlineno + 2
    told = str(raised.value)
    assert told.startswith(
        "the program of `test_it_names_the_function_the_places_and_the_remedy.<locals>.step` is out of date. A new "
        "trace differs: a constant of `mul`, 2.0 is now 3.0, at "
    )
    assert f"test_audit.py:{line}" in told
    assert told.endswith(
        f"It reads {', '.join(raised.value.unwatched)}, which no call compares. Hold what changes in a State, or pass "
        "it as an argument; after `clear_cache()` the next call compiles again."
    )
    assert [place.partition(" (")[0] for place in raised.value.unwatched] == ["held", "net.table"]
    assert raised.value.unwatched == step.explain().unwatched
    assert isinstance(raised.value, RuntimeError)


def test_an_error_of_the_function_is_the_cause():
    held = bytearray(2)

    @audited
    def f(x):
        if len(held) > 2:
            raise KeyError("gone")
        return x

    f(one)
    held.append(0)
    with pytest.raises(StaleProgramError) as raised:
        f(one)
    assert isinstance(raised.value.__cause__, KeyError)


def test_an_error_of_the_first_call_is_its_own():
    f = audited(lambda x: x @ x)
    with pytest.raises(ValueError, match="matmul"):
        f(one)


def test_an_audited_function_inside_another_one():
    held = bytearray(2)
    inside = jit(lambda x: x * len(held), audit=True)
    outside = jit(lambda x: inside(x) + 1)
    outside(one)
    held.append(0)
    assert outside(one) == 3.0  # which is not audited
    with pytest.raises(StaleProgramError):
        vmap(inside, in_axes=0)(jnp.ones(2)), inside(one)


@each("function", [lambda f: jit(f, audit=True), lambda f: StatefulFunction(f, audit=True)])
def test_what_can_be_audited(function):
    held, net = bytearray(2), Net()
    f = function(lambda x: net(x) * len(held))
    assert f(one) == f(one) == 4.0
    held.append(0)
    with pytest.raises(StaleProgramError):
        f(one)
    f.clear_cache()
    assert f(one) == 6.0


def test_a_method_of_an_object():
    class Trainer:
        held = bytearray(2)

        @jit(audit=True)
        def step(self, x):
            return x * len(self.held)

    trainer = Trainer()
    trainer.step(one)
    trainer.held.append(0)
    with pytest.raises(StaleProgramError):
        trainer.step(one)


def test_without_jit():
    held = bytearray(2)
    f = audited(lambda x: x * len(held))
    with jax.disable_jit():
        f(one)
        held.append(0)
        assert f(one) == 3.0


def test_a_function_that_is_not_audited_is_called_as_ever():
    f, g = jit(lambda x: x), jit(lambda x: x, audit=False)
    for function in (f, g):
        function(one)
        assert function._run_whole is function._program.whole


# That it is traced at each call is told, and is no false alarm of the audit.
@pytest.mark.filterwarnings("ignore:.*was traced three times in a row, each time because net.rate was changed")
@pytest.mark.filterwarnings("ignore:another thread changed (net.rate|what it uses) while")
def test_another_thread_that_changes_the_model():
    net, failed = Net(), list[BaseException]()
    f = audited(lambda x: net(x))
    f(one)
    done = threading.Event()

    def change():
        for number in itertools.count():
            net.rate = float(number % 3)
            if done.wait(0.001):
                break

    def call():
        try:
            for _ in range(20):
                f(one)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(2)]
    other = threading.Thread(target=change)
    for thread in (other, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    other.join()
    assert not failed


OF_A_PROCESS = """
import sys
from brainstate_transform import StaleProgramError, for_loop, jit
import jax.numpy as jnp
import numpy as np
held = bytearray(2)
told = []
for f in (jit(lambda x: x * len(held)), jit(lambda x: x * len(held), audit=False)):
    f(1.0)
    held.append(0)
    try:
        f(1.0)
        told.append("silent")
    except StaleProgramError:
        told.append("stale")
print(*told)
"""


@each("setting, told", [("1", "stale silent"), ("0", "silent silent"), ("", "silent silent")])
def test_all_functions_of_a_process(setting, told):
    assert output_of("-c", OF_A_PROCESS, BRAINSTATE_AUDIT=setting).split() == told.split()


def test_audited_calls_make_nothing_that_stays():
    net = Net()
    f = audited(lambda x: grad(lambda: jnp.sum(jnp.where(x > 0, net(x), 0.0)), net.w)())

    def objects():
        gc.collect()
        return len(gc.get_objects())

    for _ in range(5):  # the 1st, 2nd, 4th ... leave behind what JAX keeps
        f(one)
    before = objects()
    for _ in range(2):
        f(one)
    assert objects() - before < 20


def test_it_lets_go_of_models():
    net = Net()
    f = jit(lambda net, x: net(x), audit=True)
    f(net, one), f(net, one)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_a_number_beside_checks():
    held = bytearray(2)

    def root(x):
        check(x > 0, "negative: {}", x)
        return jnp.where(x > 1, len(held), 0), jnp.where(x > 2, len(held), 1)

    f = audited(checkify(root))
    f(one), f(one)
    held.append(0)
    with pytest.raises(StaleProgramError):
        f(one)


def test_no_program_is_made_of_an_old_trace():
    held = bytearray(2)
    run = jax.jit(lambda x: x * len(held))
    jit(lambda x: run(x))(one)  # JAX keeps the trace of `run` for this function alone
    held.append(0)
    assert jit(lambda x: run(x) + 1.0, audit=True)(one) == 4.0


def test_an_array_that_changes_after_the_trace_and_before_it_is_compiled():
    table = np.ones(1000, np.float32)
    f = jit(lambda x: x * table, audit=True)
    f.trace(one)
    table[0] = 2.0
    assert f(one)[0] == 2.0


def test_changes_between_ahead_of_time_and_the_first_call():
    table = np.ones(1000, np.float32)
    f = jit(lambda x: x * table, audit=True)
    f.compile(one)
    table[0] = 2.0
    with pytest.raises(StaleProgramError, match=r"at \[0\]: 1.0 is now 2.0"):
        f(one)
