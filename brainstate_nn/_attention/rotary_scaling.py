"""Rotary scaling: other frequencies for `RotaryEmbedding`, so that a model reads longer texts than it was trained on.

A scaling is any function ``(head_size, theta) -> frequencies``, in radians per position, one for each pair of features,
the fastest first. These are the three that models are published with; each is an interpolation between the frequencies
as they are and a fraction of them, and says what part of each pair stays as it is.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from brainstate_graph import Node

from .._core.arguments import as_positive, as_size

__all__ = [
    "LinearRotaryScaling",
    "Llama3RotaryScaling",
    "RotaryScaling",
    "YarnRotaryScaling",
    "rotary_frequencies",
]


def rotary_frequencies(head_size: int, theta: float) -> np.ndarray:
    """Return the frequencies without scaling, ``theta ** (-2 i / head_size)`` (Su et al., arXiv:2104.09864)."""
    half = head_size // 2
    # In double precision, and of constants: a program that is compiled for positions has no power in it.
    return theta ** (-np.arange(half) / half)


class RotaryScaling(Node):
    """The abstract base of scalings: some of the frequencies stay, others are divided by `factor`.

    Attributes:
        factor: How many times longer texts may be than those that the model was trained on.
        attention_factor: What turned queries and keys are multiplied by.
    """

    factor: float
    attention_factor: float = 1.0

    @abstractmethod
    def _kept(self, frequencies: np.ndarray, theta: float) -> np.ndarray | float:
        """Return the part of each frequency that stays as it is, between 0 and 1."""

    def __call__(self, head_size: int, theta: float) -> np.ndarray:
        """Return the frequencies of the pairs of features, in radians per position.

        Args:
            head_size: The number of features of a head, or how many of them are turned.
            theta: The base of the wavelengths.
        """
        frequencies = rotary_frequencies(head_size, theta)
        kept = self._kept(frequencies, theta)
        return frequencies * (kept + (1.0 - kept) / self.factor)


class LinearRotaryScaling(RotaryScaling):
    """Divide all positions by a number (Chen et al., arXiv:2306.15595), as the global layers of Gemma 3 do.

    Args:
        factor: The number.

    Raises:
        ValueError: It is not positive.

    Example:
        >>> from brainstate_nn import LinearRotaryScaling, RotaryEmbedding
        >>> LinearRotaryScaling(8.0)(4, theta=10_000.0).tolist()
        [0.125, 0.00125]
        >>> RotaryEmbedding(4, scaling=LinearRotaryScaling(8.0))
        RotaryEmbedding(head_size=4, scaling=LinearRotaryScaling(factor=8.0))
    """

    def __init__(self, factor: float) -> None:
        self.factor = as_positive("factor", factor)

    def _kept(self, frequencies: np.ndarray, theta: float) -> float:
        return 0.0


class Llama3RotaryScaling(RotaryScaling):
    """Divide slow frequencies alone, as Llama 3.1 does (Meta's `llama-models`, ``models/llama3/model.py``).

    A pair that turns more than `high` times in `original_length` positions keeps its frequency. The frequency of one
    that turns less than `low` times is divided by `factor`. Between them, the two are interpolated by the number of
    turns (Peng et al., arXiv:2309.00071, section 3.2).

    Args:
        factor: What slow frequencies are divided by: 8 in Llama 3.1, 32 in Llama 3.2.
        original_length: The number of positions that the model was trained on at first.
        low: The number of turns below which a frequency is divided.
        high: The number of turns above which it stays as it is.

    Raises:
        ValueError: A number is not positive, or `high` is not above `low`.

    Example:
        >>> from brainstate_nn import Llama3RotaryScaling
        >>> scaled = Llama3RotaryScaling(8.0)(4, theta=500_000.0)
        >>> float(scaled[0]), round(float(1 / scaled[1]), 1)  # the other pair turned by 1 / 707.1
        (1.0, 1905.3)
    """

    def __init__(
        self, factor: float = 8.0, *, original_length: int = 8192, low: float = 1.0, high: float = 4.0
    ) -> None:
        self.factor = as_positive("factor", factor)
        self.original_length = as_size("original_length", original_length)
        self.low, self.high = as_positive("low", low), as_positive("high", high)
        if self.low >= self.high:
            raise ValueError(f"high must be above low={low}, not {high}")

    def _kept(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
        turns = self.original_length * frequencies / (2.0 * math.pi)
        return np.clip((turns - self.low) / (self.high - self.low), 0.0, 1.0)


class YarnRotaryScaling(RotaryScaling):
    """Divide slow frequencies, and sharpen attention for it: YaRN (Peng et al., arXiv:2309.00071).

    The part that stays falls evenly from the pair that turns `fast` times in `original_length` positions to the one
    that turns `slow` times. That is how the authors' code has it, and the models that are published with it; the text
    of the paper has it fall with the turns, as `Llama3RotaryScaling` does.

    Args:
        factor: What slow frequencies are divided by.
        original_length: The number of positions that the model was trained on at first.
        fast: The number of turns of the last pair that stays as it is, `beta_fast` or beta.
        slow: The number of turns of the first pair that is divided, `beta_slow` or alpha.
        attention_factor: What turned queries and keys are multiplied by; None for ``0.1 log(factor) + 1``.
        truncate: Whether the two pairs are whole ones, the range rounded outwards; gpt-oss has False.

    Raises:
        ValueError: A number is not positive, or `fast` is not above `slow`.

    Example:
        >>> from brainstate_nn import YarnRotaryScaling
        >>> scaling = YarnRotaryScaling(4.0, original_length=4096)
        >>> [round(float(f), 5) for f in scaling(8, theta=10_000.0)], round(scaling.attention_factor, 3)
        ([1.0, 0.1, 0.00625, 0.00025], 1.139)
    """

    def __init__(
        self,
        factor: float,
        *,
        original_length: int,
        fast: float = 32.0,
        slow: float = 1.0,
        attention_factor: float | None = None,
        truncate: bool = True,
    ) -> None:
        self.factor = as_positive("factor", factor)
        self.original_length = as_size("original_length", original_length)
        self.fast, self.slow = as_positive("fast", fast), as_positive("slow", slow)
        if self.slow >= self.fast:
            raise ValueError(f"fast must be above slow={slow}, not {fast}")
        if attention_factor is None:
            attention_factor = 0.1 * math.log(max(self.factor, 1.0)) + 1.0
        self.attention_factor = as_positive("attention_factor", attention_factor)
        self.truncate = bool(truncate)

    def _kept(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
        half = len(frequencies)
        if theta <= 1.0:
            raise ValueError(f"theta must be greater than 1 for YaRN, not {theta}")

        def pair_with(turns: float) -> float:
            """Return the pair that turns so often, where ``theta ** (-pair / half)`` is its frequency."""
            return half * math.log(self.original_length / (2.0 * math.pi * turns)) / math.log(theta)

        first, last = pair_with(self.fast), pair_with(self.slow)
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        # The last pair is number ``half - 1``. The authors cut at the last feature, which makes another slope.
        first, last = max(first, 0), min(last, 2 * half - 1)
        # A thousandth, where the range is empty, makes a step of it.
        return 1.0 - np.clip((np.arange(half) - first) / (last - first or 0.001), 0.0, 1.0)
