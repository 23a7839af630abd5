"""``python -m benchmarks.program``: what a program does not depend on costs nothing, and what it does is told.

A row is a compiled step with some *thing* beside it or inside, and the same step without; *change* is the time of what
is changed before each call, where that alone takes long. A candidate that takes too long is cut off (``--limit``), with
what was seen until then. The last rows take 200 steps with a Python number that changes before each, in a Python of
their own: the memory that they keep, and the step in which the user is warned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ._arena.claim import OURS, Claim, Row, Works
from ._arena.command import options, run
from ._arena.timing import Number
from ._cases import annealing, things, traces
from ._cases.things import Pair

__all__ = ["CLAIM", "PAIRS", "main"]

WITHOUT, BY_HAND, RAW = "without it", "by hand", "raw JAX"
LAMBDA, PASSED = "a lambda", "passed"
MILLION, WORDS, MB_40, OBJECTS, PARTNERS, MODULES = 10**6, 50_000, 10**7, 10**4, 20, 1_000


def _row(
    name: str,
    base: str,
    target: float,
    make: Callable[..., Pair],
    sizes: tuple[int, ...] = (),
    per: int = 1,
    share: int = 1,
) -> tuple[Row, Callable[..., Pair]]:
    """Return a row of a pair of steps, and what makes the pair."""

    def works(*sizes: int) -> Works:
        made = make(*sizes)
        # What is surely quick comes first, so that there is something to compare with.
        return {base: made.pop("without"), **{n: work for n, work in made.items() if n != "with"}, OURS: made["with"]}

    quick = make in QUICK
    return Row(name, works, sizes, target=target, base=base, per=per, share=share, quick=quick), make


# The others take long to be made, or are of one kind with one of these.
QUICK = (
    things.counter,
    things.vocabulary,
    things.calls_beside_list,
    things.partners,
    things.slots,
    things.one_attribute,
    things.modes,
    things.toggled_plain,
    things.mapped,
    traces.run_from_rest,
)
PAIRS = (
    _row("counter on a plain object", WITHOUT, 1.2, things.counter),
    _row("meter with a number named as a method", WITHOUT, 1.2, things.meter),
    _row('{"net": net, "step": n}, counted', WITHOUT, 1.2, things.counted_dict),
    _row("list of 10^6 numbers on a module", WITHOUT, 1.2, things.numbers, (MILLION,)),
    _row("vocabulary of 50,000 words on a module", WITHOUT, 1.2, things.vocabulary, (WORDS,)),
    _row("set of 50,000 words on a module", WITHOUT, 1.2, things.set_of_words, (WORDS,)),
    _row("set of 10^6 words on a module", WITHOUT, 1.2, things.set_of_words, (MILLION,)),
    _row("NumPy array of 40 MB on a module", WITHOUT, 1.2, things.numpy_array, (MB_40,)),
    _row("10^4 plain objects in a list, call", WITHOUT, 1.2, things.calls_beside_list, (OBJECTS,)),
    _row("10^4 plain objects in a list, first call", WITHOUT, 2, things.first_calls_beside_list, (OBJECTS,)),
    _row("10^4 plain objects in a chain, call", WITHOUT, 1.2, things.calls_beside_chain, (OBJECTS,)),
    _row("10^4 plain objects in a chain, first call", WITHOUT, 2, things.first_calls_beside_chain, (OBJECTS,)),
    _row("20 partners in turn", WITHOUT, 1.2, things.partners, (PARTNERS,), per=PARTNERS),
    _row("method of a class with __slots__", WITHOUT, 1.2, things.slots),
    _row("method of dataclass(slots=True)", WITHOUT, 1.2, things.slots_of_dataclass),
    _row("1,000 modules, one attribute as it was", WITHOUT, 3, things.one_attribute, (MODULES,)),
    _row("1,000 modules, an attribute of each as it was", WITHOUT, 3, things.each_attribute, (MODULES,)),
    _row("1,000 modules, eval() and train()", WITHOUT, 10, things.modes, (MODULES,)),
    # Their targets are those of an attribute that was set to what it was.
    _row("temperature of a module, two in turn", WITHOUT, 3, things.toggled_attribute, per=2),
    _row("temperature of a plain object, two in turn", WITHOUT, 3, things.toggled_plain, per=2),
    _row("jax.vmap(net)(x)", LAMBDA, 1.1, things.mapped),
    _row("hidden states made inside, GRU cells", BY_HAND, 1.15, traces.run_from_rest, share=2),
    _row("hidden states made inside, spiking, training", BY_HAND, 1.15, traces.train_from_rest, share=2),
    # Those two run for 30 microseconds. Whether a thread of JAX falls asleep between two of them, which takes it 20 to
    # wake, changes from run to run: 1.03 to 1.5. Steps of a usual length take longer than that.
    _row("hidden states made inside, GRU cells of 32, 50 steps", BY_HAND, 1.15, traces.run_from_rest, (32, 50)),
    _row("hidden states made inside, spiking, training, 50 steps", BY_HAND, 1.15, traces.train_from_rest, (50,)),
    _row("trace, 50 layers", RAW, 1.15, traces.trace_stack, (50,), share=3),
    _row("trace, 50 layers, checkpoint reads a State", RAW, 1.5, traces.trace_stack_with_token, (50,), share=3),
    # 1.06 before JAX's inner caches were told apart; whether it is slower than then, `--against` tells.
    _row("trace, 20 blocks of norm and dropout", BY_HAND, 1.1, traces.trace_deep, (20,), share=3),
    _row("trace, 20 blocks, checkpoint reads a State", PASSED, 1.5, traces.trace_deep_with_token, (20,), share=3),
)

# By name, what changes in each step; see `annealing`.
ANNEALED = {
    "200 annealed steps, a name": "name",
    "200 annealed steps, a plain object": "object",
    "200 annealed steps, a module": "module",
}
STEPS, KEPT_MB = 200, 20
# At the third trace, which is that of the third step.
WARNED = 3


@functools.cache
def annealed(kind: str) -> dict[str, Any]:
    return annealing.measured(kind, STEPS, 30.0)


def kept(kind: str) -> Works:
    found = annealed(kind)
    return {OURS: Number(max(found["kept"], 0.0)), PASSED: Number(max(found["passed"]["kept"], 0.0))}


def warned(kind: str) -> Works:
    """The step of the warning; one behind the last where there is none."""
    return {OURS: Number(annealed(kind)["warned"] or STEPS + 1)}


ROWS = (
    *(row for row, _ in PAIRS),
    *(
        Row(f"{name}: {what}", make, (kind,), target=target, base=None, unit=unit, quick=False)
        for name, kind in ANNEALED.items()
        for what, make, target, unit in (("memory kept", kept, KEPT_MB, "MB"), ("warned at", warned, WARNED, "runs"))
    ),
)
CLAIM = Claim("program", "What a program does not depend on costs nothing", ROWS, budget_s=1.0)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
