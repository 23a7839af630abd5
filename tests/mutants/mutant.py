"""What a mutant is: one fault put into the code by hand, and the tests that must notice."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Mutant", "laws"]


class Mutant(NamedTuple):
    """One fault.

    Attributes:
        name: What goes wrong, in a few words.
        file: The file, from the root of the repository.
        old: A piece of its text, which occurs once.
        new: What stands in its place; it must still be Python.
        tests: Files or node ids of tests of which one at least fails then.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def laws(law: str, *transforms: str) -> tuple[str, ...]:
    """Return the cases of a law of transforms, for some of them."""
    return tuple(f"tests/laws/test_transforms.py::test_law[{transform}-{law}]" for transform in transforms)
