"""Distributions of whole numbers with the arguments of NumPy, made of those of JAX; see `_samplers`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import random as jr

from ._draws import Size, chances, check, check_chance, keys, next_key, shape_of, until_accepted, whole
from ._samplers import gamma

__all__ = [
    "bernoulli", "binomial", "categorical", "geometric", "hypergeometric", "logseries", "multinomial",
    "negative_binomial", "poisson", "zipf",
]  # fmt: skip


def bernoulli(p: Any = 0.5, size: Size = None, key: Any = None, check_valid: bool = True) -> jax.Array:
    """Draw True with probability `p`, else False."""
    if check_valid:
        check_chance("p", p)
    return jr.bernoulli(next_key(key), *chances(p), shape=shape_of(size, p))


def binomial(
    n: Any, p: Any, size: Size = None, key: Any = None, dtype: Any = None, check_valid: bool = True
) -> jax.Array:
    """Draw the number of successes among `n` trials with probability `p`."""
    if check_valid:
        check_chance("p", p)
    return jr.binomial(next_key(key), *chances(n, p), shape=shape_of(size, n, p)).astype(whole(dtype))


def negative_binomial(n: Any, p: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw the number of failures before `n` successes, each of which has probability `p`."""
    first, second = keys(key, 2)
    shape = shape_of(size, n, p)
    n, p = chances(n, p)
    rate = gamma(n, (1 - p) / p, shape, first, p.dtype)
    return poisson(rate, None, second, dtype)


def poisson(lam: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Poisson distribution with mean `lam`."""
    return jr.poisson(next_key(key), jnp.asarray(lam), shape_of(size, lam), whole(dtype))


def geometric(p: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw the number of trials up to the first success."""
    check("p", p, lambda p: (p > 0) & (p <= 1), "is above 0 and at most 1")
    return jr.geometric(next_key(key), *chances(p), shape=shape_of(size, p), dtype=whole(dtype))


def hypergeometric(
    ngood: Any, nbad: Any, nsample: Any, size: Size = None, key: Any = None, dtype: Any = None
) -> jax.Array:
    """Draw how many of `nsample` things that are taken of ``ngood + nbad`` are good."""
    shape = shape_of(size, ngood, nbad, nsample)
    good, left, nsample = jnp.asarray(ngood), jnp.asarray(ngood) + jnp.asarray(nbad), jnp.asarray(nsample)
    key = next_key(key)

    def take(i: Any, good: jax.Array) -> jax.Array:
        is_good = jr.uniform(jr.fold_in(key, i), shape) * (left - i) < good
        return good - (is_good & (i < nsample))

    start = jnp.broadcast_to(good, shape).astype(int)
    return (good - jax.lax.fori_loop(0, jnp.max(nsample), take, start)).astype(whole(dtype))


def logseries(p: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the logarithmic series distribution, by the method of Kemp (Applied Statistics 30, 1981)."""
    shape = shape_of(size, p)
    (p,) = chances(p)
    u, v = jr.uniform(next_key(key), (2, *shape), p.dtype, jnp.finfo(p.dtype).tiny)
    return (1 + jnp.floor(jnp.log(v) / jnp.log(-jnp.expm1(u * jnp.log1p(-p))))).astype(whole(dtype))


def zipf(a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Zipf distribution, by the method of Devroye (Non-Uniform Random Variate Generation, 1986)."""
    check("a", a, lambda a: a > 1, "is above 1")
    shape, dtype = shape_of(size, a), whole(dtype)
    (less,) = chances(jnp.asarray(a) - 1)

    def propose(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        u, v = jr.uniform(key, (2, *shape), less.dtype, jnp.finfo(less.dtype).tiny)
        x = jnp.floor(u ** (-1 / less))
        t = (1 + 1 / x) ** less
        fits = x < jnp.iinfo(dtype).max
        return x, fits & (v * x * (t - 1) / (2**less - 1) <= t / 2**less)

    return until_accepted(next_key(key), shape, less.dtype, propose).astype(dtype)


def multinomial(
    n: Any, pvals: Any, size: Size = None, key: Any = None, dtype: Any = None, check_valid: bool = True
) -> jax.Array:
    """Draw how often each class comes among `n` trials."""
    if check_valid:
        check("pvals", pvals, lambda p: p[..., :-1].sum(-1) <= 1 + 1e-6, "has a sum of at most 1")
    (pvals,) = chances(pvals)
    batch, size = jnp.broadcast_shapes(jnp.shape(n), pvals.shape[:-1]), shape_of(size)
    # What is asked for stands between the given distributions and their classes.
    trials = jnp.broadcast_to(jnp.asarray(n, pvals.dtype), batch).reshape(*batch, *[1] * len(size))
    pvals = jnp.broadcast_to(pvals, (*batch, pvals.shape[-1])).reshape(*batch, *[1] * len(size), -1)
    shape: Any = (*batch, *size, pvals.shape[-1])
    return jr.multinomial(next_key(key), trials, pvals, shape=shape).astype(whole(dtype))


def categorical(logits: Any, axis: int = -1, size: Size = None, key: Any = None) -> jax.Array:
    """Draw classes with the log-probabilities `logits`, up to a constant."""
    return jr.categorical(next_key(key), jnp.asarray(logits), axis, None if size is None else shape_of(size))
