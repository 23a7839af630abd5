"""Overlays: what is read and written while something is traced, and by whom it is seen."""

from __future__ import annotations

import copy
import pickle
import threading

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import (
    Overlay,
    State,
    TraceContextError,
    clone,
    outside,
    states,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_graph.extend import leases, note_reads, read_values, tracing, write_values
from tests.laws.graphs import Gadget, Param, net
from tests.tables import each


def test_overlay_hides_writes_and_records_them():
    a, b, c = State(1.0), State(2.0), State(3.0)
    with Overlay() as overlay:
        assert tracing()
        c.value = a.value + 1
        c.value = c.value + 1
        b.value = 0.0
        assert (a.value, b.value, c.value) == (1.0, 0.0, 3.0)
    assert not tracing()
    assert (a.value, b.value, c.value) == (1.0, 2.0, 3.0)
    assert list(overlay.writes) == [c, b]
    assert overlay.written() == [(c, 3.0), (b, 0.0)]
    assert next(iter(overlay.reads)) is a


def test_overlays_nest():
    s, t = State(1.0), State(10.0)
    with Overlay() as outer:
        s.value = 2.0
        with Overlay() as inner:
            assert s.value == 2.0
            s.value = 3.0
            assert s.value == 3.0
            assert t.value == 10.0
        assert s.value == 2.0
        assert inner.written() == [(s, 3.0)]
        write_values(*zip(*inner.written(), strict=True))
        assert s.value == 3.0
    assert s.value == 1.0
    assert outer.written() == [(s, 3.0)]
    assert t in outer.reads
    assert t in inner.reads
    assert t not in outer.writes


def test_bound_values_are_neither_reads_nor_writes():
    s = State(1.0)
    with Overlay() as overlay:
        overlay.bind([s], [5.0])
        assert not overlay.reads
        assert not overlay.writes
        assert s.value == 5.0
    assert s.value == 1.0
    assert overlay.written() == []


def test_an_exception_drops_everything():
    s = State(1.0)
    with pytest.raises(KeyError), Overlay(), Overlay():  # noqa: PT012
        s.value = 2.0
        raise KeyError
    assert s.value == 1.0
    assert not tracing()


@each(
    "verb",
    [
        lambda m: treefy_states(m)["s"].value,
        lambda m: treefy_split(m)[1]["s"].value,
        lambda m: clone(m).s.value,
        lambda m: copy.copy(m.s).value,
        lambda m: copy.deepcopy(m).s.value,
        lambda m: m.s.copy().value,
        lambda m: states(m)[("s",)].value,
        lambda m: pickle.loads(pickle.dumps(m)).s.value,
        lambda m: read_values([m.s])[0],
        lambda m: State(m.s).value,
    ],
)
def test_every_verb_reads_through_the_overlay_and_is_recorded(verb):
    model = Gadget(s=State(1.0))
    with Overlay() as unwritten:
        assert verb(model) == 1.0
    assert list(unwritten.reads)[:1] == [model.s]
    assert not unwritten.writes
    with Overlay():
        model.s.value = 2.0
        assert verb(model) == 2.0
    assert verb(model) == 1.0


def test_update_states_goes_through_the_overlay():
    model = net()
    with Overlay() as overlay:
        update_states(model, {"head": {"seen": 5}})
        assert model.head.seen.value == 5
    assert overlay.written() == [(model.head.seen, 5)]
    assert model.head.seen.value == 0


def test_unrecorded_reads():
    s = State(1.0)
    with Overlay() as overlay:
        assert read_values([s], record=False) == [1.0]
        assert not overlay.reads
        note_reads([s])
        assert list(overlay.reads) == [s]


def test_a_state_made_in_an_overlay():
    with Overlay() as overlay:
        s = Param(1.0, name="lost")
        s.value = 2.0
        assert s.value == 2.0
        assert overlay.created(s)
        with Overlay() as inner:
            s.value = 3.0
        assert inner.written() == [(s, 3.0)]
    assert not overlay.writes
    message = r"Param 'lost' was made inside a transformed function, and its value did not leave that function"
    for read in (lambda: s.value, lambda: read_values([s]), lambda: treefy_split([s]), s.copy, lambda: pickle.dumps(s)):
        with pytest.raises(TraceContextError, match=message):
            read()
    model = Gadget(kept=[s])
    with pytest.raises(TraceContextError, match=r"Param (at Gadget\.kept\.0|'lost') was made inside"):
        treefy_states(model)
    assert repr(s) == "Param(<made inside a transform>, name='lost')"
    s.value = 4.0  # healed
    assert s.value == 4.0


def test_outside_makes_a_state_that_outlives_the_trace():
    kept = []

    def f(x):
        with Overlay(), outside():
            assert not tracing()
            kept.append(State(jnp.ones(2) * 2))
        return x

    jax.jit(f)(1.0)
    assert kept[0].value.tolist() == [2.0, 2.0]
    kept[0].value = kept[0].value + 1
    assert kept[0].value.tolist() == [3.0, 3.0]


def test_other_threads_see_no_overlay():
    s = State(1.0)
    seen = []

    def other():
        seen.append((tracing(), s.value))
        s.value = 7.0

    with Overlay() as overlay:
        s.value = 2.0
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert s.value == 2.0
    assert seen == [(False, 1.0)]
    assert s.value == 7.0
    assert overlay.written() == [(s, 2.0)]


def test_a_raw_transform_inside_an_overlay_cannot_write():
    model = Gadget(s=State(1.0))
    with Overlay() as overlay, pytest.raises(TraceContextError, match=r"State at Gadget\.s cannot take"):
        jax.grad(lambda x: (setattr(model.s, "value", x), x)[1])(1.0)
    assert not overlay.writes


def test_write_values_under_a_raw_transform_inside_an_overlay_is_refused():
    s = State(1.0)
    with Overlay() as overlay, pytest.raises(TraceContextError):
        jax.jit(lambda x: (write_values([s], [x]), x)[1])(1.0)
    assert not overlay.writes


def test_an_overlay_takes_the_tracers_of_its_own_trace():
    s = State(1.0)

    def core(x):
        with Overlay() as overlay:
            s.value = s.value + x
        return overlay.written()[0][1]

    assert jax.jit(core)(2.0) == 3.0
    assert s.value == 1.0


def test_write_values_is_all_or_none():
    a, b = State(1.0), State(2.0)

    def f(x):
        with pytest.raises(TraceContextError):
            write_values([a, b], [5.0, x])
        return x

    jax.jit(f)(1.0)
    assert (a.value, b.value) == (1.0, 2.0)
    with pytest.raises(ValueError, match="another State"):
        write_values([a, b], [5.0, State(1.0)])
    assert (a.value, b.value) == (1.0, 2.0)


def test_increments_from_threads_with_overlays_do_not_mix():
    s = State(0)
    wrong = []

    def work(number):
        for i in range(300):
            with Overlay() as overlay:
                s.value = (number, i)
                if s.value != (number, i):
                    wrong.append((number, i))
            if overlay.written() != [(s, (number, i))]:
                wrong.append("written")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert s.value == 0


@each("steps", [lambda _: None, lambda overlay: overlay._lease.end(), lambda overlay: overlay.journal.close(True)])
def test_an_end_that_was_cut_short_is_done_again(steps):
    """As by a signal, after any of its steps."""
    s, before, overlay = State(1.0), list(leases), Overlay()

    def work():
        with overlay:
            s.value = 2.0
            steps(overlay)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    overlay.close(failed=True)
    assert (s.value, leases, tracing()) == (1.0, before, False)
