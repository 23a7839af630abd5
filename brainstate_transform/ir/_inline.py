"""``inline_jit``: bodies of `jit` are written out where they are called.

A jaxpr of nested functions becomes one that can be read from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax.extend.core import JaxprEqn, Var, primitives

from ._bodies import Recurse, is_plain_jit, run, through_bodies
from ._jaxprs import Atom, Env, is_array, literal, looked_up, parts, substituted


def inline_jit(jaxpr: Any, should_expand: Callable[[JaxprEqn], bool] | None = None) -> Any:
    """Write the bodies of `jit` equations out where they are called, in bodies of other equations too.

    An equation that sets shardings, layouts or compiler options stays, since they are said nowhere else; so does one on
    mutable arrays. Constants of a body become constants of the program. A donation inside a program has no effect
    in JAX and goes.

    Args:
        jaxpr: A Jaxpr or ClosedJaxpr.
        should_expand: Given a jit equation (its name is ``eqn.params["name"]``), tells whether to write it out; all if
            None.

    Returns:
        A program of the same kind that computes the same; `jaxpr` itself where there is nothing to do.

    Raises:
        TypeError: It is not a jaxpr, or `should_expand` is not a function.

    Example:
        >>> import jax
        >>> from brainstate_transform.ir import inline_jit
        >>> inline_jit(jax.make_jaxpr(lambda x: jax.jit(lambda y: y + 1.0)(x))(3.0))
        { lambda ; a:f32[]. let b:f32[] = add a 1.0:f32[] in (b,) }
    """
    if should_expand is not None and not callable(should_expand):
        raise TypeError(f"should_expand must be a function of an equation, not {type(should_expand).__name__}")

    def rewrite(program: Any, recurse: Recurse, holds: bool) -> Any:
        return _inlined(program, recurse, holds, should_expand or (lambda eqn: True))

    return run(jaxpr, rewrite)


def _inlined(program: Any, recurse: Recurse, holds: bool, wanted: Callable[[JaxprEqn], bool]) -> Any:
    of = parts(program)
    env: Env = {}
    added: dict[Var, Any] = {}
    eqns: list[JaxprEqn] = []
    lifted: dict[int, Var] = {}  # a constant of several bodies is one of the program
    for old in of.jaxpr.eqns:
        eqn = through_bodies(substituted(old, env), recurse)
        if eqn.primitive is primitives.jit_p and _can(eqn) and wanted(eqn):
            consts = _lifted(eqn, holds, lifted, added)
            if consts is not None:
                _write_out(eqn, consts, env, eqns)
                continue
        eqns.append(eqn)
    outvars = looked_up(of.jaxpr.outvars, env)
    if not added:
        return of.rebuilt(eqns, outvars)
    return of.rebuilt(eqns, outvars, [*of.jaxpr.constvars, *added], [*(of.consts or ()), *added.values()])


def _can(eqn: JaxprEqn) -> bool:
    body = parts(eqn.params["jaxpr"]).jaxpr
    pairs = (*zip(eqn.invars, body.invars, strict=True), *zip(eqn.outvars, body.outvars, strict=True))
    inside = (v for e in body.eqns for v in (*e.invars, *e.outvars))
    return (
        is_plain_jit(eqn)
        and all(outer.aval == inner.aval for outer, inner in pairs)
        and all(map(is_array, (*eqn.invars, *inside)))
    )


def _lifted(eqn: JaxprEqn, holds: bool, lifted: dict[int, Var], added: dict[Var, Any]) -> list[Atom] | None:
    """Return what stands for the constants of a body; None where the program around cannot hold them."""
    of = parts(eqn.params["jaxpr"])
    new: list[Atom] = []
    for var, value in zip(of.jaxpr.constvars, of.consts or (), strict=True):
        scalar = literal(value, var.aval) if isinstance(value, (bool, int, float, complex)) else None
        if scalar is None and not holds:
            return None
        if scalar is None:
            scalar = lifted.setdefault(id(value), Var(var.aval))
            added[scalar] = value
        new.append(scalar)
    return new


def _write_out(eqn: JaxprEqn, consts: list[Atom], env: Env, eqns: list[JaxprEqn]) -> None:
    body = parts(eqn.params["jaxpr"]).jaxpr
    inner: Env = dict(zip((*body.constvars, *body.invars), (*consts, *eqn.invars), strict=True))
    for e in body.eqns:
        # Fresh variables: a body may be called twice.
        fresh = [Var(v.aval) for v in e.outvars]
        eqns.append(substituted(e, inner).replace(outvars=fresh))
        inner.update(zip(e.outvars, fresh, strict=True))
    for out, atom in zip(eqn.outvars, looked_up(body.outvars, inner), strict=True):
        env[out] = atom
