"""Programs made from equations, for whoever takes a part of a jaxpr out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, JaxprEqn, Literal, Var

from ._jaxprs import Atom


def eqns_to_jaxpr(
    eqns: Sequence[JaxprEqn],
    invars: Sequence[Var] | None = None,
    outvars: Sequence[Atom] | None = None,
    constvars: Sequence[Var] = (),
) -> Jaxpr:
    """Make an open jaxpr of equations, in their order.

    Args:
        eqns: The equations.
        invars: The inputs; if None, what the equations read and do not define, in the order of first use.
        outvars: The results; if None, what the equations define and do not read.
        constvars: The constants. JAX from 0.11 on shows them as the first inputs until they have values.

    Returns:
        The jaxpr, on the very variables of the equations.

    Raises:
        TypeError: `eqns` holds something else than equations.
        ValueError: A variable is read before it is defined, or is defined twice.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_transform.ir import eqns_to_jaxpr
        >>> whole = jax.make_jaxpr(lambda x: jnp.sin(x + 1.0))(2.0)
        >>> eqns_to_jaxpr(whole.jaxpr.eqns[1:])
        { lambda ; a:f32[]. let b:f32[] = sin a in (b,) }
    """
    for eqn in eqns:
        if not isinstance(eqn, JaxprEqn):
            raise TypeError(f"eqns holds a {type(eqn).__name__}; give equations, as in `jaxpr.eqns`")
    if invars is None:
        invars = _free(eqns, outvars or (), constvars)
    if outvars is None:
        read = {id(a) for e in eqns for a in e.invars}
        outvars = [v for e in eqns for v in e.outvars if id(v) not in read and type(v) is Var]
    binders = _check(eqns, (*constvars, *invars), outvars)
    # An effect on a mutable array names its variable; one that is made inside is nobody's business outside.
    effects = {f for e in eqns for f in e.effects if _names(f) is None or _names(f) in binders}
    info = DebugInfo("eqns_to_jaxpr", "<equations>", ("",) * len(invars), ("",) * len(outvars))
    return Jaxpr(list(constvars), list(invars), list(outvars), list(eqns), frozenset(effects), info)


def eqns_to_closed_jaxpr(
    eqns: Sequence[JaxprEqn],
    invars: Sequence[Var] | None = None,
    outvars: Sequence[Atom] | None = None,
    constvars: Sequence[Var] = (),
    consts: Sequence[Any] = (),
) -> ClosedJaxpr:
    """Make a closed jaxpr of equations, in their order.

    Args:
        eqns: The equations.
        invars: As for `eqns_to_jaxpr`.
        outvars: As for `eqns_to_jaxpr`.
        constvars: The constants.
        consts: A value for each of them, of its shape and dtype.

    Returns:
        The jaxpr.

    Raises:
        TypeError: `eqns` holds something else than equations.
        ValueError: As for `eqns_to_jaxpr`; or there is not one value for each constant.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_transform.ir import eqns_to_closed_jaxpr
        >>> eqns = jax.make_jaxpr(lambda x, y: x * y)(2.0, 3.0).jaxpr.eqns
        >>> x, y = eqns[0].invars
        >>> doubled = eqns_to_closed_jaxpr(eqns, [y], None, [x], [2.0])
        >>> jax.extend.core.jaxpr_as_fun(doubled)(5.0)
        [Array(10., dtype=float32, weak_type=True)]
    """
    if len(constvars) != len(consts):
        raise ValueError(f"{len(constvars)} constvars need as many consts, but {len(consts)} were given")
    return ClosedJaxpr(eqns_to_jaxpr(eqns, invars, outvars, constvars), list(consts))


def _free(eqns: Sequence[JaxprEqn], outvars: Iterable[Atom], constvars: Sequence[Var]) -> list[Var]:
    defined: set[Atom | int] = {id(v) for v in constvars}
    free: dict[int, Var] = {}
    for eqn in eqns:
        for a in eqn.invars:
            if isinstance(a, Var) and id(a) not in defined:
                free.setdefault(id(a), a)
        defined.update(map(id, eqn.outvars))
    for a in outvars:
        if isinstance(a, Var) and id(a) not in defined:
            free.setdefault(id(a), a)
    return list(free.values())


def _check(eqns: Sequence[JaxprEqn], binders: Sequence[Var], outvars: Sequence[Atom]) -> set[Var]:
    bound: set[Var] = set()

    def bind(names: Iterable[Var], where: Any) -> None:
        for v in names:
            if v in bound:
                raise ValueError(f"a variable of type {v.aval} is defined twice, the second time in {where}")
            if type(v) is Var:  # not one that drops its value
                bound.add(v)

    def read(atoms: Iterable[Atom], where: Any) -> None:
        for a in atoms:
            if not isinstance(a, Literal) and a not in bound:
                raise ValueError(f"a variable of type {a.aval} is read before it is defined, in {where}")

    bind(binders, "invars and constvars")
    for eqn in eqns:
        read(eqn.invars, eqn)
        bind(eqn.outvars, eqn)
    read(outvars, "outvars")
    return set(binders)


def _names(effect: Any) -> Var | None:
    found = getattr(effect, "input", None)
    return found if isinstance(found, Var) else None
