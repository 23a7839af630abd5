"""What a carry becomes in loops inside other transforms: as in JAX, whether the user carries it or a state does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_transform as ours
from brainstate_graph import State
from tests.tables import each

XS = jnp.arange(3.0)
YES = jnp.bool_(True)

INNER = {
    "scan": lambda lib, f: lambda c: lib.scan(lambda c, x: (f(c, x), None), c, XS)[0],
    "while": lambda lib, f: (
        lambda c: lib.while_loop(lambda v: v[0] < 3, lambda v: (v[0] + 1, f(v[1], XS[1])), (0, c))[1]
    ),
}
# Each runs a function of the carry once or more, for JAX and for us.
OUTER = {
    "scan": lambda lib, _, h: lambda c: lib.scan(lambda c, _: (h(c), None), c, None, length=2)[0],
    "while": lambda lib, _, h: lambda c: lib.while_loop(lambda v: v[0] < 2, lambda v: (v[0] + 1, h(v[1])), (0, c))[1],
    "cond": lambda lib, _, h: lambda c: lib.cond(YES, h, lambda c: c, c),
    "vmap": lambda _, top, h: lambda c: top.vmap(lambda _: h(c), out_axes=None)(XS),
    "checkpoint": lambda _, top, h: lambda c: top.checkpoint(h)(c),
}
BODIES = {"float32": lambda c, x: c + x, "bfloat16": lambda c, x: c * jnp.bfloat16(2), "number": lambda c, x: c * 2.0}
CARRIES = {"int": 0, "float": 1.5, "int32": jnp.int32(1), "bfloat16": jnp.bfloat16(1)}
# Each row of one table with some of the others, so that each pair of a carry and a body is there.
NESTS = [
    (list(INNER)[n % 2], list(OUTER)[n % 5], carry, body)
    for n, (carry, body) in enumerate((c, b) for c in CARRIES for b in BODIES)
]


def result(f, carry):
    try:
        out = f(carry)
    except TypeError:
        return "refused"
    return out.dtype, np.asarray(out, float).tolist()


@each("inner, outer, carry, body", NESTS)
def test_it_is_promoted_or_refused_as_in_jax(inner, outer, carry, body):
    f, carry = BODIES[body], CARRIES[carry]
    want = result(OUTER[outer](jax.lax, jax, INNER[inner](jax.lax, f)), carry)
    assert result(OUTER[outer](ours, ours, INNER[inner](ours, f)), carry) == want
    state = State(carry)

    def step(_, x):
        state.value = f(state.value, x)

    def run(_):
        OUTER[outer](ours, ours, lambda _: INNER[inner](ours, step)(None))(None)
        return jnp.asarray(state.value)

    assert result(run, None) == want
