"""From the times of rounds to the numbers that are shown: medians with their spread, ratios, fitted exponents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import NamedTuple

__all__ = ["Spread", "exponent", "ratio", "spread"]


class Spread(NamedTuple):
    """Some samples in five numbers.

    Attributes:
        median: Half of them are below it.
        low: A quarter of them is below it.
        high: A quarter of them is above it.
        least: The smallest one.
        rounds: How many they are.
    """

    median: float
    low: float
    high: float
    least: float
    rounds: int


def spread(samples: Sequence[float]) -> Spread:
    """Return the median of some samples, of which there is at least one, and their quartiles."""
    if len(samples) == 1:
        (only,) = samples
        return Spread(only, only, only, only, 1)
    low, middle, high = quantiles(samples, n=4, method="inclusive")
    return Spread(middle, low, high, min(samples), len(samples))


def ratio(rounds: Sequence[Mapping[str, float]], ours: str, base: str) -> Spread:
    """Return how much longer `ours` takes than `base`.

    The two are compared within each round, as what disturbs one of them disturbs the other. Where one sits out most
    rounds, so that fewer than three have both, their medians are compared.

    Args:
        rounds: The times of the candidates that took part, for each round.
        ours: The name of one candidate.
        base: The name of another one.
    """
    both = [seen[ours] / seen[base] for seen in rounds if ours in seen and base in seen]
    if len(both) >= 3:
        return spread(both)
    of_medians = median([seen[ours] for seen in rounds if ours in seen]) / median(
        [seen[base] for seen in rounds if base in seen]
    )
    return Spread(of_medians, *(min([of_medians, *both]), max([of_medians, *both])), of_medians, max(len(both), 1))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return `e` of the power ``size ** e`` that fits best: 1 where a value grows as the size does.

    Args:
        sizes: Some sizes, all above 0; equal ones say nothing, so None is returned where fewer than two differ.
        values: The value at each size, above 0.
    """
    if len(set(sizes)) < 2:
        return None
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    across = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return across / sum((a - mean_x) ** 2 for a in x)
