"""Programs and equations with fewer inputs and results, for ``_dce.py``.

*Mask*: for each input or result whether it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import jax
from jax import lax
from jax.extend.core import JaxprEqn, Literal, jaxpr_as_fun, primitives

from ._jaxprs import Env, looked_up, parts, same, shape_of

Mask: TypeAlias = tuple[bool, ...]
T = TypeVar("T")

_PER_OPERAND = ("donated_invars", "in_shardings", "in_layouts")
_PER_RESULT = ("out_shardings", "out_layouts")


def chosen(items: Sequence[T], mask: Mask) -> list[T]:
    """Return the items where the mask is true."""
    return [item for item, keep in zip(items, mask, strict=True) if keep]


def unchanged(*masks: Mask) -> bool:
    """Tell whether nothing is left out."""
    return all(map(all, masks))


def cut(program: Any, eqns: Sequence[JaxprEqn], live: Mask | None, used: Mask | None) -> Any:
    """Return a program with these equations and, where a mask is given, fewer results or inputs."""
    of = parts(program)
    jaxpr = of.jaxpr
    live = live if live is not None else (True,) * len(jaxpr.outvars)
    used = used if used is not None else (True,) * len(jaxpr.invars)
    if unchanged(live, used):
        return of.rebuilt(eqns, jaxpr.outvars)
    info = jaxpr.debug_info
    names, paths = info.arg_names, info.result_paths
    info = info._replace(
        arg_names=tuple(chosen(names, used)) if isinstance(names, tuple) and len(names) == len(used) else None,
        result_paths=tuple(chosen(paths, live)) if isinstance(paths, tuple) and len(paths) == len(live) else None,
    )
    new = jaxpr.replace(
        constvars=jaxpr.constvars,
        invars=chosen(jaxpr.invars, used),
        outvars=chosen(jaxpr.outvars, live),
        eqns=list(eqns),
        debug_info=info,
    )
    return new if of.consts is None else program.replace(jaxpr=new, consts=of.consts)


def cut_jit(eqn: JaxprEqn, body: Any, live: Mask, used: Mask) -> JaxprEqn:
    """Return a jit equation of this body with fewer results and operands."""
    if unchanged(live, used) and body is eqn.params["jaxpr"]:
        return eqn
    params = {**eqn.params, "jaxpr": body}
    for names, mask in ((_PER_OPERAND, used), (_PER_RESULT, live)):
        for name in names:
            params[name] = tuple(chosen(params[name], mask))
    return eqn.replace(invars=chosen(eqn.invars, used), outvars=chosen(eqn.outvars, live), params=params)


def cut_scan(eqn: JaxprEqn, body: Any, live: Mask, used: Mask, consts: int, carried: int) -> JaxprEqn | None:
    """Return a scan of this body with fewer results and operands; None where JAX would write it in another way.

    How a scan keeps the numbers of its operands differs between versions of JAX, so `lax.scan` writes the new one.
    """
    n_consts, n_carried = sum(used[:consts]), sum(used[consts : consts + carried])
    operands = chosen(eqn.invars, used)
    results = chosen(eqn.outvars, live)
    p = eqn.params

    def again(*args: Any) -> Any:
        fixed, init, xs = args[:n_consts], args[n_consts : n_consts + n_carried], args[n_consts + n_carried :]

        def step(carry: Any, x: Any) -> Any:
            out = jaxpr_as_fun(body)(*fixed, *carry, *x)
            return tuple(out[:n_carried]), tuple(out[n_carried:])

        carry, ys = lax.scan(step, init, xs, length=p["length"], reverse=p["reverse"], unroll=p["unroll"])
        return (*carry, *ys)

    traced = jax.make_jaxpr(again)(*map(shape_of, operands)).jaxpr
    new = traced.eqns[0] if len(traced.eqns) == 1 else None
    if new is None or new.primitive is not primitives.scan_p or not same(new.outvars, traced.outvars):
        return None
    if [v.aval for v in new.outvars] != [v.aval for v in results]:
        return None
    if any(isinstance(a, Literal) or a not in traced.invars for a in new.invars):
        return None
    env: Env = dict(zip(traced.invars, operands, strict=True))
    return eqn.replace(invars=looked_up(new.invars, env), outvars=results, params=new.params, effects=new.effects)
