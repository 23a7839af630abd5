"""``cse``: common subexpressions, computed twice from the same operands, are computed once.

Equal means equal bit for bit, by type and value: 0.0 and -0.0 are not, and neither are 1 and True.
"""

from __future__ import annotations

from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, primitives

from ._bodies import Recurse, run, through_bodies
from ._jaxprs import Atom, Env, array_of, is_pure, looked_up, parts, substituted, type_of, without_donation

# Bit for bit the same with the operands exchanged.
_COMMUTE = frozenset({
    primitives.add_p, primitives.mul_p, primitives.and_p, primitives.or_p, primitives.xor_p,
    primitives.eq_p, primitives.ne_p, primitives.add_jaxvals_p,
})  # fmt: skip
# A random generator with a state of its own; a program that is there to be computed again; a barrier against this
# very pass; a callback, which may be called less often but tells its caller how often.
_APART = frozenset({"rng_uniform", primitives.remat_p.name, "optimization_barrier", "pure_callback"})


def cse(jaxpr: Any) -> Any:
    """Compute equal expressions once, in a program and in each of its bodies.

    Two equations are equal if primitive, operands, parameters and context are. Never merged: effects, callbacks,
    ``jax.checkpoint``, ``lax.optimization_barrier``, and what touches a mutable array. A gradient of the new program
    may differ in the last bit, since it is multiplied out after the sum and not before.

    Args:
        jaxpr: A Jaxpr or ClosedJaxpr.

    Returns:
        A program of the same kind that computes the same; `jaxpr` itself where there is nothing to do.

    Raises:
        TypeError: It is not a jaxpr.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_transform.ir import cse
        >>> cse(jax.make_jaxpr(lambda x: jnp.sin(x) - jnp.sin(x))(2.0))
        { lambda ; a:f32[]. let b:f32[] = sin a; c:f32[] = sub b b in (c,) }
    """
    return run(jaxpr, _rewrite)


def _rewrite(program: Any, recurse: Recurse, holds: bool) -> Any:
    of = parts(program)
    env: Env = {}
    eqns: list[JaxprEqn] = []
    seen: dict[Any, JaxprEqn] = {}
    for old in of.jaxpr.eqns:
        eqn = through_bodies(substituted(old, env), recurse)
        key = _key(eqn)
        twin = seen.get(key) if key is not None else None
        if twin is not None and all(a.aval == b.aval for a, b in zip(twin.outvars, eqn.outvars, strict=True)):
            env.update(zip(eqn.outvars, twin.outvars, strict=True))
            continue
        if key is not None:
            seen[key] = eqn
        eqns.append(eqn)
    return of.rebuilt(without_donation(eqns) if env else eqns, looked_up(of.jaxpr.outvars, env))


def _key(eqn: JaxprEqn) -> Any:
    """Return what two equal equations have in common; None for one that is not to be merged."""
    if not is_pure(eqn) or eqn.primitive.name in _APART or any(type(v) is not Var for v in eqn.outvars):
        return None  # a result of another type has no name to be read by
    operands = [_operand(a) for a in eqn.invars]
    if eqn.primitive in _COMMUTE:
        operands.sort(key=repr)
    try:
        key = (eqn.primitive, tuple(operands), _frozen(eqn.params), eqn.ctx)
        hash(key)
    except TypeError:  # a parameter that has no hash is equal to nothing
        return None
    return key


def _operand(atom: Atom) -> Any:
    if isinstance(atom, Literal):
        aval = type_of(atom)
        return (str(aval.dtype), aval.weak_type, array_of(atom).tobytes())
    return id(atom)


def _frozen(value: Any) -> Any:
    """Return a parameter by type and value, so that 0.0 and -0.0, 1 and True differ; jaxprs by identity."""
    if isinstance(value, dict):
        return tuple((k, _frozen(v)) for k, v in sorted(value.items()))
    if type(value) in (tuple, list):
        return (type(value), *map(_frozen, value))
    if isinstance(value, float):
        return (float, repr(value))
    if isinstance(value, (Jaxpr, ClosedJaxpr)):
        return id(value)
    return (type(value), value)
