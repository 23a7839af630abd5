"""From a row to its result: the candidates are made, compared, timed, and held against the target."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .claim import OURS, Absent, Claim, Failed, Row
from .machine import machine
from .results import ClaimResult, RowResult, SpreadResult
from .statistics import Spread, exponent, ratio, spread
from .timing import Clocked, Number, Timing, one_line, timed

__all__ = ["Effort", "fits", "measure", "measure_claim", "result_of"]


@dataclass(frozen=True)
class Effort:
    """How much time may go into measuring.

    Attributes:
        quick: Whether only the quick rows are measured.
        scale: What the time for a row is multiplied with.
        limit_s: When a candidate is cut off.
        words: Only rows whose name contains one of them.
    """

    quick: bool = False
    scale: float = 1.0
    limit_s: float = 60.0
    words: tuple[str, ...] = ()


def measure(row: Row, budget_s: float, effort: Effort) -> RowResult:
    """Measure a row; whatever happens, there is a result."""
    try:
        works = dict(row.make(*row.args))
    except Exception as error:  # one row must not keep the others from being measured
        works = {OURS: Failed(one_line(error))}
    absent = {name: work.package for name, work in works.items() if isinstance(work, Absent)}
    failed = {name: work.reason for name, work in works.items() if isinstance(work, Failed)}
    numbers = {name: work.value for name, work in works.items() if isinstance(work, Number)}
    timing = timed(
        {name: work for name, work in works.items() if isinstance(work, Clocked) or callable(work)},
        budget_s * row.share,
        effort.limit_s,
    )
    return result_of(row, timing, numbers, absent, failed)


def result_of(
    row: Row, timing: Timing, numbers: Mapping[str, float], absent: dict[str, str], failed: dict[str, str]
) -> RowResult:
    """Put together what was seen of a row.

    Args:
        row: The row.
        timing: The times of those candidates that are timed.
        numbers: The values of the others.
        absent: The packages that are not installed, by candidate.
        failed: What those have said that could not be made.
    """
    failed = {**failed, **timing.failed, **_different(row, timing)}
    rounds = [
        {name: seconds for name, seconds in seen.items() if name not in failed} for seen in (timing.rounds or ({},))
    ]
    rounds = [{**seen, **numbers} for seen in rounds]
    names = dict.fromkeys(name for seen in rounds for name in seen)
    systems = {name: spread([seen[name] / row.per for seen in rounds if name in seen]) for name in names}
    compared = None
    if row.base is not None and OURS in systems and row.base in systems and systems[row.base].least > 0:
        compared = ratio(rounds, OURS, row.base)
    return {
        "name": row.name,
        "unit": row.unit,
        "base": row.base,
        "target": row.target,
        "curve": row.curve,
        "size": row.size,
        "systems": {name: _named(seen) for name, seen in systems.items()},
        "ratio": None if compared is None else _named(compared),
        "verdict": "" if row.base in absent else _verdict(row, systems, compared),
        "absent": absent,
        "failed": failed,
        "unfinished": dict(timing.unfinished),
    }


def _named(seen: Spread) -> SpreadResult:
    return {
        "median": float(seen.median),
        "low": float(seen.low),
        "high": float(seen.high),
        "least": float(seen.least),
        "rounds": seen.rounds,
    }


def _verdict(row: Row, systems: Mapping[str, Spread], compared: Spread | None) -> str:
    if OURS not in systems or (row.base is not None and compared is None):
        return "failed"
    if row.target is None:
        return ""
    value = systems[OURS].median if compared is None else compared.median
    return "ok" if value <= row.target else "missed"


def _different(row: Row, timing: Timing) -> dict[str, str]:
    """Return who computes something else than the base does, where all must compute the same."""
    if not row.same or row.base is None or row.base not in timing.first:
        return {}
    expected = _number(timing.first[row.base])
    found = {name: _number(out) for name, out in timing.first.items() if name != row.base}
    return {
        name: f"computes {number}, where {row.base} computes {expected}"
        for name, number in found.items()
        if not math.isclose(number, expected, rel_tol=1e-3, abs_tol=1e-6)
    }


def _number(out: Any) -> float:
    return float(np.asarray(jax.tree.leaves(out)[0]).ravel()[0])


def fits(rows: Iterable[RowResult]) -> dict[str, dict[str, float]]:
    """Return the fitted exponent of each system on each curve: 1 where its time grows as the size does."""
    points: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        if row["curve"] and row["size"] > 0:
            for name, seen in row["systems"].items():
                points.setdefault(row["curve"], {}).setdefault(name, []).append((row["size"], seen["median"]))
    found: dict[str, dict[str, float]] = {}
    for curve, systems in points.items():
        for name, seen in systems.items():
            fitted = exponent([size for size, _ in seen], [value for _, value in seen])
            if fitted is not None:
                found.setdefault(curve, {})[name] = fitted
    return found


def measure_claim(claim: Claim, effort: Effort, on_row: Callable[[RowResult], object]) -> ClaimResult:
    """Measure the rows of a claim, and show each as soon as it is known."""
    start = time.perf_counter()
    rows: list[RowResult] = []
    for row in claim.chosen(effort.words, effort.quick):
        rows.append(measure(row, claim.budget_s * effort.scale, effort))
        on_row(rows[-1])
        gc.collect()  # the models of a row must not be there in the next one
    return {
        "title": claim.title,
        "command": f"python -m benchmarks.{claim.name}",
        "axis": claim.axis,
        "machine": machine(),
        "quick": effort.quick,
        "seconds": time.perf_counter() - start,
        "rows": rows,
        "fits": fits(rows),
        "error": "",
    }
