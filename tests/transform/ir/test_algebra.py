"""Algebraic identities, and what only looks like one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from brainstate_transform.ir import algebraic_simplification, constant_fold, copy_propagation, cse, dce, optimize_jaxpr
from tests.tables import each
from tests.transform.ir.programs import bits, interpret, names, same, types

x = jnp.array([1.0, -2.0, 3.0])


hard = jnp.array([0.0, -0.0, jnp.inf, -jnp.inf, jnp.nan, 1e-30, 3e38])


def traced(f, *args):
    return jax.make_jaxpr(f)(*args)


n = jnp.array([1, -2, 3])


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
def test_what_is_no_identity_of_floats_stays(f):
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
def test_what_does_not_depend_on_its_operand_keeps_its_shape(f, m):
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
