"""Connections: which of `in_size` neurons sends to which of `out_size`, as two arrays of indices.

They are drawn in NumPy, once and outside of any trace, since how many there are is a shape of the program. The draw
takes time and memory for the connections that there are, not for all that could be. `SparseLinear` takes the pairs, and
so does NumPy: `np.nonzero(mask)` makes them of a matrix.
"""

from __future__ import annotations

import jax
import numpy as np

from .._core.arguments import as_fraction, as_size
from .._core.random import Rng, stream_of

__all__ = ["Pairs", "all_to_all", "fixed_number", "fixed_probability", "one_to_one"]

Pairs = tuple[np.ndarray, np.ndarray]


def one_to_one(size: int) -> Pairs:
    """Connect each neuron to the one of the same number.

    Args:
        size: The number of neurons on either side.

    Returns:
        The indices of the sending neurons, and those of the receiving ones.

    Example:
        >>> from brainstate_nn import one_to_one
        >>> [side.tolist() for side in one_to_one(3)]
        [[0, 1, 2], [0, 1, 2]]
    """
    each = np.arange(as_size("size", size), dtype=np.int32)
    return each, each


def all_to_all(in_size: int, out_size: int, *, include_self: bool = True) -> Pairs:
    """Connect each neuron to all; where none is left out, `Linear` is faster.

    Args:
        in_size: The number of sending neurons.
        out_size: The number of receiving neurons.
        include_self: Whether a neuron is connected to the one of its own number.

    Returns:
        The indices of the sending neurons, and those of the receiving ones.

    Example:
        >>> from brainstate_nn import all_to_all
        >>> [side.tolist() for side in all_to_all(2, 3, include_self=False)]
        [[0, 0, 1, 1], [1, 2, 0, 2]]
    """
    in_size, out_size = as_size("in_size", in_size), as_size("out_size", out_size)
    return _chosen(np.arange(in_size * out_size), out_size, include_self)


def fixed_probability(
    in_size: int, out_size: int, probability: float, *, include_self: bool = True, rng: Rng = None
) -> Pairs:
    """Connect each pair of neurons with the same probability, independently of all others.

    Args:
        in_size: The number of sending neurons.
        out_size: The number of receiving neurons.
        probability: The probability of each connection.
        include_self: Whether a neuron may be connected to the one of its own number.
        rng: The stream that gives the seed, or streams with `params`; None for the default one.

    Returns:
        The indices of the sending neurons, in rising order, and those of the receiving ones.

    Raises:
        ValueError: A size is not positive, or `probability` is not between 0 and 1.
        TypeError: It is called while JAX traces.

    Example:
        >>> from brainstate_nn import RandomState, fixed_probability
        >>> pre, post = fixed_probability(1000, 1000, 0.02, rng=RandomState(0))
        >>> 19_000 < len(pre) < 21_000
        True
    """
    in_size, out_size = as_size("in_size", in_size), as_size("out_size", out_size)
    probability = as_fraction("probability", probability, "the probability of a connection")
    generator = _generator(rng)
    if probability == 0:
        return _chosen(np.zeros(0, np.int64), out_size, include_self)
    # From one connection to the next, in the order of all pairs, the distance is geometric. Six standard deviations
    # more than the expected number reach the end but once in 10^9 draws; then more are drawn.
    pairs = in_size * out_size
    expected = pairs * probability
    ends = np.zeros(1, np.int64)
    while ends[-1] <= pairs:
        gaps = generator.geometric(probability, int(expected + 6 * expected**0.5) + 1)
        ends = np.concatenate([ends, ends[-1] + np.cumsum(gaps)])
    return _chosen(ends[(ends > 0) & (ends <= pairs)] - 1, out_size, include_self)


def fixed_number(
    in_size: int, out_size: int, number: int, *, per: str = "pre", include_self: bool = True, rng: Rng = None
) -> Pairs:
    """Connect each neuron to the same number of others, chosen at random without repetition.

    Args:
        in_size: The number of sending neurons.
        out_size: The number of receiving neurons.
        number: How many connections each has.
        per: `"pre"` for so many from each sending neuron, `"post"` for so many to each receiving one.
        include_self: Whether a neuron may be connected to the one of its own number.
        rng: The stream that gives the seed, or streams with `params`; None for the default one.

    Returns:
        The indices of the sending neurons, in rising order, and those of the receiving ones.

    Raises:
        ValueError: A size or `number` is not positive, there are fewer neurons than `number`, or `per` is neither.
        TypeError: It is called while JAX traces.

    Example:
        >>> import numpy as np
        >>> from brainstate_nn import RandomState, fixed_number
        >>> pre, post = fixed_number(4, 10, 2, per="post", rng=RandomState(0))
        >>> np.bincount(post).tolist()
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    in_size, out_size, number = as_size("in_size", in_size), as_size("out_size", out_size), as_size("number", number)
    if per not in ("pre", "post"):
        raise ValueError(f'per must be "pre" or "post", not {per!r}')
    rows, others = (in_size, out_size) if per == "pre" else (out_size, in_size)
    # A neuron beyond the end of the other side has no one of its own number there.
    left_out = 0 if include_self else 1
    if number > others - left_out:
        raise ValueError(
            f"number must be at most {others - left_out}, the number of neurons to choose from, not {number}"
        )
    generator = _generator(rng)
    chosen = np.empty((rows, number), np.int32)
    for row in range(rows):
        own = left_out if row < others else 0
        picked = generator.choice(others - own, number, replace=False)
        chosen[row] = picked + (picked >= row) if own else picked
    chosen.sort(axis=1)
    each = np.repeat(np.arange(rows, dtype=np.int32), number)
    if per == "pre":
        return each, chosen.reshape(-1)
    order = np.argsort(chosen.reshape(-1), kind="stable")
    return chosen.reshape(-1)[order], each[order]


def _chosen(places: np.ndarray, out_size: int, include_self: bool) -> Pairs:
    """Return the pairs at these places in the order of all pairs."""
    pre, post = np.divmod(places, out_size)
    if not include_self:
        pre, post = pre[pre != post], post[pre != post]
    return pre.astype(np.int32), post.astype(np.int32)


def _generator(rng: Rng) -> np.random.Generator:
    key = stream_of(rng, "params").split_key()
    try:
        return np.random.default_rng(np.asarray(jax.random.key_data(key)))
    except jax.errors.TracerArrayConversionError:
        raise TypeError(
            "connections are drawn outside of jit and other transforms, as their number is a shape: write "
            "`pairs = fixed_probability(...)` before, and pass `pairs` to the layer"
        ) from None
