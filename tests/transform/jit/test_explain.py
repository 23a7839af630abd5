"""`explain`: what is told of a compiled function, and the warning for one that changes itself."""

from __future__ import annotations

import gc
import re
import sys
import threading
import types
import warnings
import weakref

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import Node, State
from brainstate_transform import Explanation, StateUse, export, grad, jit
from tests.laws.transforms import Net, Runs, Stack, same, values

one = jnp.float32(1.0)


def named(m):
    @jit(static_argnames="k", name="step")
    def step(x, k=0):
        return m(jnp.sum(jnp.stack(jax.tree.leaves(x)), 0)) + k

    return step


# -- the report


def test_before_the_first_call():
    f = named(Net())
    told = f.explain()
    assert isinstance(told, Explanation)
    assert str(told) == "`step` was not traced yet."
    assert (told.traces, told.programs, told.states, told.reasons) == (0, 0, (), None)
    assert repr(told) == "<Explanation of 'step'>"


def test_the_states_that_are_used():
    m = Stack(2.0, 3.0)
    m.layers[1].w.value = jnp.ones((300, 2))
    m.unused = State(one)
    f = named(m)
    f(one)
    assert f.explain().states == (
        StateUse("m.layers.0.n", "f32[]", 4, True),
        StateUse("m.layers.0.w", "f32[]", 4, False),
        StateUse("m.layers.1.n", "f32[]", 4, True),
        StateUse("m.layers.1.w", "f32[300,2]", 2400, False),
    )
    assert str(f.explain()).splitlines() == [
        "`step` was traced 1 time, for 1 kind of calls.",
        "It uses 4 states, 2.4 kB:",
        "  m.layers.0.n  f32[]       4 B     written",
        "  m.layers.0.w  f32[]       4 B     read",
        "  m.layers.1.n  f32[]       4 B     written",
        "  m.layers.1.w  f32[300,2]  2.4 kB  read",
    ]


def test_a_function_without_states():
    f = jit(lambda x: x)
    f(one)
    assert "It uses no state." in str(f.explain())


REASONS = {
    "a shape": (lambda m, f: f(jnp.ones(3), k=1), ["argument x: f32[] is now f32[3]"]),
    "a dtype": (lambda m, f: f(jnp.int32(1), k=1), ["argument x: f32[] is now i32[]"]),
    "a weak type": (lambda m, f: f(1.0, k=1), ["argument x: f32[] is now f32[] weak"]),
    "a container": (lambda m, f: f([one], k=1), ["argument x[0] is new: f32[]", "argument x is gone"]),
    "a static value": (lambda m, f: f(one, k=2), ["argument k: static 1 is now static 2"]),
    "a static left out": (lambda m, f: f(one), ["argument k is gone"]),
    "a state": (lambda m, f: (setattr(m.w, "value", jnp.ones(2)), f(one, k=1)), ["m.w: f32[] is now f32[2]"]),
    "an attribute": (lambda m, f: (setattr(m, "rate", 3.0), f(one, k=1)), ["m.rate: "]),
    "a new layer": (lambda m, f: (setattr(m, "more", Net()), f(one, k=1)), ["m.more: "]),
    "two things": (
        lambda m, f: (setattr(m.w, "value", jnp.ones(2)), f(jnp.ones(2), k=1)),
        ["argument x: f32[] is now f32[2]", "m.w: f32[] is now f32[2]"],
    ),
}


@pytest.mark.parametrize(("change", "reasons"), REASONS.values(), ids=REASONS)
def test_why_it_was_traced_again(change, reasons):
    m = Net()
    f = named(m)
    f(one, k=1)
    assert f.explain().reasons is None
    change(m, f)
    told = f.explain()
    assert (told.traces, told.programs) == (2, 2)
    assert len(told.reasons) == len(reasons)
    for reason, start in zip(told.reasons, reasons, strict=True):
        assert reason.startswith(start), told.reasons
        assert reason in str(told)


def test_the_most_similar_trace_is_the_one_to_compare_with():
    m = Net()
    f = named(m)
    f(jnp.ones(3), k=1)
    f(one, k=5)
    f(jnp.ones(3), k=2)
    assert f.explain().reasons == ("argument k: static 1 is now static 2",)


def test_the_names_of_arguments_that_are_models():
    f = jit(lambda net, *rest, **more: net(rest[0]) + more["x"])
    f(Net(), one, x=one)
    f(Net(), jnp.ones(2), x=one)
    assert f.explain().reasons == ("argument rest[0]: f32[] is now f32[2]",)
    assert [s.path for s in f.explain().states] == ["net.n", "net.w"]
    other = Net()
    other.rate = 2.0
    f(other, one, x=one)
    assert f.explain().reasons[0].startswith("net.rate: ")


def test_what_is_jaxs_own_business():
    f = named(Net())
    f(one)
    with jax.default_matmul_precision("highest"):
        f(one)
    assert f.explain().traces == 2
    assert f.explain().programs == 1
    assert "nothing of its own changed: it is JAX's configuration" in str(f.explain())


def test_a_question_about_a_call():
    m = Net()
    f = named(m)
    f(one)
    f(jnp.ones(2))
    before = values(m)
    assert f.explain(one).reasons is None  # the first
    assert f.explain(jnp.ones(2)).reasons == ("argument x: f32[] is now f32[2]",)
    told = f.explain(jnp.ones(3))  # never called so
    assert told.traces == 3
    assert told.reasons == ("argument x: f32[2] is now f32[3]",)
    assert same(values(m), before)


@pytest.mark.counts_traces
def test_a_warm_call_notes_nothing():
    f = named(Net())
    for _ in range(5):
        f(one)
    assert f.explain().traces == 1


def test_with_donation_and_many_states():
    m = Stack(*range(40))
    f = jit(lambda x: m.layers[3](x), donate_states=True)
    f(one)
    f(one)
    assert f.explain().traces == 1
    assert [(s.path, s.written) for s in f.explain().states] == [("m.layers.3.n", True), ("m.layers.3.w", False)]


def test_states_met_on_the_way():
    sys.modules["states-of-test-explain"] = [State(one, name="hidden")]
    try:
        f = jit(lambda x: sys.modules["states-of-test-explain"][0].value * x)
        f(one)
        assert [s.path for s in f.explain().states] == ["State 'hidden'"]
        assert f.explain().traces == 1
    finally:
        del sys.modules["states-of-test-explain"]


def test_a_failed_trace_is_not_counted():
    m = Net()

    @jit
    def f(x):
        m(x)
        if x.ndim:
            raise KeyError
        return x

    with pytest.raises(KeyError):
        f(jnp.ones(2))
    f(one)
    assert (f.explain().traces, f.explain().reasons) == (1, None)


def test_clear_cache_forgets():
    f = named(Net())
    f(one)
    f.clear_cache()
    assert f.explain().traces == 0
    f(one)
    assert f.explain().reasons is None


@pytest.mark.filterwarnings("ignore:.* was traced three times")
def test_it_is_bounded_and_keeps_no_model_alive():
    f = jit(lambda m, x: m(x))
    m = Net()
    for n in range(70):
        m.rate = n
        f.eval_shape(m, one)
    assert (f.explain().traces, f.explain().programs) == (70, 64)
    gone = weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None
    assert len(f.explain().states) == 2


def test_with_jit_disabled_nothing_is_traced():
    f = named(Net())
    with jax.disable_jit():
        f(one)
    assert f.explain().traces == 0


# -- a function that changes itself


class Counting(Node):
    def __init__(self):
        self.w = State(one)
        self.calls = 0

    @jit
    def step(self, x):
        self.calls += 1
        return self.w.value * x


@pytest.mark.graph_cache  # without it nobody knows who has changed what
def test_a_function_that_changes_its_own_attribute_is_told_so_once():
    m = Counting()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(10):
            m.step(one)
    assert [str(w.message) for w in caught] == [
        "`Counting.step` is traced again at each call, because it changes self.calls itself, which is part of its "
        "program. Make it a State, or assign it outside of the compiled function."
    ]


rate = 0


def changing_places():
    global rate
    m, config, local = Net(), types.SimpleNamespace(opt=types.SimpleNamespace(rate=0)), 0
    m.rate = 0

    def change_local(n):
        nonlocal local
        local = n

    def change_global(n):
        global rate
        rate = n

    return {
        "m.rate": (lambda x: m(x), lambda n: setattr(m, "rate", n)),
        "config.opt.rate": (lambda x: x * config.opt.rate, lambda n: setattr(config.opt, "rate", n)),
        "local": (lambda x: x * local, change_local),
        "rate": (lambda x: x * rate, change_global),
    }


@pytest.mark.graph_cache
@pytest.mark.parametrize("place", ["m.rate", "config.opt.rate", "local", "rate"])
def test_a_place_that_is_changed_at_each_call_is_told_at_the_third_trace(place):
    fun, change = changing_places()[place]
    f = jit(fun, name="step")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(10):
            change(n)
            f(one)
            assert len(caught) == (n >= 2)
    assert [str(w.message) for w in caught] == [
        f"`step` was traced three times in a row, each time because {place} was changed, which is part of its program. "
        f"Pass it as an argument, or hold it in a State: `{place} = State({place})`."
    ]
    assert f.explain().traces == 10


def test_other_models_each_time_are_no_matter_of_a_warning():
    f = jit(lambda m, x: m(x))
    for n in range(6):
        m = Net()
        m.rate = n
        f(m, one)
    assert f.explain().traces == 6


@pytest.mark.filterwarnings("error")
def test_other_shapes_each_time_are_no_matter_of_a_warning():
    m = Counting()
    f = jit(lambda x: m.w.value * x)
    for n in range(8):
        f(jnp.ones(n))
    assert f.explain().traces == 8


@pytest.mark.filterwarnings("error")
def test_a_function_that_settles_is_no_matter_of_a_warning():
    m = Counting()

    @jit
    def f(x):
        m.calls = min(m.calls + 1, 2)
        return m.w.value * x

    for _ in range(6):
        f(one)
    assert f.explain().traces <= 4


def test_threads_note_each_trace_once():
    m, runs = Net(), Runs()

    @jit
    def f(x):
        runs()
        return m.w.value * x

    def call(n):
        for k in range(1, 4):
            f(jnp.ones(k))

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert f.explain().traces == runs.count
    assert f.explain().programs == 3


def test_under_another_transform():
    m = Net()
    f = named(m)
    grad(lambda x: f(x))(one)
    assert [s.path for s in f.explain().states] == ["m.n", "m.w"]
    jit(lambda x: f(x))(jnp.ones(2))
    assert f.explain().reasons == ("argument x: f32[] is now f32[2]",)


def many_models():
    """A function of so many models that the name of one argument begins that of another."""
    names = "abcdefghijklm"
    namespace = {}
    exec(f"def f({', '.join(names)}, x):\n    return sum(m(x) for m in ({', '.join(names)}))", namespace)
    return names, namespace["f"], [Net(float(i)) for i in range(len(names))]


def test_arguments_keep_their_names_however_many_there_are():
    names, f, models = many_models()
    f = jit(f)
    traced = f.trace(*models, one)
    assert set(traced.states_info) == {f"{name}.{state}" for name in names for state in ("w", "n")}
    said = str(f.explain(*models, one))
    assert all(f" {name}.w " in said for name in names)
    assert not re.search(r"\b[a-m]\d+\.", said)


def test_exported_states_keep_their_names_however_many_arguments_there_are():
    names, f, models = many_models()
    exported = export(jit(f), *models, one)
    assert set(exported.states_info) == {f"{name}.{state}" for name in names for state in ("w", "n")}
    given = {path: jnp.float32(0.0) for path in exported.states_info}
    out, new = exported(given | {"k.w": jnp.float32(5.0)}, one)
    assert (out, new["k.n"]) == (5.0, 1.0)
