"""Traps 17 to 41: states, traces and hooks; see `test_traps`."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    FlattedDict,
    HookContext,
    NestedDict,
    Overlay,
    State,
    StateArgumentError,
    TraceContextError,
    TreefyState,
    WithTag,
    catch_new_states,
    clone,
    outside,
    register_state_hook,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_transform import StatefulFunction, grad, jit, make_jaxpr, vmap
from tests.laws.graphs import RAW, Gadget, Param, net
from tests.laws.transforms import DERIVATIVES, Runs, holds_tracer, transforms

one = jnp.float32(1.0)  # an argument; not for a state, whose buffer may be donated


# --------------------------------------------------------------------------------------------- made inside a trace


@transforms(without=[*DERIVATIVES, "vmap", "checkpoint", "checkify"])  # which run Python: what the list holds comes out
@pytest.mark.parametrize("traced", [True, False], ids=["traced", "concrete"])
def test_trap_17_a_state_that_outlives_its_transform_says_so_and_heals(wrap, traced):
    kept = []

    def f(x):
        kept.append(State(x * 2.0 if traced else 3.0, name="temporary"))
        kept[-1].value = kept[-1].value + 1.0  # while it lives it is as good as any
        return x

    wrap(f)(one)
    state = kept[-1]
    for touch in (
        lambda: state.value,
        lambda: treefy_split([state]),
        lambda: state.copy(),
        lambda: clone({"a": state}),
    ):
        with pytest.raises(TraceContextError, match=r"temporary.*made inside a transformed function"):
            touch()
    assert "inside a transform" in repr(state)
    state.value = jnp.float32(5.0)
    assert state.value == 5.0
    wrapped = wrap(lambda x: setattr(state, "value", state.value + x) or state.value)
    assert wrapped(one) == 6.0
    assert state.value == 6.0
    assert wrapped(one) == 7.0
    assert not holds_tracer([state])


@pytest.fixture
def leaking():
    """Leaks on purpose, which JAX would find itself where it is told to look."""
    before = jax.config.jax_check_tracer_leaks
    jax.config.update("jax_check_tracer_leaks", False)
    yield
    jax.config.update("jax_check_tracer_leaks", before)


@pytest.mark.usefixtures("leaking")
def test_trap_17_one_that_outlives_raw_jit_heals_too():
    kept = []
    jax.jit(lambda x: kept.append(State(x)) or x)(1.0)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        kept[0].value + 1.0
    with pytest.raises(TraceContextError):
        jax.jit(lambda x: setattr(kept[0], "value", x))(1.0)
    kept[0].value = 2.0
    assert kept[0].value == 2.0
    with pytest.raises(TraceContextError):
        jax.jit(lambda x: setattr(kept[0], "value", x))(1.0)
    assert kept[0].value == 2.0


@transforms()
def test_trap_17_temporary_states_inside_work(wrap):
    def f(x):
        total = State(jnp.zeros(()))
        model = Gadget(w=Param(x), t=total)
        for _ in range(3):
            clone(model)
            total.value = total.value + model.w.value
        return treefy_merge(*treefy_split(model)).t.value

    assert wrap(f)(jnp.float32(2.0)) == 6.0


def test_trap_17_a_state_made_outside_for_good_lives_on():
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


# --------------------------------------------------------------------------------------------- tracers of raw JAX

WRITES = {
    "value": lambda s, x: setattr(s, "value", x),
    "tree": lambda s, x: setattr(s, "value", {"a": (1.0, x)}),
    "restore": lambda s, x: s.restore_value(x),
    "update": lambda s, x: update_states(Gadget(s=s), {"s": x}, strict=False),
    "update tree": lambda s, x: update_states([s], NestedDict({0: TreefyState(State, x)}), strict=False),
    "augmented": lambda s, x: setattr(s, "value", s.value + x),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_trap_18_a_tracer_of_raw_jax_is_refused_before_anything_changes(raw, write):
    s = State(jnp.zeros(()))
    model = Gadget(held=[{"deep": s}])
    before = s.value

    def f(x):
        write(s, x)
        return x

    with pytest.raises(TraceContextError, match=r"treefy_split"):
        raw(f)
    assert s.value is before
    assert not holds_tracer(model)
    raw(lambda x: x + s.value * 0.0)  # a read is legal
    s.value = jnp.ones(())
    assert s.value == 1.0


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_trap_18_raw_jax_within_our_transforms_is_refused_as_well(raw):
    s = State(jnp.zeros(()))

    @jit
    def outer(x):
        s.value = s.value + x
        with pytest.raises(TraceContextError):
            raw(lambda y: setattr(s, "value", y) or y)
        return s.value

    assert outer(one) == 1.0
    assert s.value == 1.0


@pytest.mark.usefixtures("leaking")
def test_trap_18_a_hook_does_not_let_a_tracer_in():
    s, other = State(jnp.zeros(())), State(1.0)
    leak = []

    def sneak(context: HookContext) -> None:
        context.value = leak[0]

    with s.register_hook("write_before", sneak):

        def f(x):
            leak.append(x)
            with pytest.raises(TraceContextError):
                s.value = 1.0
            return x

        jax.jit(f)(1.0)
    assert s.value == 0.0
    assert other.value == 1.0


# --------------------------------------------------------------------------------------------- leaks, exceptions


@transforms()
def test_trap_19_nothing_is_kept_of_an_outer_trace(wrap):
    model = net(1)
    head = model.head.weight

    def loss(x):
        head.value = head.value * x
        return jnp.sum(head.value**2)

    inner = wrap(loss)

    @jit
    def outer(x):
        return inner(x) + inner(x)

    with jax.checking_leaks():
        outer(one)
        outer(one)
    assert not holds_tracer(model)


def test_trap_19_grad_under_jit_keeps_no_tracer_alive():
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


class Interrupt(BaseException):
    pass


@transforms()
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, Interrupt, StopIteration, GeneratorExit])
def test_trap_20_an_exception_leaves_every_state_as_it_was(wrap, error):
    model = net(1)
    before = {path: state.value for path, state in states(model).items()}

    def f(x):
        for state in states(model).values():
            state.value = jax.tree.map(lambda v: v + 1 + 0 * x.astype(jnp.result_type(v)), state.value)
        update_states(model, {"head": {"bias": jnp.full(2, 7.0) * x}})
        raise error("by the user")

    for _ in range(2):
        with pytest.raises((error, RuntimeError)):
            wrap(f)(one)
        assert {path: state.value for path, state in states(model).items()}.keys() == before.keys()
        assert all(state.value is before[path] for path, state in states(model).items())
    model.head.bias.value = jnp.ones(2)  # eager work goes on
    assert wrap(lambda x: jnp.sum(model.head.bias.value) * x)(one) == 2.0


@transforms()
def test_trap_21_a_changed_shape_or_dtype_is_traced_anew(wrap):
    s = State(jnp.ones(3))

    def f(x):
        s.value = s.value + 1
        return jnp.float32(jnp.size(s.value)) * x

    g = wrap(f)
    for value in (jnp.ones(3), jnp.ones((2, 2)), jnp.ones(3, "int32"), 2.0, jnp.ones(0), jnp.ones(3)):
        s.value = value
        expected = np.asarray(value) + 1
        assert g(one) == np.size(value)
        assert np.array_equal(s.value, expected)
        assert jnp.result_type(s.value) == jnp.result_type(value)


@pytest.mark.counts_traces
def test_trap_21_going_back_to_a_shape_costs_no_trace():
    s, runs = State(jnp.ones(3)), Runs()
    f = jit(lambda: (runs(), jnp.sum(s.value))[1])
    for n in (3, 4, 3, 4):
        s.value = jnp.ones(n)
        assert f() == n
    assert runs.count == 2


# --------------------------------------------------------------------------------------------- plain data of states


@pytest.mark.counts_traces
def test_trap_22_equal_states_have_equal_treedefs():
    def make():
        return Gadget(w=Param(jnp.ones(2), name="n", tag=["b", "a"], unit=1), n=State(1.0))

    one_, two = make(), make()
    two.w.register_hook("read", lambda context: None)
    two.w.value = two.w.value * 3.0  # written, unlike the other
    one_.w.value  # noqa: B018 - read
    trees = treefy_states(one_), treefy_states(two)
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    both = jax.tree.map(lambda a, b: a + b, *trees)
    assert np.array_equal(both["w"].value, [4.0, 4.0])
    jax.tree.map(lambda a, b: a, trees[0]["w"], trees[1]["w"])  # the same of single states
    runs = Runs()
    f = jax.jit(lambda tree: (runs(), jax.tree.map(jnp.sin, tree))[1])
    for tree in (*trees, both, treefy_states(clone(two))):
        f(tree)
    assert runs.count == 1
    model_runs = Runs()
    g = jax.jit(lambda d, t: (model_runs(), treefy_merge(d, t).w.value)[1])
    for model in (one_, two, clone(one_)):
        g(*treefy_split(model))
    assert model_runs.count == 1


def test_trap_23_a_rebuilt_state_is_complete():
    s = Param(jnp.ones(2), name="n", tag="t", unit="mV", checked=True)
    ref = treefy_states([s])[0]
    for again in (
        jax.tree.map(lambda x: x, ref).to_state(),
        treefy_merge(*treefy_split([s]))[0],
        clone([s])[0],
        s.copy(),
    ):
        assert type(again) is Param
        assert (again.name, again.tag) == ("n", {"t"})
        assert dict(again.metadata) == dict(s.metadata)
        assert again.hooks == ()
        assert repr(again) == repr(s)
        weakref.ref(again)
        with pytest.raises(ValueError, match=r"checked"):
            again.value = jnp.ones(3)
        seen = []
        with again.register_hook("write_after", lambda context, seen=seen: seen.append(context.value)):
            again.value = jnp.zeros(2)
        assert len(seen) == 1
    bare = TreefyState(State, 1.0).to_state()
    assert (bare.name, bare.tag, bare.hooks, dict(bare.metadata)) == (None, None, (), {})


def test_trap_24_copies_share_no_hooks_and_no_tags():
    import copy
    import pickle

    s = State(1.0, tag={"a"})
    calls = []
    s.register_hook("read", lambda context: calls.append(context.state))
    others = {
        "copy": s.copy(),
        "replace": s.replace(2.0),
        "more": s.replace(tag={"a", "b"}),
        "copy.copy": copy.copy(s),
        "deepcopy": copy.deepcopy(s),
        "clone": clone([s])[0],
        "merge": treefy_merge(*treefy_split([s]))[0],
        "treefy": treefy_states([s])[0].to_state(),
        "pickle": pickle.loads(pickle.dumps(State(1.0, tag={"a"}))),
    }
    calls.clear()
    for name, other in others.items():
        other.value  # noqa: B018
        assert not calls, name
        assert other.hooks == (), name
        assert other.tag >= {"a"}, name
        hook = other.register_hook("read", lambda context: None)
        assert s.hooks != other.hooks
        assert len(s.hooks) == 1
        hook.remove()
    assert s.tag == {"a"}
    with pytest.raises(AttributeError):
        s.tag.add("b")
    update_states([s], {0: State(5.0, tag="other")})
    assert (len(s.hooks), s.tag, s.value) == (1, {"a"}, 5.0)


def test_trap_25_a_copy_remembers_no_write():
    s = State(1.0)
    s.value = 2.0
    again = s.copy()
    assert jax.tree.structure(treefy_states([s])) == jax.tree.structure(treefy_states([again]))
    with Overlay() as overlay:
        s.value = 3.0
        again = s.copy()
        assert again.value == 3.0
    assert list(overlay.writes) == [s]
    assert s.value == 2.0


@pytest.mark.parametrize("tag", ["a", ["a"], ("a",), {"a"}, frozenset("a"), iter(["a"]), {"a": 1}.keys()])
def test_trap_26_any_form_of_tags_takes_more(tag):
    s = State(1.0, tag=tag)
    more = s.replace(tag=s.tag | {"b"})
    assert (s.tag, more.tag) == ({"a"}, {"a", "b"})
    assert hash(s.tag) is not None
    with catch_new_states("c") as caught:
        made = State(2.0, tag=["x"])
    assert caught == [made]
    assert made.tag == {"x", "c"}
    assert list(states([more, made], "c")) == [(1,)]
    assert list(states([more, made], WithTag("b"))) == [(0,)]


@pytest.mark.parametrize("tag", [[1, 2], [("a",)], [None], b"ab"])
def test_trap_26_near_a_tag_is_a_string(tag):
    with pytest.raises(TypeError, match=r"string"):
        State(1.0, tag=tag)


@pytest.mark.parametrize(
    "make",
    [lambda: State(1.0, note=([1],)), lambda: State(1.0, note=({"a": 1},)), lambda: TreefyState(State, 1.0, note=[1])],
)
def test_trap_24_near_metadata_cannot_change_at_any_depth(make):
    with pytest.raises(TypeError, match=r"note"):
        make()


# --------------------------------------------------------------------------------------------- overlays


def in_a_new_process(code: str) -> str:
    """What a program prints; overlays that are left open would slow down this process."""
    head = "import threading\nfrom brainstate_graph import Overlay, State\ns = State(1.0)\n"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=env,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr[-2000:]


def test_trap_28_the_error_of_the_user_is_not_hidden_where_overlays_are_left_open():
    said = in_a_new_process("""
        try:
            with Overlay():
                Overlay().__enter__()
                s.value = 2.0
                raise KeyError("mine")
        except KeyError as error:
            print(error, s.value)
        s.value = 3.0
        print(s.value, s.copy().value)
    """)
    assert said == "'mine' 1.0\n3.0 3.0\n"


def test_trap_28_overlays_end_in_turn():
    said = in_a_new_process("""
        first, second = Overlay(), Overlay()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        s.value = 2.0
        second.__exit__(None, None, None)
        print(s.value)
    """)
    assert said == "2.0\n"  # the second ended with the first


def test_trap_28_no_closed_overlay_comes_back():
    said = in_a_new_process("""
        def held():
            with Overlay():
                yield
        first, second = held(), held()
        next(first), next(second)
        for generator in (first, second):
            try:
                generator.close()
            except RuntimeError:
                pass
        hook = State(0.0).register_hook("read", print)  # whatever else is going on in the process
        s.value = 2.0
        thread = threading.Thread(target=lambda: print(s.value))
        thread.start(), thread.join()
    """)
    assert said == "2.0\n"


def test_trap_28_an_open_overlay_is_not_entered_again():
    said = in_a_new_process("""
        import os
        threading.Timer(5, lambda: (print("hangs", flush=True), os._exit(0))).start()
        try:
            with Overlay() as overlay:
                with overlay:
                    s.value
        except RuntimeError:
            print("refused", flush=True)
        os._exit(0)
    """)
    assert said == "refused\n"


def test_trap_29_the_size_of_a_state_whose_trace_is_over_is_not_made_up():
    kept = []
    jit(lambda x: kept.append(State(jnp.ones(5) * x)) or x)(one)
    dead = Gadget(s=kept[0], w=State(jnp.ones(3)))
    with pytest.raises(TraceContextError):
        treefy_states(dead)
    assert "made inside a transform" in repr(dead)
    assert "8" not in repr(dead)  # 5 and 3: the five are not known


def test_trap_30_states_by_tag():
    model = [State(1.0, tag="train"), State(2.0, tag={"train", "slow"}), State(3.0, tag="t"), State(4.0)]
    assert list(states(model, "train")) == [(0,), (1,)]
    assert list(states(model, "t")) == [(2,)]
    assert [list(p) for p in treefy_states(model, "slow", "train")] == [[1], [0]]
    with catch_new_states("new") as caught:
        State(1.0, tag="x")
        State(2.0)
    assert [s.tag for s in caught] == [{"x", "new"}, {"new"}]


def test_trap_31_hooks_are_told_of_what_users_declared_only():
    told = []
    with register_state_hook("init", told.append):
        s = State(1.0, name="n", tag="t", unit="mV")
    (context,) = told
    assert context.state is s
    assert dict(context.state.metadata) == {"name": "n", "tag": {"t"}, "unit": "mV"}
    assert {n for n in dir(context) if not n.startswith("__")} == {"kind", "old_value", "state", "value"}


def test_trap_32_looking_ahead_writes_nothing_and_marks_nothing():
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


def test_trap_33_states_as_arguments_are_refused_whichever_way_they_come():
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


@pytest.mark.parametrize(
    "static", [[1], {"a": 1}, {1}, np.ones(2), jnp.ones(2), bytearray(b"a")], ids=lambda v: type(v).__name__
)
def test_trap_34_a_static_argument_that_cannot_be_hashed_is_named(static):
    f = jit(lambda x, mode: x, static_argnames="mode")
    for call in (lambda: f(1.0, static), lambda: f(1.0, mode=static)):
        with pytest.raises(ValueError, match=rf"(mode|1).* not hashable.*{type(static).__name__}"):
            call()


class Odd:
    def __repr__(self) -> str:
        raise ValueError("I do not show")


ODD: dict[str, Any] = {
    "str": "text",
    "none": None,
    "object": object(),
    "odd": Odd(),
    "nan": float("nan"),
    "tree": {"a": [object()]},
    "array": np.array([object()]),
    "key": jax.random.key(0),
    "empty": (),
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@transforms()
def test_trap_35_showing_never_fails_also_inside(wrap, value):
    model = Gadget(t=State(jnp.ones(())), k=Odd(), items=[{1: Odd()}])
    shown = []

    def f(x):
        model.t.value = model.t.value * x
        made = Gadget(inner=State(x), model=model, raw=State(value))
        tree = treefy_states(Gadget(t=model.t))
        shown.extend(map(repr, (model, made, made.inner, made.raw, tree, tree.to_flat(), tree["t"])))
        shown.extend(map(str, (model, made)))
        return x

    wrap(f)(one)
    jax.jit(lambda x: shown.append(repr(Gadget(a=State(x), raw=State(value)))) or x)(1.0)
    shown.append(repr(Gadget(model=model, raw=[State(value)])))
    assert all("Gadget" in text or "State" in text or "Dict" in text for text in shown)


@pytest.mark.parametrize("wrap", [jit, StatefulFunction])
def test_trap_35_near_a_state_of_text_in_a_compiled_call_is_named(wrap):
    model = Gadget(label=State("text"), w=State(one))
    with pytest.raises(TypeError, match=r"label"):
        wrap(lambda x: (model.label.value, model.w.value * x)[1])(one)


# --------------------------------------------------------------------------------------------- hooks


class Refusal(Exception):
    pass


@pytest.mark.parametrize("error", [Refusal, KeyboardInterrupt])
def test_trap_36_a_hook_that_raises_stops_the_write(error):
    s = State(1.0)

    def refuse(context: HookContext) -> None:
        raise error("not now")

    for kind in ("write_before", "write_after"):
        for owner in (lambda *a: register_state_hook(*a), lambda *a: s.register_hook(*a)):
            with owner(kind, refuse):
                with pytest.raises(error, match=r"^not now$"):
                    s.value = 2.0
                assert s.value == 1.0
                with pytest.raises(error, match=r"^not now$"):
                    update_states([State(0.0), s], {0: 1.0, 1: 2.0}) if kind == "write_before" else setattr(
                        s, "value", 3.0
                    )
                assert s.value == 1.0
            with owner(kind, refuse), Overlay() as overlay, pytest.raises(error):
                s.value = 2.0
            assert s.value == 1.0
            assert kind == "write_after" or not overlay.writes
    with s.register_hook("restore", refuse), pytest.raises(error):
        s.restore_value(4.0)
    assert s.value == 1.0


def test_trap_36_a_refused_write_stops_the_whole_update():
    model = Gadget(a=State(1.0), b=State(2.0), c=State(3.0))

    def refuse(context: HookContext) -> None:
        raise Refusal("not b")

    with model.b.register_hook("write_before", refuse), pytest.raises(Refusal):
        update_states(model, {"a": 10.0, "b": 20.0, "c": 30.0})
    assert [s.value for s in states(model).values()] == [1.0, 2.0, 3.0]


def test_trap_36_near_a_write_that_was_undone_is_none():
    s = State(1.0)

    def refuse(context: HookContext) -> None:
        raise Refusal

    with Overlay() as overlay, s.register_hook("write_after", refuse):
        with pytest.raises(Refusal):
            s.value = 2.0
        assert s.value == 1.0
    assert overlay.written() == []


@transforms()
def test_trap_36_a_refused_write_inside_a_transform(wrap):
    s, t = State(jnp.ones(())), State(jnp.ones(()))

    def refuse(context: HookContext) -> None:
        raise Refusal("not now")

    def f(x):
        t.value = x * 5.0
        s.value = x
        return x

    with s.register_hook("write_before", refuse), pytest.raises(Refusal, match=r"^not now"):
        wrap(f)(one)
    assert (s.value, t.value) == (1.0, 1.0)
    wrap(f)(jnp.float32(2.0))
    assert (s.value, t.value) == (2.0, 10.0)


def test_trap_37_a_hook_may_wait_for_another_thread():
    s, other = State(1.0), State(2.0)
    with ThreadPoolExecutor(1) as pool:

        def wait(context: HookContext) -> None:
            if (
                context.state is s
            ):  # the other thread reads, writes, makes and registers; the global hook runs there too
                assert pool.submit(lambda: (other.value, State(0.0), setattr(other, "value", 5.0))).result(20)
                pool.submit(lambda: other.register_hook("read", lambda c: None).remove()).result(20)

        for kind in ("read", "write_before", "write_after", "restore"):
            with register_state_hook(kind, wait):
                s.value = s.value + 1.0
                s.restore_value(1.0)
    assert other.value == 5.0
    assert s.value == 1.0


def test_trap_38_39_hooks_registered_at_once_are_all_there():
    s = State(1.0)
    count, seen = 40, []
    barrier = threading.Barrier(8)

    def register(k: int) -> list[Any]:
        barrier.wait(20)
        return [s.register_hook("read", lambda context, k=k, i=i: seen.append((k, i))) for i in range(count)]

    with ThreadPoolExecutor(8) as pool:
        made = [hook for hooks in pool.map(register, range(8)) for hook in hooks]
    assert len({*map(id, s.hooks)}) == len(s.hooks) == len(made) == 8 * count
    s.value  # noqa: B018
    assert len(set(seen)) == len(seen) == 8 * count
    for hook in made:
        hook.remove()
    assert s.hooks == ()
    seen.clear()
    s.value  # noqa: B018
    assert not seen


def test_trap_38_a_hook_registered_while_others_run_is_kept():
    s, late = State(1.0), []

    def add(context: HookContext) -> None:
        late.append(s.register_hook("read", late.append))

    with s.register_hook("read", add):
        s.value  # noqa: B018
    assert s.hooks == tuple(x for x in late if x in s.hooks)
    assert len(s.hooks) == 1


def test_trap_39_hooks_differ():
    s = State(1.0)

    def same(context: HookContext) -> None: ...

    hooks = [s.register_hook("read", same) for _ in range(3)]
    hooks[1].remove()
    hooks[1].remove()
    assert s.hooks == (hooks[0], hooks[2])


def test_trap_40_an_unknown_kind_is_refused_with_and_without_hooks():
    s = State(1.0)
    for _ in range(2):
        for register in (register_state_hook, s.register_hook):
            with pytest.raises(ValueError, match=r"'bad' is no kind of hook.*write_before"):
                register("bad", print)
            with pytest.raises(TypeError, match=r"function"):
                register("read", "print")
        s.register_hook("read", lambda context: None)
    assert len(s.hooks) == 2


def test_trap_40_near_a_priority_is_a_number():
    s = State(1.0)
    with pytest.raises(TypeError, match=r"priority"):
        s.register_hook("read", lambda context: None, priority="high")
    assert s.hooks == ()


def test_trap_41_a_warning_tells_the_error_of_the_user():
    s = State(1.0)

    def fail(context: HookContext) -> None:
        raise Refusal("the reason")

    said = r"fail.*Refusal\('the reason'\)"
    with s.register_hook("write_before", fail, on_error="warn"), pytest.warns(UserWarning, match=said) as caught:
        s.value = 2.0
    assert caught[0].filename == __file__
    assert s.value == 2.0
