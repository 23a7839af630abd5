"""``WeightMap``: how another framework spells weights of a layer: by names, and functions of arrays there and back.

The rules of all frameworks are written in these words. All is done in NumPy, on the host: exactly, without a compiler,
and whatever mesh the weights are spread over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Spelling",
    "WeightMap",
    "WeightRule",
    "beside_zeros",
    "channels_first",
    "channels_last",
    "exchanged",
    "matrix",
    "named",
    "parted",
    "reshaped",
    "together",
    "transposed",
]


class WeightMap(NamedTuple):
    """The spelling of one or several weights of a layer in another framework.

    Attributes:
        names: Their name, or a tuple of names for several arrays.
        to_theirs: Given our arrays, returns theirs: one, or a tuple where `names` is one. A ValueError refuses, and its
            text is shown.
        to_ours: Given their arrays, returns ours: one, or a tuple where the rule names several.

    Example:
        >>> import numpy as np
        >>> from brainstate_nn import WeightMap
        >>> fused = WeightMap("qkv", lambda q, k, v: np.concatenate([q, k, v]), lambda qkv: tuple(np.split(qkv, 3)))
        >>> [part.shape for part in fused.to_ours(fused.to_theirs(*np.ones((3, 4, 2))))]
        [(4, 2), (4, 2), (4, 2)]
    """

    names: str | tuple[str, ...]
    to_theirs: Callable[..., Any]
    to_ours: Callable[..., Any]


Spelling = str | WeightMap
# The rule of a layer: for names of ours below it, or a tuple of them, how they are spelled, or a list of spellings of
# which the first is written and each is read. The name of what is no state, as `query`, begins those of all below it.
WeightRule = Mapping[Any, Spelling | Sequence[Spelling]] | Callable[[Any], Mapping[Any, Any]]


def named(name: str) -> WeightMap:
    """An array as it is."""
    return WeightMap(name, lambda x: x, lambda x: x)


def transposed(name: str) -> WeightMap:
    """A matrix, the other way round."""
    return WeightMap(name, np.transpose, np.transpose)


def matrix(name: str, inputs: Sequence[int], outputs: Sequence[int]) -> WeightMap:
    """The weight ``(*inputs, *outputs)`` of a linear map as a matrix ``(outputs, inputs)``."""
    columns = int(np.prod(inputs))
    return WeightMap(name, lambda w: w.reshape(columns, -1).T, lambda w: w.T.reshape(*inputs, *outputs))


def reshaped(name: str, theirs: Sequence[int], ours: Sequence[int]) -> WeightMap:
    """The same numbers in another shape."""
    return WeightMap(name, lambda x: x.reshape(theirs), lambda x: x.reshape(ours))


def together(*maps: WeightMap) -> WeightMap:
    """Several weights, each with a spelling of its own."""
    return WeightMap(
        tuple(str(m.names) for m in maps),
        lambda *ours: tuple(m.to_theirs(x) for m, x in zip(maps, ours, strict=True)),
        lambda *theirs: tuple(m.to_ours(x) for m, x in zip(maps, theirs, strict=True)),
    )


def beside_zeros(spelling: WeightMap, names: Sequence[str], shape: tuple[int, ...]) -> WeightMap:
    """A weight, and others that we have not: they are zeros there, and refused here where they are anything else."""
    own = (spelling.names,) if isinstance(spelling.names, str) else spelling.names

    def to_theirs(ours: np.ndarray) -> tuple[Any, ...]:
        theirs = spelling.to_theirs(ours)
        zeros = (np.zeros(shape, ours.dtype) for _ in names)
        return *((theirs,) if isinstance(spelling.names, str) else theirs), *zeros

    def to_ours(*theirs: np.ndarray) -> Any:
        for name, other in zip(names, theirs[len(own) :], strict=True):
            if np.any(other != 0):
                raise ValueError(f"{name} is not zero, but the layer has no state for it")
        return spelling.to_ours(*theirs[: len(own)])

    return WeightMap((*own, *names), to_theirs, to_ours)


def parted(names: Sequence[str]) -> WeightMap:
    """One weight as several, side by side along the last axis."""
    return WeightMap(
        tuple(names), lambda w: tuple(np.split(w, len(names), -1)), lambda *parts: np.concatenate(parts, -1)
    )


def channels_first(kernel: np.ndarray) -> np.ndarray:
    """Turn a kernel ``(*window, in, out)`` to ``(out, in, *window)``."""
    rank = kernel.ndim - 2
    return kernel.transpose(rank + 1, rank, *range(rank))


def channels_last(kernel: np.ndarray) -> np.ndarray:
    """Turn a kernel ``(out, in, *window)`` to ``(*window, in, out)``."""
    return kernel.transpose(*range(2, kernel.ndim), 1, 0)


def exchanged(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Turn the kernel of a transposed convolution to that of the convolution whose transpose it is; or back.

    The window is reversed, and the channels ``(in / groups, out)`` become ``(out / groups, in)``.
    """
    *window, few, many = kernel.shape
    kernel = kernel.reshape(*window, few, groups, many // groups).swapaxes(-1, -3)
    return np.flip(kernel.reshape(*window, many // groups, groups * few), tuple(range(len(window))))
