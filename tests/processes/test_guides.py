"""The guides print what they show, to the last digit: in a process of its own, whose programs are those of a reader."""

from __future__ import annotations

import pytest

from tests.processes.run import passes


@pytest.mark.counts_traces
def test_by_the_letter():
    passes("processes/guides.py", ALONE="1", JAX_DISABLE_MOST_OPTIMIZATIONS="0", XLA_FLAGS="")
