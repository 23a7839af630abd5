"""Each pass of `ir` by itself: what it changes, what it must not, and that it finds what it is there for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import checkify, io_callback
from jax.extend.core import jaxpr_as_fun

from brainstate_transform.ir import (
    algebraic_simplification,
    constant_fold,
    copy_propagation,
    cse,
    dce,
    inline_jit,
    optimize_jaxpr,
)
from tests.tables import each
from tests.transform.ir.programs import LOG, bits, names, outcome, size, types

PASSES = (constant_fold, algebraic_simplification, copy_propagation, cse, dce, inline_jit, optimize_jaxpr)
x = jnp.array([1.0, -2.0, 3.0])
n = jnp.array([1, -2, 3])


def traced(f, *args):
    return jax.make_jaxpr(f)(*args)


# -- all passes: effects -----------------------------------------------------------------------------------------------


def tell(x):
    LOG.append(("told", np.asarray(x).tolist()))


def noisy(x):
    """Effects of every sort, on constants, on dead values, twice the same, in bodies."""
    jax.debug.callback(tell, jnp.float32(2.0) * 3.0)
    jax.debug.callback(tell, x)
    jax.debug.callback(tell, x)
    dead = io_callback(lambda v: (tell(v), v)[1], jax.ShapeDtypeStruct((3,), jnp.float32), x * 1.0, ordered=True)
    del dead

    def inner(y):
        jax.debug.callback(tell, y)
        return y * 2.0

    jax.jit(inner)(jnp.float32(3.0))
    lax.scan(lambda c, y: (inner(c), y), x, jnp.arange(2.0))
    lax.cond(x[0] > 0, inner, lambda y: y, x)
    lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, inner(c[1])), (0, x))
    jax.checkpoint(inner)(x)
    return x


@each("run", PASSES, ids=lambda p: p.__name__)
def test_effects_stay_in_order_and_number(run):
    old = traced(noisy, x)
    LOG.clear()
    new = run(old)
    jax.effects_barrier()
    assert LOG == []  # nothing was run by the pass
    assert new.jaxpr.effects == old.jaxpr.effects
    assert outcome(new, x) == outcome(old, x)
    assert len(outcome(new, x)[1]) == 4 + 1 + 2 + 1 + 2 + 1


@each("run", PASSES, ids=lambda p: p.__name__)
def test_error_checks_stay(run):
    def f(x):
        checkify.check(x[0] > 0, "negative")
        checkify.check(jnp.float32(2) - 3 > 0, "constant")
        return x

    checked = traced(checkify.checkify(f), x)
    for given in (x, -x):
        assert bits(jaxpr_as_fun(run(checked))(given)) == bits(jaxpr_as_fun(checked)(given))
    unused = run(traced(f, x))
    assert names(unused).count("check") == 2
    error, _ = checkify.checkify(jaxpr_as_fun(unused))(-x)
    assert "negative" in error.get()


def test_a_jit_with_an_effect_is_not_run_by_folding():
    def inner(y):
        jax.debug.callback(tell, y)
        return y * 2.0

    old = traced(lambda x: x + jax.jit(inner)(3.0), x)
    LOG.clear()
    new = constant_fold(old)
    jax.effects_barrier()
    assert LOG == []
    assert outcome(new, x) == outcome(old, x)
    called = []
    pure = traced(lambda: jax.pure_callback(lambda v: (called.append(1), v)[1], jax.typeof(1.0), 1.0))
    assert constant_fold(pure) is pure
    assert not called


@each("run", PASSES, ids=lambda p: p.__name__)
def test_mutable_arrays(run):
    def f(x):
        ref, twin = jax.new_ref(x), jax.new_ref(x)
        ref[...] = ref[...] * 1.0 + 1.0
        jax.jit(lambda: ref.__setitem__(..., ref[...] + 1.0))()
        lax.fori_loop(0, 2, lambda i, c: (twin.__setitem__(..., twin[...] * 2.0), c)[1], 0)
        return ref[...], twin[...], x * 1.0

    old = traced(f, x)
    new = run(old)
    for a, b in zip(jax.jit(jaxpr_as_fun(new))(x), jax.jit(jaxpr_as_fun(old))(x), strict=True):
        np.testing.assert_array_equal(a, b)
    if run is not inline_jit:
        assert types(new) == types(old)


# -- all passes: derivatives -------------------------------------------------------------------------------------------


@jax.custom_jvp
def triple(x):
    return x * 1.0


triple.defjvp(lambda p, t: (triple(*p), 3.0 * t[0]))


@jax.custom_vjp
def double(x):
    return x * 1.0 + (jnp.float32(1.0) - 1.0) * x


double.defvjp(lambda x: (double(x), None), lambda _, g: (2.0 * g,))


@each("run", PASSES, ids=lambda p: p.__name__)
def test_custom_derivatives(run):
    def f(x):
        y = jax.checkpoint(lambda v: triple(v) * 1.0 + lax.stop_gradient(v))(x)
        y, _ = lax.scan(lambda c, _: (double(c), None), y, None, length=2)
        return lax.cond(y[0] > 0, lambda v: jax.jit(triple)(v), double, y).sum()

    old = traced(f, x)
    new = run(old)
    expected = jax.grad(f)(x)
    np.testing.assert_array_equal(expected, 36.0 * jnp.ones(3))
    np.testing.assert_array_equal(jax.grad(lambda v: jaxpr_as_fun(new)(v)[0])(x), expected)
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda v: jaxpr_as_fun(new)(v)[0]))(x), expected)
    np.testing.assert_array_equal(jax.vmap(jax.grad(lambda v: jaxpr_as_fun(new)(v)[0]))(x[None])[0], expected)


@each("run", PASSES, ids=lambda p: p.__name__)
def test_a_program_that_is_a_derivative(run):
    def loss(w, x):
        h = jax.checkpoint(lambda v: jnp.tanh(v @ w["a"]) * 1.0)(x)
        h, _ = lax.scan(lambda c, _: (jax.nn.relu(c @ w["a"]), c), h, None, length=3)
        return jnp.mean((h @ w["b"]) ** 2)

    w = {"a": jnp.eye(3) * 0.9, "b": jnp.ones((3, 1))}

    def f(a, b):
        return jax.tree.leaves(jax.value_and_grad(loss)({"a": a, "b": b}, x[None]))

    old = traced(f, *w.values())
    new = run(old)
    for a, b in zip(jaxpr_as_fun(new)(*w.values()), jaxpr_as_fun(old)(*w.values()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# -- all passes: forms -------------------------------------------------------------------------------------------------


@each("run", PASSES, ids=lambda p: p.__name__)
def test_results_that_are_inputs_constants_literals_or_the_same_twice(run):
    table = jnp.arange(3.0)

    def f(x, unused):
        y = x * 1.0
        return y, y, x, table, 2.0, jnp.float32(3) * 1, table, jnp.zeros(3)

    old = traced(f, x, n)
    new = run(old)
    assert new.jaxpr.invars == old.jaxpr.invars
    assert types(new) == types(old)
    assert outcome(new, x, n) == outcome(old, x, n)


@each("run", PASSES, ids=lambda p: p.__name__)
def test_a_program_without_equations(run):
    for old in (traced(lambda: ()), traced(lambda x: x, x), traced(lambda x: (), x)):
        assert run(old) is old


@each("run", PASSES, ids=lambda p: p.__name__)
def test_either_kind_and_nothing_else(run):
    def f(x):
        dead = jnp.sin(x)
        del dead
        return jax.jit(lambda y: jnp.negative(-y))(x * 1.0) + jnp.copy(x * 1.0) * 1.0 + (jnp.float32(2) * 3)

    old = traced(f, x)
    assert type(run(old)) is type(old)
    assert type(run(old.jaxpr)) is type(old.jaxpr)
    assert run(old) is not old
    assert size(run(old.jaxpr)) == size(run(old))
    for wrong in (None, old.jaxpr.eqns[0], "x", lambda x: x):
        with pytest.raises(TypeError, match="expected a Jaxpr or ClosedJaxpr"):
            run(wrong)


@each("run", PASSES, ids=lambda p: p.__name__)
def test_names_and_places_stay(run):
    def f(first, second):
        inner, _ = lax.scan(lambda c, y: (c + jnp.sin(c) * 0.0 + jnp.sin(c), y), first, jnp.arange(3.0))
        return {"out": inner * 1.0, "other": jax.jit(lambda z: (z, jnp.negative(-z), jnp.cos(z)))(second)[1]}

    old = traced(f, x, x)
    new = run(old)
    info = new.jaxpr.debug_info
    assert (info.arg_names, info.result_paths) == (old.jaxpr.debug_info.arg_names, old.jaxpr.debug_info.result_paths)
    assert info.func_src_info == old.jaxpr.debug_info.func_src_info
    contexts = {id(e.ctx) for e in old.jaxpr.eqns}
    assert all(e.source_info is not None and id(e.ctx) in contexts for e in new.jaxpr.eqns)
    np.testing.assert_array_equal(jaxpr_as_fun(new)(x, x)[0], jaxpr_as_fun(old)(x, x)[0])


def test_a_bad_choice_of_passes():
    old = traced(lambda x: x * 1.0, x)
    with pytest.raises(ValueError, match=r"unknown optimizations \['nope'\]; there are .*'dce'.*'all'"):
        optimize_jaxpr(old, optimizations=["dce", "nope"])
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            optimize_jaxpr(old, wrong)
    for wrong in (True, 1.5, "2", None):
        with pytest.raises(TypeError, match="max_iterations must be an integer"):
            optimize_jaxpr(old, wrong)


def test_a_choice_of_passes():
    old = traced(lambda x: (jnp.sin(x), x * 1.0)[1], x)
    assert names(optimize_jaxpr(old, optimizations="dce")) == ["mul"]
    assert names(optimize_jaxpr(old, optimizations=["algebraic_simplification"])) == ["sin"]
    assert names(optimize_jaxpr(old, optimizations="all")) == names(optimize_jaxpr(old)) == []
    assert optimize_jaxpr(old, optimizations=()) is old


def test_the_optimiser_stops_where_nothing_changes_and_at_its_limit():
    old = traced(lambda x: jnp.copy(jnp.copy(x)) + 1.0, x)
    backwards = ["dce", "copy_propagation"]
    once, done = optimize_jaxpr(old, 1, backwards), optimize_jaxpr(old, 100, backwards)
    assert (size(old), size(once), size(done)) == (3, 3, 1)
    assert optimize_jaxpr(old, 2, backwards) is not done
    assert optimize_jaxpr(done, 1, backwards) is done
