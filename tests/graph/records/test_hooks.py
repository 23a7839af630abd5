"""Hooks: told once for each logical access, in the same way eagerly and compiled; they may change or refuse a write."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_graph._core.overlay as door
import brainstate_transform as bst
from brainstate_graph import (
    Node,
    Overlay,
    State,
    catch_new_states,
    clone,
    register_state_hook,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_graph.extend import hooks_key
from tests.tables import each


@pytest.fixture(autouse=True)
def no_hook_is_left():
    yield
    gc.collect()
    assert hooks_key([]) == ()


def doubling(context):
    context.value = context.value * 2


# The same program, run in each of these ways.
WAYS = {
    "eager": lambda f: f,
    "jit": bst.jit,
    "jit twice": lambda f: bst.jit(bst.jit(f)),
    "disable_jit": lambda f: lambda *a: _undisturbed(f, a),
    "cond": lambda f: lambda x: bst.cond(True, f, f, x),
    "for_loop": lambda f: lambda x: bst.for_loop(f, jnp.stack([x]))[0],
    "checkpoint": bst.checkpoint,
    "grad": lambda f: lambda x: bst.value_and_grad(f)(x)[0],
}


def _undisturbed(f, args):
    with jax.disable_jit():
        return bst.jit(f)(*args)


@each("way", WAYS)
def test_what_a_hook_changes_is_changed_once(way):
    s = State(jnp.array(1.0))
    s.register_hook("write_before", doubling)

    def step(x):
        s.value = s.value + x
        return s.value * 1.0

    run = WAYS[way](step)
    outs = [float(run(jnp.array(1.0))) for _ in range(3)]
    assert outs == [4.0, 10.0, 22.0]  # 2 * (1 + 1), 2 * (4 + 1), 2 * (10 + 1)
    assert float(s.value) == 22.0
    clear(s)


def clear(*states):
    for state in states:
        for hook in state.hooks:
            hook.remove()


def test_the_order_is_global_first_then_priority_then_registration():
    s, order = State(0.0), []
    note = lambda name: lambda _: order.append(name)
    s.register_hook("read", note("a"))
    s.register_hook("read", note("b"), priority=1)
    s.register_hook("read", note("c"))
    with register_state_hook("read", note("g")), register_state_hook("read", note("h"), priority=5):
        _ = s.value
    assert order == ["h", "g", "b", "a", "c"]
    clear(s)


def test_what_a_hook_is_told():
    s, seen = State(1.0), []
    for kind in ("read", "write_before", "write_after", "restore"):
        s.register_hook(kind, lambda c: seen.append((c.kind, c.old_value, c.value, c.state is s)))
    s.value = 2.0
    _ = s.value
    s.restore_value(3.0)
    assert seen == [
        ("write_before", 1.0, 2.0, True),
        ("write_after", 1.0, 2.0, True),
        ("read", None, 2.0, True),
        ("restore", 2.0, 3.0, True),
    ]
    clear(s)


@each("kind", ["write_before", "write_after", "restore"])
@each("traced", [False, True])
def test_a_hook_that_raises_refuses_the_write(kind, traced):
    def refuse(_):
        raise RuntimeError("no")

    s = State(1.0)
    s.register_hook(kind, refuse)

    def write():
        if kind == "restore":
            s.restore_value(2.0)
        else:
            s.value = 2.0

    with pytest.raises(RuntimeError, match="no"):
        bst.jit(write)() if traced else write()
    assert s.value == 1.0
    clear(s)


def test_a_hook_may_only_warn():
    s = State(1.0)
    s.register_hook("write_before", lambda _: 1 / 0, on_error="warn")
    with pytest.warns(UserWarning, match="division by zero"):
        s.value = 2.0
    assert s.value == 2.0
    clear(s)


def test_a_hook_that_writes_its_own_state_does_not_call_itself():
    s = State(0.0)

    def more(context):
        context.state.value += 10.0

    s.register_hook("write_after", more)
    s.value = 1.0
    assert s.value == 11.0
    clear(s)


def test_a_hook_cannot_bypass_the_door():
    s = State(1.0)

    def smuggle(context):
        context.value = jax.jit(lambda x: tracers.append(x) or x)(1.0) and tracers[0]

    tracers = []
    s.register_hook("write_before", smuggle)
    with pytest.raises(Exception, match="cannot take a traced value"):
        s.value = 2.0
    assert s.value == 1.0
    clear(s)


def test_new_states_are_announced_when_they_are_complete():
    seen = []
    with register_state_hook("init", lambda c: seen.append((c.state, c.value, c.state.name))):
        s = State(1.0, "n")
        clone([s])
        copy.deepcopy(s)
    assert seen == [(s, 1.0, "n")]


def test_no_hooks_on_copies_and_no_call_for_what_is_no_access():
    class Net(Node):
        def __init__(self):
            self.s = State(1.0)

    net, seen = Net(), []
    net.s.register_hook("read", seen.append)
    net.s.register_hook("write_after", seen.append)
    treefy_split(net)
    assert clone(net).s.hooks == copy.deepcopy(net).s.hooks == net.s.copy().hooks == ()
    treefy_states(net)
    repr(net.s)
    assert seen == []
    update_states(net, {"s": 2.0})
    assert [c.kind for c in seen] == ["write_after"]
    clear(net.s)


def test_registering_and_removing_is_noticed_by_compiled_functions():
    s, other = State(1.0), State(1.0)
    traces = []

    @bst.jit
    def step():
        traces.append(1)
        s.value = s.value + 1.0

    step(), step()
    assert s.value == 3.0
    hook = s.register_hook("write_before", doubling)
    step()
    assert s.value == 8.0
    hook.enabled = False
    step()
    assert s.value == 9.0
    hook.enabled = True
    step()
    assert s.value == 20.0
    unrelated = other.register_hook("write_before", doubling)
    count = len(traces)
    step()
    assert s.value == 42.0
    assert len(traces) == count  # hooks of other states are no concern of it
    hook.remove(), unrelated.remove()
    step()
    assert s.value == 43.0


def test_a_state_met_while_tracing_has_its_hooks_watched_too():
    box = {"s": State(1.0)}

    class Holder:
        def get(self, name):
            return box[name]

    holder = Holder()
    name = "s"
    step = bst.jit(lambda: setattr(getattr(holder, "g" + "et")(name), "value", box[name].value + 1.0))
    step(), step()
    with box["s"].register_hook("write_before", doubling):
        step()
    assert box["s"].value == 8.0


def test_make_jaxpr_knows_of_hooks():
    s = State(1.0)
    f = bst.StatefulFunction(lambda x: setattr(s, "value", s.value + x))
    text = str(f.make_jaxpr(1.0).get_jaxpr(1.0))
    with s.register_hook("write_before", doubling):
        assert str(f.make_jaxpr(1.0).get_jaxpr(1.0)) != text


def test_gradients_go_through_hooks():
    s = State(2.0)

    def loss(x):
        s.value = x
        return s.value**2

    with s.register_hook("write_before", doubling):
        np.testing.assert_allclose(bst.grad(loss)(3.0), jax.grad(lambda x: (2 * x) ** 2)(3.0))


def test_bad_registrations():
    s = State(1.0)
    with pytest.raises(ValueError, match="is not a kind of hook: use one of init, read"):
        s.register_hook("writes", print)
    with pytest.raises(ValueError, match="register_state_hook"):
        s.register_hook("init", print)
    with pytest.raises(TypeError, match="function of one argument"):
        s.register_hook("read", 3)
    with pytest.raises(ValueError, match="'raise' or 'warn'"):
        s.register_hook("read", print, on_error="log")
    assert s.hooks == ()


def test_removing_twice_and_after_the_state_is_gone():
    s = State(1.0)
    hook = s.register_hook("read", print)
    hook.remove()
    hook.remove()
    hook = s.register_hook("read", print)
    dead = weakref.ref(s)
    del s
    gc.collect()
    assert dead() is None
    hook.remove()


def test_hooks_of_another_thread_may_read_states():
    s, seen = State(1.0), []

    def elsewhere(context):
        def read():
            with Overlay():
                seen.append(State(5.0).value)

        thread = threading.Thread(target=read)
        thread.start()
        thread.join(10)
        seen.append(context.value)

    with s.register_hook("read", elsewhere):
        _ = s.value
    assert seen == [5.0, 1.0]


def test_a_hook_prints_as_what_it_is():
    with register_state_hook("read", doubling) as hook:
        assert repr(hook) == "Hook(read, doubling)"
        hook.enabled = False
        assert repr(hook) == "Hook(read, doubling, enabled=False)"


def test_where_no_hook_is_left_nothing_is_looked_up_any_more():
    gc.collect()
    before = set(door.busy)
    s = State(1.0)
    first, second = s.register_hook("read", print), s.register_hook("write_after", print)
    assert door.busy > before
    first.remove(), second.remove()
    assert door.busy == before
    s.register_hook("read", print)
    del s
    gc.collect()
    assert door.busy == before  # the state went with its hook
    first.remove()
    with register_state_hook("init", print):
        assert door.busy > before
    assert door.busy == before


def test_catching_new_states_compiles_nothing_anew():
    s, traces = State(1.0), []

    @bst.jit
    def step():
        traces.append(1)
        s.value = s.value + 1.0

    step()
    count = len(traces)
    for _ in range(2):
        with catch_new_states() as caught:
            step()
            made = State(0.0)
        assert caught == [made]
    assert len(traces) == count
