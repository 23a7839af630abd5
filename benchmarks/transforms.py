"""``python -m benchmarks.transforms``: what each transform costs beside hand-threaded JAX.

Options: ``--quick`` (rougher), ``--rows grad eager`` (rows whose name contains one of the words), ``--alone`` (without
the other systems), ``--against REVISION`` (today's packages beside those of a revision of git or of a directory, see
`_against`).  It reports and never fails: the exit code is 0.
"""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _transform_cases as cases
from ._against import add_options, compare
from ._report import chosen, header, options, ratios
from ._timing import Work, interleaved, resident_mb
from ._transform_cases import CASES, Case
from ._transform_nnx import Nnx
from ._workloads import NETWORK, NUMBERS, OURS, Library, Workload, bank_values

__all__ = ["main"]

SMALL, LARGE = 3, 200
TARGETS = {SMALL: 1.5, LARGE: 1.15}
TRACE_TARGET, NEST_TARGET, REPEAT_TARGET = 1.3, 1.5, 2.0
TIMES = 1000
_LINE = "{:<47}{:>10}{:>10}{:>8}{:>8}{:>9}{:>12}  {}"


def brainstate() -> Library:
    """brainstate, the reference system."""
    module: Any = importlib.import_module("brainstate")

    class Bank(module.graph.Node):
        def __init__(self, params: Any, hidden: Any) -> None:
            self.params = [module.ParamState(value) for value in params]
            self.hidden = [module.State(value) for value in hidden]

    return Library(module.transform, Bank)


class Peers:
    """The other systems that are installed."""

    def __init__(self, alone: bool) -> None:
        has: Callable[[str], bool] = lambda name: not alone and importlib.util.find_spec(name) is not None  # noqa: E731
        self.libraries = {"ours": OURS, **({"brainstate": brainstate()} if has("brainstate") else {})}
        self.nnx = Nnx() if has("flax") else None


def _working(name: str, work: Work, problems: list[str]) -> bool:
    """Tell whether a system can do it at all; what it says is reported, once."""
    try:
        jax.block_until_ready(work())
    except Exception as error:
        problems.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
        return False
    return True


def _first(out: Any) -> float:
    return float(np.asarray(jax.tree.leaves(out)[0]).ravel()[0])


def line(name: str, works: dict[str, Work], target: float, budget_s: float, problems: list[str], same: bool) -> str:
    """Time one row and return its line."""
    works = {system: work for system, work in works.items() if _working(f"{name}, {system}", work, problems)}
    if "ours" not in works or "raw" not in works:
        return f"{name:<47}failed"
    if same:
        ours, raw = _first(works["ours"]()), _first(works["raw"]())
        if not np.allclose(ours, raw, rtol=1e-4):
            return f"{name:<47}failed: ours is {ours}, raw JAX {raw}"
    best, rounds = interleaved(works, budget_s)
    return f"{_LINE.format(name, *ratios(best, target))} ({rounds})"


def _rows(peers: Peers) -> list[tuple[str, Callable[[], dict[str, Work]], float, bool]]:
    """The name of each row, what makes its works, its target, and whether results are compared."""
    rows: list[tuple[str, Callable[[], dict[str, Work]], float, bool]] = []
    here = [case for case in CASES if hasattr(OURS.transforms, case.name)]
    for case in here:
        for count in (SMALL, LARGE):
            for compiled in (True,) if case.compiles else (False, True):
                how = "" if case.compiles else ", jitted" if compiled else ", eager"
                make = _warm(peers, case, count, compiled)
                rows.append((f"{case.name}, {count} states{how}", make, TARGETS[count], True))
    for work in (NETWORK, NUMBERS):
        traces = [(f"trace of {case.name}, {work.name}", _traced(peers, case, work)) for case in here]
        rows += [(name, make, TRACE_TARGET, False) for name, make in traces]
        nest = functools.partial(cases.nested_trace, work, peers.libraries)
        rows.append((f"trace of jit(for_loop(grad(cond))), {work.name}", nest, NEST_TARGET, False))
    return rows


def our_work(name: str) -> Work:
    """Make what is timed of a row, see `compare`."""
    make = {name: make for name, make, _, _ in _rows(Peers(alone=True))}[name]
    return make()["ours"]


def _warm(peers: Peers, case: Case, count: int, compiled: bool) -> Callable[[], dict[str, Work]]:
    nnx = peers.nnx
    return lambda: {
        **cases.warm(case, count, compiled, peers.libraries),
        **(nnx.warm(case, count, compiled) if nnx else {}),
    }


def _traced(peers: Peers, case: Case, work: Workload) -> Callable[[], dict[str, Work]]:
    nnx = peers.nnx
    return lambda: {**cases.traced(case, work, peers.libraries), **(nnx.traced(case, work) if nnx else {})}


# ------------------------------------------------------------------------------------------------ repeated calls


def _grown(work: Work) -> float:
    """Call `work` often; return how much memory that took for good."""
    for _ in range(TIMES // 10):
        work()
    gc.collect()
    before = resident_mb()
    for _ in range(TIMES):
        jax.block_until_ready(work())
    gc.collect()
    return resident_mb() - before


def repeats(words: list[str], budget_s: float, problems: list[str]) -> None:
    """Eager control flow beside compiled raw JAX, and the growth of memory over many calls."""
    for case in CASES:
        name = f"repeated {case.name}, {SMALL} states, eager"
        if case.name not in ("for_loop", "scan", "while_loop", "cond", "switch") or not chosen(name, words):
            continue
        if not hasattr(OURS.transforms, case.name):
            continue
        works = cases.repeated(case, SMALL, {"ours": OURS})
        print(line(name, works, REPEAT_TARGET, budget_s, problems, True), end="", flush=True)
        print(f"; memory {_grown(works['ours']):+.1f} MB in {TIMES:,} calls, raw {_grown(works['raw']):+.1f}")


# ------------------------------------------------------------------------------------------------ runs of Python


def _runs_of(library: Library, kind: str, depth: int) -> int | None:
    t, count = library.transforms, 0
    bank = library.bank(*bank_values(2, False))

    def f(x: Any) -> Any:
        nonlocal count
        count += 1
        bank.hidden[0].value = bank.hidden[0].value + 1.0
        return x * bank.params[0].value

    nest: Any = f
    if kind == "checkify" and not hasattr(t, "checkify"):
        return None
    for _ in range(depth):
        inner = nest
        if kind == "vmap":
            nest = t.vmap(inner)
        elif kind == "checkify":
            nest = t.checkify(inner)
        elif kind == "jit(grad)":
            nest = t.grad(inner, argnums=0)
        else:
            nest = lambda xs, inner=inner: t.for_loop(inner, xs)  # noqa: E731
    batched = kind in ("vmap", "jit(for_loop)")
    (t.jit(nest) if kind.startswith("jit") else nest)(jnp.ones((2,) * depth if batched else ()))
    return count


def python_runs(peers: Peers) -> None:
    """How often Python runs the user's function in a nest of 1 to 4."""
    print(f"\n{'Python runs of the innermost function':<40}" + "".join(f"{'depth ' + str(d):>10}" for d in range(1, 5)))
    for kind in ("vmap", "checkify", "jit(grad)", "jit(for_loop)"):
        for name, library in peers.libraries.items():
            _print_runs(kind, name, functools.partial(_runs_of, library, kind))
        if peers.nnx is not None:
            _print_runs(kind, "nnx", functools.partial(peers.nnx.runs, kind))


def _print_runs(kind: str, name: str, count: Callable[[int], int | None]) -> None:
    shown: list[str] = []
    for depth in range(1, 5):
        try:
            found = count(depth)
        except Exception as error:
            found = f"{type(error).__name__}"[:9]
        shown.append("-" if found is None else str(found))
    if set(shown) != {"-"}:
        print(f"{kind + ', ' + name:<40}" + "".join(f"{text:>10}" for text in shown), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    parser = options("transforms", __doc__, "half a second a row instead of three", rows=True)
    parser.add_argument("--alone", action="store_true", help="without the other systems")
    add_options(parser)
    given = parser.parse_args(argv)
    budget_s, words, problems = 0.5 if given.quick else 3.0, given.rows, []
    peers = Peers(given.alone or given.against)
    print(header())
    if given.against:
        compare("transforms", {name: 1 for name, *_ in _rows(peers) if chosen(name, words)}, given)
        return 0
    print("Ratio: the least time over many alternating rounds, by that of hand-threaded raw JAX in the same rounds.\n")
    print(_LINE.format("", "ours", "raw JAX", "ratio", "target", "nnx", "brainstate", "(rounds)").rstrip())
    for name, make, target, same in _rows(peers):
        if chosen(name, words):
            try:
                text = line(name, make(), target, budget_s, problems, same)
            except Exception as error:  # one row must not keep the others from being reported
                text = f"{name:<47}failed: {type(error).__name__}: {error}"
            print(text, flush=True)
    repeats(words, budget_s, problems)
    if chosen("python runs", words):
        python_runs(peers)
    if cases.missing(OURS):
        print(f"\nNot there, so not measured: {', '.join(cases.missing(OURS))}.")
    for problem in problems:
        print(f"Failed: {problem}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
