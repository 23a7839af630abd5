"""``constant_fold``: what depends on constants only is computed now, by JAX itself, one equation at a time.

What is folded is listed (`_FOLDED`): a callback, a foreign kernel or a primitive that nobody here knows is never run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.dtypes import extended
from jax.extend.core import JaxprEqn, Literal, Var, jaxpr_as_fun, primitives

from ._bodies import Recurse, body_of, is_plain_jit, run, through_bodies
from ._build import eqns_to_closed_jaxpr
from ._jaxprs import Env, as_written, is_pure, literal, looked_up, parts, substituted, type_of, without_donation

_LIMIT = 1 << 14  # elements of an operand or result: larger ones are left to the compiled program
_GENERATORS = frozenset({primitives.broadcast_in_dim_p, primitives.iota_p})

# Only what is known to be a function of its operands and nothing else: a foreign kernel or a callback is not run here.
_p = primitives
_FOLDED = frozenset({
    _p.abs_p, _p.acos_p, _p.acosh_p, _p.add_p, _p.add_jaxvals_p, _p.and_p, _p.argmax_p, _p.argmin_p, _p.asin_p,
    _p.asinh_p, _p.atan_p, _p.atan2_p, _p.atanh_p, _p.bitcast_convert_type_p, _p.broadcast_in_dim_p, _p.cbrt_p,
    _p.ceil_p, _p.clamp_p, _p.clz_p, _p.complex_p, _p.concatenate_p, _p.conj_p, _p.convert_element_type_p,
    _p.copy_p, _p.cos_p, _p.cosh_p, _p.cumlogsumexp_p, _p.cummax_p, _p.cummin_p, _p.cumprod_p, _p.cumsum_p,
    _p.digamma_p, _p.div_p, _p.dot_general_p, _p.dynamic_slice_p, _p.dynamic_update_slice_p, _p.eq_p, _p.erf_p,
    _p.erf_inv_p, _p.erfc_p, _p.exp_p, _p.exp2_p, _p.expm1_p, _p.floor_p, _p.gather_p, _p.ge_p, _p.gt_p,
    _p.imag_p, _p.integer_pow_p, _p.iota_p, _p.is_finite_p, _p.le_p, _p.lgamma_p, _p.log_p, _p.log1p_p,
    _p.logistic_p, _p.lt_p, _p.max_p, _p.min_p, _p.mul_p, _p.ne_p, _p.neg_p, _p.nextafter_p, _p.not_p, _p.or_p,
    _p.pad_p, _p.population_count_p, _p.pow_p, _p.random_bits_p, _p.random_fold_in_p, _p.random_seed_p,
    _p.random_split_p, _p.real_p, _p.reduce_and_p, _p.reduce_max_p, _p.reduce_min_p, _p.reduce_or_p,
    _p.reduce_precision_p, _p.reduce_prod_p, _p.reduce_sum_p, _p.reduce_xor_p, _p.rem_p, _p.reshape_p, _p.rev_p,
    _p.round_p, _p.rsqrt_p, _p.select_n_p, _p.shift_left_p, _p.shift_right_arithmetic_p,
    _p.shift_right_logical_p, _p.sign_p, _p.sin_p, _p.sinh_p, _p.slice_p, _p.sort_p, _p.sqrt_p, _p.square_p,
    _p.squeeze_p, _p.sub_p, _p.tan_p, _p.tanh_p, _p.threefry2x32_p, _p.transpose_p, _p.xor_p,
})  # fmt: skip
_KEYS = frozenset({"random_wrap", "random_unwrap", "random_clone"})  # of jax.random, without a public name


def constant_fold(jaxpr: Any) -> Any:
    """Compute what depends on constants only.

    A scalar becomes a literal, an array of one number its broadcast, any other array a constant of the program: of a
    closed program and of the bodies of `jit`, which are the ones that may hold constants. Arrays of more than 16,384
    elements are left. No effect and no callback is run, and no loop. The equations are computed one by one by JAX on
    the default device, so the first time takes some milliseconds for each kind; an elementary function may differ in
    the last bit from the one that XLA would have fused.

    Args:
        jaxpr: A Jaxpr or ClosedJaxpr.

    Returns:
        A program of the same kind that computes the same; `jaxpr` itself where there is nothing to do.

    Raises:
        TypeError: It is not a jaxpr.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_transform.ir import constant_fold, dce
        >>> dce(constant_fold(jax.make_jaxpr(lambda x: x * jnp.arange(4.0).sum())(jnp.float32(2))))
        { lambda ; a:f32[]. let b:f32[] = mul a 6.0:f32[] in (b,) }
    """
    return run(jaxpr, _rewrite)


def _rewrite(program: Any, recurse: Recurse, holds: bool) -> Any:
    of = parts(program)
    env: Env = {}
    values: dict[Var, Any] = {}
    if of.consts is not None:
        pairs = zip(of.jaxpr.constvars, of.consts, strict=True)
        values = {v: c for v, c in pairs if not isinstance(c, Tracer)}
    added: dict[Var, Any] = {}
    eqns: list[JaxprEqn] = []
    for old in of.jaxpr.eqns:
        eqn = through_bodies(substituted(old, env), recurse)
        results = _computed(eqn, values)
        if results is not None:
            values.update(zip(eqn.outvars, results, strict=True))
            new = _replaced(eqn, results, holds)
            if new is not None:
                env.update(new[0])
                added.update(new[1])
                eqns.extend(new[2])
                values.update(new[1])
                continue
        eqns.append(eqn)
    outvars = looked_up(of.jaxpr.outvars, env)
    if not env:
        return of.rebuilt(eqns, outvars)
    used = {id(a) for e in eqns for a in e.invars} | {id(a) for a in outvars}
    kept = {v: c for v, c in added.items() if id(v) in used}
    if not kept:
        return of.rebuilt(without_donation(eqns), outvars)
    constvars = [*of.jaxpr.constvars, *kept]
    return of.rebuilt(without_donation(eqns), outvars, constvars, [*(of.consts or ()), *kept.values()])


def _computed(eqn: JaxprEqn, values: dict[Var, Any]) -> list[Any] | None:
    """Return the results of an equation of which all operands are known."""
    if not all(isinstance(a, Literal) or a in values for a in eqn.invars) or not _is_folded(eqn):
        return None
    if any(type_of(a).size > _LIMIT for a in (*eqn.invars, *eqn.outvars)):
        return None
    free = list(dict.fromkeys(a for a in eqn.invars if isinstance(a, Var)))
    one = eqns_to_closed_jaxpr([eqn], free, list(eqn.outvars))
    # Now, whatever is being traced around; a nan is no error of a program that may not even use it.
    with jax.ensure_compile_time_eval(), jax.debug_nans(False), jax.debug_infs(False), jax.transfer_guard("allow"):
        results = jaxpr_as_fun(one)(*(values[v] for v in free))
        return [r if jnp.issubdtype(r.dtype, extended) else np.asarray(r) for r in results]


def _is_folded(eqn: JaxprEqn) -> bool:
    if not is_pure(eqn):
        return False
    if eqn.primitive is primitives.jit_p:
        return is_plain_jit(eqn) and not any(eqn.params["donated_invars"]) and all(map(_is_folded, body_of(eqn).eqns))
    return eqn.primitive in _FOLDED or eqn.primitive.name in _KEYS


def _replaced(eqn: JaxprEqn, results: Sequence[Any], holds: bool) -> tuple[Env, dict[Var, Any], list[JaxprEqn]] | None:
    """Return what stands for each result, the constants that this adds, and the equations that write it."""
    env: Env = {}
    added: dict[Var, Any] = {}
    eqns: list[JaxprEqn] = []
    for out, value in zip(eqn.outvars, results, strict=True):
        new = _written(eqn, out, value, holds)
        if new is None or new is eqn:
            return None
        if isinstance(new, JaxprEqn):
            eqns.append(new)
            continue
        env[out] = new
        if isinstance(new, Var):
            added[new] = value
    return env, added, eqns


def _written(eqn: JaxprEqn, out: Var, value: Any, holds: bool) -> Var | Literal | JaxprEqn | None:
    """Return how a known value is written, or None where it is best left as it is."""
    aval = type_of(out)
    if not aval.shape and isinstance(value, np.ndarray):
        return literal(value, aval)
    if eqn.primitive in _GENERATORS and all(isinstance(a, Literal) for a in eqn.invars):
        return None  # no array is shorter
    if isinstance(value, np.ndarray) and value.size and _is_one_number(value):
        first = value.reshape(-1)[0]
        scalar = literal(first, jax.typeof(first.item() if aval.weak_type else first))
        if scalar is not None:
            return as_written(lambda x: lax.broadcast(x, aval.shape), scalar, eqn.replace(outvars=[out]))
    return Var(aval) if holds and jax.typeof(value) == aval else None


def _is_one_number(value: np.ndarray[Any, Any]) -> bool:
    flat = np.ascontiguousarray(value).reshape(-1)
    return flat.tobytes() == flat[:1].tobytes() * flat.size
