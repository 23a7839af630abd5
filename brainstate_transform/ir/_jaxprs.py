"""The parts of a program, taken apart and put together again.

Programs and equations are changed by their own `replace`, which keeps debug info and contexts.  An object is kept where
nothing in it changes: JAX compiles by identity, and a pass tells by it that it has found nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

Atom: TypeAlias = Var | Literal
Env: TypeAlias = dict[Var, Atom]


class Parts(NamedTuple):
    """A program taken apart: its open jaxpr, and the values of its constvars if it is closed.

    From JAX 0.11 on the two kinds are one class, and an open jaxpr is one without values.
    """

    program: Any
    jaxpr: Jaxpr
    consts: list[Any] | None

    def rebuilt(
        self,
        eqns: Sequence[JaxprEqn],
        outvars: Sequence[Atom],
        constvars: Sequence[Var] | None = None,
        consts: Sequence[Any] = (),
    ) -> Any:
        """Return the program with other equations, or the very same one where none is another."""
        jaxpr, old = self.jaxpr, self.consts
        if constvars is None and same(eqns, jaxpr.eqns) and same(outvars, jaxpr.outvars):
            return self.program
        new: dict[str, Any] = {"eqns": list(eqns), "outvars": list(outvars), "debug_info": jaxpr.debug_info}
        if constvars is not None:
            new["constvars"] = list(constvars)
            old = list(consts)
        replaced = jaxpr.replace(**new)
        return replaced if old is None else self.program.replace(jaxpr=replaced, consts=old)


def parts(program: Any) -> Parts:
    """Take a Jaxpr or ClosedJaxpr apart."""
    if isinstance(program, ClosedJaxpr):
        return Parts(program, program.jaxpr, list(program.consts))
    return Parts(program, program, None)


def checked(program: Any) -> Any:
    """Return `program` if it is a jaxpr of either kind."""
    if not isinstance(program, (Jaxpr, ClosedJaxpr)):
        raise TypeError(f"expected a Jaxpr or ClosedJaxpr, as jax.make_jaxpr returns it, not {type(program).__name__}")
    return program


def same(new: Sequence[Any], old: Sequence[Any]) -> bool:
    """Tell whether two sequences hold the same objects."""
    return len(new) == len(old) and all(a is b for a, b in zip(new, old, strict=True))


def type_of(atom: Atom) -> Any:
    """Return the abstract value of an array: shape, dtype, weak type."""
    return atom.aval


def shape_of(atom: Atom) -> jax.ShapeDtypeStruct:
    """Return the same in the form that JAX takes for an argument."""
    aval = type_of(atom)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def is_array(atom: Atom) -> bool:
    """Tell whether a variable stands for an array: not for a mutable reference or a token."""
    return isinstance(atom.aval, ShapedArray)


def is_pure(eqn: JaxprEqn) -> bool:
    """Tell whether an equation does nothing but compute arrays from arrays."""
    return not eqn.effects and all(map(is_array, (*eqn.invars, *eqn.outvars)))


def substituted(eqn: JaxprEqn, env: Env) -> JaxprEqn:
    """Return the equation with its operands looked up."""
    invars = looked_up(eqn.invars, env)
    return eqn if same(invars, eqn.invars) else eqn.replace(invars=invars)


def looked_up(atoms: Sequence[Atom], env: Env) -> list[Atom]:
    """Return the atoms that stand for these."""
    return [env.get(a, a) if isinstance(a, Var) else a for a in atoms]


def literal(value: Any, aval: Any) -> Literal | None:
    """Return a scalar as JAX writes it into a program, or None where it would be of another type then."""
    if aval.shape:
        return None
    held: Any = np.asarray(value)
    if aval.weak_type:
        held = held.item()
    (found,) = jax.make_jaxpr(lambda: held)().jaxpr.outvars
    return found if isinstance(found, Literal) and found.aval == aval else None


def array_of(atom: Literal) -> np.ndarray[Any, Any]:
    """Return the value of a Literal."""
    return np.asarray(atom.val).astype(type_of(atom).dtype)


def as_written(fun: Callable[..., Any], operand: Atom, like: JaxprEqn) -> JaxprEqn | None:
    """Return the one equation that `fun` of the operand is in this JAX, in the place of `like`; None if it is not one.

    Parameters of primitives differ between versions of JAX; so JAX writes them.
    """
    (out,) = like.outvars
    traced = jax.make_jaxpr(fun)(shape_of(operand)).jaxpr
    if len(traced.eqns) != 1 or len(traced.eqns[0].invars) != 1 or traced.outvars != traced.eqns[0].outvars:
        return None
    eqn = traced.eqns[0]
    if eqn.outvars[0].aval != out.aval:
        return None
    return like.replace(invars=[operand], primitive=eqn.primitive, params=eqn.params, effects=eqn.effects)


def without_donation(eqns: Sequence[JaxprEqn]) -> list[JaxprEqn]:
    """Return the equations with no donated operand: where two variables became one, the other's user still needs it."""
    return [
        e.replace(params={**e.params, "donated_invars": (False,) * len(e.invars)})
        if any(e.params.get("donated_invars", ()))
        else e
        for e in eqns
    ]
