"""Each pass of `ir` by itself: what it changes, what it must not, and that it finds what it is there for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
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
from tests.transform.programs import LOG, bits, interpret, names, outcome, size, types

PASSES = (constant_fold, algebraic_simplification, copy_propagation, cse, dce, inline_jit, optimize_jaxpr)
x = jnp.array([1.0, -2.0, 3.0])
hard = jnp.array([0.0, -0.0, jnp.inf, -jnp.inf, jnp.nan, 1e-30, 3e38])
n = jnp.array([1, -2, 3])


def traced(f, *args):
    return jax.make_jaxpr(f)(*args)


def same(new, old, *args):
    """The same bits and types, and no larger."""
    assert types(new) == types(old)
    assert outcome(new, *args) == outcome(old, *args)
    assert size(new) <= size(old)


# -- constant folding --------------------------------------------------------------------------------------------------


def test_a_scalar_becomes_a_literal():
    old = traced(lambda x: x * jnp.float32(2.0).astype(jnp.int32).astype(jnp.float32) + jnp.arange(5.0).sum(), x)
    new = dce(constant_fold(old))
    same(new, old, x)
    assert names(new) == ["mul", "add"]


def test_an_array_of_one_number_becomes_its_broadcast():
    old = traced(lambda x: x * (jnp.ones(3) * 2.0 + 1.0), x)
    new = dce(constant_fold(old))
    same(new, old, x)
    assert names(new) == ["broadcast_in_dim", "mul"]
    assert not new.consts


def test_another_array_becomes_a_constant():
    old = traced(lambda x: x + jnp.arange(3.0) * 2.0, x)
    new = dce(constant_fold(old))
    same(new, old, x)
    assert names(new) == ["add"]
    np.testing.assert_array_equal(new.consts[0], [0.0, 2.0, 4.0])
    assert constant_fold(new) is new


def test_constants_of_the_program_are_known():
    table = np.arange(4.0, dtype=np.float32)
    old = traced(lambda x: x * jnp.asarray(table).sum(), x)
    new = dce(constant_fold(old))
    same(new, old, x)
    assert names(new) == ["mul"]
    assert not new.consts


def test_inside_bodies():
    def f(x):
        y, _ = lax.scan(lambda c, _: (c + jnp.arange(3).sum().astype(jnp.float32), None), x, None, length=2)
        y = lax.cond(x[0] > 0, lambda v: v + (jnp.float32(2) * 3), lambda v: v, y)
        y = lax.while_loop(lambda v: v.sum() < jnp.float32(2) * 10, lambda v: v + (jnp.float32(1) + 1), y)
        y = jax.checkpoint(lambda v: v * (jnp.float32(1) + 1))(y)
        return jax.jit(lambda v: v - (jnp.arange(3.0) + 1.0) * 2.0)(y)

    old = traced(f, x)
    new = dce(constant_fold(old))
    same(new, old, x)
    assert size(new) <= size(old) - 9
    np.testing.assert_array_equal(jax.jit(jaxpr_as_fun(new))(x)[0], jax.jit(f)(x))


def test_a_whole_jit_of_constants():
    old = traced(lambda x: x + jnp.linspace(0.0, 1.0, 3), x)
    new = dce(constant_fold(old))
    assert names(new) == ["add"]
    np.testing.assert_allclose(jaxpr_as_fun(new)(x)[0], jaxpr_as_fun(old)(x)[0], rtol=1e-6)


def test_random_numbers_of_a_constant_key():
    old = traced(lambda x: x + jax.random.bits(jax.random.fold_in(jax.random.key(3), 1), (3,)).astype(jnp.float32), x)
    new = dce(constant_fold(old))
    same(new, old, x)
    assert names(new) == ["add"]
    kept = traced(lambda k: jax.random.bits(k, (3,)), jax.random.key(0))
    assert not set(names(constant_fold(kept))).isdisjoint({"random_bits"})
    keys = traced(lambda: jax.random.split(jax.random.key(1), 4))
    same(constant_fold(keys), keys)


def test_large_arrays_are_left():
    old = traced(lambda: jnp.arange(100_000) * 2)
    assert constant_fold(old) is old


def test_weak_types_stay():
    def f(x):
        weak = lax.convert_element_type(2.0, jnp.float32) * 3.0
        return x.astype(jnp.bfloat16) * 2.0 + 1.0, weak, jnp.full((2,), 2.0) * 1.0, jnp.float16(2) * jnp.float16(3)

    old = traced(f, x)
    for p in PASSES:
        assert types(p(old)) == types(old)


def test_nan_among_constants_is_no_error():
    old = traced(lambda x: (x, jnp.float32(0.0) / 0.0, jnp.log(jnp.float32(-1.0))), x)
    with jax.debug_nans(True):
        new = constant_fold(old)
    same(new, old, x)


def test_folding_inside_another_trace_and_under_guards():
    old = traced(lambda x: x + jnp.arange(3.0) * 2.0, x)

    def f(y):
        return jaxpr_as_fun(optimize_jaxpr(old))(y)[0]

    np.testing.assert_array_equal(jax.jit(f)(x), x + jnp.arange(3.0) * 2.0)
    np.testing.assert_array_equal(jax.grad(lambda y: f(y).sum())(x), jnp.ones(3))
    with jax.transfer_guard("disallow"), jax.disable_jit():
        assert size(dce(constant_fold(old))) == 1
    with jax.checking_leaks():
        jax.jit(f)(x)


def test_constants_that_are_traced_are_left():
    def f(y):
        inside = jax.make_jaxpr(lambda x: x * (y * 2.0))(x)
        new = optimize_jaxpr(inside)
        return interpret(new, x)[0]

    np.testing.assert_array_equal(jax.jit(f)(jnp.ones(3)), 2.0 * x)


# -- algebra -----------------------------------------------------------------------------------------------------------


@each(
    "f",
    [
        lambda x: x * 1.0, lambda x: 1.0 * x, lambda x: x + (-0.0), lambda x: -0.0 + x, lambda x: x - 0.0,
        lambda x: x / 1.0, lambda x: jnp.negative(-x), lambda x: jnp.ones(7) * x, lambda x: lax.pow(x, 1.0),
        lambda x: lax.integer_pow(x, 1), lambda x: lax.max(x, x), lambda x: lax.min(x, x),
        lambda x: lax.select(x > 0, x, x), lambda x: lax.select_n(jnp.array(True), -x, x),
        lambda x: lax.select(jnp.zeros(7, bool), -x, x),
    ],
)  # fmt: skip
def test_identities_of_floats(f):
    old = traced(f, hard)
    new = dce(algebraic_simplification(copy_propagation(constant_fold(old))))
    assert bits(interpret(new, hard)) == bits(interpret(old, hard)) == bits([hard])
    assert names(new) == []
    assert new.jaxpr.outvars[0] is new.jaxpr.invars[0]


@each(
    "f",
    [lambda x: x + 0.0, lambda x: 0.0 + x, lambda x: x - (-0.0), lambda x: 0.0 - x, lambda x: x * 0.0, lambda x: x - x,
     lambda x: x / x, lambda x: (x == x).astype(jnp.float32), lambda x: x * -1.0, lambda x: lax.integer_pow(x, 0)],
)  # fmt: skip
def test_trap_12_what_is_no_identity_of_floats_stays(f):
    old = traced(f, hard)
    assert algebraic_simplification(old) is old
    assert bits(interpret(optimize_jaxpr(old), hard)) == bits(interpret(old, hard))


def test_complex_products_mix_their_parts():
    z = jnp.array([jnp.inf + 1j, -0.0 + 0j])
    for f in (lambda z: z * 1.0, lambda z: z / 1.0, lambda z: z + -0.0):
        old = traced(f, z)
        assert names(algebraic_simplification(old)) == names(old)


@each(
    "f",
    [
        lambda n: n + 0, lambda n: 0 + n, lambda n: n - 0, lambda n: n * 1, lambda n: lax.div(n, jnp.ones(3, int)),
        lambda n: n | 0, lambda n: n ^ 0, lambda n: n & -1, lambda n: n & n, lambda n: n | n, lambda n: ~(~n),
    ],
)  # fmt: skip
def test_identities_of_integers(f):
    old = traced(f, n)
    new = dce(algebraic_simplification(old))
    same(new, old, n)
    assert names(new) == []


@each(
    "f",
    [
        lambda n: n * 0, lambda n: 0 * n, lambda n: n - n, lambda n: n ^ n, lambda n: n & 0, lambda n: n | -1,
        lambda n: n == n, lambda n: n != n, lambda n: n < n, lambda n: n <= n, lambda n: n > n, lambda n: n >= n,
        lambda n: (n > 0) | True, lambda n: (n > 0) & False, lambda n: (n > 0) ^ (n > 0),
    ],
)  # fmt: skip
@each("m", [n, n.astype(jnp.uint8), n[0], 5], ids=["i32[3]", "u8[3]", "i32[]", "weak"])
def test_trap_13_what_does_not_depend_on_its_operand_keeps_its_shape(f, m):
    old = traced(f, m)
    new = dce(algebraic_simplification(cse(old)))
    same(new, old, m)
    assert new.jaxpr.invars == old.jaxpr.invars
    result = old.jaxpr.outvars[0].aval
    if not (result.weak_type and result.dtype == bool):  # which no literal has
        assert set(names(new)) <= {"broadcast_in_dim", "convert_element_type"}


def test_transpositions_and_broadcast_numbers():
    m = jnp.ones((2, 3))
    old = traced(lambda m: m.T.T * jnp.ones((2, 3)), m)
    new = dce(algebraic_simplification(old))
    same(new, old, m)
    assert names(new) == []
    turned = traced(lambda m: jnp.transpose(jnp.transpose(m, (1, 2, 0)), (1, 2, 0)), jnp.ones((2, 3, 4)))
    assert algebraic_simplification(turned) is turned


def test_a_simplification_that_would_change_the_type_is_none():
    old = traced(lambda x: x * jnp.float32(1.0), 2.0)  # weak times strong is strong
    new = optimize_jaxpr(old)
    assert types(new) == types(old)
    assert not new.jaxpr.outvars[0].aval.weak_type


# -- copies ------------------------------------------------------------------------------------------------------------


@each(
    "f",
    [
        jnp.copy, lambda x: lax.reshape(x, (3,)), lambda x: lax.transpose(x, (0,)), lambda x: lax.slice(x, (0,), (3,)),
        lambda x: lax.broadcast_in_dim(x, (3,), (0,)), lambda x: lax.rev(x, ()), lambda x: lax.concatenate([x], 0),
        lambda x: lax.pad(x, jnp.float32(0), [(0, 0, 0)]), lambda x: lax.squeeze(x, ()),
        lambda x: jax.jit(lambda y: y)(x),
        lambda x: lax.convert_element_type_p.bind(x, new_dtype=x.dtype, weak_type=False, sharding=None),
        lambda x: lax.scan(lambda c, y: (c, y), x, jnp.arange(3.0))[0],
        lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1]), (0, x))[1],
        lambda x: jax.jit(lambda y: (y + 1.0, y))(x)[1],
    ],
    ids=map(str, range(14)),
)  # fmt: skip
def test_what_gives_its_operand_back(f):
    old = traced(lambda x: f(x) * 2.0, x)
    new = dce(copy_propagation(old))
    same(new, old, x)
    assert names(new) == ["mul"]
    assert copy_propagation(new) is new


@each(
    "f",
    [lax.stop_gradient, lambda x: lax.optimization_barrier(x), lambda x: checkpoint_name(x, "a"),
     lambda x: lax.rev(x, (0,)), lambda x: lax.reduce_precision(x, 8, 7), lambda x: lax.slice(x, (1,), (3,))],
)  # fmt: skip
def test_what_only_looks_like_a_copy_stays(f):
    old = traced(lambda x: f(x) * 2.0, x)
    assert dce(copy_propagation(old)) is old


def test_a_copy_that_is_a_result_is_a_buffer_of_its_own():
    old = traced(lambda x: (jnp.copy(x), jnp.copy(x) + 1.0), x)
    new = optimize_jaxpr(old)
    assert names(new) == ["copy", "add"]
    assert new.jaxpr.eqns[1].invars[0] is new.jaxpr.invars[0]


def test_a_donated_operand_is_not_taken_from_another_user():
    old = traced(lambda x: (jax.jit(lambda y: y + 1.0, donate_argnums=0)(x * 1.0), x * 2.0), x)
    mine = x + 0.0
    out = interpret_eagerly(optimize_jaxpr(old), mine)
    np.testing.assert_array_equal(out[0], x + 1.0)
    np.testing.assert_array_equal(mine, x)


def interpret_eagerly(program, *args):
    return jaxpr_as_fun(program)(*args)


# -- common subexpressions ---------------------------------------------------------------------------------------------


def test_equal_expressions_are_computed_once():
    def f(x, y):
        a, b = jnp.sin(x) * y, y * jnp.sin(x)
        return a + b, jax.nn.relu(x) + jax.nn.relu(x), jax.jit(jnp.cos)(x) * jax.jit(jnp.cos)(x)

    old = traced(f, x, x + 1.0)
    new = cse(old)
    same(new, old, x, x + 1.0)
    assert size(new) <= size(old) - 4
    assert names(new).count("sin") == 1
    assert cse(new) is new


def test_equal_in_bodies():
    def f(x):
        y, zs = lax.scan(lambda c, _: (jnp.sin(c) + jnp.sin(c), jnp.sin(c)), x, None, length=3)
        return lax.cond(y[0] > 0, lambda v: jnp.exp(v) - jnp.exp(v), lambda v: v, y), zs

    old = traced(f, x)
    new = cse(old)
    same(new, old, x)
    assert (names(new).count("sin"), names(new).count("exp")) == (1, 1)


def test_what_differs_is_not_merged():
    def f(x, n):
        return (
            x + 0.0, x + (-0.0), n + 1, n - 1, x.astype(jnp.int32), x.astype(jnp.int16), lax.round(x, 0),
            lax.round(x, 1), x - n, n - x, jnp.full(3, 0.0), jnp.full(3, -0.0), jnp.full(3, 1), jnp.full(3, 1.0),
            jnp.full(3, True),            x.sum(), x[None].sum(0),
        )  # fmt: skip

    old = traced(f, x, n)
    new = cse(old)
    same(new, old, x, n)
    assert len(new.jaxpr.eqns) >= len(old.jaxpr.eqns) - 1  # n converted to float


def test_what_must_run_each_time_is_not_merged():
    def f(x):
        a, b = (lax.rng_uniform(0.0, 1.0, (3,)) for _ in range(2))
        c, d = (lax.optimization_barrier(x) for _ in range(2))
        e, g = (jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), jnp.float32), x) for _ in range(2))
        step = jax.checkpoint(jnp.sin)
        return a, b, c, d, e, g, step(x), step(x)

    old = traced(f, x)
    assert cse(old) is old


def test_the_compiled_body_stays_one():
    @jax.jit
    def g(x):
        return jnp.sin(x) * 1.0 + jnp.float32(2) * 3

    new = optimize_jaxpr(traced(lambda x: g(g(x)), x))
    first, second = (e.params["jaxpr"] for e in new.jaxpr.eqns)
    assert first is second
    assert size(first) == 2


# -- dead code: tests/transform/test_ir_dce.py ------------------------------------------------------------------------
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
def test_trap_10_effects_stay_in_order_and_number(run):
    old = traced(noisy, x)
    LOG.clear()
    new = run(old)
    jax.effects_barrier()
    assert LOG == []  # nothing was run by the pass
    assert new.jaxpr.effects == old.jaxpr.effects
    assert outcome(new, x) == outcome(old, x)
    assert len(outcome(new, x)[1]) == 4 + 1 + 2 + 1 + 2 + 1


@each("run", PASSES, ids=lambda p: p.__name__)
def test_trap_10_error_checks_stay(run):
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


def test_trap_11_a_jit_with_an_effect_is_not_run_by_folding():
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
def test_trap_22_either_kind_and_nothing_else(run):
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
        with pytest.raises(TypeError, match="a Jaxpr or ClosedJaxpr is needed"):
            run(wrong)


@each("run", PASSES, ids=lambda p: p.__name__)
def test_trap_14_123_124_names_and_places_stay(run):
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
        with pytest.raises(TypeError, match="max_iterations is an integer"):
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
