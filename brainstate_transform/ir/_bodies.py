"""*Bodies*: the programs inside of equations, such as that of a `scan`; and how a pass goes through them.

A pass is a `Rewrite` of one program, which asks `Recurse` for each body.  A body keeps its inputs and outputs, but in
``_dce.py``, which prunes both together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, primitives

from ._jaxprs import checked, parts, type_of

# The parameters that hold bodies. What is not here (kernels, sorts, shard_map, what JAX does not know) is left alone.
BODIES: dict[Any, tuple[str, ...]] = {
    primitives.jit_p: ("jaxpr",),
    primitives.scan_p: ("jaxpr",),
    primitives.while_p: ("cond_jaxpr", "body_jaxpr"),
    primitives.cond_p: ("branches",),
    primitives.remat_p: ("jaxpr",),
    primitives.custom_jvp_call_p: ("call_jaxpr",),
    primitives.custom_vjp_call_p: ("call_jaxpr",),
    primitives.closed_call_p: ("call_jaxpr",),
}

# From a program, the same for a body, and whether the program may hold constants of its own.
Recurse: TypeAlias = Callable[[Any, bool], Any]
Rewrite: TypeAlias = Callable[[Any, Recurse, bool], Any]


def run(program: Any, rewrite: Rewrite) -> Any:
    """Rewrite a program and its bodies; bodies that were one object stay one, since JAX compiles by identity."""
    done: dict[tuple[int, bool], tuple[Any, Any]] = {}

    def recurse(body: Any, holds: bool) -> Any:
        key = (id(body), holds)
        if key not in done:
            done[key] = (body, rewrite(body, recurse, holds))  # the first keeps its id from being used again
        return done[key][1]

    return recurse(checked(program), parts(program).consts is not None)


def through_bodies(eqn: JaxprEqn, recurse: Recurse) -> JaxprEqn:
    """Return the equation with each of its bodies rewritten to one of the same inputs and outputs."""
    new: dict[str, Any] = {}
    for name in BODIES.get(eqn.primitive, ()):
        held = eqn.params[name]
        holds = eqn.primitive is primitives.jit_p  # JAX itself puts constants into the bodies of jit, and no others
        if isinstance(held, tuple):
            rewritten = tuple(recurse(body, holds) for body in held)
            changed = any(a is not b for a, b in zip(rewritten, held, strict=True))
        else:
            rewritten = recurse(held, holds)
            changed = rewritten is not held
        if changed:
            new[name] = rewritten
    return eqn.replace(params={**eqn.params, **new}) if new else eqn


def body_of(eqn: JaxprEqn, name: str = "jaxpr") -> Jaxpr:
    """Return a body as an open jaxpr."""
    return parts(eqn.params[name]).jaxpr


def is_plain_jit(eqn: JaxprEqn) -> bool:
    """Tell whether a jit equation says nothing of shardings, layouts or the compiler."""
    p = eqn.params
    return (
        all(isinstance(s, _unspecified()) for s in (*p["in_shardings"], *p["out_shardings"]))
        and all(layout is None for layout in (*p["in_layouts"], *p["out_layouts"]))
        and not p["compiler_options_kvs"]
    )


@functools.cache
def _unspecified() -> type:
    """Return the class of the sharding of which nothing was said: it has no public name."""
    return type(jax.make_jaxpr(jax.jit(lambda x: x + 1))(0).jaxpr.eqns[0].params["in_shardings"][0])


def scan_counts(eqn: JaxprEqn) -> tuple[int, int]:
    """Return how many operands of a scan are constants, and how many are carried.

    JAX 0.10 says so in `num_consts` and `num_carry`, 0.12 in other words; the shapes say it in both: what is
    scanned has one axis more outside than inside.
    """
    body = body_of(eqn)
    carried = sum(type_of(o).ndim == type_of(b).ndim for o, b in zip(eqn.outvars, body.outvars, strict=True))
    scanned = sum(type_of(o).ndim != type_of(b).ndim for o, b in zip(eqn.invars, body.invars, strict=True))
    return len(eqn.invars) - carried - scanned, carried


def variables(eqn: JaxprEqn) -> list[Var]:
    """Return the variables that an equation reads."""
    return [a for a in eqn.invars if not isinstance(a, Literal)]
