"""States of every origin inside transforms: made there, closed over, passed, looked at ahead."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brainstate_graph import (
    FlattedDict,
    Overlay,
    Snapshot,
    State,
    StateArgumentError,
    TraceContextError,
    clone,
    outside,
    treefy_states,
    update_states,
)
from brainstate_transform import StatefulFunction, grad, jit, make_jaxpr, vmap
from tests.laws.graphs import RAW, Gadget, Param, Stat, net
from tests.laws.transforms import Runs, holds_tracer
from tests.tables import each

one = jnp.float32(1.0)  # an argument; not for a state, whose buffer may be donated


def test_a_state_made_outside_for_good_lives_on():
    kept = []

    def f(x):
        if not kept:
            with outside():
                kept.append(State(jnp.zeros(())))
        kept[0].value = kept[0].value + x
        return x

    for turn in range(1, 4):
        jit(f)(one)
        assert kept[0].value == turn


@each("raw", RAW.values(), ids=RAW)
def test_raw_jax_within_our_transforms_is_refused_as_well(raw):
    s = State(jnp.zeros(()))

    @jit
    def outer(x):
        s.value = s.value + x
        with pytest.raises(TraceContextError):
            raw(lambda y: setattr(s, "value", y) or y)
        return s.value

    assert outer(one) == 1.0
    assert s.value == 1.0


def test_grad_under_jit_keeps_no_tracer_alive():
    w = Param(jnp.float32(3.0))
    refs = []

    class Mark:
        pass

    @jit
    def step(x):
        mark = Mark()
        refs.append(weakref.ref(mark))
        g = grad(lambda: mark and w.value**2 * x, wrt=[w])()
        w.value = w.value - 0.1 * jax.tree.leaves(g)[0]
        return w.value

    assert np.isclose(step(one), 3.0 - 0.6)
    gc.collect()
    assert all(ref() is None for ref in refs)
    assert isinstance(w.value, jax.Array)


@pytest.mark.counts_traces
def test_going_back_to_a_shape_costs_no_trace():
    s, runs = State(jnp.ones(3)), Runs()
    f = jit(lambda: (runs(), jnp.sum(s.value))[1])
    for n in (3, 4, 3, 4):
        s.value = jnp.ones(n)
        assert f() == n
    assert runs.count == 2


def test_the_size_of_a_state_whose_trace_is_over_is_not_made_up():
    kept = []
    jit(lambda x: kept.append(State(jnp.ones(5) * x)) or x)(one)
    dead = Gadget(s=kept[0], w=State(jnp.ones(3)))
    with pytest.raises(TraceContextError):
        treefy_states(dead)
    assert "made inside a transform" in repr(dead)
    assert "8" not in repr(dead)  # 5 and 3: the five are not known


def test_looking_ahead_writes_nothing_and_marks_nothing():
    read, written = State(jnp.float32(2.0)), State(jnp.float32(3.0))

    def inner(x):
        written.value = written.value + read.value * x
        return written.value

    f = jit(inner)
    ahead = [lambda: f.eval_shape(one), lambda: f.trace(one), lambda: f.lower(one), lambda: f.compile(one)]
    ahead += [lambda: make_jaxpr(inner)(one), lambda: StatefulFunction(inner).get_state_trace(one)]
    for look in ahead:
        before = written.value, read.value
        look()
        assert (written.value, read.value) == before
        assert written.value is before[0]
        assert not holds_tracer([read, written])
    for look in ahead[:4]:
        with Overlay() as overlay:
            look()
        assert not overlay.writes
    outer = StatefulFunction(lambda x: (f.eval_shape(x), read.value * x)[1])
    trace = outer.get_state_trace(one)
    assert written not in trace.get_write_states()
    assert read not in trace.get_write_states()
    assert f(one) == 5.0


def test_states_as_arguments_are_refused_whichever_way_they_come():
    s = State(1.0, name="mine")
    f = jit(lambda *args, **kwargs: 0.0)
    for call in (
        lambda: f(s),
        lambda: f(k=s),
        lambda: f(k=[{"a": s}]),
        lambda: f((1, (s,))),
        lambda: f(x=1.0, k=s),
        lambda: f(FlattedDict({("a",): s})),
        lambda: grad(lambda k: 0.0)(k=s),
        lambda: vmap(lambda k: k)(k=s),
        lambda: jit(lambda x: s)(1.0),
        lambda: jit(lambda x: {"out": [s]})(1.0),
    ):
        with pytest.raises(StateArgumentError, match=r"\.value"):
            call()
    assert s.value == 1.0


@pytest.mark.parametrize("wrap", [jit, StatefulFunction])
def test_a_state_of_text_in_a_compiled_call_is_named(wrap):
    model = Gadget(label=State("text"), w=State(one))
    with pytest.raises(TypeError, match=r"label"):
        wrap(lambda x: (model.label.value, model.w.value * x)[1])(one)


@pytest.mark.parametrize("cached", [True, False])
def test_graph_operations_with_and_without_the_cache(cached, monkeypatch):
    monkeypatch.setattr(Snapshot, "enabled", cached)
    model = net(1)
    f = jit(lambda x: jnp.sum(clone(model).head.weight.value) * x)
    for k in range(3):
        model.head.weight.value = jnp.full((2, 2), float(k))
        assert f(one) == 4.0 * k


def test_a_textbook_loop_under_jit_trains():
    model, tx = Gadget(w=Param(jnp.ones(2)), n=Stat(jnp.zeros(()))), optax.sgd(0.1)
    opt = State(tx.init(treefy_states(model, Param)))

    @jit
    def step():
        params = treefy_states(model, Param)
        grads = jax.tree.map(jnp.ones_like, params)
        updates, opt.value = tx.update(grads, opt.value, params)
        update_states(model, optax.apply_updates(params, updates))
        model.n.value += 1

    for _ in range(3):
        step()
    assert np.allclose(model.w.value, [0.7, 0.7])
    assert model.n.value == 3
