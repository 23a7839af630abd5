"""Constants are folded, where nothing is lost by it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
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
from tests.transform.ir.programs import interpret, names, same, size, types

x = jnp.array([1.0, -2.0, 3.0])


def traced(f, *args):
    return jax.make_jaxpr(f)(*args)


PASSES = (constant_fold, algebraic_simplification, copy_propagation, cse, dce, inline_jit, optimize_jaxpr)


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
