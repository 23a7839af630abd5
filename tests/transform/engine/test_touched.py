"""Touched graphs are remembered, patched and let go: what does not change a program costs a call neither a trace nor a
look at the whole graph."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import Snapshot, State
from brainstate_graph._core import snapshot as snapshots
from brainstate_graph._kept import large
from brainstate_graph.extend import patched
from brainstate_transform import for_loop, jit
from tests.laws.graphs import Gadget
from tests.laws.transforms import Runs

one = jnp.float32(1.0)  # an argument; not for a state, whose buffer may be donated

pytestmark = [pytest.mark.graph_cache, pytest.mark.counts_traces]


@pytest.fixture
def looks(monkeypatch):
    """Counts how often a whole graph is taken apart."""
    looks, flatten = Runs(), snapshots.flatten
    monkeypatch.setattr(snapshots, "flatten", lambda *args: looks() or flatten(*args))
    return looks


def model(count: int = 3) -> Gadget:
    return Gadget(
        layers=[Gadget(w=State(jnp.float32(2.0)), rate=1.0) for _ in range(count)], h=State(jnp.float32(0.0)), name="m"
    )


def counted(m: Any) -> tuple[Any, Runs]:
    traces = Runs()

    def step(x):
        traces()
        for layer in m.layers:
            x = x * layer.w.value * layer.rate
        m.h.value = x
        return x

    return jit(step), traces


# ------------------------------------------------------------------------------------------------- patched


def test_attributes_that_are_set_to_what_they_were(looks):
    m = model()
    step, traces = counted(m)
    step(one)
    looks.since()
    for _ in range(3):
        for layer in m.layers:
            layer.rate, layer.w = layer.rate, layer.w
        assert step(one) == 8.0
    assert (traces.count, looks.count) == (1, 0)


def test_plain_values_to_and_fro(looks):
    m = model()
    step, traces = counted(m)
    for round in range(4):
        for rate in (1.0, 2.0):
            for layer in m.layers:
                layer.rate = rate
            assert step(one) == 8.0 * rate**3
        if round == 0:
            looks.since()
    assert (traces.count, looks.count) == (2, 0)


def test_a_mode_to_and_fro(looks):
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm(2))
    traces = Runs()
    step = jit(lambda x: traces() or net(x))
    x = jnp.ones((3, 2))
    for net_in_mode in (net.train, net.eval, net.train):
        net_in_mode(), step(x)
    looks.since()
    want = np.asarray(net.eval()(x))
    for _ in range(3):
        net.train(), step(x), net.eval()
        step(x)
    net.train(), net.eval()
    assert step(x).shape == want.shape
    assert (traces.count, looks.count) == (2, 0)


def test_a_state_that_is_made_anew_outside(looks):
    m = model()
    step, traces = counted(m)
    step(one)
    looks.since()
    for value in (1.0, 2.0, 3.0):
        m.layers[0].w = State(jnp.float32(value))
        old = m.h
        m.h = State(jnp.float32(0.0))
        assert step(one) == 4.0 * value
        assert m.h.value == 4.0 * value
        assert old.value in (8.0, 4.0, 8.0)
    assert (traces.count, looks.count) == (1, 0)


def test_states_that_are_made_at_each_call(looks):
    net = nn.Sequential(nn.GRUCell(2, 2), nn.GRUCell(2, 2))
    traces = Runs()

    def from_rest(x):
        nn.init_all_states(net, 3)
        return for_loop(net, x).mean()

    step = jit(lambda x: traces() or from_rest(x))
    x = jnp.ones((4, 3, 2))
    want = from_rest(x)
    assert np.allclose([step(x) for _ in range(3)], want)
    count = traces.count
    looks.since()
    before = net.layers[0].h
    assert np.allclose([step(x) for _ in range(3)], want)
    assert net.layers[0].h is not before
    hidden = net.states(nn.HiddenState)
    assert all(np.any(state.value != 0) for state in hidden.values())
    assert (traces.count, looks.count) == (count, 0)


def test_a_state_that_the_user_holds_keeps_what_its_call_has_left():
    net = nn.Sequential(nn.GRUCell(2, 2), nn.GRUCell(2, 2))

    def from_rest(x):
        nn.init_all_states(net, 3)
        return for_loop(net, x).mean()

    step = jit(from_rest)
    held, left, other = [], [], jit(lambda: net.layers[0].h.value.sum())
    for call in range(12):
        step(jnp.full((4, 3, 2), float(call)))
        if call % 3:  # in between nobody holds any
            held.append(net.layers[call % 2].h)
            left.append(np.array(held[-1].value))
        if call % 4 == 0:
            assert other() == net.layers[0].h.value.sum()
    assert len(set(map(id, held))) == len(held) == 8
    assert all(np.array_equal(state.value, value) for state, value in zip(held, left, strict=True))
    assert len({value.tobytes() for value in left}) == 8


def test_states_made_anew_are_let_go():
    m = model()
    step, _ = counted(m)
    gone = []
    for _ in range(4):
        m.h = State(jnp.zeros(()))
        gone.append(weakref.ref(m.h))
        step(one)
    gc.collect()
    assert [ref() is None for ref in gone] == [True, True, True, False]


def test_a_stray_that_is_put_into_the_graph():
    hidden = {"s": State(jnp.float32(5.0))}

    class Out(Gadget):
        def read(self):
            return registry()["s"].value * self.scale.value

    def registry():
        return type("Registry", (), {"held": hidden}).held

    m = Out(scale=State(jnp.float32(1.0)), s=State(jnp.float32(0.0)))
    step = jit(m.read)
    assert step() == 5.0
    m.s = hidden["s"]  # a state of its class, in place of another one
    assert step() == 5.0
    hidden["s"].value = jnp.float32(7.0)
    assert step() == 7.0


# ------------------------------------------------------------------------------------------------- large things


LARGE = {
    "list": (lambda last: [*range(1000), last], lambda x: x[-1]),
    "dict": (lambda last: {**{str(i): i for i in range(1000)}, "last": last}, lambda x: x["last"]),
    "array": (lambda last: np.append(np.zeros(1000, "float32"), np.float32(last)), lambda x: x[-1]),
    "tuple": (lambda last: (*range(1000), last), lambda x: x[-1]),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_thing_is_part_of_the_program(kind):
    make, read = LARGE[kind]
    traces = Runs()
    m = Gadget(data=make(2.0), w=State(jnp.float32(3.0)))
    step = jit(lambda x: traces() or x * m.w.value * read(m.data))
    assert step(one) == 6.0
    m.data = make(4.0)
    assert step(one) == 12.0
    m.data = make(2.0)  # an equal one
    assert (step(one), traces.count) == (6.0, 2)
    other = Gadget(data=make(2.0), w=State(jnp.float32(5.0)))
    by_argument = jit(lambda m, x: traces() or x * m.w.value * read(m.data))
    traces.since()
    assert (by_argument(m, one), by_argument(other, one), traces.count) == (6.0, 10.0, 1)


def test_a_state_put_into_a_large_list_inside():
    m = Gadget(data=[*range(1000)], w=State(jnp.float32(3.0)))

    @jit
    def step(x):
        if isinstance(m.data[-1], int):
            m.data.append(State(x))
        else:
            m.data[-1].value += x
        return m.w.value

    for _ in range(3):
        step(one)
    assert (len(m.data), m.data[-1].value) == (1001, 3.0)


def test_what_a_large_thing_became_is_explained():
    m = Gadget(data=[*range(1000)], w=State(jnp.float32(3.0)))
    step = jit(lambda x: x * m.w.value + m.data[0])
    step(one)
    m.data.append(1)
    step(one)
    assert "m.data: <list of 1,000> -> <list of 1,001>" in str(step.explain())
    m.data = [*range(1001)]
    with pytest.warns(UserWarning, match=r"three times in a row, each time because m\.data was changed"):
        step(one)
    assert "m.data: <list of 1,001> -> another one" in str(step.explain())


def test_the_price_of_a_large_thing_is_told_once_by_whatever_compiles(monkeypatch):
    monkeypatch.setattr(large, "_DEAR_BYTES", 10**5)
    m = Gadget(table=np.ones(10**5, np.float32), w=State(jnp.float32(3.0)))
    step = jit(lambda x: x * m.w.value)
    told = r"^m\.table \(f32\[100000\], 400\.0 kB\) .* `m\.table = State\(m\.table\)`"
    with pytest.warns(UserWarning, match=told) as caught:
        assert step(one) == 3.0
    assert [warning.filename for warning in caught] == [__file__]
    assert step(one) == jit(lambda x: m.w.value * x)(one) == for_loop(lambda x: x * m.w.value, one[None])[0] == 3.0
    m.rate = 2.0
    assert step(one) == 3.0
    m.table = State(m.table)
    assert step(one) == 3.0


# ------------------------------------------------------------------------------------------------- partners


def partner(k: float) -> Gadget:
    return Gadget(k=State(jnp.float32(k)))


def test_many_partners_in_turn(looks):
    big, partners = model(), [partner(k) for k in range(20)]
    step = jit(lambda a, b, x: a.layers[0].w.value * b.k.value * x)
    for p in (*partners, *partners):  # the second time they are known to come again
        step(big, p, one)
    looks.since()
    for _ in range(3):
        assert [step(big, p, one) for p in partners] == [2.0 * k for k in range(20)]
        partners[3].k.value = jnp.float32(3.0)
    assert looks.count == 0


def test_a_dropped_partner_is_let_go():
    big, step = model(), jit(lambda a, b, x: a.layers[0].w.value * b.k.value * x)
    kept = [partner(k) for k in range(3)]
    dropped = [partner(k) for k in range(10)]
    for p in (*dropped, *dropped):
        step(big, p, one)
    gone = [weakref.ref(p) for p in dropped]
    del dropped, p
    for _ in range(200):
        for p in kept:
            step(big, p, one)
    gc.collect()
    assert [ref() for ref in gone] == [None] * 10


def test_what_does_not_come_again_is_let_go():
    big, step = Gadget(w=State(one)), jit(lambda a, b, x: a.w.value * b.k.value * x)
    gone = []
    for k in range(20):
        batch = partner(k)
        gone.append(weakref.ref(batch))
        step(big, batch, one), step(big, batch, one)  # two steps with each
    del batch
    gc.collect()
    assert sum(ref() is not None for ref in gone) <= 2


def test_so_many_partners_are_kept():
    big, step = Gadget(w=State(one)), jit(lambda a, b, x: a.w.value * b.k.value * x)
    partners = [partner(k) for k in range(100)]
    for p in (*partners, *partners):
        step(big, p, one)
    for p in partners[:60]:  # fewer than are kept of those that have gone
        step(big, p, one), step(big, partners[99], one)
    gone = list(map(weakref.ref, partners))
    del partners, p
    gc.collect()
    assert sum(ref() is not None for ref in gone) <= 64 + 2
    ref = weakref.ref(big)
    del big
    gc.collect()
    assert ref() is None
    assert all(ref() is None for ref in gone)


def test_without_the_cache_nothing_is_patched(monkeypatch):
    monkeypatch.setattr(Snapshot, "enabled", False)
    snapshot = Snapshot(model())
    assert patched(snapshot) is None
