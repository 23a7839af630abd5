"""`eqns_to_jaxpr` and `eqns_to_closed_jaxpr`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var, check_jaxpr, jaxpr_as_fun

from brainstate_transform.ir import eqns_to_closed_jaxpr, eqns_to_jaxpr
from tests.transform.ir.programs import names

x = jnp.array([1.0, -2.0, 3.0])


def f(a, b, c):
    u = jnp.sin(b) * a
    v = u + c * 2.0
    return v, jnp.cos(u)


whole = jax.make_jaxpr(f)(x, x + 1.0, x + 2.0)
a, b, c = whole.jaxpr.invars


def test_binders_are_found_in_the_order_of_first_use():
    made = eqns_to_closed_jaxpr(whole.jaxpr.eqns)
    assert isinstance(made, ClosedJaxpr)
    assert made.jaxpr.invars == [b, a, c]
    assert made.jaxpr.outvars == whole.jaxpr.outvars
    check_jaxpr(made.jaxpr)
    for got, expected in zip(jaxpr_as_fun(made)(x + 1.0, x, x + 2.0), f(x, x + 1.0, x + 2.0), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_part_of_a_program():
    tail = eqns_to_closed_jaxpr(whole.jaxpr.eqns[1:])
    assert names(tail) == names(whole)[1:]
    np.testing.assert_array_equal(jaxpr_as_fun(tail)(jnp.sin(x + 1.0), x, x + 2.0)[0], f(x, x + 1.0, x + 2.0)[0])
    assert len(jax.grad(lambda v: jaxpr_as_fun(tail)(v, x, x)[0].sum())(x)) == 3


def test_what_is_given_is_kept():
    u = whole.jaxpr.eqns[1].outvars[0]
    made = eqns_to_jaxpr(whole.jaxpr.eqns, [a, b, c], [u, a, u])
    assert isinstance(made, Jaxpr)
    assert (list(made.invars), list(made.outvars)) == ([a, b, c], [u, a, u])
    empty = eqns_to_jaxpr([], outvars=[a])
    assert empty.invars == [a]
    assert eqns_to_jaxpr([]).outvars == []


def test_constants():
    made = eqns_to_closed_jaxpr(whole.jaxpr.eqns, [a, c], None, [b], [x + 1.0])
    np.testing.assert_array_equal(jax.jit(jaxpr_as_fun(made))(x, x + 2.0)[1], f(x, x + 1.0, x + 2.0)[1])
    (value,) = made.consts
    np.testing.assert_array_equal(value, x + 1.0)


@pytest.mark.parametrize("consts", [(), (x, x)], ids=["none", "two"])
def test_as_many_values_as_constants(consts):
    with pytest.raises(ValueError, match=f"1 constvars need as many consts, but {len(consts)} were given"):
        eqns_to_closed_jaxpr(whole.jaxpr.eqns, [a, c], None, [b], consts)


def test_errors():
    with pytest.raises(ValueError, match=r"read before it is defined, in .*sin"):
        eqns_to_jaxpr(whole.jaxpr.eqns, [a, c])
    with pytest.raises(ValueError, match="read before it is defined, in outvars"):
        eqns_to_jaxpr([], [a], [b])
    with pytest.raises(ValueError, match="defined twice, the second time in invars"):
        eqns_to_jaxpr([], [a, a], [a])
    with pytest.raises(ValueError, match="defined twice"):
        eqns_to_jaxpr([*whole.jaxpr.eqns, whole.jaxpr.eqns[0]])
    with pytest.raises(TypeError, match="eqns holds a Var"):
        eqns_to_jaxpr([a])


def test_effects_are_those_of_the_equations():
    seen = []

    def g(v):
        jax.debug.callback(lambda w: seen.append(float(w[0])), v)
        ref = jax.new_ref(v)
        ref[...] = ref[...] + 1.0
        return ref[...]

    traced = jax.make_jaxpr(g)(x)
    made = eqns_to_closed_jaxpr(traced.jaxpr.eqns, traced.jaxpr.invars, traced.jaxpr.outvars)
    np.testing.assert_array_equal(jax.jit(jaxpr_as_fun(made))(x)[0], x + 1.0)
    jax.effects_barrier()
    assert seen == [1.0]
    outer = jax.make_jaxpr(lambda ref: ref[...] * 2.0)(jax.new_ref(x))
    made = eqns_to_jaxpr(outer.jaxpr.eqns)
    assert made.effects == outer.jaxpr.effects


def test_literals_are_no_binders():
    traced = jax.make_jaxpr(lambda v: lax.add(v, 1.0))(2.0)
    assert any(isinstance(atom, Literal) for atom in traced.jaxpr.eqns[0].invars)
    made = eqns_to_jaxpr(traced.jaxpr.eqns, outvars=[traced.jaxpr.eqns[0].invars[1]])
    assert all(type(v) is Var for v in made.invars)
    assert len(made.invars) == 1
