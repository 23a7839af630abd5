"""``python -m benchmarks.trees``: state trees as pytrees, in ``jax.tree.flatten`` and as arguments of ``jax.jit``.

Raw JAX is a flat tuple of the same arrays; a nested dict is beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from ._arena.claim import Claim, Row, Works, each
from ._arena.command import options, run
from ._cases.models import SYSTEMS

__all__ = ["CLAIM", "main"]

SIZES = (200, 7_600, 100_000)


class Flat:
    """A flat tuple."""

    def tree(self, count: int) -> Any:
        return tuple(jax.tree.leaves(SYSTEMS["raw"]().model(count // 2)))


class Nested:
    """A nested dict."""

    def tree(self, count: int) -> Any:
        return SYSTEMS["raw"]().model(count // 2)


def _of(name: str) -> Callable[[], Any]:
    class Split:
        """The state tree of a model, or what takes its place."""

        def __init__(self) -> None:
            self.system = SYSTEMS[name]()

        @functools.cache  # noqa: B019 (each system is made once and kept)
        def tree(self, count: int) -> Any:
            return self.system.states(self.system.model(count // 2))

    return Split


TREES: dict[str, Callable[[], Any]] = {
    "ours": _of("ours"),
    "raw": Flat,
    "nested dict": Nested,
    **{name: _of(name) for name in SYSTEMS if name not in ("ours", "raw")},
}


def silent(work: Callable[[], Any]) -> Callable[[], None]:
    """Return a work without a result, whose arrays would be waited for one by one."""

    def run() -> None:
        work()

    return run


def flattening(count: int) -> Works:
    def work(system: Any) -> Callable[[], Any]:
        tree = system.tree(count)
        return silent(lambda: jax.tree.flatten(tree))

    return each(TREES, work)


def rebuilding(count: int) -> Works:
    def work(system: Any) -> Callable[[], Any]:
        leaves, structure = jax.tree.flatten(system.tree(count))
        return silent(lambda: jax.tree.unflatten(structure, leaves))

    return each(TREES, work)


def passing(count: int) -> Works:
    """A compiled function that uses one leaf: nearly all of its call is the tree."""

    def work(system: Any) -> Callable[[], Any]:
        tree = system.tree(count)
        jitted = jax.jit(lambda tree: jax.tree.leaves(tree)[0] + 1.0)
        return lambda: jitted(tree)

    return each(TREES, work)


OPERATIONS = {
    "flatten a tree": (flattening, 1.5),
    "unflatten a tree": (rebuilding, None),
    "jax.jit of a tree": (passing, 1.5),
}
ROWS = tuple(
    Row(f"{name}, {size:,} states", make, (size,), target=target, quick=size == 7_600, curve=name, size=size)
    for name, (make, target) in OPERATIONS.items()
    for size in SIZES
)
CLAIM = Claim("trees", "State trees pass into JAX like a flat tuple", ROWS, budget_s=1.5, axis="states")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
