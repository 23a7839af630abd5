"""Fair timing on a noisy machine: candidates take turns, and the best of many short batches counts.

What disturbs a measurement only ever adds time, and disturbs for longer than one batch; so the minimum over many
alternating batches is what the code costs, and the ratio of two minima is steady where the times are not.  Where a
candidate is not the same each time, as one that sometimes traces anew, its median counts instead: see `medians`.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter

import jax

__all__ = ["Medians", "Work", "interleaved", "medians", "resident_mb", "spell"]

Work = Callable[[], object]

_LEAST_ROUNDS = 5
_MOST_ROUNDS = 400
_BATCH_S = 1e-3
_SIT_OUT = 8


def _seconds(work: Work, count: int) -> float:
    """Run `work` `count` times and wait for its last result, as a training loop would."""
    out: object = None
    start = perf_counter()
    for _ in repeat(None, count):
        out = work()
    jax.block_until_ready(out)
    return (perf_counter() - start) / count


@contextmanager
def _collecting_between() -> Generator[None]:
    """Leave it to the block when garbage is collected, and make that cheap: what stands now is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def interleaved(works: Mapping[str, Work], budget_s: float) -> tuple[dict[str, float], int]:
    """Time some candidates side by side.

    Args:
        works: What to run, by name.
        budget_s: How long to go on; five rounds are made in any case.

    Returns:
        The least time of one run of each, in seconds, and the number of rounds.
    """
    counts: dict[str, int] = {}
    batch_s: dict[str, float] = {}
    for name, work in works.items():
        jax.block_until_ready(work())
        once = max(min(_seconds(work, 1) for _ in range(3)), 1e-7)
        counts[name] = max(1, math.ceil(_BATCH_S / once))
        batch_s[name] = counts[name] * once
    # Who is much slower than the others sits out most rounds, so as not to use up their time.
    shortest = min(batch_s.values())
    every = {name: min(_SIT_OUT, max(1, int(seconds / shortest / 4))) for name, seconds in batch_s.items()}
    best = dict.fromkeys(works, math.inf)
    order = list(works)
    with _collecting_between():
        rounds, start = 0, perf_counter()
        while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and perf_counter() - start < budget_s):
            for name in order:
                if rounds % every[name] == 0:
                    best[name] = min(best[name], _seconds(works[name], counts[name]))
            order.append(order.pop(0))  # nobody runs after the same one each time
            rounds += 1
            gc.collect()
    return best, rounds


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


@dataclass(frozen=True)
class Medians:
    """What `medians` has seen.

    Attributes:
        seconds: The median time of one run of each candidate, of those that were run.
        rounds: How many rounds that is; at 0, a time is that of the second run or, where there was none, of the first.
        unfinished: The candidate whose first run was cut off; its time is how long that had run.
        cut: Whether the limit ended the measurement.
    """

    seconds: dict[str, float]
    rounds: int
    unfinished: str | None
    cut: bool


def medians(works: Mapping[str, Work], budget_s: float, limit_s: float) -> Medians:
    """Time some candidates side by side, some of which may be so slow that they are cut off.

    Args:
        works: What to run, by name; those that are surely quick first.
        budget_s: How long to go on; five rounds are made in any case.
        limit_s: When to stop even so, in the middle of a run.

    Returns:
        What was seen until then.
    """
    first: dict[str, float] = {}
    seen: dict[str, list[float]] = {name: [] for name in works}
    rounds, running, begun, cut = 0, "", perf_counter(), False
    try:
        with _no_longer_than(limit_s):
            for name, work in works.items():
                running, begun = name, perf_counter()
                first[name] = _seconds(work, 1)
            for name, work in works.items():
                seen[name].append(_seconds(work, 1))
                # The second call may trace as well, where the first has made states, and some find cold caches: too few
                # calls to a round would time the wait at its end.
                while len(seen[name]) < (3 if min(seen[name]) > 1e-2 else 30) and min(seen[name]) < 1.0:
                    seen[name].append(_seconds(work, 1))
            counts = {name: max(1, math.ceil(_BATCH_S / max(min(times), 1e-7))) for name, times in seen.items()}
            order = list(works)
            with _collecting_between():
                start = perf_counter()
                while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and perf_counter() - start < budget_s):
                    for name in order:
                        seen[name].append(_seconds(works[name], counts[name]))
                    order.append(order.pop(0))
                    rounds += 1
                    gc.collect()
    except _OutOfTime:
        cut = True
    unfinished = running if running not in first else None
    found = {name: median(seen[name] or [time]) for name, time in first.items()}
    if unfinished is not None:
        found[unfinished] = perf_counter() - begun
    return Medians(found, rounds, unfinished, cut)


def resident_mb() -> float:
    """The memory that this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def spell(seconds: float) -> str:
    """Write a time with its unit, in three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
