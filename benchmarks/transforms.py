"""``python -m benchmarks.transforms``: what each transform costs beside the one of JAX.

Calls that are warm, in a compiled function or eager; traces, which are the cold part that is ours; eager loops and
branches beside compiled ones of JAX; and how often Python runs the function in a nest of transforms.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import jax

from ._arena.claim import Claim, Row, Works, each, of_each
from ._arena.command import options, run
from ._arena.timing import Number, Work, resident_mb
from ._cases import transforms as cases
from ._cases.transforms import CASES, Case
from ._cases.transforms_nnx import Nnx
from ._cases.workloads import NETWORK, NUMBERS, Workload, numbers

__all__ = ["CLAIM", "main"]

SYSTEMS: dict[str, Callable[[], Any]] = {
    "ours": cases.ours,
    "raw": cases.Raw,
    "nnx": Nnx,
    "brainstate": cases.brainstate,
}
SMALL, LARGE, TIMES = 3, 200, 1_000
LOOPS = ("scan", "for_loop", "while_loop", "cond", "switch")
QUICK = ("jit", "grad", "vmap", "for_loop", "cond")


def warm(case: Case, count: int, compiled: bool) -> Works:
    return of_each(SYSTEMS, "warm", case, numbers(count), compiled)


def traced(case: Case, work: Workload) -> Works:
    return of_each(SYSTEMS, "traced", case, work)


def repeated(case: Case, count: int) -> Works:
    return of_each({name: SYSTEMS[name] for name in ("ours", "raw")}, "repeated", case, numbers(count))


def kept(case: Case) -> Works:
    """The memory that many eager calls leave behind."""

    def grown(system: Any) -> Number:
        work: Work = system.repeated(case, numbers(SMALL))
        for _ in range(TIMES // 10):
            work()
        gc.collect()
        before = resident_mb()
        for _ in range(TIMES):
            jax.block_until_ready(work())
        gc.collect()
        return Number(max(resident_mb() - before, 0.0))

    return each({"ours": SYSTEMS["ours"]}, grown)


def runs(kind: str, depth: int) -> Works:
    return of_each({name: make for name, make in SYSTEMS.items() if name != "raw"}, "runs", kind, depth)


def warm_rows() -> list[Row]:
    """Each transform with few and many states, in a compiled function and eager."""
    return [
        Row(
            f"{case.name}, {count} states" + ("" if case.compiles else ", jitted" if compiled else ", eager"),
            warm,
            (case, count, compiled),
            target=1.5 if count == SMALL else 1.15,
            same=case.same,
            quick=case.name in QUICK and count == SMALL and (compiled or case.name == "grad"),
        )
        for case in CASES
        for count in (SMALL, LARGE)
        for compiled in ((True,) if case.compiles else (False, True))
    ]


def trace_rows() -> list[Row]:
    """Each transform in the trace of a function that JAX has never seen; `benchmarks.loops` has those of loops."""
    return [
        Row(f"trace of {case.name}, {work.name}", traced, (case, work), target=1.3, quick=case.name == "vmap")
        for work in (NETWORK, NUMBERS)
        for case in CASES
        if case.name not in LOOPS
    ]


def eager_rows() -> list[Row]:
    """Eager loops and branches, again and again, beside compiled ones of JAX."""
    chosen = [case for case in CASES if case.name in LOOPS]
    times = [
        Row(f"repeated {case.name}, {SMALL} states, eager", repeated, (case, SMALL), target=2.0, same=True)
        for case in chosen
    ]
    return times + [
        Row(f"memory of {TIMES:,} {case.name}, eager", kept, (case,), target=1.0, base=None, unit="MB", quick=False)
        for case in chosen
    ]


def run_rows() -> list[Row]:
    """How often Python runs the innermost function of a nest."""
    most = {"vmap": 1, "checkify": 1, "jit(grad)": 1, "jit(for_loop)": 1}
    return [
        Row(f"runs of Python, {kind} {depth} deep", runs, (kind, depth), target=most[kind], base=None, unit="runs")
        for kind in most
        for depth in (1, 4)
    ]


ROWS = (*warm_rows(), *trace_rows(), *eager_rows(), *run_rows())
CLAIM = Claim("transforms", "Each transform costs what it costs in JAX", ROWS, budget_s=0.6)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
