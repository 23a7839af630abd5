"""``random``: functions that draw from the default stream of the process, with the arguments of NumPy.

Each has the size of a result and not its shape, a dtype that is by default that of `environ`, and a `key` in place of
the next one of the stream: a key, a seed, or another stream.  Streams have these functions as methods.  What a stream
is, and how it behaves under transforms, says docs/guides/random.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random as jr
from jax.core import Tracer

from brainstate_graph.compat import from_today

from .._core import random as streams
from .._core.random import split_key
from ._counts import (
    bernoulli,
    binomial,
    categorical,
    geometric,
    hypergeometric,
    logseries,
    multinomial,
    negative_binomial,
    poisson,
    zipf,
)  # fmt: skip
from ._draws import key_of
from ._samplers import (
    beta,
    chisquare,
    choice,
    dirichlet,
    exponential,
    f,
    gamma,
    gumbel,
    laplace,
    loggamma,
    logistic,
    lognormal,
    maxwell,
    multivariate_normal,
    noncentral_chisquare,
    noncentral_f,
    normal,
    orthogonal,
    pareto,
    permutation,
    power,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    random,
    random_integers,
    rayleigh,
    shuffle,
    standard_cauchy,
    standard_exponential,
    standard_gamma,
    standard_normal,
    standard_t,
    triangular,
    truncated_normal,
    uniform,
    vonmises,
    wald,
    weibull,
    weibull_min,
)  # fmt: skip
from ._streams import RandomState, default_rng

__all__ = [
    "RandomState", "bernoulli", "beta", "binomial", "categorical", "chisquare", "choice", "clone_rng", "default_rng",
    "dirichlet", "exponential", "f", "gamma", "geometric", "get_key", "get_key_data", "gumbel", "hypergeometric",
    "laplace", "loggamma", "logistic", "lognormal", "logseries", "maxwell", "multinomial", "multivariate_normal",
    "negative_binomial", "noncentral_chisquare", "noncentral_f", "normal", "orthogonal", "pareto", "permutation",
    "poisson", "power", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "random",
    "random_integers", "random_sample", "ranf", "rayleigh", "sample", "seed", "seed_context", "set_key", "shuffle",
    "split_key", "split_keys", "standard_cauchy", "standard_exponential", "standard_gamma", "standard_normal",
    "standard_t", "t", "triangular", "truncated_normal", "uniform", "vonmises", "wald", "weibull", "weibull_min",
    "zipf",
]  # fmt: skip

random_sample = ranf = sample = random
t = standard_t


def clone_rng(seed_or_key: Any = None, clone: bool = True) -> Any:
    """Return a stream that is independent of the default one, or one from a seed or a key.

    Args:
        seed_or_key: The seed or key; None for a fork of the default stream.
        clone: False for the default stream itself.

    Example:
        >>> from brainstate_nn.compat import random
        >>> random.clone_rng() is random.default_rng()
        False
    """
    return default_rng().clone() if seed_or_key is None and clone else default_rng(seed_or_key)


def seed(seed_or_key: Any = None) -> None:
    """Start the default stream anew, and that of NumPy with the same number, or the first one of a key.

    Args:
        seed_or_key: A whole number, a key, or None for one from the operating system.

    Example:
        >>> from brainstate_nn.compat import random
        >>> random.seed(0)
        >>> first = random.rand(2)
        >>> random.seed(0)
        >>> bool((random.rand(2) == first).all())
        True
    """
    if seed_or_key is None:
        streams.seed()
        return
    key = key_of(seed_or_key)
    streams.seed(key)
    with jax.ensure_compile_time_eval():
        word = seed_or_key if isinstance(seed_or_key, (int, np.integer)) else jr.key_data(key).ravel()[0]
    if not isinstance(word, Tracer):
        np.random.seed(int(word) % 2**32)


@contextlib.contextmanager
def seed_context(seed_or_key: Any) -> Generator[None]:
    """Start the default stream anew for a block; after it, it goes on from where it was, and so does that of NumPy.

    Args:
        seed_or_key: As for `seed`.

    Example:
        >>> from brainstate_nn.compat import random
        >>> with random.seed_context(7):
        ...     first = random.randn()
        >>> with random.seed_context(7):
        ...     bool(random.randn() == first)
        True
    """
    stream = streams.default_rng()
    value, of_numpy = stream.value, np.random.get_state()
    try:
        seed(seed_or_key)
        yield
    finally:
        stream.value = value
        np.random.set_state(of_numpy)


def get_key() -> jax.Array:
    """Return a key from which `set_key` goes on as the default stream goes on now.

    Example:
        >>> from brainstate_nn.compat import random
        >>> key = random.get_key()
        >>> first = random.rand()
        >>> random.set_key(key)
        >>> bool(random.rand() == first)
        True
    """
    # A stream is a key and a count, and what is asked for is a key: the stream begins again at the key that it has come
    # to, as `set_key` will have it begin.
    stream = streams.default_rng()
    key, count = stream.value
    key = jnp.where(count == 0, key, jr.fold_in(key, count))
    stream.seed(key)
    return key


def get_key_data() -> jax.Array:
    """Return the numbers of `get_key`.

    Example:
        >>> from brainstate_nn.compat import random
        >>> random.get_key_data().dtype.name
        'uint32'
    """
    return jr.key_data(get_key())


def set_key(seed_or_key: Any) -> None:
    """Have the default stream go on from a key or a seed.

    Example:
        >>> from brainstate_nn.compat import random
        >>> random.set_key(random.get_key())
    """
    streams.seed(key_of(seed_or_key))


def split_keys(n: int) -> jax.Array:
    """Draw `n` keys from the default stream.

    Example:
        >>> from brainstate_nn.compat import random
        >>> random.split_keys(3).shape
        (3,)
    """
    return split_key(n)


_absent = from_today(__name__)


def __getattr__(name: str) -> Any:
    # The default stream is made when it is asked for, as it starts JAX.
    return default_rng() if name == "DEFAULT" else _absent(name)
