"""`trace`, `lower`, `compile` and `eval_shape`: they change nothing, and what they give takes the user's arguments."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, State, StateArgumentError, states
from brainstate_transform import Compiled, Lowered, StatefulFunction, Traced, jit
from tests.laws.transforms import Net, Runs, Stack, Tied, holds_tracer, same, values

one = jnp.float32(1.0)
OPTIONS = [{}, {"donate_states": True}, {"donate_states": "n"}]
options = pytest.mark.parametrize("options", OPTIONS, ids=["plain", "donating", "donating some"])


def compiled_net(**options):
    m, runs = Net(), Runs()

    @jit(**options)
    def f(x):
        runs()
        return {"y": m(x)}

    return m, runs, f


@options
def test_a_compiled_function_takes_the_users_arguments_and_writes_states(options):
    m, _, f = compiled_net(**options)
    compiled = f.compile(one)
    for n in (1.0, 2.0, 3.0):
        assert same(compiled(n * one), {"y": 2.0 * n * one})
        assert m.n.value == n
    m.w.value = jnp.float32(10.0)
    assert compiled(one) == {"y": 10.0}


@options
def test_no_stage_changes_a_state_or_runs_python_twice(options):
    m, runs, f = compiled_net(**options)
    before = {path: state.value for path, state in states(m).items()}
    traced, lowered, compiled = f.trace(one), f.lower(one), f.compile(one)
    assert (type(traced), type(lowered), type(compiled)) == (Traced, Lowered, Compiled)
    assert jax.tree.map(lambda s: s.shape, f.eval_shape(one)) == {"y": ()}
    assert all(state.value is before[path] for path, state in states(m).items())
    f(one)
    compiled(one)
    assert runs.count == 1 or jax.config.jax_check_tracer_leaks


def test_what_each_stage_tells():
    m, _, f = compiled_net()
    traced = f.trace(one)
    assert "mul" in str(traced.jaxpr)
    assert "f" in traced.fun_name
    lowered = traced.lower()
    assert "stablehlo" in lowered.as_text()
    assert lowered.compiler_ir() is not None
    assert lowered.cost_analysis() is not None
    compiled = lowered.compile()
    assert "HloModule" in compiled.as_text()
    assert compiled.cost_analysis()
    assert compiled.memory_analysis().argument_size_in_bytes == 12
    assert compiled.runtime_executable() is not None
    assert len(compiled.input_shardings[0]) == 1
    assert set(compiled.output_shardings) == {"y"}
    for stage in (traced, lowered, compiled):
        assert {path: s.dtype for path, s in stage.states_info.items()} == {"m.n": jnp.float32, "m.w": jnp.float32}
        assert list(stage.written_info) == ["m.n"]
        assert stage.out_info["y"].shape == ()
        assert "compiled_net" in repr(stage)
    assert m.n.value == 0.0


def test_shapes_are_enough():
    m, _, f = compiled_net()
    compiled = f.lower(jax.ShapeDtypeStruct((3,), jnp.float32)).compile()
    assert same(compiled(jnp.ones(3)), {"y": jnp.full(3, 2.0)})
    assert m.n.value == 1.0


def test_static_and_keyword_arguments():
    m = Net()
    f = jit(lambda x, *, n: m(x) * jnp.ones(n), static_argnames="n")
    compiled = f.compile(one, n=3)
    assert compiled(one, n=3).shape == (3,)
    with pytest.raises(TypeError):
        compiled(one, n=4)
    assert m.n.value == 1.0


def test_nodes_as_arguments_and_results():
    a, b = Stack(2.0, 3.0), Stack(5.0, 7.0)

    @jit
    def f(m, x):
        m(x)
        new = Net(9.0)
        new.old = m
        return m, new

    compiled = f.compile(a, one)
    assert a.layers[0].n.value == 0.0
    for m in (a, b):  # of one shape
        same_one, new = compiled(m, one)
        assert same_one is m
        assert new.old is m
        assert new.w.value == 9.0
        assert m.layers[1].n.value == 1.0
    shape = f.eval_shape(a, one)
    assert shape[0] is a
    assert isinstance(shape[1].w.value, jax.ShapeDtypeStruct)


def test_few_of_many_states():
    m = Stack(*range(40))
    f = jit(lambda x: m.layers[3](x))
    stage = f.compile(one)
    assert sorted(stage.states_info) == ["m.layers.3.n", "m.layers.3.w"]
    assert stage(one) == 3.0
    jit(lambda x: m(x))(one)
    assert f(one) == stage(one) == 3.0
    assert m.layers[3].n.value == 4.0


def test_tied_states():
    m = Tied(3.0)
    f = jit(lambda x: m(x))
    assert f.compile(one)(one) == 9.0
    assert len(f.trace(one).states_info) == 3


def test_random_streams_are_as_without():
    nn.seed(3)
    rng = nn.RandomState(7)
    f = jit(lambda: rng.normal((3,)))
    compiled = f.compile()
    first, second = compiled(), compiled()
    again = nn.RandomState(7)
    assert same([first, second], [again.normal((3,)), again.normal((3,))])


# -- errors


def test_a_state_of_another_shape_is_named():
    m, _, f = compiled_net()
    compiled = f.compile(one)
    m.w.value = jnp.ones(3)
    with pytest.raises(TypeError, match=r"`.*f` was compiled for states of other shapes: Param at Net\.w is f32\[3\] "):
        compiled(one)
    assert m.n.value == 0.0
    m.w.value = jnp.float32(2.0)
    assert compiled(one)["y"] == 2.0


def test_a_changed_model_is_told_in_words():
    m, _, f = compiled_net()
    compiled = f.compile(one)
    m.rate = 3.0
    with pytest.raises(ValueError, match=r"(?s)`.*f` was compiled for another model\..*m\.rate: .*1\.0.*3\.0"):
        compiled(one)
    m.rate = 1.0
    assert compiled(one)["y"] == 2.0


def test_other_arguments_are_refused():
    m, _, f = compiled_net()
    compiled = f.compile(one)
    for args in ((), (one, one), (jnp.ones(2),), ({"a": one},)):
        with pytest.raises(TypeError):
            compiled(*args)
    with pytest.raises(StateArgumentError):
        compiled(State(1.0))
    with pytest.raises(TypeError):
        jit(compiled)(one)
    assert m.n.value == 0.0


@pytest.mark.parametrize("name", ["trace", "lower", "compile", "eval_shape"])
def test_an_exception_in_the_function_leaves_all_as_it_was(name):
    m = Net()

    @jit
    def f(x):
        m(x)
        raise KeyError("half way")

    with pytest.raises(KeyError):
        getattr(f, name)(one)
    assert same(values(m), values(Net()))
    assert not holds_tracer(m)


# -- around and inside


@pytest.mark.parametrize("name", ["trace", "lower", "compile", "eval_shape"])
def test_looking_marks_no_state_in_a_trace_around_it(name):
    m, other = Net(), Net()
    f = jit(lambda x: m(x))

    def look(x):
        getattr(f, name)(jnp.float32(1.0))
        return other.w.value * x

    sf = StatefulFunction(look)
    assert sf.get_states(one) == (other.w,)
    assert sf.get_write_states(one) == ()
    assert jit(look)(one) == 2.0
    assert same(values(m), values(Net()))


def test_stages_while_jit_is_disabled():
    m, _, f = compiled_net()
    with jax.disable_jit():
        compiled = f.compile(one)
        assert f.eval_shape(one)["y"].shape == ()
        assert compiled(one)["y"] == 2.0
    assert m.n.value == 1.0


def test_leaks():
    m, _, f = compiled_net(donate_states=True)
    with jax.checking_leaks():
        f.compile(one)(one)
    assert m.n.value == 1.0


def test_a_compiled_function_keeps_no_model_alive():
    class Held(Node):
        def __init__(self):
            self.s = State(jnp.zeros(()))

    f = jit(lambda m, x: m.s.value + x)
    m = Held()
    compiled = f.compile(m, one)
    compiled(m, one)
    gone = weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None
    other = Held()
    other.s.value = one
    np.testing.assert_allclose(compiled(other, one), 2.0)
