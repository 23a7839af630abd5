"""One thread changes the structure of a model while others trace and call."""

from __future__ import annotations

import re
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from brainstate_transform import StatefulFunction, for_loop, jit
from tests.laws.transforms import Net, Param, Stack, Tied, holds_tracer
from tests.tables import pairs
from tests.transform.engine.threads import hasty, times, together  # noqa: F401 - a fixture

one = jnp.float32(1.0)


def elsewhere(change):
    """Run `change` to its end in another thread, now."""
    thread = threading.Thread(target=change)
    thread.start()
    thread.join()


@pytest.mark.filterwarnings("ignore:.*another thread chang:UserWarning")
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


@pairs(
    wrap={
        "jit": jit,
        "StatefulFunction": StatefulFunction,
        "jit of jit": lambda f: jit(jit(f)),
        "donating": lambda f: jit(f, donate_states=True),
    },
    change={
        "attribute": lambda m: setattr(m.layers[0], "rate", 2.0),
        "append": lambda m: m.layers.append(Net(5.0)),
        "pop": lambda m: m.layers.pop(),
        "replace": lambda m: setattr(m, "layers", [Net(4.0)]),
    },
    whole=("jit",),
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

    with pytest.warns(
        UserWarning, match=r"another thread changed m\.layers.* while `.*\bf` was traced.* `with lock: \.\.\.`"
    ):
        f(one)
    after = Stack(2.0, 3.0)
    change(after)
    assert f(one) == after(one)
    m.layers = [Net(2.0), Net(3.0)]
    assert f(one) == 6.0  # not what was traced under this shape, of no one structure


def test_a_graph_that_is_changed_at_every_trace_is_run_as_python_would():
    m, rates = Net(2.0), iter(range(2, 1000))

    def change():
        m.rate = float(next(rates))

    @jit
    def f(x):
        elsewhere(change)
        return m(x)

    with pytest.warns(UserWarning, match="another thread change") as caught:
        assert f(one) == 2.0 * m.rate
    texts = [str(warning.message) for warning in caught]
    assert [text.partition(" while")[0] for text in texts[:-1]] == ["another thread changed m.rate"] * 4
    assert re.match(r"`.*\bf` runs without being compiled, because another thread changes m\.rate each time", texts[-1])
    assert {warning.filename for warning in caught} == {__file__}
    assert m.n.value == 1.0
    assert not holds_tracer(m)


def test_where_it_must_be_traced_the_other_thread_is_named():
    m, rates = Net(2.0), iter(range(2, 1000))
    before = m.n.value

    @jit
    def f(x):
        elsewhere(lambda: setattr(m, "rate", float(next(rates))))
        return m.w.value * x * m.rate

    for call in (jax.jit(f), f.lower):
        text = r"^another thread changes what `.*\bf` uses \(m\.rate\) .* let both hold one lock, `with lock: \.\.\.`"
        with (
            pytest.warns(UserWarning, match=r"another thread changed m\.rate"),
            pytest.raises(RuntimeError, match=text),
        ):
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

    with pytest.warns(UserWarning, match=r"another thread changed m\.rate while `.*\bbody` was traced"):
        for_loop(body, jnp.ones(2))
    assert jnp.array_equal(for_loop(body, jnp.ones(2)), jnp.full(2, 6.0))
    m.rate = 1.0
    assert jnp.array_equal(for_loop(body, jnp.ones(2)), jnp.full(2, 2.0))


@pytest.mark.filterwarnings("ignore:.* was traced three times")
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
