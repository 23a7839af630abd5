"""Code that has to run in a Python of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]


def output_of(*args: Any, timeout: float = 300, **env: str) -> str:
    """Run Python with these arguments, and variables of the environment, in a new process; return what it prints."""
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def passes(file: str, *args: Any, timeout: float = 900, **env: str) -> None:
    """Run the tests of a file, by its path below `tests`, in a new process."""
    output_of("-m", "pytest", "-q", "-p", "no:cacheprovider", *args, ROOT / "tests" / file, timeout=timeout, **env)
