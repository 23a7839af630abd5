"""Fair timing on a noisy machine: candidates take turns, and the best of many short batches counts.

What disturbs a measurement only ever adds time, and disturbs for longer than one batch; so the minimum over many
alternating batches is what the code costs, and the ratio of two minima is steady where the times are not.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from itertools import repeat
from time import perf_counter

import jax

__all__ = ["Work", "interleaved", "spell"]

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
    gc.collect()
    gc.freeze()  # what stands now is not looked at again, so that a collection between rounds is cheap
    gc.disable()
    rounds, start = 0, perf_counter()
    try:
        while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and perf_counter() - start < budget_s):
            for name in order:
                if rounds % every[name] == 0:
                    best[name] = min(best[name], _seconds(works[name], counts[name]))
            order.append(order.pop(0))  # nobody runs after the same one each time
            rounds += 1
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return best, rounds


def spell(seconds: float) -> str:
    """Write a time with its unit, in three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
