"""Histories: whatever is read of one is what a Python list of all values has, in loops, batches and lanes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_nn import compat
from brainstate_nn.compat import environ
from tests.tables import each

VALUES = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def _dt():
    with environ.context(dt=0.1):
        yield


def past(t, steps, every=1, before=0.0):
    """The value that is kept so many kept values before the last one."""
    kept = t - t % every - steps * every
    return VALUES[kept] if kept >= 0 else np.full(3, before, np.float32)


@each("every, before", [(1, 0.0), (1, -2.0), (2, 0.0), (3, 1.5)])
def test_a_history_is_a_list_of_all_values(every, before):
    line = compat.Delay(jnp.zeros(3), 0.1 * 3 * every, init=before, update_every=None if every == 1 else 0.1 * every)
    line.init_state()
    assert line.max_length == 4
    assert line.max_time == pytest.approx(0.3 * every)
    for t, value in enumerate(VALUES):
        line.update(jnp.asarray(value))
        for steps in range(4):
            np.testing.assert_allclose(
                line.retrieve_at_step(steps), past(t, steps, every, before), err_msg=f"{t, steps}"
            )
    line.reset_state()
    assert (line.retrieve_at_step(0) == before).all()


@each("batch", [None, 2])
def test_a_history_in_a_loop_is_that_of_python(batch):
    line = compat.Delay(jnp.zeros(3), entries={"a": 0.2, "b": (jnp.array([0.0, 0.1, 0.3]), jnp.arange(3))})
    line.init_state(batch)
    lead = () if batch is None else (batch,)

    def step(value):
        line.update(jnp.broadcast_to(value, (*lead, 3)))
        return line.at("a"), line.at("b") if batch is None else jnp.zeros(())

    a, b = bt.for_loop(step, jnp.asarray(VALUES))
    for t in range(len(VALUES)):
        np.testing.assert_allclose(a[t], np.broadcast_to(past(t, 2), (*lead, 3)))
        if batch is None:
            np.testing.assert_allclose(b[t], [past(t, 0)[0], past(t, 1)[1], past(t, 3)[2]])


@each("method, expected", [("linear_interp", 0.25), ("round", 0.0), (lambda h, i, slot, n: slot, None)])
def test_a_time_between_two_values_is_interpolated(method, expected):
    interpolation = method if callable(method) else None
    line = compat.Delay(jnp.zeros(3), 0.5, interpolation=interpolation, interp_method=method)
    line.init_state()
    for value in VALUES[:5]:
        line.update(jnp.asarray(value))
    with environ.context(t=0.4):
        found = line.retrieve_at_time(0.4 - 0.125)
    if expected is None:
        np.testing.assert_allclose(found, 4 - 1.25, rtol=1e-5)
    else:
        np.testing.assert_allclose(found, (1 - expected) * VALUES[3] + expected * VALUES[2], rtol=1e-4)


def test_a_history_of_a_tree_has_its_structure():
    line = compat.Delay({"v": jnp.zeros(2), "n": jnp.zeros((), int)}, 0.1)
    line.init_state()
    for n in range(3):
        line.update({"v": jnp.full(2, float(n)), "n": n})
    found = line.retrieve_at_step(1)
    assert found["v"].tolist() == [1.0, 1.0]
    assert int(found["n"]) == 1
    assert found["n"].dtype == jnp.int32


class Trace(compat.Dynamics):
    def __init__(self, size=2, **options):
        super().__init__(size)
        self.past = self.prefetch_delay("v", 0.2, **options)

    def init_state(self, batch_size=None, **kwargs):
        self.v = nn.HiddenState(jnp.zeros(self.varshape if batch_size is None else (batch_size, *self.varshape)))

    def update(self, x):
        seen = self.past()
        self.v.value = self.v.value + x
        return seen


def test_the_past_of_a_state_is_read_before_it_is_written():
    trace = compat.init_all_states(Trace())
    now = trace.prefetch("v")
    # The third value before the one that is being made; sums of ones count from 1.
    assert [float(trace(jnp.ones(2))[0]) for _ in range(6)] == [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    assert float(now()[0]) == 6.0
    assert now.get_item() is trace.v
    assert now.delay.at(0.1)()[0] == 5.0
    kept = trace.states(compat.DelayState)
    assert [state.value.shape for state in kept.values()] == [(3, 2)]
    compat.reset_all_states(trace)
    assert float(trace.past()[0]) == 0.0


def test_the_past_of_a_batch_and_of_lanes_has_their_shape():
    trace = compat.init_all_states(Trace(), 5)
    assert trace(jnp.ones((5, 2))).shape == (5, 2)
    assert trace.past.state_delay.history.value.shape == (3, 5, 2)
    lanes = Trace()
    compat.vmap_init_all_states(lanes, axis_size=4)
    run = bt.vmap(lambda x: [lanes(x) for _ in range(4)][-1], in_states=nn.ShortTermState)
    np.testing.assert_allclose(
        run(jnp.ones((4, 2)) * jnp.arange(4.0)[:, None]), np.tile(np.arange(4.0)[:, None], (1, 2))
    )


def test_what_is_called_before_and_after_a_step():
    calls = []
    trace = compat.init_all_states(Trace())
    late = trace.output_delay(0.1)
    compat.init_all_states(trace)
    trace.add_before_update("plain", lambda: calls.append("before"))
    trace.add_before_update("with", compat.receive_update_input(lambda x: calls.append(float(x[0]))))
    trace.add_after_update("result", lambda out: calls.append(out.shape))
    trace.add_after_update("bare", compat.not_receive_update_output(lambda: calls.append("after")))
    results = [trace(jnp.full(2, 3.0)) for _ in range(5)]
    assert calls[:4] == ["before", 3.0, (2,), "after"]
    assert len(calls) == 20
    np.testing.assert_array_equal(late(), results[-2])
    assert trace.has_after_update("bare")
    assert not trace.has_before_update("bare")
    with pytest.raises(KeyError, match="has a function 'bare' already"):
        trace.add_after_update("bare", print)
    with pytest.raises(KeyError):
        trace.get_before_update("none")


@each("make, words", [
    (lambda: compat.Delay(jnp.zeros(3), -0.1), "a delay must not be negative"),
    (lambda: compat.Delay(jnp.zeros(3), 1.0, interp_method="cubic"), "interpolation takes 'linear', 'nearest' or"),
    (lambda: compat.Delay(jnp.zeros(3), 1.0, update_every=0.01), "update_every must be at least dt=0.1"),
    (lambda: compat.Delay(jnp.zeros(3), 1.0).retrieve_at_step(0), "has no history yet: call `init_all_states"),
    (lambda: grown(), "got a longer time after its history was made: call `init_state` again"),
    (lambda: made().retrieve_at_step(3), "keeps 3 values, too few for 3 steps ago: write a longer `time`"),
])  # fmt: skip
def test_what_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def made():
    line = compat.Delay(jnp.zeros(3), 0.2)
    line.init_state()
    return line


def grown():
    line = made()
    line.register_entry("late", 0.5)
    return line.at("late")


def test_entries_are_found_by_name():
    line = made()
    line.register_entry("now", None)
    assert line.at("now").shape == (3,)
    with pytest.raises(KeyError, match="there is no entry 'late'; there are 'now'"):
        line.at("late")
    with pytest.raises(KeyError, match="'now' is registered already"):
        line.register_entry("now", 0.1)
    with pytest.raises(AttributeError, match="has no `v` yet: call `init_all_states"):
        compat.init_maybe_prefetch(Trace().prefetch("v"))
    with pytest.raises(TypeError, match="has no State `v`"):
        compat.StateWithDelay(Trace(), "v").init_state()
