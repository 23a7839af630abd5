"""``python -m benchmarks.loops``: loops and branches: how many states they carry, how long and how deep they are.

A loop has to know what its body writes before JAX traces it. So the rows to look at are the traces; a compiled loop is
the same program as the one by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._arena.claim import Claim, Row, Works, of_each
from ._arena.command import options, run
from ._cases import transforms as cases
from ._cases.recurrent import GATED, SPIKING
from ._cases.transforms import CASES, NEST, TRAINED, Case
from ._cases.transforms_nnx import Nnx
from ._cases.workloads import NETWORK, Workload, numbers

__all__ = ["CLAIM", "main"]

SYSTEMS: dict[str, Callable[[], Any]] = {
    "ours": cases.ours,
    "raw": cases.Raw,
    "nnx": Nnx,
    "brainstate": cases.brainstate,
}
# What nnx does is by the name of a transform, and these are no single ones.
CLOSING = {name: make for name, make in SYSTEMS.items() if name != "nnx"}
LOOPS = [case for case in CASES if case.name in ("scan", "for_loop", "while_loop", "cond", "switch")]
(FOR_LOOP,) = [case for case in CASES if case.name == "for_loop"]
SMALL, MIDDLE, LARGE, LONG = 2, 50, 1_000, 10_000


def traced(case: Case, work: Workload) -> Works:
    return of_each(SYSTEMS, "traced", case, work)


def nested(work: Workload) -> Works:
    return of_each(CLOSING, "traced", NEST, work)


def warm(case: Case, work: Workload) -> Works:
    return of_each(SYSTEMS, "warm", case, work, True)


def trained(work: Workload) -> Works:
    return of_each(CLOSING, "warm", TRAINED._replace(shape=(LONG,)), work, True)


def traces() -> list[Row]:
    """The trace of each loop and branch, with few and with many states, and with a body that computes."""
    return [
        Row(
            f"trace of {case.name}, {work.name}",
            traced,
            (case, work),
            target=1.4 if work is not NETWORK else 1.3,
            quick=work.name != NETWORK.name and size <= MIDDLE and case.name in ("for_loop", "cond"),
            curve=f"trace of {case.name}" if size else "",
            size=size,
        )
        for case in LOOPS
        for size, work in ((SMALL, numbers(SMALL)), (MIDDLE, numbers(MIDDLE)), (200, numbers(200)), (0, NETWORK))
    ]


def nests() -> list[Row]:
    return [
        Row(
            f"trace of jit(for_loop(grad(cond))), {work.name}",
            nested,
            (work,),
            target=1.3,
            quick=work is not NETWORK,
        )
        for work in (numbers(SMALL), numbers(MIDDLE), NETWORK)
    ]


def many() -> list[Row]:
    """Loops over many states, compiled; the small ones of `benchmarks.transforms` are of three."""
    return [
        Row(
            f"{case.name}, {count:,} states, jitted",
            warm,
            (case, numbers(count)),
            target=1.15,
            same=case.same,
            quick=False,
            curve=f"{case.name}, warm",
            size=count,
        )
        for case in LOOPS
        for count in (MIDDLE, LARGE)
    ]


def long() -> list[Row]:
    """Loops of ten thousand steps, run and differentiated."""
    rows: list[Row] = []
    for work in (GATED, SPIKING):
        case = FOR_LOOP._replace(shape=(LONG,))
        rows.append(Row(f"{work.name}, {LONG:,} steps", warm, (case, work), target=1.05, same=True, share=3.0))
        name = f"{work.name}, gradient of {LONG:,} steps"
        rows.append(Row(name, trained, (work,), target=1.05, share=3.0, quick=False))
    return rows


ROWS = (*traces(), *nests(), *many(), *long())
CLAIM = Claim("loops", "Loops cost what they cost in JAX, to trace and to run", ROWS, budget_s=0.8, axis="states")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
