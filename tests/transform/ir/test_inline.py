"""`inline_jit`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun
from jax.sharding import SingleDeviceSharding

from brainstate_transform.ir import inline_jit
from tests.transform.ir.programs import names, outcome, types

x = jnp.array([1.0, -2.0, 3.0])


def inlined(f, *args, **options):
    old = jax.make_jaxpr(f)(*args)
    new = inline_jit(old, **options)
    assert new.jaxpr.invars == old.jaxpr.invars
    assert types(new) == types(old)
    assert outcome(new, *args) == outcome(old, *args)
    assert inline_jit(new, **options) is new
    for a, b in zip(jax.jit(jaxpr_as_fun(new))(*args), jax.jit(jaxpr_as_fun(old))(*args), strict=True):
        np.testing.assert_array_equal(a, b)
    return new


@jax.jit
def twice(v):
    return v + v, v


def test_a_body_called_twice_and_nested():
    new = inlined(lambda x: jax.jit(lambda v: twice(v)[0] * 2.0)(twice(x)[0]), x)
    assert names(new) == ["add", "add", "mul"]


def test_in_bodies_of_other_equations():
    def f(x):
        y, _ = lax.scan(lambda c, _: twice(c), x, None, length=2)
        y = lax.cond(y[0] > 0, lambda v: twice(v)[0], lambda v: v, y)
        return lax.while_loop(lambda v: jnp.sum(v) < 5.0, lambda v: twice(v)[0], jax.checkpoint(twice)(y)[0])

    assert "jit" not in names(inlined(f, x))


def test_results_that_are_operands_literals_or_the_same_twice():
    g = jax.jit(lambda a, b: (a, a, 2.0, b, a))
    new = inlined(lambda x, y: g(x, y), x, 3.0)
    assert names(new) == []


def test_constants_of_a_body_become_constants_of_the_program():
    table, scalar = np.arange(3.0, dtype=np.float32), np.float32(2.0)
    g = jax.jit(lambda v: v * table * scalar)
    new = inlined(lambda x: g(x) + g(x) + jax.jit(lambda v: g(v))(x), x)
    assert "jit" not in names(new)
    assert sum(np.array_equal(c, table) for c in new.consts) <= 3


def test_where_constants_cannot_be_held_the_jit_stays():
    table = np.arange(3.0, dtype=np.float32)
    g = jax.jit(lambda v: v * table)
    old = jax.make_jaxpr(lambda x: jax.checkpoint(lambda v: g(v) + twice(v)[0])(x))(x)
    new = inline_jit(old)
    assert outcome(new, x) == outcome(old, x)
    np.testing.assert_array_equal(
        jax.grad(lambda v: jaxpr_as_fun(new)(v)[0].sum())(x), jax.grad(lambda v: jaxpr_as_fun(old)(v)[0].sum())(x)
    )


def test_only_what_is_wanted():
    def wanted(eqn):
        asked.append(eqn.params["name"])
        return eqn.params["name"] != "twice"

    asked = []
    new = inlined(lambda x: jax.jit(lambda v: twice(v)[0] * 2.0)(x), x, should_expand=wanted)
    assert names(new) == ["jit", "add", "mul"]
    assert set(asked) == {"twice", "<lambda>"}
    with pytest.raises(TypeError, match="should_expand must be a function of an equation, not str"):
        inline_jit(jax.make_jaxpr(twice)(x), "all")


def test_shardings_stay():
    placed = jax.jit(lambda v: v + 1.0, out_shardings=SingleDeviceSharding(jax.devices()[0]))
    old = jax.make_jaxpr(lambda x: placed(x) * 2.0)(x)
    assert inline_jit(old) is old


def test_custom_derivatives_inside():
    new = inlined(lambda x: jax.nn.relu(x) + jax.nn.silu(x), x)
    assert "custom_jvp_call" in names(new)
    grad = jax.grad(lambda v: jaxpr_as_fun(new)(v)[0].sum())
    np.testing.assert_allclose(grad(x), jax.grad(lambda v: (jax.nn.relu(v) + jax.nn.silu(v)).sum())(x), rtol=1e-6)
