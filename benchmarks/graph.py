"""``python -m benchmarks.graph``: what it costs to take graphs apart, to put them together and to write to them.

The model has layers of two states.  *Cold* is a model that nobody has looked at, *again* one that is as it was; raw JAX
does the like with a nested dict of arrays.  *Growth* is the time per state at 10^5 states by that at 10^3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ._arena.claim import Claim, Row, Works, each
from ._arena.command import options, run
from ._arena.timing import Clocked, fresh
from ._cases.models import SYSTEMS, Ours, chain

__all__ = ["CLAIM", "main"]

SIZES = (200, 2_000, 20_000, 100_000)
OURS = {name: SYSTEMS[name] for name in ("ours", "raw")}


def _sweep(swept: bool) -> None:
    """Fill the caches of the processor with something else."""
    if swept:
        _memory().sum()


@functools.cache
def _memory() -> np.ndarray:
    return np.ones(8_000_000)


class Operation:
    """An operation on a model.

    Args:
        name: The verb, a name in the systems of `models`.
        cold: Whether each run has a model of its own.
        given: Makes what the verb is called with from a system and a model; the model itself if None.
    """

    def __init__(self, name: str, cold: bool, given: Callable[[Any, Any], Any] | None = None) -> None:
        self.name, self.cold, self.given = name, cold, given

    def clocked(self, system: Any, make: Callable[[], Any], per: int, swept: bool = False) -> Clocked | None:
        """Return the work, None where the system lacks the verb.

        Args:
            system: One of `models`.
            make: Makes a model.
            per: How many operations one run is.
            swept: Whether the caches of the processor hold nothing of the model when a run begins.
        """
        verb = getattr(system, self.name, None)
        if verb is None:
            return None
        given = self.given or (lambda system, model: (model,))

        def prepared() -> Any:
            made = given(system, make())
            _sweep(swept)
            return made

        if self.cold:
            return fresh(prepared, lambda args: verb(*args), per=per, wait=False)
        kept = prepared()
        verb(*kept)
        times = 1 if swept else 3
        return fresh(lambda: (_sweep(swept), kept)[1], lambda args: verb(*args), times, per, wait=False)


OPERATIONS = {
    "split, cold": Operation("split", cold=True),
    "split, again": Operation("split", cold=False),
    "merge, cold": Operation("merge", cold=True, given=lambda system, model: (system.split(model),)),
    "merge, again": Operation("merge", cold=False, given=lambda system, model: (system.split(model),)),
    "states, cold": Operation("states", cold=True),
    "states, again": Operation("states", cold=False),
    "update": Operation("update", cold=False, given=lambda system, model: (model, system.states(model))),
    "clone, cold": Operation("clone", cold=True),
    "clone, again": Operation("clone", cold=False),
}
# What others have no like of, or not by one verb.
FURTHER = {
    "nodes": Operation("nodes", cold=False),
    "states by path": Operation("found", cold=False),
    "split by kind": Operation("by_kind", cold=False),
}
# The greatest ratio to a nested dict. Cold, there is a graph to be walked, which `jax.tree` does in C.
TARGETS = {"split, again": 3.0}


def working(operation: Operation, count: int) -> Works:
    systems = SYSTEMS if count <= 20_000 else OURS
    return each(systems, lambda system: operation.clocked(system, lambda: system.model(count // 2), 1))


def growth(operation: Operation, deep: bool) -> Works:
    """The time per state of a large model and, as the base, that of a small one.

    A model of 1,000 states lies in the caches of the processor and one of 100,000 does not, which costs raw JAX three
    times as much for each. Here both begin in memory, so that what is compared is the work.
    """
    ours = Ours()
    works: dict[str, Clocked] = {}
    for name, count in (("ours", 100_000), ("at 10^3", 1_000)):
        make = functools.partial(chain, count) if deep else functools.partial(ours.model, count // 2)
        work = operation.clocked(ours, make, count, swept=True)
        assert work is not None
        works[name] = work
    return works


ROWS = (
    *(
        Row(
            f"{name}, {size:,} states",
            working,
            (operation, size),
            target=TARGETS.get(name),
            share=1.0 if size <= 20_000 else 2.0,
            quick=size == 2_000 and (name == "split, cold" or not name.endswith("cold")),
            curve=name,
            size=size,
        )
        for name, operation in OPERATIONS.items()
        for size in SIZES
    ),
    *(
        Row(
            f"growth of {name}, {'chain' if deep else 'wide'}",
            growth,
            (operation, deep),
            target=1.3,
            base="at 10^3",
            quick=False,
        )
        for name, operation in {**OPERATIONS, **FURTHER}.items()
        for deep in (False, True)
    ),
)
CLAIM = Claim(
    "graph", "The verbs of a graph cost little, and grow as the model does", ROWS, budget_s=1.0, axis="states"
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
