"""Known traps of compiled functions: each was a bug of a system of this kind."""

from __future__ import annotations

import gc
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, TraceContextError, register_state_hook
from brainstate_transform import StatefulFunction, checkpoint, for_loop, grad, jit, make_jaxpr
from tests.laws.transforms import Net, Param, Runs, Stack, same

one = jnp.float32(1.0)


# -- static arguments


def test_trap_1_negative_static_positions():
    f = lambda x, n: jnp.ones(n) * x
    assert StatefulFunction(f, static_argnums=-1)(1.0, 3).shape == (3,)
    assert make_jaxpr(f, static_argnums=-1)(1.0, 3)[0].out_avals[0].shape == (3,)
    assert jit(f, static_argnums=-1)(1.0, 3).shape == (3,)


@pytest.mark.parametrize("options", [{}, {"donate_states": True}], ids=["plain", "donating"])
def test_trap_89_negative_donated_positions_are_those_of_the_user(options):
    m = Net()
    f = jit(lambda x, y: (m(x), y + 1.0), donate_argnums=-1, **options)
    x, y, w = jnp.ones(3), jnp.ones(3), m.w.value
    f(x, y)
    assert (x.is_deleted(), y.is_deleted(), w.is_deleted()) == (False, True, False)
    assert m.w.value is w


def test_trap_90_a_negative_static_position_of_a_checkpoint_is_refused():
    m = Net()
    with pytest.raises(ValueError, match="static_argnums=-1: count from the front"):
        checkpoint(lambda x, n: m(x) * n, static_argnums=-1)
    assert checkpoint(lambda x, n: m(x) * n, static_argnums=1)(one, 3) == 6.0
    assert m.n.value == 1.0


def test_trap_119_keys_do_not_depend_on_the_order_of_keywords():
    sf = StatefulFunction(lambda **kw: kw["a"] + kw["b"])
    assert sf.get_arg_cache_key(a=one, b=2.0) == sf.get_arg_cache_key(b=2.0, a=one)
    runs = Runs()
    f = jit(lambda **kw: runs() or kw["a"] + kw["b"])
    f(a=one, b=one)
    f(b=one, a=one)
    assert runs.count == 1 or jax.config.jax_check_tracer_leaks


def test_trap_120_a_decorator_is_used_twice():
    decorate = jit(static_argnames="n")
    f, g = decorate(lambda x, n: x * jnp.ones(n)), decorate(lambda n, x: x + jnp.ones(n))
    for _ in range(2):
        assert f(one, n=3).shape == (3,)
        assert g(4, one).shape == (4,)


# -- what is in the key


@pytest.mark.counts_traces
def test_trap_66_trap_108_a_state_of_another_shape_or_dtype():
    s, runs = State(jnp.ones(3)), Runs()

    @jit
    def f(x):
        runs()
        s.value = s.value * 2
        return s.value.sum() * x

    assert f(one) == 6.0
    s.value = jnp.ones((2, 2))
    assert f(one) == 8.0
    s.value = jnp.ones(3, jnp.int32)
    assert f(one) == 6.0
    assert s.value.dtype == jnp.int32
    s.value = {"a": jnp.ones(2)}
    with pytest.raises(TypeError):
        f(one)
    assert set(s.value) == {"a"}
    s.value = jnp.ones(3)
    assert f(one) == 6.0
    assert runs.count == 4


@pytest.mark.counts_traces
def test_trap_114_two_shapes_of_a_state_alternate_without_new_traces():
    s, runs = State(jnp.ones(3)), Runs()
    f = jit(lambda: runs() or s.value.sum())
    for _ in range(3):
        for n in (3, 5):
            s.value = jnp.ones(n)
            assert f() == n
    assert runs.count == 2


@pytest.mark.counts_traces
def test_trap_106_custom_containers_find_their_program():
    @jax.tree_util.register_pytree_node_class
    class Quantity:  # equal by value, hashed by identity
        def __init__(self, value, unit):
            self.value, self.unit = value, unit

        def tree_flatten(self):
            return (self.value,), self.unit

        @classmethod
        def tree_unflatten(cls, unit, children):
            return cls(children[0], unit)

    m, runs = Net(), Runs()
    s = State(Quantity(one, "mV"))

    @jit
    def f(q):
        runs()
        s.value = Quantity(s.value.value + q.value, q.unit)
        return m(q.value)

    for n in range(4):
        f(Quantity(one * n, "mV"))
    assert runs.count == 1
    assert (s.value.value, s.value.unit) == (7.0, "mV")


def test_w1_initialising_a_module_again():
    m = Net()
    f = jit(lambda x: m(x))
    f(one)
    old = m.n
    Net.__init__(m, 5.0)
    assert f(one) == 5.0
    assert (m.n.value, old.value) == (1.0, 1.0)


def test_w2_attributes_changed_after_the_first_call():
    m = Net()
    compiled, gradient = jit(lambda x: m(x)), grad(lambda x: m(x))
    for rate in (1.0, 3.0, 1.0):
        m.rate = rate
        assert compiled(one) == gradient(one) == 2.0 * rate


def test_w3_modes_are_attributes_so_they_are_in_the_key():
    # There is no ambient context that a program could miss: how a Dropout behaves is an attribute of it.
    drop = nn.Dropout(0.5)
    f = jit(lambda x: drop(x))
    x = jnp.ones(64)
    nn.seed(0)
    assert (f(x) == 0).any()
    drop.eval()
    assert (f(x) == 1.0).all()
    drop.train()
    assert (f(x) == 0).any()


def test_w10_a_weakly_typed_state_gives_the_dtypes_of_eager_code():
    s, t = State(1.0), State(1.0)
    x = jnp.ones(2, jnp.bfloat16)

    def step(s):
        s.value = s.value * 2
        return s.value * x

    f = jit(lambda: step(s))
    for value in (1.0, jnp.float32(1.0), 1.0, np.float32(2.0), jnp.bfloat16(1)):
        s.value = t.value = value
        got, want = f(), step(t)
        assert got.dtype == want.dtype
        assert same(s.value, t.value)


@pytest.mark.parametrize("options", [{}, {"donate_states": True}], ids=["plain", "donating"])
def test_w9_a_hook_that_transforms_runs_once(options):
    s = State(jnp.zeros(()))

    def add_one(context):
        context.value = context.value + 1.0

    f = jit(lambda: setattr(s, "value", 5.0 * one), **options)
    with register_state_hook("write_before", add_one):
        for _ in range(2):
            f()
            assert s.value == 6.0
        f.compile()()
        assert s.value == 6.0


# -- failures


@pytest.mark.parametrize("donate", [False, True])
def test_trap_105_a_first_call_that_fails_leaves_nothing_half_done(donate):
    m, fail = Net(), [True]

    @jit(donate_states=donate)
    def f(x):
        y = m(x)
        if fail[0]:
            raise KeyError("first")
        return y

    for _ in range(2):
        with pytest.raises(KeyError):
            f(one)
    assert m.n.value == 0.0
    fail[0] = False
    assert f(one) == 2.0
    assert f(one) == 2.0
    assert m.n.value == 2.0


def test_trap_75_a_state_made_inside_is_no_dead_tracer_outside():
    kept = []

    @jit
    def f(x):
        kept.append(State(x * 2.0))
        return kept[-1].value

    assert f(one) == 2.0
    with pytest.raises(TraceContextError):
        _ = kept[0].value
    kept[0].value = jnp.zeros(())
    assert kept[0].value == 0.0


def test_trap_76_no_tracer_stays_behind():
    m = Net()
    with jax.checking_leaks():
        for _ in range(2):
            jit(grad(lambda x: m(x)))(one)
            jit(lambda x: for_loop(grad(lambda y: m(y)), x))(jnp.ones(2))
    assert m.n.value == 6.0


def test_trap_85_a_write_under_raw_jax_is_refused():
    s = State(one)
    f = jit(lambda x: setattr(s, "value", x))
    for wrong in (jax.jit(lambda x: setattr(s, "value", x)), jax.jit(f), jax.vmap(f)):
        with pytest.raises(TraceContextError, match="State"):
            wrong(jnp.ones(2))
        assert s.value is one


def test_trap_118_disabled_jit_runs_python_with_concrete_values():
    m, seen = Net(), []

    @jit(donate_states=True)
    def f(x):
        seen.append((float(x), float(m.w.value)))
        return m(x)

    with jax.disable_jit():
        assert f(one) == f(one) == 2.0
    assert seen == [(1.0, 2.0)] * 2
    assert m.n.value == 2.0


# -- names in messages, and values of any kind (15.2)


def test_errors_of_jax_name_the_argument_of_the_user():
    m = Net()

    @jit
    def step(velocity, x):
        return m(x)

    with pytest.raises(TypeError, match=r"step.*velocity") as caught:
        step("fast", one)
    assert "args[0]" not in str(caught.value)
    assert "_states_" not in str(caught.value)
    assert "jit_step" in jit(step.origin_fun).lower(one, one).as_text()


def test_a_state_whose_value_cannot_be_passed_is_named():
    m = Net()
    m.w.value = "text"
    f = jit(lambda x: m(x))
    with pytest.raises(TypeError, match=r"`.*<lambda>` uses Param at Net\.w, whose value 'text' is no array"):
        f(one)
    assert m.n.value == 0.0


def test_states_without_a_value_and_of_changing_structure():
    s = State(None)

    @jit
    def f(x):
        s.value = {"x": x} if s.value is None else {**s.value, "more": x}
        return x

    f(one)
    assert set(s.value) == {"x"}
    f(one)
    assert set(s.value) == {"x", "more"}
    s.value = None
    f(2 * one)
    assert s.value == {"x": 2.0}


# -- threads and memory


def test_w13_reading_calls_lose_no_write_and_threads_see_no_tracer():
    m = Net()
    read = jit(lambda x: m.w.value * x)
    read(one)
    seen, stop = [], threading.Event()

    def reading():
        while not stop.is_set():
            read(one)
            seen.append(isinstance(m.w.value, jax.core.Tracer))

    def tracing():
        for n in range(1, 5):
            jit(lambda x: m(x).sum())(jnp.ones(n))

    threads = [threading.Thread(target=target) for target in (reading, reading, tracing)]
    for thread in threads:
        thread.start()
    for n in range(200):
        m.w.value = value = jnp.float32(n)
        assert m.w.value is value
    threads[2].join()
    stop.set()
    for thread in threads:
        thread.join()
    assert not any(seen)
    assert m.w.value == 199.0


@pytest.mark.parametrize(
    "options", [{}, {"donate_states": True}, {"donate_states": Param}], ids=["plain", "all", "some"]
)
def test_alternating_structures_make_nothing_that_stays(options):
    m, extra = Stack(1.0, 2.0), Net(3.0)
    f = jit(lambda x: m(x), **options)

    def round_trip():
        for rate in (1.0, 2.0):
            m.layers[0].rate = rate
            f(one)
        m.layers.append(extra)
        f(one)
        m.layers.pop()
        f(one)

    def objects():
        gc.collect()
        return len(gc.get_objects())

    for _ in range(3):
        round_trip()
    before, traces = objects(), f.explain().traces
    for _ in range(250):  # 1,000 calls
        round_trip()
    assert objects() - before < 40
    assert f.explain().traces == traces or jax.config.jax_check_tracer_leaks


def test_a_function_and_the_model_that_it_captures_go_together():
    m = Net()
    f = jit(m, donate_states=Param)
    f(one)
    f.compile(one)
    f.explain()
    gone = weakref.ref(m)
    del m, f
    gc.collect()
    assert gone() is None


def test_programs_keep_no_model_alive():
    f, gone = jit(lambda m, x: m(x)), []
    for n in range(3):
        m = Stack(*range(n + 1))
        f(m, one)
        f.compile(m, one)(m, one)
        gone.append(weakref.ref(m))
    del m
    gc.collect()
    assert [g() for g in gone] == [None] * 3
    assert f.explain().programs == 3
