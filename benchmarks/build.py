"""``python -m benchmarks.build``: what it costs to make a model, in time and in memory, by the number of its states.

Raw JAX is a nested dict of arrays.  All systems share the arrays, so that what is measured is their own objects.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

from ._arena.claim import Claim, Row, Works, each
from ._arena.command import options, run
from ._arena.timing import Number, fresh
from ._cases.models import SYSTEMS

__all__ = ["CLAIM", "main"]

SIZES = (100, 1_000, 10_000, 100_000)
COUNT = 10_000


PYTHON = {name: make for name, make in SYSTEMS.items() if name != "raw"}  # raw JAX has neither states nor nodes


def _up_to(count: int) -> dict[str, Callable[[], Any]]:
    """The systems that make a model of this size in less than a second."""
    return SYSTEMS if count <= 10_000 else {name: SYSTEMS[name] for name in ("ours", "raw")}


def making(count: int) -> Works:
    """Make a model."""
    return each(_up_to(count), lambda system: fresh(lambda: count // 2, system.model, wait=False))


def held(make: Callable[[], Any], count: int) -> float:
    """Return the bytes that Python holds for each of `count` things that are made."""
    make()  # what is made once for all
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = make()
        gc.collect()
        found = (tracemalloc.get_traced_memory()[0] - before) / count
        del kept
    finally:
        tracemalloc.stop()
    return found


def memory(count: int) -> Works:
    """The bytes of a model by the number of its states."""
    return each(_up_to(count), lambda system: Number(held(lambda: system.model(count // 2), count)))


def one(what: str) -> Works:
    """Make one state, or one node without attributes."""
    return each(PYTHON, lambda system: getattr(system, what, None))


def memory_of(what: str) -> Works:
    def work(system: Any) -> Number | None:
        make = getattr(system, what, None)
        return None if make is None else Number(held(lambda: [make() for _ in range(COUNT)], COUNT) - 8)

    return each(PYTHON, work)


ROWS = (
    *(
        Row(f"make a model, {size:,} states", making, (size,), quick=size == 1_000, curve="make a model", size=size)
        for size in SIZES
    ),
    *(
        Row(
            f"bytes a state, {size:,} states",
            memory,
            (size,),
            unit="B",
            quick=size == 1_000,
            curve="bytes a state",
            size=size,
        )
        for size in SIZES
    ),
    Row("make a state", one, ("state",), base=None),
    Row("make a node", one, ("node",), base=None),
    Row("bytes of a state", memory_of, ("state",), base=None, unit="B"),
    Row("bytes of a node", memory_of, ("node",), base=None, unit="B"),
)
CLAIM = Claim("build", "Objects are small, and made in no time", ROWS, budget_s=1.0, axis="states")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
