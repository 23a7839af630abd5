"""Damaged and hostile files; in a process of its own, for the audit hook of `damaged_files.py` is never taken off.

It is called at each look at all live objects, and lets other threads run in the middle of it, see `locate`.
"""

from __future__ import annotations

import pytest

from tests.processes.run import passes


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_in_a_process_of_its_own(which):
    passes("processes/damaged_files.py", "-m", which, ALONE="1", JAX_ENABLE_COMPILATION_CACHE="0")
