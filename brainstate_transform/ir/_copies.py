"""``copy_propagation``: what only gives back its operand is read from the operand.

It removes nothing: the copies that nothing reads any more are dead equations, for ``_dce.py``.
"""

from __future__ import annotations

from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, primitives

from ._bodies import Recurse, body_of, is_plain_jit, run, scan_counts, through_bodies
from ._jaxprs import Atom, Env, is_pure, looked_up, parts, substituted, without_donation

_p = primitives
# Given that operand and result have one type, the equation gives its operand back if this holds of its parameters.
_GIVES_BACK: dict[Any, Any] = {
    _p.copy_p: lambda p: True,
    _p.convert_element_type_p: lambda p: p.get("sharding") is None,
    _p.reshape_p: lambda p: p["dimensions"] is None and p.get("sharding") is None,
    _p.broadcast_in_dim_p: lambda p: p.get("sharding") is None,  # its dimensions are in order
    _p.squeeze_p: lambda p: True,
    _p.slice_p: lambda p: True,  # of the full length, so from the start
    _p.transpose_p: lambda p: list(p["permutation"]) == sorted(p["permutation"]),
    _p.rev_p: lambda p: not p["dimensions"],
    _p.concatenate_p: lambda p: True,
    _p.pad_p: lambda p: not any(n for config in p["padding_config"] for n in config),
    **{
        p: lambda p: not p["axes"] and p.get("out_sharding") is None
        for p in (_p.reduce_sum_p, _p.reduce_max_p, _p.reduce_min_p, _p.reduce_prod_p, _p.reduce_and_p, _p.reduce_or_p)
    },
}


def copy_propagation(jaxpr: Any) -> Any:
    """Read what copies, conversions and reshapes to the same type give back from their operands instead.

    So are results of `jit`, `scan` and `while_loop` that hand an operand through. The equations that nothing reads
    any more are left to `dce`. A `jnp.copy` that is a result of the program stays: its caller asked for a new buffer.

    Args:
        jaxpr: A Jaxpr or ClosedJaxpr.

    Returns:
        A program of the same kind that computes the same; `jaxpr` itself where there is nothing to do.

    Raises:
        TypeError: It is not a jaxpr.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_transform.ir import copy_propagation, dce
        >>> dce(copy_propagation(jax.make_jaxpr(lambda x: jnp.copy(x) + 1.0)(2.0)))
        { lambda ; a:f32[]. let b:f32[] = add a 1.0:f32[] in (b,) }
    """
    return run(jaxpr, _rewrite)


def _rewrite(program: Any, recurse: Recurse, holds: bool) -> Any:
    of = parts(program)
    env: Env = {}
    eqns: list[JaxprEqn] = []
    copies: set[Var] = set()
    for old in of.jaxpr.eqns:
        eqn = through_bodies(substituted(old, env), recurse)
        eqns.append(eqn)
        for out, atom in _given_back(eqn).items():
            env[out] = atom
            if eqn.primitive is _p.copy_p:
                copies.add(out)
    outvars = [a if isinstance(a, Var) and a in copies else looked_up([a], env)[0] for a in of.jaxpr.outvars]
    return of.rebuilt(without_donation(eqns) if env else eqns, outvars)


def _given_back(eqn: JaxprEqn) -> dict[Var, Atom]:
    """Return the results of an equation that are its operands."""
    found: dict[Var, Atom] = {}
    if eqn.primitive in _GIVES_BACK:
        of_one = len(eqn.invars) == 1 or eqn.primitive is _p.pad_p
        if of_one and is_pure(eqn) and _GIVES_BACK[eqn.primitive](eqn.params):
            found = {eqn.outvars[0]: eqn.invars[0]}
    elif eqn.primitive is _p.jit_p:
        if is_plain_jit(eqn):
            found = _handed_through(eqn, body_of(eqn), 0, eqn.invars, len(eqn.outvars))
    elif eqn.primitive is _p.scan_p:
        consts, carried = scan_counts(eqn)
        found = _handed_through(eqn, body_of(eqn), consts, eqn.invars[consts:], carried, own=True)
    elif eqn.primitive is _p.while_p:
        before = eqn.params["cond_nconsts"] + eqn.params["body_nconsts"]
        consts = eqn.params["body_nconsts"]
        body = body_of(eqn, "body_jaxpr")
        found = _handed_through(eqn, body, consts, eqn.invars[before:], len(eqn.outvars), own=True)
    return {out: atom for out, atom in found.items() if atom.aval == out.aval}


def _handed_through(
    eqn: JaxprEqn, body: Jaxpr, first: int, operands: list[Atom], count: int, own: bool = False
) -> dict[Var, Atom]:
    """Map results to operands where the body returns its inputs.

    Args:
        eqn: The equation.
        body: Its body.
        first: The index of the first input of the body that is looked at.
        operands: What the inputs from there on are given.
        count: How many results are looked at.
        own: Whether an input counts only where it is the result of its own index, as in a loop.
    """
    index = {v: i for i, v in enumerate(body.invars[first:])}
    found: dict[Var, Atom] = {}
    for i, (out, inner) in enumerate(zip(eqn.outvars[:count], body.outvars[:count], strict=True)):
        if isinstance(inner, Literal):
            if not own:
                found[out] = inner
        elif inner in index and (index[inner] == i or not own):
            found[out] = operands[index[inner]]
    return found
