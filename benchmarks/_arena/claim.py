"""What is claimed, as data: a *claim* is a list of rows, and a *row* is one operation by several systems.

Rows say what must hold, their target, beside what is timed; nothing else knows it.  A *system* is ours, raw JAX, or a
*peer*: another library.  A peer that is not installed is named in the result and left out.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .timing import Candidate, one_line

__all__ = ["CLAIMS", "OURS", "PEERS", "Absent", "Claim", "Failed", "Row", "Works", "each", "of_each", "restrict"]

OURS = "ours"
# What each peer needs. nnx has three ways: its default, a function that is bound to one module, and modules as trees.
PEERS = {
    "nnx": "flax",
    "nnx cached": "flax",
    "nnx tree": "flax",
    "brainstate": "brainstate",
    "equinox": "equinox",
}
# The modules of `benchmarks` in which the claims are, in the order of `python -m benchmarks`.
CLAIMS = (
    "engine",
    "decode",
    "trees",
    "graph",
    "build",
    "tracing",
    "transforms",
    "loops",
    "hidden",
    "nn",
    "program",
    "calls",
    "devices",
    "checkpoints",
    "orbax",
    "imports",
)


@dataclass(frozen=True)
class Absent:
    """A candidate whose package is not installed."""

    package: str


@dataclass(frozen=True)
class Failed:
    """A candidate that could not be made, and what was said then."""

    reason: str


Works = Mapping[str, Candidate | Absent | Failed]


@dataclass(frozen=True)
class Row:
    """One operation, by several systems.

    Attributes:
        name: What the table calls it; no two rows of a claim have one name.
        make: Makes the candidates, by name of the system.
        args: The arguments of `make`.
        target: The greatest ratio of ours to the base that is claimed or, without a base, the greatest value of ours.
        base: The candidate that the others are divided by; None where the values themselves are shown.
        unit: ``s``, ``B``, ``MB``, or what is counted.
        per: How many operations one run is.
        same: Whether all candidates must return the same first number.
        share: How much of the time for a row it gets.
        quick: Whether it is measured with ``--quick`` too.
        curve: The name of the curve that it is a point of; all rows of a curve differ in their size.
        size: Where on that curve it is.
    """

    name: str
    make: Callable[..., Works]
    args: tuple[Any, ...] = ()
    target: float | None = None
    base: str | None = "raw"
    unit: str = "s"
    per: int = 1
    same: bool = False
    share: float = 1.0
    quick: bool = True
    curve: str = ""
    size: int = 0


@dataclass(frozen=True)
class Claim:
    """The rows of one file.

    Attributes:
        name: The name of its module.
        title: What it claims, in one line.
        rows: Its rows.
        budget_s: The time for a row.
        devices: How many devices it needs; on a CPU so many are made.
        axis: What the sizes of its curves count.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    budget_s: float = 2.0
    devices: int = 1
    axis: str = ""

    def row(self, name: str) -> Row:
        """Return the row of a name."""
        return next(row for row in self.rows if row.name == name)

    def chosen(self, words: Iterable[str], quick: bool) -> list[Row]:
        """Return the rows whose name contains one of the words; without words, all or the quick ones."""
        words = list(words)
        if words:
            return [row for row in self.rows if any(word in row.name for word in words)]
        return [row for row in self.rows if row.quick or not quick]


# ------------------------------------------------------------------------------------------------ works by system


_only: set[str] = set()


def restrict(names: Iterable[str]) -> None:
    """Make from now on the candidates of these systems alone; others are left out without a word."""
    _only.update(names)


@functools.cache
def _made(system: Callable[[], Any]) -> Any:
    return system()


def each(systems: Mapping[str, Callable[[], Any]], work: Callable[[Any], Any]) -> dict[str, Any]:
    """Make the candidates of a row.

    Args:
        systems: What makes each system, by name; it is made once.
        work: Makes the candidate of a system; None where the system has no such thing, which leaves it out.
    """
    works: dict[str, Any] = {}
    for name, system in systems.items():
        if _only and name not in _only:
            continue
        package = PEERS.get(name)
        if package is not None and importlib.util.find_spec(package) is None:
            works[name] = Absent(package)
            continue
        try:
            made = work(_made(system))
        except Exception as error:  # one system must not keep the others from being measured
            made = Failed(one_line(error))
        if made is not None:
            works[name] = made
    return works


def of_each(systems: Mapping[str, Callable[[], Any]], operation: str, *args: Any) -> dict[str, Any]:
    """Make the candidates of a row by a method that the systems have; see `each`."""

    def work(system: Any) -> Any:
        method = getattr(system, operation, None)
        return None if method is None else method(*args)

    return each(systems, work)
