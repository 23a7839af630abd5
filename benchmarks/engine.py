"""``python -m benchmarks.engine``: what state-aware functions cost beside hand-threaded JAX, one claim per row.

Options: ``--quick`` (a few seconds, rougher), ``--rows call step`` (rows whose name contains one of the words),
``--profile`` (where a call with 3 states spends its time), ``--against REVISION`` (today's packages beside those of a
revision of git or of a directory, see `_against`).  It reports and never fails: the exit code is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Snapshot
from brainstate_graph.extend import read_values, write_values
from brainstate_transform import StateValues

from . import _cases as cases
from ._against import add_options, compare
from ._peers import PEERS, works_of
from ._report import chosen, header, options, ratios
from ._timing import Work, interleaved

__all__ = ["ROWS", "main"]


@dataclass(frozen=True)
class Row:
    """One claim.

    Attributes:
        name: What is claimed to be cheap.
        target: The greatest ratio to raw JAX that we claim.
        make: Makes what is timed; the peers have a method of the same name.
        args: The arguments of `make`.
        per: How many operations one run is.
        same: Whether all systems must compute the same first result.
        share: How much of the time for a row it gets.
    """

    name: str
    target: float
    make: Callable[..., cases.Works]
    args: tuple[int, ...] = ()
    per: int = 1
    same: bool = False
    share: int = 1


ROWS = (
    Row("call, 3 states", 1.5, cases.calling, (3,), same=True),
    Row("call, 21 states", 1.3, cases.calling, (21,), same=True),
    Row("call, 201 states", 1.15, cases.calling, (201,), same=True),
    Row("call, 3 of 1,000 captured states", 3, cases.calling, (3, 1000), same=True),
    Row("trace, 50-layer step", 1.3, cases.tracing, (50,), share=3),
    Row("step, 50-layer, warm", 1.1, cases.stepping, same=True),
    Row("flatten a tree of 7,600 states", 1.5, cases.flattening, (7600,)),
    Row("split again, 200 states", 3, cases.splitting, (200,)),
    Row("State.value read", 3, cases.reads, per=cases.TIMES),
    Row("State.value write", 6, cases.writes, per=cases.TIMES),
)

# Beside older packages only: in these, most of the time that passes goes into XLA.
FIRST_CALLS = (
    Row("trace, 2-layer step", math.inf, cases.tracing, (2,)),
    Row("first call, 2-layer step", math.inf, cases.first_calls, (2,)),
    Row("first call, 50-layer step", math.inf, cases.first_calls, (50,)),
)

_LINE = "{:<34}{:>10}{:>10}{:>8}{:>9}{:>9}{:>12}  {}"


def our_work(name: str) -> Work:
    """Make what is timed of a row, see `compare`."""
    (row,) = (row for row in ROWS + FIRST_CALLS if row.name == name)
    return row.make(*row.args)["ours"]


def measure(row: Row, peers: list[Any], budget_s: float) -> str:
    """Return the line of one row."""
    works = row.make(*row.args)
    for peer in peers:
        works |= works_of(peer, row.make.__name__, *row.args)
    if row.same:
        first = {name: float(np.asarray(work())) for name, work in works.items()}
        if not np.allclose(list(first.values()), first["raw"], rtol=1e-4):
            return f"{row.name:<34}failed: the systems compute different things: {first}"
    best, rounds = interleaved(works, budget_s)
    return f"{_LINE.format(row.name, *ratios(best, row.target, row.per))} (best of {rounds})"


def table(words: list[str], quick: bool) -> None:
    """Print the table, a line as soon as it is known."""
    rows = [row for row in ROWS if chosen(row.name, words)]
    peers = [peer() for peer in PEERS]
    print(header())
    print("Ratio: the least time over many alternating rounds, by that of hand-threaded raw JAX in the same rounds.\n")
    print(_LINE.format("", "ours", "raw JAX", "ratio", "target", "nnx", "brainstate", "").rstrip())
    for row in rows:
        try:
            line = measure(row, peers, row.share * (1.0 if quick else 6.0))
        except Exception as error:  # one row must not keep the others from being reported
            line = f"{row.name:<34}failed: {type(error).__name__}: {error}"
        print(line, flush=True)
    print()
    if any(row.make is cases.tracing for row in rows):
        print(python_runs())
    if any(row.make in (cases.calling, cases.stepping) for row in rows):
        print(nnx_note(peers, 0.5 if quick else 2.0))


def python_runs() -> str:
    try:
        runs = ", ".join(f"{count} in {what}" for what, count in cases.python_runs().items())
    except Exception as error:
        runs = f"failed: {type(error).__name__}: {error}"
    return f"Runs of the user's Python (claimed: 1, 1, 0): {runs}."


def nnx_note(peers: list[Any], budget_s: float) -> str:
    """The other way to use nnx: bound once to a module by ``nnx.cached_partial``."""
    for nnx in (peer for peer in peers if peer.name == "nnx"):
        found = []
        for name, works in (
            ("call, 3 states", {**cases.calling(3), "nnx": nnx.calling(3, cached=True)}),
            ("call, 201 states", {**cases.calling(201), "nnx": nnx.calling(201, cached=True)}),
            ("step", {**cases.stepping(), "nnx": nnx.stepping(cached=True)}),
        ):
            best, _ = interleaved({k: works[k] for k in ("raw", "nnx")}, budget_s)
            found.append(f"{best['nnx'] / best['raw']:.1f} ({name})")
        text = "nnx: nnx.jit with the module as argument. Bound once by nnx.cached_partial its ratios are "
        return text + ", ".join(found) + "."
    return "nnx is not installed."


def profile(budget_s: float) -> None:
    """Do by hand, in public parts, what a call with 3 states does, and time each part."""
    bank, x = cases.Bank(3), jnp.array(1.0)
    works = cases.calling(3)
    snapshot = Snapshot(bank)
    states = snapshot.states
    values = read_values(states)
    wrapped = StateValues.read(states)

    @jax.jit
    def through(given: StateValues, x: jax.Array) -> Any:
        out = [value + x for value in given.values]
        return out[0], StateValues(given.which, out)

    parts: cases.Works = {
        "raw": works["raw"],
        "ours": works["ours"],
        "look": snapshot.is_current,
        "read": lambda: read_values(states, False),
        "wrapped": lambda: through(wrapped, x),
        "write": lambda: write_values(states, values),
        "nothing": lambda: None,
    }
    best, rounds = interleaved(parts, budget_s)
    best = {k: v if k in ("raw", "ours", "wrapped") else max(v - best["nothing"], 0.0) for k, v in best.items()}
    lines = {
        "hand-threaded JAX": best["raw"],
        "is the graph as it was?": best["look"],
        "read the values": best["read"],
        "pass them as StateValues, not a tuple": best["wrapped"] - best["raw"],
        "write the values": best["write"],
    }
    lines["the rest: frames, freeing the old arrays"] = best["ours"] - sum(lines.values())
    print(header())
    print(f"A call with 3 states, the parts each timed alone, best of {rounds} alternating rounds\n")
    for name, seconds in {**lines, "in all": best["ours"]}.items():
        print(f"{name:<40}{seconds * 1e6:8.2f} us{seconds / best['ours']:8.0%}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    parser = options("engine", __doc__, "one second a row instead of six", rows=True)
    parser.add_argument("--profile", action="store_true", help="where a call with 3 states spends its time")
    add_options(parser)
    given = parser.parse_args(argv)
    if given.profile:
        profile(1.0 if given.quick else 6.0)
    elif given.against:
        print(header())
        compare("engine", {row.name: row.per for row in ROWS + FIRST_CALLS if chosen(row.name, given.rows)}, given)
    else:
        table(given.rows, given.quick)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
