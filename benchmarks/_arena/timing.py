"""Fair timing on a noisy machine: candidates take turns, round by round, and each round compares them.

What disturbs a measurement lasts longer than one turn, so it comes to all candidates of a round.  A ratio is therefore
the median of the ratios of single rounds, see `statistics`.  Garbage is collected between the rounds, never in a turn.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Any

import jax

__all__ = ["Candidate", "Clocked", "Number", "Timing", "Work", "fresh", "one_line", "resident_mb", "timed"]

Work = Callable[[], object]

_LEAST_ROUNDS, _MOST_ROUNDS = 5, 400
_BATCH_S = 1e-3
_SIT_OUT = 8  # a slow candidate takes part in every eighth round at least
_PATIENCE = 3  # the least rounds may take so many budgets
_TRACED_S = 2.0  # a slow first run may be one that traces: so long it is worth while to look for a quicker one


@dataclass(frozen=True)
class Clocked:
    """A work that measures itself: what it does before and after is no part of its time.

    Attributes:
        run: Does the work once, and returns its seconds by the clock that it is given.
    """

    run: Callable[[Callable[[], float]], float]


@dataclass(frozen=True)
class Number:
    """What is known without a clock: bytes, calls, runs.

    Attributes:
        value: The number, in the unit of its row.
    """

    value: float


Candidate = Work | Clocked | Number


def fresh(
    make: Callable[[], Any], run: Callable[[Any], object], times: int = 1, per: int = 1, wait: bool = True
) -> Clocked:
    """Return a work on an argument that is made anew each time.

    Args:
        make: Makes the argument; that is not timed.
        run: What is timed.
        times: How often it runs on one argument.
        per: How many operations one run is.
        wait: Whether to wait for the arrays of the last result; to look for them takes its time, too.
    """

    def clocked(clock: Callable[[], float]) -> float:
        given, out = make(), None
        start = clock()
        for _ in repeat(None, times):
            out = run(given)
        if wait:
            jax.block_until_ready(out)
        return (clock() - start) / (times * per)

    return Clocked(clocked)


@dataclass(frozen=True)
class Timing:
    """What was seen.

    Attributes:
        rounds: The seconds of one run of each candidate that took part, for each round.
        first: What the first run of each candidate returned.
        failed: The first line of the error of each candidate that raised one.
        unfinished: For how long each candidate had run that was cut off before its first run ended.
    """

    rounds: tuple[Mapping[str, float], ...]
    first: Mapping[str, object]
    failed: Mapping[str, str]
    unfinished: Mapping[str, float]


class _OutOfTime(BaseException):
    """Ends a measurement; no Exception, so that no library takes it for an error of the work."""


@contextmanager
def _no_longer_than(seconds: float) -> Generator[None]:
    """Raise `_OutOfTime` in the block when the time is over; outside of the main thread there is no such limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    # Again each second: what is raised in a finaliser or a callback of the garbage collector is lost.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _collecting_between() -> Generator[None]:
    """Leave it to the block when garbage is collected. What is there now is not looked at again, so that is cheap."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _seconds(candidate: Work | Clocked, count: int) -> float:
    """Run a candidate `count` times and wait for its last result, as a training loop would."""
    if isinstance(candidate, Clocked):
        return candidate.run(perf_counter)
    out: object = None
    start = perf_counter()
    for _ in repeat(None, count):
        out = candidate()
    jax.block_until_ready(out)
    return (perf_counter() - start) / count


def _once(candidate: Work | Clocked) -> float:
    """Return what one run takes, from some runs that are not counted."""
    seen = [_seconds(candidate, 1)]
    # A second call may trace as well, where the first has made states. Of quick candidates the first calls find cold
    # caches: too few calls to a turn would time the wait at its end.
    enough = 1 if isinstance(candidate, Clocked) else 30
    while len(seen) < (min(enough, 3) if min(seen) > 1e-2 else enough) and (min(seen) < 0.1 or sum(seen) < _TRACED_S):
        seen.append(_seconds(candidate, 1))
    return max(min(seen), 1e-7)


def timed(candidates: Mapping[str, Work | Clocked], budget_s: float, limit_s: float) -> Timing:
    """Time some candidates side by side.

    Args:
        candidates: What to run, by name.
        budget_s: How long to go on. Five rounds are made even so, unless they take three times as long.
        limit_s: When the first run of a candidate is cut off, and when the rounds are.

    Returns:
        What was seen until then.
    """
    first: dict[str, object] = {}
    once: dict[str, float] = {}
    failed: dict[str, str] = {}
    unfinished: dict[str, float] = {}
    for name, candidate in candidates.items():
        start = perf_counter()
        try:
            with _no_longer_than(limit_s):
                first[name] = candidate.run(perf_counter) if isinstance(candidate, Clocked) else candidate()
                jax.block_until_ready(first[name])
                once[name] = _once(candidate)
        except _OutOfTime:
            if name in first:
                once[name] = perf_counter() - start
            else:
                unfinished[name] = perf_counter() - start
        except Exception as error:  # one system must not keep the others from being measured
            failed[name] = one_line(error)
    works = {name: candidates[name] for name in once}
    return Timing(tuple(_rounds(works, once, budget_s, limit_s)), first, failed, unfinished)


def _rounds(
    works: Mapping[str, Work | Clocked], once: Mapping[str, float], budget_s: float, limit_s: float
) -> list[dict[str, float]]:
    if not works:
        return []
    counts = {name: max(1, math.ceil(_BATCH_S / seconds)) for name, seconds in once.items()}
    batch_s = {name: counts[name] * seconds for name, seconds in once.items()}
    shortest = min(batch_s.values())
    # Who is much slower than the others sits out most rounds, so as not to use up their time.
    every = {name: min(_SIT_OUT, max(1, int(seconds / shortest / 4))) for name, seconds in batch_s.items()}
    rounds: list[dict[str, float]] = []
    order = list(works)
    with _collecting_between(), suppress(_OutOfTime), _no_longer_than(limit_s):
        start = perf_counter()
        while _goes_on(len(rounds), perf_counter() - start, budget_s):
            seen: dict[str, float] = {}
            rounds.append(seen)
            for name in order:
                if (len(rounds) - 1) % every[name] == 0:
                    seen[name] = _seconds(works[name], counts[name])
            order.append(order.pop(0))  # nobody runs after the same one each time
            gc.collect()
    return rounds


def _goes_on(rounds: int, passed_s: float, budget_s: float) -> bool:
    if rounds == 0:
        return True
    allowed_s = budget_s * (_PATIENCE if rounds < _LEAST_ROUNDS else 1)
    return rounds < _MOST_ROUNDS and passed_s < allowed_s


def one_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def resident_mb() -> float:
    """Return the memory that this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
