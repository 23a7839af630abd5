"""``python -m benchmarks.tracing``: what the first call of a training step costs, by its depth.

The step is that of a stack of layers, with gradients and descent.  A *trace* runs the user's Python; ours begins with
the *capture*, which finds the states.  *Lowering* makes a module of StableHLO of it, and the *first call* is all there
is: capture, trace, lowering, compilation by XLA, and one run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from brainstate_graph import Snapshot

from ._arena.claim import Claim, Row, Works, of_each
from ._arena.command import options, run
from ._arena.timing import Number, fresh
from ._cases import stack_peers, stacks

__all__ = ["CLAIM", "main"]

SYSTEMS = {"ours": stacks.Ours, "raw": stacks.Raw, **stack_peers.PEER_SYSTEMS}
DEPTHS = (10, 50, 200)


def staged(stage: Callable[[Any, tuple[Any, ...]], object], layers: int) -> Works:
    """A stage of a step that JAX has never seen."""
    works: dict[str, Any] = of_each(SYSTEMS, "fresh", layers)
    for name, made in works.items():
        if isinstance(made, stacks.Fresh):
            works[name] = fresh(made.make, functools.partial(_at, stage, made.args))
    return works


def _at(stage: Callable[[Any, tuple[Any, ...]], object], args: tuple[Any, ...], step: Any) -> object:
    return stage(step, args)


def tracing(layers: int) -> Works:
    works = staged(lambda step, args: step.trace(*args), layers)
    return {name: work for name, work in works.items() if name != "equinox"}  # it has no trace of its own


def lowering(layers: int) -> Works:
    return staged(lambda step, args: step.lower(*args), layers)


def first_call(layers: int) -> Works:
    return staged(lambda step, args: step(*args), layers)


def capture(layers: int) -> Works:
    """What finds and takes apart the graph of a model, as a share of the trace by hand."""
    traced = {"raw": tracing(layers)["raw"]}
    return {"ours": fresh(lambda: stacks.Stack(layers), Snapshot, wait=False), **traced}


def runs(which: int) -> Works:
    return {"ours": Number(stacks.python_runs()[which])}


STAGES = {
    "capture": (capture, dict.fromkeys(DEPTHS, 0.1)),
    "trace": (tracing, dict.fromkeys(DEPTHS, 1.1)),
    "trace and lowering": (lowering, dict.fromkeys(DEPTHS, 1.1)),
    "first call": (first_call, dict.fromkeys(DEPTHS, 1.1)),
}
ROWS = (
    *(
        Row(
            f"{stage}, {layers} layers",
            make,
            (layers,),
            target=targets[layers],
            share=2.0 if layers < 200 or stage != "first call" else 3.0,
            quick=layers == 50 and stage != "trace and lowering",
            curve="" if stage == "capture" else stage,
            size=layers,
        )
        for stage, (make, targets) in STAGES.items()
        for layers in DEPTHS
    ),
    *(
        Row(f"runs of the user's Python: {name}", runs, (which,), target=most, base=None, unit="runs")
        for which, (name, most) in enumerate((("a trace", 1), ("a first call", 1), ("a second call", 0)))
    ),
)
CLAIM = Claim("tracing", "A first call costs what it costs by hand", ROWS, budget_s=3.0, axis="layers")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
