"""`StatefulFunction` and `make_jaxpr`, method by method as in the guide."""

from __future__ import annotations

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr

from brainstate_graph import State, StateArgumentError
from brainstate_transform import StatefulFunction, StateTraceStack, grad, jit, vmap
from tests.laws.transforms import Net

x = jnp.array([0.5, 0.5])
one = jnp.float32(1.0)


def test_the_example_of_the_guide():
    state = State(jnp.array([1.0, 2.0]))

    def f(x):
        state.value += x
        return state.value * 2

    sf = StatefulFunction(f)
    assert sf.make_jaxpr(x) is sf
    key = sf.get_arg_cache_key(x)
    assert sf.get_states_by_cache(key) == sf.get_write_states_by_cache(key) == (state,)
    assert sf.get_read_states_by_cache(key) == ()
    np.testing.assert_allclose(state.value, [1.0, 2.0])
    np.testing.assert_allclose(sf.jaxpr_call_auto(x), [3.0, 5.0])
    np.testing.assert_allclose(sf(x), [4.0, 6.0])
    np.testing.assert_allclose(state.value, [2.0, 3.0])


def test_every_accessor_in_both_forms():
    m = Net()
    sf = StatefulFunction(lambda x: {"y": m(x)})
    key = sf.get_arg_cache_key(one)
    for name in (
        "jaxpr", "out_shapes", "out_treedef", "state_trace", "states", "read_states", "write_states",
    ):  # fmt: skip
        with pytest.raises(ValueError, match="not traced"):
            getattr(sf, f"get_{name}_by_cache")(key)
        with pytest.raises(ValueError, match="not traced"):
            getattr(sf, f"get_{name}")(one, compile_if_miss=False)
    assert sf.get_arg_cache_key(one, compile_if_miss=True) == key
    assert isinstance(sf.get_jaxpr_by_cache(key), ClosedJaxpr)
    assert sf.get_jaxpr(one) is sf.get_jaxpr_by_cache(key)
    assert sf.get_out_shapes(one)[0]["y"].shape == ()
    assert sf.get_out_treedef(one) == jax.tree.structure({"y": 0})
    trace = sf.get_state_trace_by_cache(key)
    assert isinstance(trace, StateTraceStack)
    assert set(trace.states) == {m.w, m.n} == set(sf.get_states(one))
    assert sf.get_read_states(one) == trace.get_read_states() == (m.w,)
    assert sf.get_write_states(one) == trace.get_write_states() == (m.n,)
    assert set(map(float, trace.get_state_values())) == {2.0, 0.0}
    assert m.n.value == 0.0


def test_states_stand_in_the_order_of_the_graph():
    m = Net()

    def f():
        return m.w.value * m.n.value

    assert StatefulFunction(f).get_states() == (m.n, m.w)


def test_attributes():
    sf = StatefulFunction(one.__add__, 0, "a", [("i", 2)], "n", False, "cse")
    assert (sf.static_argnums, sf.static_argnames, sf.name, sf.return_only_write) == ((0,), ("a",), "n", False)
    assert sf.axis_env == [("i", 2)]
    assert "n" in repr(sf)


def test_jaxpr_call_is_pure():
    m = Net()
    sf = StatefulFunction(lambda x: m(x))
    states = sf.get_states(one)
    given = [jnp.array(10.0) if s is m.w else jnp.array(5.0) for s in states]
    new, out = sf.jaxpr_call(given, one)
    assert out == 10.0
    assert [None if v is None else float(v) for v in new] == [None if s is m.w else 6.0 for s in states]
    assert (m.w.value, m.n.value) == (2.0, 0.0)
    full = StatefulFunction(lambda x: m(x), return_only_write=False)
    new, _ = full.jaxpr_call([given[states.index(s)] for s in full.get_states(one)], one)
    assert sorted(map(float, new)) == [6.0, 10.0]
    with pytest.raises(ValueError, match="uses 2 states, but 1"):
        sf.jaxpr_call(given[:1], one)


def test_jaxpr_call_is_pure_with_jit_disabled():
    m = Net()
    sf = StatefulFunction(lambda x: m(x))
    with jax.disable_jit():
        _, out = sf.jaxpr_call([jnp.array(10.0)] * 2, one)
    assert out == 10.0
    assert (m.w.value, m.n.value) == (2.0, 0.0)


@pytest.mark.parametrize(
    ("options", "args", "kwargs"),
    [
        ({"static_argnums": 1}, (one, 3), {}),
        ({"static_argnums": (1,)}, (one, 3), {}),
        ({"static_argnums": -1}, (one, 3), {}),
        ({"static_argnames": "n"}, (one,), {"n": 3}),
        ({"static_argnames": ["n"]}, (), {"n": 3, "x": one}),
    ],
)
def test_static_arguments(options, args, kwargs):
    s = State(jnp.array(2.0))
    sf = StatefulFunction(lambda x, n: s.value * x * jnp.ones(n), **options)
    assert sf(*args, **kwargs).shape == (3,)


@pytest.mark.counts_traces
def test_static_arguments_are_compared_by_type_and_value():
    seen = []
    sf = StatefulFunction(lambda n: seen.append(repr(n)), static_argnums=0)
    for _ in range(2):
        for n in (1, 1.0, True, 0.0, -0.0, "1"):
            sf(n)
    assert seen == ["1", "1.0", "True", "0.0", "-0.0", "'1'"]


def test_static_positions_that_are_not_there():
    for n in (2, -3):
        with pytest.raises(ValueError, match="static_argnums"):
            StatefulFunction(lambda x, y: x, static_argnums=n).make_jaxpr(1.0, 2.0)


WASTE = {
    "constant_fold": lambda x: x * (jnp.arange(3.0) + 1.0).sum(),
    "algebraic_simplification": lambda x: (x * 1.0).reshape(2) - 0.0,
    "copy_propagation": lambda x: jnp.copy(x) + 1.0,
    "cse": lambda x: jnp.sin(x) + jnp.sin(x),
    "dce": lambda x: (jnp.sin(x), x + 1.0)[1],
}


@pytest.mark.parametrize("name", WASTE)
def test_optimizations_make_the_program_smaller_and_change_nothing(name):
    m, plain = Net(), Net()

    def of(m):
        return lambda x: WASTE[name](x) * m(jnp.float32(1.0))

    sf = StatefulFunction(of(m), ir_optimizations=[name, "dce"])
    expected = StatefulFunction(of(plain))
    for _ in range(2):
        np.testing.assert_array_equal(sf(x), expected(x))
    assert m.n.value == plain.n.value == 2.0
    assert sf.get_out_shapes(x) == expected.get_out_shapes(x)
    assert sf.get_write_states(x) == (m.n,)
    assert len(sf.get_jaxpr(x).jaxpr.eqns) < len(expected.get_jaxpr(x).jaxpr.eqns)
    assert [v.aval for v in sf.get_jaxpr(x).jaxpr.invars] == [v.aval for v in expected.get_jaxpr(x).jaxpr.invars]
    np.testing.assert_allclose(grad(lambda y: sf(y).sum())(x), grad(lambda y: expected(y).sum())(x), rtol=1e-6)
    np.testing.assert_allclose(jit(vmap(sf))(x[None]), expected(x)[None], rtol=1e-6)
    with jax.disable_jit():
        np.testing.assert_allclose(sf(x), expected(x), rtol=1e-6)


def test_all_optimizations():
    m = Net()

    def f(x):
        m(x)
        y, _ = jax.lax.scan(lambda c, _: (c * 1.0 + m.w.value, jnp.sin(c)), x, None, length=3)
        return y, jnp.sin(x) + jnp.sin(x)

    sf, plain = StatefulFunction(f, ir_optimizations="all"), StatefulFunction(f)
    assert set(sf.ir_optimizations) == set(WASTE)
    assert str(sf.get_jaxpr(x)).count(" sin ") == 1
    assert str(plain.get_jaxpr(x)).count(" sin ") == 3
    for a, b in zip(sf(x), plain(x), strict=True):
        np.testing.assert_array_equal(a, b)
    with jax.checking_leaks():
        StatefulFunction(f, ir_optimizations="all")(x)


def test_without_jit_the_python_runs(capsys):
    m = Net()
    sf = StatefulFunction(lambda x: (print("ran"), m(x))[1], ir_optimizations="all")
    sf(one)
    capsys.readouterr()
    sf(one)
    assert capsys.readouterr().out == ""
    with jax.disable_jit():
        sf(one), sf(one)
    assert capsys.readouterr().out == "ran\nran\n"


def test_unknown_optimizations_are_refused_at_once():
    for wrong in (["dce", "nope"], "nope", ["all", "nope"]):
        with pytest.raises(ValueError, match=r"unknown ir_optimizations \[.*'nope'\]; there are .*'cse'.*or 'all'"):
            StatefulFunction(lambda: 1, ir_optimizations=wrong)


def test_a_state_is_refused():
    s = State(1.0)
    for fun, args in ((lambda s: 1.0, (s,)), (lambda: s, ())):
        for kind in (TypeError, ValueError, StateArgumentError):
            with pytest.raises(kind):
                StatefulFunction(fun).make_jaxpr(*args)


def test_validation():
    m = Net()
    sf = StatefulFunction(lambda x: m(x))
    sf.make_jaxpr(one)
    key = sf.get_arg_cache_key(one)
    assert sf.validate_states(key) is True
    assert sf.validate_all_states() == {key: True}
    m.w.value = jnp.ones(3)
    with pytest.raises(ValueError, match=r"Net\.w.*f32\[\].*f32\[3\]"):
        sf.validate_states(key)
    assert "Net.w" in sf.validate_all_states()[key]
    m.w.value = {"a": 1.0}
    with pytest.raises(ValueError, match=r"Net\.w"):
        sf.validate_states(key)
    with pytest.raises(ValueError, match="not traced"):
        sf.validate_states(sf.get_arg_cache_key(jnp.ones(7)))


def test_under_other_transforms():
    m = Net()
    sf = StatefulFunction(lambda x: m(x))
    assert jit(sf)(one) == 2.0
    assert grad(sf)(one) == 2.0
    assert grad(sf, m.w)(one) == 1.0
    np.testing.assert_allclose(vmap(sf)(jnp.arange(3.0)), 2.0 * np.arange(3.0))
    assert m.n.value == 4.0


def test_inspecting_inside_a_trace_writes_nothing_outside():
    m = Net()
    sf = StatefulFunction(lambda x: m(x))

    @jit
    def f(x):
        sf.make_jaxpr(x)
        return x

    f(one)
    assert m.n.value == 0.0
    assert sf(one) == 2.0


def test_many_threads():
    sf, wrong = StatefulFunction(lambda x, n: x * n, static_argnums=1), []

    def work(k):
        for n in range(20):
            y = sf(one, n + k)
            if float(y) != n + k:
                wrong.append((n, k, y))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong
    assert sf.get_cache_stats()["compilation_cache"]["size"] == 25


def test_other_states_inside_a_trace():
    many = [State(jnp.float32(i)) for i in range(20)]
    f = StatefulFunction(lambda x, i: many[i].value * x, static_argnums=1)
    assert f(one, 1) == 1.0
    assert jit(lambda x: f(x, 5))(one) == 5.0
    assert grad(lambda x: f(x, 7))(one) == 7.0
    assert (f(one, 5), f(one, 7), f(one, 1)) == (5.0, 7.0, 1.0)
