"""``python -m benchmarks.program``: what a program does not depend on costs nothing, and what it does is told.

A row is a compiled step with some *thing* beside it or inside, and the same step without.  Options: ``--quick``
(rougher), ``--only counter set`` (rows whose name contains one of the words), ``--limit SECONDS`` (when a row is cut
off, with what was seen until then), ``--against REVISION`` (the traces, or the rows of ``--only``, with the thing:
today's packages beside those of a revision of git or of a directory, see `_against`).  It reports and never fails: the
exit code is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from . import _annealing
from . import _program_cases as cases
from ._against import add_options, compare
from ._cases import Works
from ._report import chosen, header, options
from ._timing import Medians, Work, medians, spell

__all__ = ["ANNEALED", "ROWS", "Row", "main"]

WITHOUT, BY_HAND, RAW = "the same step without it", "the same step split by hand for jax.jit", "raw JAX"
LAMBDA, PASSED = "a lambda around it", "the value passed to the body"


@dataclass(frozen=True)
class Row:
    """One claim.

    Attributes:
        name: The thing.
        beside: What the step is compared with.
        asked: The greatest ratio to that.
        make: Makes the two steps, see `_program_cases`.
        sizes: The arguments of `make`.
        per: How many calls one run is.
        share: How much of the time for a row it gets.
    """

    name: str
    beside: str
    asked: float
    make: Callable[..., Works]
    sizes: tuple[int, ...] = ()
    per: int = 1
    share: int = 1


MILLION, WORDS, MB_40, OBJECTS, PARTNERS, MODULES = 10**6, 50_000, 10**7, 10**4, 20, 1_000

ROWS = (
    Row("counter on a plain object", WITHOUT, 1.2, cases.counter),
    Row("meter with a number named as a method", WITHOUT, 1.2, cases.meter),
    Row('{"net": net, "step": n}, counted', WITHOUT, 1.2, cases.counted_dict),
    Row("list of 10^6 numbers on a module", WITHOUT, 1.2, cases.numbers, (MILLION,)),
    Row("vocabulary of 50,000 words on a module", WITHOUT, 1.2, cases.vocabulary, (WORDS,)),
    Row("set of 50,000 words on a module", WITHOUT, 1.2, cases.set_of_words, (WORDS,)),
    Row("set of 10^6 words on a module", WITHOUT, 1.2, cases.set_of_words, (MILLION,)),
    Row("NumPy array of 40 MB on a module", WITHOUT, 1.2, cases.numpy_array, (MB_40,)),
    Row("10^4 plain objects in a list, call", WITHOUT, 1.2, cases.calls_beside_list, (OBJECTS,)),
    Row("10^4 plain objects in a list, first call", WITHOUT, 2, cases.first_calls_beside_list, (OBJECTS,)),
    Row("10^4 plain objects in a chain, call", WITHOUT, 1.2, cases.calls_beside_chain, (OBJECTS,)),
    Row("10^4 plain objects in a chain, first call", WITHOUT, 2, cases.first_calls_beside_chain, (OBJECTS,)),
    Row("20 partners in turn", WITHOUT, 1.2, cases.partners, (PARTNERS,), per=PARTNERS),
    Row("method of a class with __slots__", WITHOUT, 1.2, cases.slots),
    Row("method of dataclass(slots=True)", WITHOUT, 1.2, cases.slots_of_dataclass),
    Row("1,000 modules, one attribute as it was", WITHOUT, 3, cases.one_attribute, (MODULES,)),
    Row("1,000 modules, an attribute of each as it was", WITHOUT, 3, cases.each_attribute, (MODULES,)),
    Row("1,000 modules, eval() and train()", WITHOUT, 10, cases.modes, (MODULES,)),
    # The issue that asks for the figures has none for this one: that of what was set to what it was.
    Row("temperature of a module, two in turn", WITHOUT, 3, cases.toggled_attribute, per=2),
    Row("temperature of a plain object, two in turn", WITHOUT, 3, cases.toggled_plain, per=2),
    Row("jax.vmap(net)(x)", LAMBDA, 1.1, cases.mapped),
    Row("hidden states made inside, GRU cells", BY_HAND, 1.15, cases.run_from_rest, share=2),
    Row("hidden states made inside, spiking, training", BY_HAND, 1.15, cases.train_from_rest, share=2),
    # Those two run for 30 microseconds. Whether a thread of JAX falls asleep between two of them, which takes it 20 to
    # wake, changes from run to run: 1.03 to 1.5. Steps of a usual length take longer than that.
    Row("hidden states made inside, GRU cells of 32, 50 steps", BY_HAND, 1.15, cases.run_from_rest, (32, 50)),
    Row("hidden states made inside, spiking, training, 50 steps", BY_HAND, 1.15, cases.train_from_rest, (50,)),
    Row("trace, 50 layers", RAW, 1.15, cases.trace_stack, (50,), share=3),
    Row("trace, 50 layers, checkpoint reads a State", RAW, 1.5, cases.trace_stack_with_token, (50,), share=3),
    # 1.06 before JAX's inner caches were told apart; whether it is slower than then, `--against` tells.
    Row("trace, 20 blocks of norm and dropout", BY_HAND, 1.1, cases.trace_deep, (20,), share=3),
    Row("trace, 20 blocks, checkpoint reads a State", PASSED, 1.5, cases.trace_deep_with_token, (20,), share=3),
)

# By name, what changes in each step; see `_annealing`.
ANNEALED = {
    "200 annealed steps, a name": "name",
    "200 annealed steps, a plain object": "object",
    "200 annealed steps, a module": "module",
}
STEPS, KEPT_MB = 200, 20
# At the third trace, which is that of the third step.
WARNED = 3

_LINE = "{:<48}{:>10}{:>10}{:>9}{:>7}  {}"


def our_work(name: str) -> Work:
    """Make what is timed of a row, see `compare`."""
    (row,) = (row for row in ROWS if row.name == name)
    return row.make(*row.sizes)["with"]


def _verdict(met: bool, *notes: str) -> str:
    said = ", ".join(note for note in notes if note)
    return ("ok" if met else "MISSED") + (f" ({said})" if said else "")


def line_of(row: Row, seen: Medians, limit_s: float) -> str:
    """Return the line of a row."""
    seconds = seen.seconds
    if "with" not in seconds:
        return f"{row.name:<48}cut off after {limit_s:g} s, before the thing was tried"
    ratio = seconds["with"] / seconds["without"]
    change = f"the change alone {spell(seconds['change'])}" if "change" in seconds else ""
    cut = f"cut off after {limit_s:g} s, {seen.rounds} rounds" if seen.cut else ""
    more = ">" if seen.unfinished == "with" else ""
    times = [spell(seconds[name] / row.per) for name in ("with", "without")]
    cells = (more + times[0], times[1], more + _number(ratio), _number(row.asked))
    met = ratio <= row.asked and seen.unfinished is None
    return _LINE.format(row.name, *cells, _verdict(met, change, cut))


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:,.0f}"


def annealed_line(name: str, kind: str, steps: int, limit_s: float) -> str:
    """Return the line of some annealed steps: the MB that are kept, where the number is passed, and the target."""
    found = _annealing.measured(kind, steps, limit_s)
    kept, other, warned, taken = found["kept"], found["passed"]["kept"], found["warned"], found["steps"]
    told = f"warned at step {warned}" if warned else "never warned"
    cut = f"cut off after {limit_s:g} s, {taken} steps" if taken < steps else f"{taken} steps" * (steps < STEPS)
    met = kept < KEPT_MB and warned is not None and warned <= WARNED
    cells = (f"{kept:.0f} MB", f"{other:.0f} MB", "-", f"{KEPT_MB} MB")
    return _LINE.format(name, *cells, _verdict(met, told, f"{spell(found['one'])} each", cut))


def table(words: list[str], quick: bool, limit_s: float) -> None:
    """Print the table, a line as soon as it is known."""
    print(header())
    print("Ratio: the median time of a call over alternating rounds, by that of what it is compared with.")
    for beside, rows in groupby([row for row in ROWS if chosen(row.name, words)], lambda row: row.beside):
        print("\n" + _LINE.format(f"Compared with {beside}", "with", "without", "ratio", "asked", "").rstrip())
        for row in rows:
            budget_s = row.share * (0.5 if quick else 3.0)
            _print(row.name, lambda row=row, budget_s=budget_s: line_of(row, _seen(row, budget_s, limit_s), limit_s))
    kinds = {name: kind for name, kind in ANNEALED.items() if chosen(name, words)}
    if kinds:
        title = "Memory kept, compared with the number passed"
        print("\n" + _LINE.format(title, "with", "without", "", "asked", "").rstrip())
    for name, kind in kinds.items():
        steps = STEPS // 4 if quick else STEPS
        _print(name, lambda name=name, kind=kind, steps=steps: annealed_line(name, kind, steps, limit_s))


def _seen(row: Row, budget_s: float, limit_s: float) -> Medians:
    works = row.make(*row.sizes)
    # What is surely quick comes first, so that there is something to compare with.
    return medians(dict(sorted(works.items(), key=lambda item: item[0] == "with")), budget_s, limit_s)


def _print(name: str, line: Callable[[], str]) -> None:
    try:
        text = line()
    except Exception as error:  # one row must not keep the others from being reported
        text = f"{name:<48}failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    print(text, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    parser = options("program", __doc__, "half a second a row instead of three, 50 annealed steps", rows=True)
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="when a row is cut off; 60 s")
    add_options(parser)
    given = parser.parse_args(argv)
    if given.against:
        print(header())
        compare("program", {row.name: row.per for row in ROWS if chosen(row.name, given.rows or ["trace,"])}, given)
    else:
        table(given.rows, given.quick, given.limit)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
