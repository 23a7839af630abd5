"""`unvmap`: one value for all lanes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_transform import for_loop, grad, jit, unvmap, vmap
from tests.tables import each, pairs

XS = jnp.arange(6.0).reshape(2, 3)
REDUCED = {"any": np.any, "all": np.all, "max": np.max}

UNDER = {
    "plain": lambda f: f(XS),
    "jit": lambda f: jit(f)(XS),
    "vmap": lambda f: vmap(f)(XS)[0],
    "vmap of vmap": lambda f: vmap(vmap(f))(XS)[0, 0],
    "other axis": lambda f: vmap(f, in_axes=1)(XS)[2],
    "jit of vmap": lambda f: jit(vmap(f))(XS)[1],
    "vmap of jit": lambda f: vmap(jit(vmap(jit(f))))(XS)[1, 1],
    "vmap of cond": lambda f: vmap(lambda x: jax.lax.cond(x[0] >= 0, f, f, x))(XS)[0],
    "raw": lambda f: jax.jit(jax.vmap(f))(XS)[0],
}


@pairs(op={op: op for op in REDUCED}, under=UNDER, whole=("vmap of vmap",))
@each("context", [jax.checking_leaks, jax.disable_jit], ids=["leaks", "no jit"])
def test_against_the_reduction_of_the_whole(op, under, context):
    with context():
        for shift in (0.0, 1.0):
            got = under(lambda x, shift=shift: unvmap(x + shift, op))
            assert got == REDUCED[op](np.asarray(XS) + shift)


def test_the_result_is_not_mapped():
    mapped = jax.make_jaxpr(vmap(lambda x: jax.lax.cond(unvmap(x > 1), lambda: 1.0, lambda: 2.0)))(XS[0])
    assert "cond[" in str(mapped)
    assert "select_n" not in str(mapped)


def test_no_derivative_goes_through():
    f = lambda x: vmap(lambda v: v * unvmap(v, "max"))(x).sum()
    for under in (lambda f: f, jit):
        np.testing.assert_array_equal(under(grad(f))(XS[0]), np.full(3, 2.0))
        np.testing.assert_array_equal(under(jax.grad(f))(XS[0]), np.full(3, 2.0))
    np.testing.assert_array_equal(jax.jacfwd(lambda x: x * unvmap(x, "max"))(XS[0]), 2.0 * np.eye(3))
    np.testing.assert_array_equal(vmap(grad(lambda v: v * unvmap(v, "max")))(XS[0]), np.full(3, 2.0))
    np.testing.assert_array_equal(jax.hessian(lambda v: (v**2 * unvmap(v, "max")).sum())(XS[0]), 4.0 * np.eye(3))


def test_in_a_loop():
    ys = vmap(lambda x: for_loop(lambda i: unvmap(x + i, "max"), XS[0]))(XS[0])
    np.testing.assert_array_equal(ys, np.tile(XS[0] + 2.0, (3, 1)))


def test_the_whole_goes_to_a_callback():
    seen = []
    see = lambda v: jax.debug.callback(lambda x: seen.append(x), unvmap(v, "none"))
    for under in (see, jit(see), vmap(see), jit(vmap(see)), vmap(jit(vmap(see)))):
        seen.clear()
        under(XS)
        jax.effects_barrier()
        assert len(seen) == 1
        np.testing.assert_array_equal(seen[0], XS)


def test_typed_keys():
    keys = jax.random.split(jax.random.key(0), 3)
    assert vmap(lambda k: unvmap(k, "none").shape[0] + 0 * jax.random.bits(k))(keys).tolist() == [3, 3, 3]


def test_numbers_and_names():
    assert unvmap(True)
    assert not unvmap(0, "all")
    with pytest.raises(ValueError, match="unvmap does not know op='sum': use 'any', 'all', 'max' or 'none'"):
        unvmap(1, "sum")
