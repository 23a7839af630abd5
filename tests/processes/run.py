"""A Python of its own for code that needs one: another number of devices, a kill, or nothing imported before."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]


def output_of(*args: Any, timeout: float = 300, silent: bool = False, **env: str) -> str:
    """Run Python in a new process, and return what it prints.

    Args:
        *args: Its arguments.
        timeout: In seconds.
        silent: Whether it must write nothing to the standard error, where background threads report theirs.
        **env: Variables of the environment.
    """
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
    assert not (silent and done.stderr), done.stderr
    return done.stdout


def passes(file: str, *args: Any, timeout: float = 900, **env: str) -> None:
    """Run the tests of a file, by its path below `tests`, in a new process."""
    output_of("-m", "pytest", "-q", "-p", "no:cacheprovider", *args, ROOT / "tests" / file, timeout=timeout, **env)
