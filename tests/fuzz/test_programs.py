"""Random stateful programs, one to four transforms deep, against the same program without transforms."""

from __future__ import annotations

import os

import jax
import pytest

from tests.fuzz.programs import Program

# Seeds whose programs went wrong once, and those of the short run; FUZZ_FROM says where a longer one begins.
# The nightly run tries 2,000.
KEPT: tuple[int, ...] = ()
FIRST = int(os.environ.get("FUZZ_FROM", "0"))
MANY = int(os.environ.get("FUZZ_PROGRAMS", "60"))


def run(seed):
    try:
        Program(seed).run()
    except BaseException as error:
        error.add_note(f"the program of seed {seed}: {Program(seed).names}")
        raise


def test_a_few_programs():
    for seed in (*KEPT, *range(12)):
        run(seed)


@pytest.mark.slow
def test_many_programs():
    for seed in range(FIRST, FIRST + MANY):
        run(seed)
        if seed % 50 == 49:
            jax.clear_caches()  # each program compiles its own
