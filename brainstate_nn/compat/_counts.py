"""Distributions of whole numbers with the arguments of NumPy, made of those of JAX; see `_samplers`."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random as jr

from ._draws import Size, chances, check, check_chance, drawn, keys, shape_of, until_accepted, whole
from ._samplers import gamma

__all__ = [
    "bernoulli", "binomial", "categorical", "geometric", "hypergeometric", "logseries", "multinomial",
    "negative_binomial", "poisson", "zipf",
]  # fmt: skip


def bernoulli(p: Any = 0.5, size: Size = None, key: Any = None, check_valid: bool = True) -> jax.Array:
    """Draw True with probability `p`, else False."""
    if check_valid:
        check_chance("p", p)
    return drawn(jr.bernoulli, key, *chances(p), shape=shape_of(size, p))


def binomial(
    n: Any, p: Any, size: Size = None, key: Any = None, dtype: Any = None, check_valid: bool = True
) -> jax.Array:
    """Draw the number of successes among `n` trials with probability `p`."""
    if check_valid:
        check_chance("p", p)
    return drawn(jr.binomial, key, *chances(n, p), shape=shape_of(size, n, p)).astype(whole(dtype))


def negative_binomial(n: Any, p: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw the number of failures before `n` successes, each of which has probability `p`."""
    shape = shape_of(size, n, p)
    n, p = chances(n, p)
    first, second = keys(key, 2)
    rate = gamma(n, (1 - p) / p, shape, first, p.dtype)
    return poisson(rate, None, second, dtype)


def poisson(lam: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Poisson distribution with mean `lam`."""
    return drawn(jr.poisson, key, jnp.asarray(lam), shape_of(size, lam), whole(dtype))


def geometric(p: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw the number of trials up to the first success."""
    check("p", p, lambda p: (p > 0) & (p <= 1), "must be above 0 and at most 1")
    return drawn(jr.geometric, key, *chances(p), shape=shape_of(size, p), dtype=whole(dtype))


def hypergeometric(
    ngood: Any, nbad: Any, nsample: Any, size: Size = None, key: Any = None, dtype: Any = None
) -> jax.Array:
    """Draw how many of `nsample` things that are taken of ``ngood + nbad`` are good."""
    shape = shape_of(size, ngood, nbad, nsample)
    good, bad, taken = jnp.asarray(ngood), jnp.asarray(nbad), jnp.asarray(nsample)
    check("nsample", taken - good - bad, lambda missing: missing <= 0, "must be at most ngood + nbad", nsample)
    return drawn(_good_ones, key, good, bad, taken, shape).astype(whole(dtype))


# Compiled once, as are the loops below: a loop that is run by itself is compiled at each call, which takes 0.5 s.
@functools.partial(jax.jit, static_argnums=4)
def _good_ones(key: jax.Array, good: jax.Array, bad: jax.Array, taken: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    def take(i: Any, good: jax.Array) -> jax.Array:
        is_good = jr.uniform(jr.fold_in(key, i), shape) * (total - i) < good
        return good - (is_good & (i < taken))

    start, total = jnp.broadcast_to(good, shape).astype(int), good + bad
    return start - jax.lax.fori_loop(0, jnp.max(taken), take, start)


def logseries(p: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the logarithmic series distribution, by the method of Kemp (Applied Statistics 30, 1981)."""
    shape = shape_of(size, p)
    (p,) = chances(p)
    u, v = drawn(jr.uniform, key, (2, *shape), p.dtype, jnp.finfo(p.dtype).tiny)
    return (1 + jnp.floor(jnp.log(v) / jnp.log(-jnp.expm1(u * jnp.log1p(-p))))).astype(whole(dtype))


def zipf(a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Zipf distribution, by the method of Devroye (Non-Uniform Random Variate Generation, 1986)."""
    check("a", a, lambda a: a > 1, "must be above 1")
    shape, dtype = shape_of(size, a), whole(dtype)
    (less,) = chances(jnp.asarray(a) - 1)
    return drawn(_zipf, key, less, jnp.iinfo(dtype).max, shape).astype(dtype)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _zipf(key: jax.Array, less: jax.Array, most: int, shape: tuple[int, ...]) -> jax.Array:
    known = less > 0  # where it is traced, nobody has refused another one: -1, as of a rate that is none in JAX
    less = jnp.where(known, less, 1)
    above = -jnp.expm1(-less * jnp.log(float(most)))  # of evenly drawn numbers, what does not lead beyond `most`

    def propose(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        u, v = jr.uniform(key, (2, *shape), less.dtype)
        x = jnp.floor(jnp.exp(-jnp.log1p(-u * above) / less))
        # Without the powers of 2 and of 1 + 1 / x, which overflow for an `a` of 130.
        accepted = (x < most) & (v * x * jnp.expm1(-less * jnp.log1p(1 / x)) >= jnp.expm1(-less * jnp.log(2.0)))
        return jnp.where(known, x, -1), accepted | ~known

    return until_accepted(key, shape, less.dtype, propose)


_multinomial = jax.jit(jr.multinomial)


def multinomial(
    n: Any, pvals: Any, size: Size = None, key: Any = None, dtype: Any = None, check_valid: bool = True
) -> jax.Array:
    """Draw how often each class comes among `n` trials."""
    if check_valid:
        check("pvals", pvals, lambda p: p[..., :-1].sum(-1) <= 1 + 1e-6, "must have a sum of at most 1")
    (pvals,) = chances(pvals)
    batch, size = jnp.broadcast_shapes(np.shape(n), pvals.shape[:-1]), shape_of(size)
    # What is asked for stands between the given distributions and their classes.
    ones, classes = [1] * len(size), pvals.shape[-1]
    trials = jnp.broadcast_to(jnp.asarray(n, pvals.dtype), batch).reshape(*batch, *ones)
    pvals = jnp.broadcast_to(pvals, (*batch, classes)).reshape(*batch, *ones, classes)
    trials = jnp.broadcast_to(trials, (*batch, *size))  # and no `shape`, which JAX has with the classes or without
    pvals = jnp.broadcast_to(pvals, (*batch, *size, classes))
    return drawn(_multinomial, key, trials, pvals).astype(whole(dtype))


def categorical(logits: Any, axis: int = -1, size: Size = None, key: Any = None) -> jax.Array:
    """Draw classes with the log-probabilities `logits`, up to a constant."""
    return drawn(jr.categorical, key, jnp.asarray(logits), axis, None if size is None else shape_of(size))
