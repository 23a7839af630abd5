"""Damaged and hostile files; in a process of its own, for the audit hook of `damaged_files.py` is never taken off.

It is called at each look at all live objects, and lets other threads run in the middle of it, see `locate`.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_in_a_process_of_its_own(which):
    file = pathlib.Path(__file__).with_name("damaged_files.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", which, file],
        env={**os.environ, "ALONE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
