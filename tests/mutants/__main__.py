"""Put one fault after another into the code, and see whether the tests notice: ``python -m tests.mutants [NAME ...]``.

The packages and the tests are copied to a temporary folder, so nothing here is changed.  Each mutant is a tuple of a
table, see `mutant.Mutant`; its tests are run until the first one fails.  First they are all run on the code as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple

from tests.mutants.mutant import Mutant

ROOT = pathlib.Path(__file__).parents[2]
TABLES = tuple(
    f"tests.mutants.{name}"
    for name in ("graph", "engine", "places", "transforms", "nn", "layers", "spiking", "attention")
)
COPIED = ("brainstate_graph", "brainstate_transform", "brainstate_nn", "tests", "pyproject.toml")
FAILED, BROKEN = 1, 2  # how pytest ends: some tests failed; or it could not even collect them


class Verdict(NamedTuple):
    mutant: Mutant
    word: str  # "killed", "SURVIVED" or "BROKEN"
    seconds: float
    told: str  # the first test that failed, or what is wrong with the mutant


def all_mutants() -> list[Mutant]:
    found: list[Mutant] = []
    for table in TABLES:
        if importlib.util.find_spec(table) is not None:
            found += [Mutant(*parts) for parts in importlib.import_module(table).MUTANTS]
    return found


def misplaced(mutant: Mutant) -> str:
    """Say what is wrong with the place of a mutant; nothing if it fits the code."""
    file = ROOT / mutant.file
    if not file.exists():
        return "there is no such file"
    count = file.read_text(encoding="utf-8").count(mutant.old)
    return "" if count == 1 else f"its text occurs {count} times"


class Copy:
    """A copy of the repository, to put mutants into one after the other."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, folder / name)

    def run(self, tests: tuple[str, ...], timeout: float) -> tuple[int, str]:
        """Run tests until the first one fails; return how pytest ended, and its last words."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "", *tests]
        env = {**os.environ, "PYTHONPATH": str(self.folder)}
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return FAILED, f"not done after {timeout:.0f} seconds"
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return done.returncode, (lines or done.stdout.splitlines() or done.stderr.splitlines() or [""])[-1]

    @contextlib.contextmanager
    def with_mutant(self, mutant: Mutant):
        file = self.folder / mutant.file
        text = file.read_text(encoding="utf-8")
        self._write(file, text.replace(mutant.old, mutant.new))
        try:
            yield
        finally:
            self._write(file, text)

    @staticmethod
    def _write(file: pathlib.Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        pathlib.Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)  # its time may be the same


def judged(copy: Copy, mutant: Mutant, timeout: float) -> Verdict:
    if wrong := misplaced(mutant):
        return Verdict(mutant, "BROKEN", 0.0, wrong)
    began = time.monotonic()
    with copy.with_mutant(mutant):
        status, told = copy.run(mutant.tests, timeout)
    word = {0: "SURVIVED", FAILED: "killed"}.get(status, "BROKEN")
    if status >= BROKEN and told.startswith("ERROR"):  # the fault shows when the package is imported
        word = "BROKEN"
    return Verdict(mutant, word, time.monotonic() - began, told)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only the mutants in whose name or file one of these stands")
    parser.add_argument("--list", action="store_true", help="list them, and run nothing")
    parser.add_argument("--jobs", type=int, default=1, help="how many to try at the same time")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a mutant counts as killed")
    parser.add_argument("--no-base", action="store_true", help="do not run the tests on the code as it is first")
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in all_mutants()
        if not options.names or any(word in f"{mutant.name} {mutant.file}" for word in options.names)
    ]
    if options.list:
        for mutant in chosen:
            print(f"{mutant.file}: {mutant.name}{f'  ({wrong})' if (wrong := misplaced(mutant)) else ''}")
        return any(map(misplaced, chosen))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(options.jobs):
            copies.put(Copy(pathlib.Path(folder) / str(number)))
        if not options.no_base:
            copy = copies.get()
            status, told = copy.run(tuple(dict.fromkeys(test for m in chosen for test in m.tests)), 3600.0)
            copies.put(copy)
            if status:
                print(f"the tests fail without any mutant: {told}")
                return 1

        def attempt(mutant: Mutant) -> Verdict:
            copy = copies.get()
            try:
                verdict = judged(copy, mutant, options.timeout)
            finally:
                copies.put(copy)
            print(f"{verdict.word:8} {verdict.seconds:5.0f} s  {mutant.name}  [{verdict.told[:100]}]", flush=True)
            return verdict

        with ThreadPoolExecutor(options.jobs) as pool:
            verdicts = list(pool.map(attempt, chosen))
    return summary(verdicts)


def summary(verdicts: list[Verdict]) -> int:
    """Print a table of all, those that got away last; return 1 if there are any."""
    print(f"\n{'mutant':62} {'':8} {'seconds':>7}")
    for verdict in sorted(verdicts, key=lambda v: v.word != "killed"):
        print(f"{verdict.mutant.name[:62]:62} {verdict.word:8} {verdict.seconds:7.0f}")
    alive = [v for v in verdicts if v.word != "killed"]
    print(
        f"\n{len(verdicts) - len(alive)} of {len(verdicts)} killed, in {sum(v.seconds for v in verdicts):.0f} seconds"
    )
    return bool(alive)


if __name__ == "__main__":
    sys.exit(main())
