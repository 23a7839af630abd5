"""``python -m benchmarks.engine``: what a call of a compiled function costs beside hand-threaded JAX.

Calls by the number of states that they read, write or donate, a warm training step, and one read or write of a State.
``--profile`` shows where a call with 3 states spends its time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Snapshot
from brainstate_graph.extend import read_values, write_values
from brainstate_transform import StateValues

from ._arena.claim import Claim, Row, Works, of_each
from ._arena.command import options, prepare, run
from ._arena.statistics import spread
from ._arena.table import spell
from ._arena.timing import Work, timed
from ._cases import stack_peers, stacks, step_peers, steps

__all__ = ["CLAIM", "main"]

SYSTEMS = {"ours": steps.Ours, "raw": steps.Raw, "nested dict": steps.Nested, **step_peers.PEER_SYSTEMS}
STACKS = {"ours": stacks.Ours, "raw": stacks.Raw, **stack_peers.PEER_SYSTEMS}
# XLA compiles a program of 7,600 outputs for 4 s, so that each further system takes that.
FEW = {name: SYSTEMS[name] for name in ("ours", "raw", "nested dict")}
SIZES = (0, 3, 21, 201, 1000, 7600)
TIMES = 500  # how often one run of a read or a write does it


def calling(make: Callable[[int], steps.Step], donate: bool, few: bool, count: int) -> Works:
    return of_each(FEW if few else SYSTEMS, "calling", functools.partial(make, count), donate)


def calls(
    kind: str, make: Callable[[int], steps.Step], donate: bool, targets: dict[int, float], few_from: int
) -> list[Row]:
    """The rows of a kind of call: one for each number of states."""
    return [
        Row(
            f"call, {size:,} states {kind}",
            functools.partial(calling, make, donate, size >= few_from),
            (size,),
            target=targets.get(size),
            same=True,
            share=1.0 if size < 1000 else 2.0,
            quick=size < 1000 and (kind == "written" or (kind, size) == ("read", 201)),
            curve=f"call, states {kind}",
            size=size,
        )
        for size in SIZES
        if size or kind == "written"
    ]


def partly(used: int, held: int) -> Works:
    return of_each(SYSTEMS, "partly", used, held)


def stepping(layers: int) -> Works:
    return of_each(STACKS, "stepping", layers)


def reads() -> Works:
    return of_each(STACKS, "reads", TIMES)


def writes() -> Works:
    return of_each(STACKS, "writes", TIMES)


WRITTEN = {3: 1.25, 21: 1.1, 201: 1.0, 1000: 1.0, 7600: 1.0}
OTHERS = {3: 1.5, 21: 1.3, 201: 1.15, 1000: 1.15, 7600: 1.15}
ROWS = (
    *calls("written", steps.adding, False, WRITTEN, 10_000),
    *calls("read", steps.reading, False, OTHERS, 7600),
    *calls("donated", steps.adding, True, OTHERS, 7600),
    Row("call, 3 of 1,000 captured states", partly, (3, 1000), target=3, same=True),
    Row("training step, 50 layers, warm", stepping, (50,), target=1.1, same=True),
    Row("State.value read", reads, target=3, per=TIMES),
    Row("State.value write", writes, target=6, per=TIMES),
)
CLAIM = Claim("engine", "A call costs what hand-threaded JAX costs", ROWS, budget_s=2.5, axis="states")


def parts() -> dict[str, Work]:
    """Return in public parts what a call with 3 states does."""
    bank, x = steps.Bank([steps.Part([], steps.scalars(3))]), jnp.array(1.0)
    snapshot = Snapshot(bank)
    states = snapshot.states
    values, wrapped = read_values(states), StateValues.read(states)

    @jax.jit
    def through(given: StateValues, x: jax.Array) -> Any:
        out = [value + x for value in given.values]
        return out[0], StateValues(given.key, out)

    make = functools.partial(steps.adding, 3)
    return {
        "raw": steps.Raw().calling(make),
        "ours": steps.Ours().calling(make),
        "look": snapshot.is_current,
        "read": lambda: read_values(states, False),
        "wrapped": lambda: through(wrapped, x),
        "write": lambda: write_values(states, values),
        "nothing": lambda: None,
    }


def profile(budget_s: float) -> None:
    """Print what each of these parts takes alone."""
    timing = timed(parts(), budget_s, 60.0)
    found = {name: spread([seen[name] for seen in timing.rounds if name in seen]).median for name in timing.first}
    alone = {name: max(found[name] - found["nothing"], 0.0) for name in ("look", "read", "write")}
    lines = {
        "hand-threaded JAX": found["raw"],
        "is the graph as it was?": alone["look"],
        "read the values": alone["read"],
        "pass them as StateValues, not a tuple": found["wrapped"] - found["raw"],
        "write the values": alone["write"],
    }
    lines["the rest: frames, freeing the old arrays"] = found["ours"] - sum(lines.values())
    print(f"A call with 3 states, the parts each timed alone, the median of {len(timing.rounds)} rounds\n")
    for name, seconds in {**lines, "in all": found["ours"]}.items():
        print(f"{name:<42}{'-' if seconds < 0 else ''}{spell(abs(seconds)):>8}{seconds / found['ours']:8.0%}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    parser = options(CLAIM, __doc__)
    parser.add_argument("--profile", action="store_true", help="where a call with 3 states spends its time")
    given = parser.parse_args(argv)
    if given.profile:
        prepare(CLAIM, given.platform)
        profile(1.0 if given.quick else 6.0)
        return 0
    return run(CLAIM, given)


if __name__ == "__main__":
    raise SystemExit(main())
