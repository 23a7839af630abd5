"""Operations that give their operand back are left out; buffers stay their own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import jaxpr_as_fun

from brainstate_transform.ir import copy_propagation, dce, optimize_jaxpr
from tests.tables import each
from tests.transform.ir.programs import names, same

x = jnp.array([1.0, -2.0, 3.0])


def traced(f, *args):
    return jax.make_jaxpr(f)(*args)


def interpret_eagerly(program, *args):
    return jaxpr_as_fun(program)(*args)


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
