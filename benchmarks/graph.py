"""``python -m benchmarks.graph``: what it costs to take graphs apart and put them together, beside the peers.

Options: ``--quick`` (a few rounds), ``--rows split merge`` (rows whose name contains one of the words).  It reports and
never fails: the exit code is 0.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import (
    Node,
    State,
    clone,
    nodes,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)

from ._graph_models import Ours, systems
from ._report import chosen, header, options
from ._timing import interleaved, spell

__all__ = ["main"]

_LINE = "{:<44}{:>10}{:>10}{:>12}{:>10}  {}"
LAYERS = 1000


def fresh(works: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]], rounds: int) -> dict[str, float]:
    """The least time of each work on an argument that is made anew for each run, the systems taking turns."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, (make, work) in works.items():
            given = make()
            gc.collect()
            gc.disable()
            try:
                start = perf_counter()
                out = work(given)
                best[name] = min(best[name], perf_counter() - start)
            finally:
                gc.enable()
            del given, out
    return best


def steady(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least time of one run of each work, many runs in a row, the systems taking turns."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            gc.collect()
            gc.disable()
            try:
                for _ in range(20):
                    start = perf_counter()
                    work()
                    best[name] = min(best[name], perf_counter() - start)
            finally:
                gc.enable()
    return best


def show(name: str, best: dict[str, float], claim: float | None, against: str = "best") -> None:
    """Print a line: the times, and how many times faster ours is than the best of the others."""
    others = {k: v for k, v in best.items() if k != "ours"}
    note = ""
    if others and claim is not None:
        gain = min(others.values()) / best["ours"]
        note = f"{gain:.1f}x faster than the {against}, claimed {claim:g}x: {'ok' if gain >= claim else 'MISSED'}"
    cells = [spell(best[k]) if k in best else "-" for k in ("ours", "nnx", "brainstate", "equinox")]
    print(_LINE.format(name, *cells, note).rstrip(), flush=True)


def cold_split(rounds: int) -> None:
    works = {s.name: (lambda s=s: s.model(LAYERS), s.split) for s in systems()}
    show(f"first split, {LAYERS:,} layers", fresh(works, rounds), 3)
    kept = Ours()
    shape = treefy_split(kept.model(LAYERS))[0]
    best = fresh({"ours": (lambda: kept.model(LAYERS), kept.split)}, rounds)
    show("  ... of another model of a known shape", best, None)
    del shape


def merge(rounds: int) -> None:
    works = {}
    for system in systems():
        parts = system.split(system.model(LAYERS))
        works[system.name] = lambda s=system, p=parts: s.merge(p)
    show(f"merge, {LAYERS:,} layers", steady(works, rounds), 5)
    best = fresh({s.name: (lambda s=s: s.split(s.model(LAYERS)), s.merge) for s in systems()}, rounds)
    show("  ... the first of a shape", best, None)


def split_again(rounds: int) -> None:
    works = {}
    for system in systems():
        model = system.model(100)
        works[system.name] = lambda s=system, m=model: s.split(m)
    show("split of an unchanged model, 200 states", steady(works, rounds), 30)


def flattening(rounds: int) -> None:
    trees = {s.name: s.states(s.model(3800)) for s in systems()}
    bare = tuple(jax.tree.leaves(trees["ours"]))
    works = {name: lambda t=tree: jax.tree.flatten(t) for name, tree in trees.items()}
    best = steady({**works, "tuple": lambda: jax.tree.flatten(bare)}, rounds)
    show("flatten a tree of 7,600 states", {k: best[k] for k in ("ours", "nnx") if k in best}, 20, "nnx.State")
    show("  ... the others", {k: best[k] for k in best if k not in ("nnx", "tuple")}, None)
    ratio = best["ours"] / best["tuple"]
    print(f"  ... against a bare tuple: {ratio:.2f}, claimed 1.5: {'ok' if ratio <= 1.5 else 'MISSED'}")


def jit_call(rounds: int) -> None:
    tree = treefy_states(Ours().model(3800))
    plain = tree.to_pure_dict()
    call = jax.jit(lambda t: jax.tree.leaves(t)[0] + 1.0)
    run = {"ours": lambda: jax.block_until_ready(call(tree)), "dict": lambda: jax.block_until_ready(call(plain))}
    best = steady(run, rounds)
    ratio = best["ours"] / best["dict"]
    print(
        f"jax.jit call with that tree: {spell(best['ours'])}, with a nested dict {spell(best['dict'])}; "
        f"{ratio:.2f}, claimed 0.7: {'ok' if ratio <= 0.7 else 'MISSED'}"
    )


def sizes(_: int) -> None:
    count = 10_000
    for what in ("state", "node"):
        cells, times = {}, {}
        for system in systems():
            make = getattr(system, what)
            if make is None:
                continue
            make()
            gc.collect()
            tracemalloc.start()
            start = tracemalloc.get_traced_memory()[0]
            kept = [make() for _ in range(count)]
            cells[system.name] = (tracemalloc.get_traced_memory()[0] - start) / count - 8
            tracemalloc.stop()
            del kept
            times[system.name] = make
        shown = ["-" if k not in cells else f"{cells[k]:.0f} B" for k in ("ours", "nnx", "brainstate", "equinox")]
        print(_LINE.format(f"memory of a {what}", *shown, "").rstrip())
        best, _ = interleaved(times, 1.0)
        show(f"time to make a {what}", best, None)


def growth(rounds: int) -> None:
    """Time per state at 100,000 over that at 1,000, for a chain, and for a model that is wide."""

    class Link(Node):
        def __init__(self, w: State[Any], next: Node | None) -> None:
            self.w, self.next = w, next

    def chain(count: int) -> Any:
        link = None
        for _ in range(count):
            link = Link(State(value), link)
        return link

    value = jnp.ones(())
    print(f"\nTime per state at 100,000 states over that at 1,000{'':<4}{'chain':>10}{'wide':>10}   claimed 1.5")
    ratios: dict[str, list[str]] = {}
    for make in (chain, lambda count: Ours().model(count // 2)):
        cost: dict[str, list[float]] = {}
        for count in (1_000, 100_000):
            repeats = max(3, rounds if count == 1_000 else rounds // 4)
            model = make(count)
            shape, tree = treefy_split(model)
            leaves, treedef = jax.tree.flatten(tree)
            works: dict[str, Callable[[Any], Any]] = {
                "split again": lambda _, m=model: treefy_split(m),
                "merge": lambda _, s=shape, t=tree: treefy_merge(s, t),
                "clone": lambda _, m=model: clone(m),
                "update_states": lambda _, m=model, t=tree: update_states(m, t),
                "states": lambda _, m=model: states(m),
                "nodes": lambda _, m=model: nodes(m),
                "split by kind": lambda _, m=model: treefy_split(m, State, ...),
                "tree.flatten and unflatten": lambda _, d=treedef, x=leaves: jax.tree.unflatten(d, x),
            }
            given = {name: (lambda: None, work) for name, work in works.items()}
            given["first split"] = (lambda make=make, count=count: make(count), treefy_split)
            for name, seconds in fresh(given, repeats).items():
                cost.setdefault(name, []).append(seconds / count)
        for name, (small, large) in cost.items():
            ratios.setdefault(name, []).append(f"{large / small:.2f}")
    for name, found in ratios.items():
        print(f"{name:<55}{found[0]:>10}{found[1]:>10}")


ROWS: dict[str, Callable[[int], None]] = {
    "first split": cold_split,
    "merge": merge,
    "split again": split_again,
    "flatten": flattening,
    "jit call": jit_call,
    "size of a state and a node": sizes,
    "growth": growth,
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    given = options("graph", __doc__, "a few rounds", rows=True).parse_args(argv)
    print(header("equinox"))
    print("The least time over alternating rounds, without garbage collection.\n")
    print(_LINE.format("", "ours", "nnx", "brainstate", "equinox", "").rstrip())
    for name, row in ROWS.items():
        if chosen(name, given.rows):
            try:
                row(4 if given.quick else 20)
            except Exception as error:  # one row must not keep the others from being reported
                print(f"{name}: failed: {type(error).__name__}: {error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
