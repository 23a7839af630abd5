"""What `random` draws from: the distributions of NumPy, made of those of JAX.

Each function takes the arguments that NumPy has for it.  `size` is the shape of the result, or a number; without it the
shape is that to which the arguments are broadcast.  `key` is a key or a seed in place of the next key of the default
stream.  `dtype` is by default what `environ` has for numbers of that kind.

Arguments that are out of range are refused where their values are known, which they are not while JAX traces.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random as jr
from jax.core import Tracer

from ._draws import Size, check, drawn, keys, moved, real, reals, shape_of, until_accepted, whole, wide

__all__ = [
    "beta", "chisquare", "choice", "dirichlet", "exponential", "f", "gamma", "gumbel", "laplace", "loggamma",
    "logistic", "lognormal", "maxwell", "multivariate_normal", "noncentral_chisquare", "noncentral_f", "normal",
    "orthogonal", "pareto", "permutation", "power", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "random", "random_integers", "rayleigh", "shuffle", "standard_cauchy", "standard_exponential",
    "standard_gamma", "standard_normal", "standard_t", "triangular", "truncated_normal", "uniform", "vonmises", "wald",
    "weibull", "weibull_min",
]  # fmt: skip


# -- even, and orders --------------------------------------------------------------------------------------------------


def rand(*dn: int, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw evenly from [0, 1), in the shape of the arguments."""
    return drawn(jr.uniform, key, shape_of(dn), real(dtype))


def random(size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw evenly from [0, 1)."""
    return drawn(jr.uniform, key, shape_of(size), real(dtype))


def uniform(low: Any = 0.0, high: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw evenly from [low, high)."""
    return drawn(jr.uniform, key, shape_of(size, low, high), real(dtype), *reals(dtype, low, high))


def randint(low: Any, high: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw whole numbers evenly from [low, high), or from [0, low)."""
    low, high = (0, low) if high is None else (low, high)
    low, high = jnp.asarray(low), jnp.asarray(high)
    return drawn(jr.randint, key, shape_of(size, low, high), low, high, whole(dtype))


def random_integers(low: Any, high: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw whole numbers evenly from [low, high], or from [1, low]."""
    low, high = (1, low) if high is None else (low, high)
    return randint(low, jnp.asarray(high) + 1, size, key, dtype)


def choice(a: Any, size: Size = None, replace: bool = True, p: Any = None, key: Any = None) -> Any:
    """Draw elements of `a`, or of ``arange(a)``, with probabilities `p`."""
    p = None if p is None else jnp.asarray(p)
    a = a if isinstance(a, (int, jax.Array)) else np.asarray(a)
    if isinstance(a, np.ndarray) and a.dtype.kind not in "biufc":  # texts, which JAX has not
        return a[np.asarray(drawn(jr.choice, key, len(a), shape_of(size), replace, p))]
    return drawn(jr.choice, key, a if isinstance(a, int) else jnp.asarray(a), shape_of(size), replace, p)


def permutation(x: Any, axis: int = 0, independent: bool = False, key: Any = None) -> jax.Array:
    """Return `x`, or ``arange(x)``, in random order along an axis."""
    return drawn(jr.permutation, key, x if isinstance(x, int) else jnp.asarray(x), axis, independent)


def shuffle(x: Any, axis: int = 0, key: Any = None) -> jax.Array:
    """Return `x` in random order along an axis; arrays of JAX are not changed in place."""
    return permutation(x, axis, key=key)


def rand_like(input: Any, *, dtype: Any = None, key: Any = None) -> jax.Array:
    """Draw evenly from [0, 1), in the shape and dtype of an array."""
    return random(np.shape(input), key).astype(jnp.asarray(input).dtype if dtype is None else dtype)


def randn_like(input: Any, *, dtype: Any = None, key: Any = None) -> jax.Array:
    """Draw from the normal distribution with mean 0 and variance 1, in the shape and dtype of an array."""
    return standard_normal(np.shape(input), key).astype(jnp.asarray(input).dtype if dtype is None else dtype)


def randint_like(
    input: Any,
    low: Any = 0,
    high: Any = None,
    *,
    dtype: Any = None,
    key: Any = None,
) -> jax.Array:
    """Draw whole numbers evenly from [low, high), in the shape and dtype of an array; `high` is its maximum."""
    high = jnp.max(jnp.asarray(input)) if high is None else high
    return randint(low, high, np.shape(input), key).astype(jnp.asarray(input).dtype if dtype is None else dtype)


# -- normal, and what is made of it ------------------------------------------------------------------------------------


def randn(*dn: int, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the normal distribution with mean 0 and variance 1, in the shape of the arguments."""
    return drawn(jr.normal, key, shape_of(dn), real(dtype))


def standard_normal(size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the normal distribution with mean 0 and variance 1."""
    return drawn(jr.normal, key, shape_of(size), real(dtype))


def normal(loc: Any = None, scale: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the normal distribution with mean `loc` and standard deviation `scale`."""
    return moved(drawn(jr.normal, key, shape_of(size, loc, scale), real(dtype)), loc, scale)


def truncated_normal(
    lower: Any,
    upper: Any,
    size: Size = None,
    loc: Any = 0.0,
    scale: Any = 1.0,
    key: Any = None,
    dtype: Any = None,
    check_valid: bool = True,
) -> jax.Array:
    """Draw from the normal distribution with mean `loc` and standard deviation `scale`, between two bounds."""
    if check_valid and not isinstance(lower, Tracer):
        check("upper", upper, lambda upper: upper > np.asarray(lower), "must be above lower")
    low, high, loc, scale = reals(dtype, lower, upper, loc, scale)
    shape = shape_of(size, low, high, loc, scale)
    sample = drawn(jr.truncated_normal, key, (low - loc) / scale, (high - loc) / scale, shape, real(dtype))
    return jnp.clip(moved(sample, loc, scale), low, high)


def lognormal(mean: Any = None, sigma: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw what has a normal logarithm, with mean `mean` and standard deviation `sigma`."""
    return jnp.exp(normal(mean, sigma, size, key, dtype))


def multivariate_normal(
    mean: Any, cov: Any, size: Size = None, method: str = "cholesky", key: Any = None, dtype: Any = None
) -> jax.Array:
    """Draw vectors from the normal distribution with a mean and a covariance."""
    dtype = real(dtype)
    mean, cov = reals(wide(dtype), mean, cov)
    shape = None if size is None else shape_of(size)
    return drawn(jr.multivariate_normal, key, mean, cov, shape, wide(dtype), method).astype(dtype)


def orthogonal(n: int, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw orthogonal matrices of `n` rows, evenly."""
    dtype = real(dtype)
    return drawn(jr.orthogonal, key, n, shape_of(size), wide(dtype)).astype(dtype)


def maxwell(size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw the length of a vector of three standard normal numbers."""
    return drawn(jr.maxwell, key, shape_of(size), real(dtype))


def rayleigh(scale: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw the length of a vector of two normal numbers with standard deviation `scale`."""
    scale = 1.0 if scale is None else scale
    return drawn(jr.rayleigh, key, *reals(dtype, scale), shape=shape_of(size, scale), dtype=real(dtype))


# -- gamma, and what is made of it -------------------------------------------------------------------------------------


def gamma(shape: Any, scale: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the gamma distribution."""
    return moved(
        drawn(jr.gamma, key, *reals(dtype, shape), shape=shape_of(size, shape, scale), dtype=real(dtype)),
        None,
        scale,
    )


def standard_gamma(shape: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the gamma distribution with scale 1."""
    return gamma(shape, None, size, key, dtype)


def loggamma(a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw the logarithm of what `gamma` draws."""
    return drawn(jr.loggamma, key, *reals(dtype, a), shape=shape_of(size, a), dtype=real(dtype))


def beta(a: Any, b: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the beta distribution."""
    return drawn(jr.beta, key, *reals(dtype, a, b), shape=shape_of(size, a, b), dtype=real(dtype))


def chisquare(df: Any, size: Size = None, key: Any = None, dtype: Any = None, check_valid: bool = True) -> jax.Array:
    """Draw from the chi-square distribution with `df` degrees of freedom."""
    if check_valid:
        check("df", df, lambda df: df > 0, "must be above 0")
    return drawn(jr.chisquare, key, *reals(dtype, df), shape=shape_of(size, df), dtype=real(dtype))


def noncentral_chisquare(df: Any, nonc: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the chi-square distribution that is moved by `nonc`."""
    shape = shape_of(size, df, nonc)
    df, nonc = reals(dtype, df, nonc)
    first, second = keys(key, 2)
    # A chi-square with two degrees more for each count of a Poisson process.
    counts = jr.poisson(first, nonc / 2, shape).astype(real(dtype))
    return 2 * jr.gamma(second, df / 2 + counts, shape, real(dtype))


def f(dfnum: Any, dfden: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the F distribution."""
    return drawn(jr.f, key, *reals(dtype, dfnum, dfden), shape=shape_of(size, dfnum, dfden), dtype=real(dtype))


def noncentral_f(dfnum: Any, dfden: Any, nonc: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the F distribution whose numerator is moved by `nonc`."""
    shape = shape_of(size, dfnum, dfden, nonc)
    first, second = keys(key, 2)
    above = noncentral_chisquare(dfnum, nonc, shape, first, dtype) / jnp.asarray(dfnum, real(dtype))
    return above / (chisquare(dfden, shape, second, dtype) / jnp.asarray(dfden, real(dtype)))


def standard_t(df: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from Student's t distribution with `df` degrees of freedom."""
    return drawn(jr.t, key, *reals(dtype, df), shape=shape_of(size, df), dtype=real(dtype))


def dirichlet(alpha: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Dirichlet distribution."""
    (alpha,) = reals(dtype, alpha)
    return drawn(jr.dirichlet, key, alpha, None if size is None else shape_of(size), dtype=real(dtype))


# -- others on the line ------------------------------------------------------------------------------------------------


def standard_exponential(size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the exponential distribution with mean 1."""
    return drawn(jr.exponential, key, shape_of(size), real(dtype))


def exponential(scale: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the exponential distribution with mean `scale`."""
    return moved(standard_exponential(shape_of(size, scale), key, dtype), None, scale)


def gumbel(loc: Any = None, scale: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Gumbel distribution."""
    return moved(drawn(jr.gumbel, key, shape_of(size, loc, scale), real(dtype)), loc, scale)


def laplace(loc: Any = None, scale: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Laplace distribution."""
    return moved(drawn(jr.laplace, key, shape_of(size, loc, scale), real(dtype)), loc, scale)


def logistic(loc: Any = None, scale: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the logistic distribution."""
    return moved(drawn(jr.logistic, key, shape_of(size, loc, scale), real(dtype)), loc, scale)


def standard_cauchy(size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Cauchy distribution."""
    return drawn(jr.cauchy, key, shape_of(size), real(dtype))


def pareto(a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Pareto distribution on [1, inf)."""
    return drawn(jr.pareto, key, *reals(dtype, a), shape=shape_of(size, a), dtype=real(dtype))


def power(a: Any, size: Size = None, key: Any = None, dtype: Any = None, check_valid: bool = True) -> jax.Array:
    """Draw from [0, 1] with density ``a * x**(a - 1)``."""
    if check_valid:
        check("a", a, lambda a: a > 0, "must be above 0")
    return jnp.exp(-exponential(None, shape_of(size, a), key, dtype) / jnp.asarray(a, real(dtype)))


def triangular(
    left: Any = 0.0, mode: Any = 0.5, right: Any = 1.0, size: Size = None, key: Any = None, dtype: Any = None
) -> jax.Array:
    """Draw from the triangular distribution."""
    shape = shape_of(size, left, mode, right)
    return drawn(jr.triangular, key, *reals(dtype, left, mode, right), shape=shape, dtype=real(dtype))


def wald(mean: Any, scale: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Wald distribution, which is the inverse normal one."""
    shape = shape_of(size, mean, scale)
    mean, scale = reals(dtype, mean, scale)
    return scale * drawn(jr.wald, key, mean / scale, shape, real(dtype))


def weibull_min(a: Any, scale: Any = None, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Weibull distribution with exponent `a`, times `scale`."""
    sample = drawn(jr.exponential, key, shape_of(size, a, scale), real(dtype))
    return moved(sample ** (1 / jnp.asarray(a, sample.dtype)), None, scale)


def weibull(a: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw from the Weibull distribution with exponent `a`."""
    return weibull_min(a, None, size, key, dtype)


def vonmises(mu: Any, kappa: Any, size: Size = None, key: Any = None, dtype: Any = None) -> jax.Array:
    """Draw angles about `mu`, in [-pi, pi), by the method of Best and Fisher (Applied Statistics 28, 1979)."""
    shape = shape_of(size, mu, kappa)
    mu, kappa = reals(dtype, mu, kappa)
    return (drawn(_about_zero, key, kappa, shape) + mu + jnp.pi) % (2 * jnp.pi) - jnp.pi


# Compiled once: a loop that is run by itself is compiled at each call, which takes 0.5 s.
@functools.partial(jax.jit, static_argnums=2)
def _about_zero(key: jax.Array, kappa: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    dtype = kappa.dtype
    kappa = jnp.maximum(kappa, 1e-4)  # of less, the angles are even
    tau = 1 + jnp.sqrt(1 + 4 * kappa**2)
    rho = (tau - jnp.sqrt(2 * tau)) / (2 * kappa)
    # In single precision `rho` of a small kappa is lost: it is kappa / 2 then.
    around = jnp.where(kappa < 1e-2, 1 / kappa + kappa, (1 + rho**2) / (2 * rho))

    def propose(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second, sign = jr.uniform(key, (3, *shape), dtype, jnp.finfo(dtype).tiny)
        z = jnp.cos(jnp.pi * first)
        w = (1 + around * z) / (around + z)
        y = kappa * (around - w)
        accepted = (jnp.log(y / second) + 1 - y >= 0) | jnp.isnan(kappa)
        return jnp.sign(sign - 0.5) * jnp.arccos(jnp.clip(w, -1, 1)), accepted

    return until_accepted(key, shape, dtype, propose)
