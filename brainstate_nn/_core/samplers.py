"""``Samplers``: the distributions of ``jax.random`` as methods of a stream or of streams, a line each.

The arguments are those of the installed JAX without the key, for ``help`` and for type checkers too. What draws keys,
and how a stream behaves under transforms, is the business of `RandomState`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from jax import random

__all__ = ["Samplers"]

P = ParamSpec("P")
R = TypeVar("R")


def _sampler(fun: Callable[Concatenate[Any, P], R], what: str) -> Callable[Concatenate[Any, P], R]:
    """Make the method of a stream that calls `fun` with the next key."""
    name, signature = fun.__name__, inspect.signature(fun)

    def draw(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        return fun(self.split_key(), *args, **kwargs)

    _, *rest = signature.parameters.values()
    stream = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    # What `help` shows, and what type checkers read from the installed JAX, which gains arguments now and then.
    draw.__signature__ = signature.replace(parameters=[stream, *rest])
    draw.__name__, draw.__qualname__ = name, f"RandomState.{name}"
    draw.__doc__ = f"Draw {what}; one draw, with the arguments of `jax.random.{name}` after the key."
    return draw


class Samplers:
    """The abstract base of what has `split_key`, which then draws from all distributions of JAX."""

    __slots__ = ()

    ball = _sampler(random.ball, "points evenly from the unit ball of the p-norm")
    bernoulli = _sampler(random.bernoulli, "True with probability `p`, else False")
    beta = _sampler(random.beta, "from the beta distribution")
    binomial = _sampler(random.binomial, "the number of successes among `n` trials with probability `p`")
    bits = _sampler(random.bits, "random bits, as whole numbers without sign")
    categorical = _sampler(random.categorical, "classes with the log-probabilities `logits`, up to a constant")
    cauchy = _sampler(random.cauchy, "from the Cauchy distribution")
    chisquare = _sampler(random.chisquare, "from the chi-square distribution")
    choice = _sampler(random.choice, "elements of `a`, or of ``arange(a)``, with probabilities `p`")
    dirichlet = _sampler(random.dirichlet, "from the Dirichlet distribution")
    double_sided_maxwell = _sampler(random.double_sided_maxwell, "from the Maxwell distribution on both sides")
    exponential = _sampler(random.exponential, "from the exponential distribution with rate 1")
    f = _sampler(random.f, "from the F distribution")
    gamma = _sampler(random.gamma, "from the gamma distribution with scale 1")
    generalized_normal = _sampler(random.generalized_normal, "from the generalised normal distribution")
    geometric = _sampler(random.geometric, "the number of trials up to the first success")
    gumbel = _sampler(random.gumbel, "from the Gumbel distribution")
    laplace = _sampler(random.laplace, "from the Laplace distribution with mean 0 and scale 1")
    loggamma = _sampler(random.loggamma, "the logarithm of what `gamma` draws, exact where that is tiny")
    logistic = _sampler(random.logistic, "from the logistic distribution")
    lognormal = _sampler(random.lognormal, "from the log-normal distribution")
    maxwell = _sampler(random.maxwell, "from the Maxwell distribution")
    multinomial = _sampler(random.multinomial, "how often each class comes among `n` trials")
    multivariate_normal = _sampler(random.multivariate_normal, "from the normal distribution of many dimensions")
    normal = _sampler(random.normal, "from the normal distribution with mean 0 and variance 1")
    orthogonal = _sampler(random.orthogonal, "orthogonal matrices, evenly")
    pareto = _sampler(random.pareto, "from the Pareto distribution")
    permutation = _sampler(random.permutation, "`x`, or ``arange(x)``, in random order along `axis`")
    poisson = _sampler(random.poisson, "from the Poisson distribution with rate `lam`")
    rademacher = _sampler(random.rademacher, "1 or -1 with equal probability")
    randint = _sampler(random.randint, "whole numbers evenly from ``[minval, maxval)``")
    rayleigh = _sampler(random.rayleigh, "from the Rayleigh distribution")
    t = _sampler(random.t, "from Student's t distribution")
    triangular = _sampler(random.triangular, "from the triangular distribution")
    truncated_normal = _sampler(random.truncated_normal, "from the normal distribution between `lower` and `upper`")
    uniform = _sampler(random.uniform, "evenly from ``[minval, maxval)``")
    wald = _sampler(random.wald, "from the Wald distribution")
    weibull_min = _sampler(random.weibull_min, "from the Weibull distribution")
