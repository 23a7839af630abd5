"""`dce`: what goes, in the program and in its bodies, and what stays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from brainstate_transform.ir import copy_propagation, dce
from tests.transform.ir.programs import LOG, names, outcome, size, types

x = jnp.array([1.0, -2.0, 3.0])
n = jnp.array([1, -2, 3])


def swept(f, *args):
    """The program before and after; the same results and effects, and nothing left for a second time."""
    old = jax.make_jaxpr(f)(*args)
    new = dce(old)
    assert new.jaxpr.invars == old.jaxpr.invars
    assert types(new) == types(old)
    assert outcome(new, *args) == outcome(old, *args)
    assert dce(new) is new
    compiled, expected = jax.jit(jaxpr_as_fun(new))(*args), jax.jit(f)(*args)
    for a, b in zip(compiled, jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    return old, new


def the(name, program):
    (found,) = (e for e in program.jaxpr.eqns if e.primitive.name == name)
    return found


def test_a_chain_that_nothing_reads():
    _, new = swept(lambda x: (jnp.sin(jnp.cos(x)), x + 1.0)[1], x)
    assert names(new) == ["add"]


def test_inputs_stay_and_constants_go():
    table, other = np.arange(3.0, dtype=np.float32), np.ones(3, np.float32)
    old, new = swept(lambda x, unused: (x + jnp.asarray(table), x * jnp.asarray(other))[0], x, n)
    assert (len(old.consts), len(new.consts), len(new.jaxpr.invars)) == (2, 1, 2)
    np.testing.assert_array_equal(new.consts[0], table)


def test_jit_loses_results_and_operands():
    def f(x, y):
        return jax.jit(lambda a, b: (a + 1.0, jnp.sin(b), a * 2.0))(x, y)[2]

    _, new = swept(f, x, n)
    assert (len(the("jit", new).invars), len(the("jit", new).outvars)) == (1, 1)
    assert names(new) == ["jit", "mul"]
    body = the("jit", new).params["jaxpr"].jaxpr
    assert body.debug_info.arg_names == ("a",)
    assert len(the("jit", new).params["donated_invars"]) == len(the("jit", new).params["in_shardings"]) == 1
    gone = dce(jax.make_jaxpr(lambda x: (jax.jit(jnp.sin)(x), x)[1])(x))
    assert names(gone) == []


def test_one_body_swept_alike_stays_one():
    g = jax.jit(lambda a, b: (a + 1.0, jnp.sin(b)))
    _, new = swept(lambda x, y: g(g(x, y)[0], y)[0], x, n)
    first, second = (e.params["jaxpr"] for e in new.jaxpr.eqns)
    assert first is second
    _, new = swept(lambda x, y: (g(g(x, y)[0], y)[0], g(x, x)[1]), x, x)
    assert sorted(names(new)) == ["add", "add", "jit", "jit", "jit", "sin"]


def test_remat_and_cond():
    def f(x, y, z):
        a = jax.checkpoint(lambda v, w: (jnp.sin(v), jnp.cos(w)))(x, y)[0]
        return lax.cond(z, lambda v, w: (v * 2.0, w, w + 1.0), lambda v, w: (v, w + 2.0, v), a, y)[0]

    old, new = swept(f, x, x + 1.0, True)
    assert len(the("cond", new).invars) == 2
    assert len(the("cond", new).outvars) == 1
    assert "cos" not in names(new)
    assert size(new) == size(old) - 3
    np.testing.assert_allclose(
        jax.grad(lambda v: jaxpr_as_fun(new)(v, x, True)[0].sum())(x), jax.grad(lambda v: f(v, x, True).sum())(x)
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_loses_carries_and_outputs(reverse):
    def step(carry, xs):
        used, feeds, only_itself, through = carry
        a, b = xs
        return (used + feeds, feeds * 2.0, only_itself + jnp.sin(b), through), (used, only_itself, a)

    def f(x, n):
        carry, ys = lax.scan(step, (x, x, x, n), (jnp.arange(4.0), jnp.arange(4.0) + 1.0), reverse=reverse)
        return carry[0], ys[0]

    _, new = swept(f, x, n)
    scan = the("scan", new)
    assert (len(scan.invars), len(scan.outvars)) == (2, 3)
    assert scan.params["length"] == 4
    assert scan.params["reverse"] is reverse
    assert "sin" not in names(new)
    for derive in (jax.jacrev, jax.jacfwd):
        np.testing.assert_array_equal(
            derive(lambda v: jaxpr_as_fun(new)(v, n)[0])(x), derive(lambda v: f(v, n)[0])(x)
        )  # fmt: skip


def test_a_scan_of_outputs_only():
    def f(x, y):
        _, (a, _) = lax.scan(lambda c, v: (c, (v * x, jnp.sin(v) * y)), 0, jnp.arange(4.0))
        return a

    _, new = swept(f, 2.0, 3.0)
    scan = the("scan", new)
    assert len(scan.outvars) == 1
    assert len(scan.invars) == 2
    mapped = dce(jax.make_jaxpr(lambda x: lax.map(lambda v: (v + 1.0, jnp.sin(v)), x)[0])(x))
    assert "sin" not in names(mapped)


def test_a_scan_over_nothing_or_with_keys():
    def f(x, key):
        def step(carry, k):
            return (carry[0] + jax.random.bits(k, dtype="uint8"), carry[1]), jax.random.uniform(k)

        return lax.scan(step, (jnp.uint8(0), key), jax.random.split(key, 3))[0][0]

    _, new = swept(f, x, jax.random.key(0))
    assert len(the("scan", new).outvars) == 1
    _, new = swept(lambda x: lax.scan(lambda c, _: (c[::-1], c), (x, x), None, length=0)[0][0], x)
    assert len(the("scan", new).outvars) == 2  # each feeds the other


def test_while_loses_carries():
    def f(x, n):
        def body(c):
            i, used, dead, feeds = c
            return i + 1, used + feeds, dead * jnp.sin(x), feeds * 2.0

        return lax.while_loop(lambda c: c[0] < n[2], body, (0, x, x, x))[1]

    _, new = swept(f, x, n)
    loop = the("while", new)
    assert len(loop.outvars) == 3
    assert "sin" not in names(new)
    assert (loop.params["cond_nconsts"], loop.params["body_nconsts"]) == (1, 0)


def test_a_while_that_only_counts_stays_if_its_count_is_read():
    _, new = swept(lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2), (0, x))[0], x)
    assert len(the("while", new).outvars) == 1


def test_fori_loop_inside_jit_inside_scan():
    def f(x):
        def step(c, _):
            out = jax.jit(lambda v: lax.fori_loop(0, 3, lambda i, w: (w[0] + 1.0, jnp.sin(w[1])), (v, v)))(c)
            return out[0], out[1]

        return lax.scan(step, x, None, length=2)[0]

    _, new = swept(f, x)
    assert "sin" not in names(new)


def tell(v):
    LOG.append(("told", np.asarray(v).tolist()))


def test_bodies_with_effects_keep_them_and_what_they_need():
    def inner(v, w):
        jax.debug.callback(tell, jnp.cos(v))
        return v * 2.0, jnp.sin(w)

    def f(x, y):
        jax.jit(inner)(x, y)
        lax.cond(x[0] > 0, lambda v, w: inner(v, w), lambda v, w: (v, w), x, y)
        lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, *inner(c[1], c[2])), (0, x, y))
        lax.scan(lambda c, _: (inner(*c), jnp.exp(c[0])), (x, y), None, length=2)
        jax.checkpoint(inner)(x, y)
        return y

    _, new = swept(f, x, x + 1.0)
    assert len(outcome(new, x, x + 1.0)[1]) == 1 + 1 + 2 + 2 + 1
    assert names(new).count("sin") == 1  # in the scan, which keeps its signature
    assert len(the("jit", new).outvars) == 0
    assert len(the("while", new).outvars) == 2


def test_custom_derivatives_keep_their_signature():
    @jax.custom_vjp
    def g(a, b):
        return a * 2.0, (jnp.sin(b), b)[1]

    g.defvjp(lambda a, b: (g(a, b), None), lambda _, c: (5.0 * c[0], c[1]))
    _, new = swept(lambda x: g(x, x)[0], x)
    assert len(the("custom_vjp_call", new).outvars) == 2
    assert "sin" not in names(new)
    np.testing.assert_array_equal(jax.grad(lambda v: jaxpr_as_fun(new)(v)[0].sum())(x), 5.0 * jnp.ones(3))


def test_the_gradient_of_a_loop_is_pruned_and_right():
    def loss(w, x):
        h, _ = lax.scan(lambda c, _: (jnp.tanh(c @ w), jnp.cos(c)), x, None, length=3)
        return (h**2).sum()

    w = jnp.eye(3) * 0.9
    old, new = swept(lambda w: jax.grad(loss)(w, x), w)
    assert size(new) < size(old)


def test_carries_that_hand_through_are_read_from_outside():
    def f(x, n):
        return lax.scan(lambda c, y: ((c[0] + y, c[1]), None), (x, n), jnp.arange(3.0))[0]

    old = jax.make_jaxpr(f)(x, n)
    new = dce(copy_propagation(old))
    assert len(the("scan", new).outvars) == 1
    assert outcome(new, x, n) == outcome(old, x, n)


def test_a_mapped_axis_in_a_loop():
    def f(x):
        _, ys = lax.scan(lambda c, y: (c, (lax.psum(y, "i"), jnp.sin(y))), 0.0, x)
        return ys[0]

    old = jax.make_jaxpr(f, axis_env=[("i", 2)])(x)
    new = dce(old)  # outside of the axis
    both = [jax.vmap(lambda v, p=p: jaxpr_as_fun(p)(v)[0], axis_name="i")(jnp.stack([x, x])) for p in (old, new)]
    np.testing.assert_array_equal(*both)
