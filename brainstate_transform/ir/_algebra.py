"""``algebraic_simplification``: identities that hold for every value, bit for bit.

So ``x * 0`` stays for floats, where it may be nan or -0.0.  There is a rule for each primitive (`_RULES`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn, Literal, Var, primitives

from ._bodies import Recurse, run, through_bodies
from ._jaxprs import (
    Atom,
    Env,
    array_of,
    as_written,
    is_pure,
    literal,
    looked_up,
    parts,
    substituted,
    type_of,
    without_donation,
)  # fmt: skip

_p = primitives


def algebraic_simplification(jaxpr: Any) -> Any:
    """Simplify arithmetic by identities that hold for every value, nan, infinities and -0.0 among them.

    Integers: ``x + 0``, ``x - 0``, ``x * 1``, ``x // 1``, ``x * 0``, ``x - x``, ``x == x`` and its like, ``x & 0``,
    ``x | 0``, ``x ^ 0``, ``x ^ x``. Real floats: ``x + -0.0``, ``x - 0.0``, ``x * 1``, ``x / 1``, ``x ** 1``, and no
    others, since ``-0.0 + 0.0`` is ``0.0``, and ``x - x`` and ``x * 0`` may be nan. All: ``--x``, ``~~x``, ``x & x``,
    ``x | x``, ``max(x, x)``, ``min(x, x)``, a selection with a known condition or of equal cases, a transposition
    undone by the next. The result has the shape, dtype and weak type of what it replaces. (Where JAX flushes subnormal
    numbers to zero, ``x * 1`` flushes too and `x` does not; XLA compiles the one to the other as well.)

    Args:
        jaxpr: A Jaxpr or ClosedJaxpr.

    Returns:
        A program of the same kind that computes the same; `jaxpr` itself where there is nothing to do.

    Raises:
        TypeError: It is not a jaxpr.

    Example:
        >>> import jax
        >>> from brainstate_transform.ir import algebraic_simplification
        >>> algebraic_simplification(jax.make_jaxpr(lambda x: x * 1.0 - 0.0 + 0.0)(2.0))
        { lambda ; a:f32[]. let b:f32[] = add a 0.0:f32[] in (b,) }
    """
    return run(jaxpr, _rewrite)


class _Known:
    """The equations above, by what they define."""

    def __init__(self) -> None:
        self.by: dict[Var, JaxprEqn] = {}

    def add(self, eqn: JaxprEqn) -> None:
        for v in eqn.outvars:
            self.by[v] = eqn

    def of(self, atom: Atom, primitive: Any) -> JaxprEqn | None:
        """Return the equation of `primitive` that defines `atom`."""
        eqn = None if isinstance(atom, Literal) else self.by.get(atom)
        return eqn if eqn is not None and eqn.primitive is primitive else None

    def splat(self, atom: Atom) -> Literal | None:
        """Return the one number that fills `atom`."""
        if isinstance(atom, Literal):
            return atom
        eqn = self.of(atom, _p.broadcast_in_dim_p)
        return self.splat(eqn.invars[0]) if eqn is not None else None

    def filled(self, atom: Atom, number: complex) -> bool:
        """Tell whether `atom` is filled with this number, of this sign."""
        found = self.splat(atom)
        if found is None:
            return False
        return array_of(found).tobytes() == np.asarray(number).astype(type_of(found).dtype).tobytes()


def _rewrite(program: Any, recurse: Recurse, holds: bool) -> Any:
    of = parts(program)
    env: Env = {}
    eqns: list[JaxprEqn] = []
    known = _Known()
    for old in of.jaxpr.eqns:
        eqn = through_bodies(substituted(old, env), recurse)
        rule = _RULES.get(eqn.primitive)
        new = rule(eqn, known) if rule is not None and is_pure(eqn) else None
        if isinstance(new, (Var, Literal)):
            if new.aval == eqn.outvars[0].aval:
                env[eqn.outvars[0]] = new
                continue
        elif new is not None:
            eqn = new
        known.add(eqn)
        eqns.append(eqn)
    return of.rebuilt(without_donation(eqns) if env else eqns, looked_up(of.jaxpr.outvars, env))


# -- rules: from an equation to the atom or the equation that replaces it ----------------------------------------------


def _exact(eqn: JaxprEqn) -> bool:
    """Tell whether the dtype is an integer, a boolean or a real float: complex products mix their parts."""
    return not jnp.issubdtype(type_of(eqn.outvars[0]).dtype, jnp.complexfloating)


def _whole(atom: Atom) -> bool:
    dtype = type_of(atom).dtype
    return jnp.issubdtype(dtype, jnp.integer) or dtype == np.bool_


def _fill(eqn: JaxprEqn, number: complex) -> Atom | JaxprEqn | None:
    """Return what fills the result with a number."""
    aval = type_of(eqn.outvars[0])
    value = np.asarray(number).astype(aval.dtype)
    scalar = literal(value, jax.typeof(value.item() if aval.weak_type else value))
    if scalar is None or not aval.shape:
        return scalar
    return as_written(lambda x: lax.broadcast(x, aval.shape), scalar, eqn)


def _add(eqn: JaxprEqn, known: _Known) -> Any:
    x, y = eqn.invars
    if not _exact(eqn):
        return None
    zero = 0 if _whole(eqn.outvars[0]) else -0.0
    if known.filled(y, zero):
        return x
    return y if known.filled(x, zero) else None


def _sub(eqn: JaxprEqn, known: _Known) -> Any:
    x, y = eqn.invars
    if _exact(eqn) and known.filled(y, 0.0):
        return x
    return _fill(eqn, 0) if x is y and _whole(x) else None


def _mul(eqn: JaxprEqn, known: _Known) -> Any:
    x, y = eqn.invars
    if not _exact(eqn):
        return None
    if known.filled(y, 1):
        return x
    if known.filled(x, 1):
        return y
    return _fill(eqn, 0) if _whole(eqn.outvars[0]) and (known.filled(x, 0) or known.filled(y, 0)) else None


def _by_one(eqn: JaxprEqn, known: _Known) -> Any:
    x, y = eqn.invars
    return x if _exact(eqn) and known.filled(y, 1) else None


def _integer_pow(eqn: JaxprEqn, known: _Known) -> Any:
    return eqn.invars[0] if eqn.params["y"] == 1 else None


def _twice(eqn: JaxprEqn, known: _Known) -> Any:
    inner = known.of(eqn.invars[0], eqn.primitive)
    return inner.invars[0] if inner is not None else None


def _of_itself(eqn: JaxprEqn, known: _Known) -> Any:
    return eqn.invars[0] if eqn.invars[0] is eqn.invars[1] else None


def _and(eqn: JaxprEqn, known: _Known) -> Any:
    return _bits(eqn, known, neutral=-1, absorbing=0)


def _or(eqn: JaxprEqn, known: _Known) -> Any:
    return _bits(eqn, known, neutral=0, absorbing=-1)


def _bits(eqn: JaxprEqn, known: _Known, neutral: int, absorbing: int) -> Any:
    x, y = eqn.invars
    if x is y:
        return x
    for one, other in ((x, y), (y, x)):
        if known.filled(other, neutral):
            return one
        if known.filled(other, absorbing):
            return _fill(eqn, absorbing)
    return None


def _xor(eqn: JaxprEqn, known: _Known) -> Any:
    x, y = eqn.invars
    if x is y:
        return _fill(eqn, 0)
    return x if known.filled(y, 0) else y if known.filled(x, 0) else None


def _compares(equal: bool) -> Callable[[JaxprEqn, _Known], Any]:
    def rule(eqn: JaxprEqn, known: _Known) -> Any:
        x, y = eqn.invars
        return _fill(eqn, equal) if x is y and _whole(x) else None

    return rule


def _select(eqn: JaxprEqn, known: _Known) -> Any:
    which, *cases = eqn.invars
    if len(cases) > 1 and all(c is cases[0] for c in cases):
        return cases[0]
    index = known.splat(which)
    return cases[int(array_of(index))] if index is not None else None


def _transpose(eqn: JaxprEqn, known: _Known) -> Any:
    inner = known.of(eqn.invars[0], _p.transpose_p)
    if inner is None:
        return None
    back = [inner.params["permutation"][i] for i in eqn.params["permutation"]]
    return inner.invars[0] if back == sorted(back) else None


_RULES: dict[Any, Callable[[JaxprEqn, _Known], Any]] = {
    _p.add_p: _add,
    _p.add_jaxvals_p: _add,
    _p.sub_p: _sub,
    _p.mul_p: _mul,
    _p.div_p: _by_one,
    _p.pow_p: _by_one,
    _p.integer_pow_p: _integer_pow,
    _p.neg_p: _twice,
    _p.not_p: _twice,
    _p.max_p: _of_itself,
    _p.min_p: _of_itself,
    _p.and_p: _and,
    _p.or_p: _or,
    _p.xor_p: _xor,
    _p.eq_p: _compares(True),
    _p.le_p: _compares(True),
    _p.ge_p: _compares(True),
    _p.ne_p: _compares(False),
    _p.lt_p: _compares(False),
    _p.gt_p: _compares(False),
    _p.select_n_p: _select,
    _p.transpose_p: _transpose,
}
