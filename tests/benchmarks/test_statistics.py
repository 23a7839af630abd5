from __future__ import annotations

import pytest

from benchmarks._arena.statistics import Spread, exponent, ratio, spread
from tests.tables import each


@each(
    ("samples", "expected"),
    [
        ([3.0], Spread(3.0, 3.0, 3.0, 3.0, 1)),
        ([4.0, 2.0], Spread(3.0, 2.5, 3.5, 2.0, 2)),
        ([5.0, 1.0, 2.0, 4.0, 3.0], Spread(3.0, 2.0, 4.0, 1.0, 5)),
        ([1.0, 1.0, 1.0, 100.0], Spread(1.0, 1.0, 25.75, 1.0, 4)),  # one bad sample is in no median
    ],
)
def test_a_spread_is_the_median_and_the_quartiles(samples, expected):
    assert spread(samples) == expected


def test_a_ratio_is_compared_within_each_round():
    # The machine is ten times slower in every second round, and ours takes twice as long as the base in each.
    rounds = [{"ours": 2.0 * slow, "raw": 1.0 * slow} for slow in (1.0, 10.0, 1.0, 10.0, 1.0)]
    assert ratio(rounds, "ours", "raw") == Spread(2.0, 2.0, 2.0, 2.0, 5)
    assert ratio(rounds, "raw", "ours").median == 0.5


def test_rounds_that_one_of_both_sat_out_do_not_count():
    rounds = [
        {"ours": 3.0, "raw": 1.0},
        {"raw": 50.0},
        {"ours": 3.0, "raw": 1.0},
        {"ours": 3.0, "raw": 1.0},
        {"ours": 9.0},
    ]
    assert ratio(rounds, "ours", "raw") == Spread(3.0, 3.0, 3.0, 3.0, 3)


def test_with_fewer_than_three_common_rounds_the_medians_are_compared():
    rounds = [{"ours": 8.0, "raw": 1.0}, {"raw": 2.0}, {"raw": 2.0}, {"raw": 2.0}]
    assert ratio(rounds, "ours", "raw") == Spread(4.0, 4.0, 8.0, 4.0, 1)


@each(
    ("power", "factor"),
    [(1.0, 1.0), (0.5, 3.0), (2.0, 1e-6), (0.0, 7.0)],
)
def test_the_exponent_of_a_power_is_found(power, factor):
    sizes = [3, 21, 201, 7600]
    assert exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power)


def test_one_size_has_no_exponent():
    assert exponent([5, 5], [1.0, 2.0]) is None
    assert exponent([], []) is None
