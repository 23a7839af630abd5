"""Two states of the packages side by side: the same rows in processes that take turns.

Both states are copied, each to a folder of its own, with today's benchmarks beside them.  Some processes a side start
once and then wait on a pipe.  A *turn* is some milliseconds of one row in one process.  A *round* is a turn of each
process, in an order that is drawn anew.  Two habits keep the ratio steady on a busy machine:

- A turn is measured in CPU time of the thread that calls.  Other programs do not add to it, and neither does XLA, which
  compiles and runs the same programs on both sides.
- Where code and values lie in memory changes the time of short operations for as long as a process lives (measured: 36
  or 40 ns for a read of ``State.value``).  So a side has several processes, of which the quickest counts in each round,
  and what is timed is made anew after each third of the rounds.

The ratio of a row is the median over the rounds of new by old; its interval of 95 % comes from the order of the rounds.
With the same packages on both sides, 20 rounds of four processes a side give ratios from 0.992 to 1.012 in all rows of
`benchmarks.engine`, beside four to ten other busy programs on two cores; 60 rounds are no better.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import jax

from .claim import OURS, restrict
from .machine import ROOT
from .table import spell
from .timing import Clocked, Work

__all__ = ["add_options", "compare"]

PACKAGES = ("brainstate_graph", "brainstate_transform", "brainstate_nn")
WORSE = 1.03

_BATCH_S, _BATCHES, _MAKES = 1e-3, 5, 3
_LINE = "{:<47}{:>10}{:>10}{:>8}{:>16}  {}"


# ------------------------------------------------------------------------------------------------ in each process


def _turn(work: Work | Clocked, count: int, batches: int) -> float:
    """Return the least time of one run over some batches, in CPU seconds of this thread."""
    gc.collect()  # not between the runs, where it would come to one side by chance
    best = math.inf
    for _ in range(batches):
        if isinstance(work, Clocked):
            best = min([best, *(work.run(thread_time) for _ in range(count))])
            continue
        out: object = None
        start = thread_time()
        for _ in range(count):
            out = work()
        best = min(best, (thread_time() - start) / count)
        jax.block_until_ready(out)  # so as not to run on in the turn of another
    return best


def _answers(folder: str) -> None:
    """Answer a line of JSON on standard output for each on standard input, until that ends."""
    # A first call compiles what the same row has compiled before.
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_platforms", "cpu")
    restrict([OURS])
    warnings.simplefilter("ignore")
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    work: Work | Clocked = gc.collect
    for line in sys.stdin:
        answer: Any
        try:
            match json.loads(line):
                case {"module": module, "row": row}:
                    gc.enable()
                    gc.unfreeze()
                    found = importlib.import_module(f"benchmarks.{module}").CLAIM.row(row)
                    work = found.make(*found.args)[OURS]
                    _turn(work, 1, 1)
                    answer = _turn(work, 1, 3)
                    gc.collect()
                    gc.freeze()  # so that a collection before a turn is cheap
                    gc.disable()
                case {"count": count, "batches": batches}:
                    answer = _turn(work, count, batches)
                case other:
                    raise ValueError(other)
        except Exception as error:  # one row must not keep the others from being measured
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=output, flush=True)


# ------------------------------------------------------------------------------------------------ the two sides


def _copied(source: str, folder: Path) -> Path:
    """Copy the packages of a directory or of a revision of git, and today's benchmarks, to a new folder."""
    folder.mkdir()
    if Path(source).is_dir():
        for package in PACKAGES:
            shutil.copytree(Path(source) / package, folder / package)
    else:
        made = subprocess.run(["git", "archive", source, *PACKAGES], cwd=ROOT, capture_output=True, check=False)
        if made.returncode:
            raise SystemExit(f"{source} is neither a directory nor a revision: {made.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
            archive.extractall(folder, filter="data")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks")
    return folder


class _Process:
    """One process of one side."""

    def __init__(self, side: str, folder: Path, compiled: Path) -> None:
        self.side = side
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "benchmarks._arena.against", str(compiled)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, **request: Any) -> Any:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(request), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        return json.loads(answer) if answer else f"its process has ended with {process.wait()}"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _interval(ratios: list[float]) -> tuple[float, float]:
    """The interval around the median that holds it in 95 of 100 cases, where rounds are independent."""
    ordered, count = sorted(ratios), len(ratios)
    out = max(0, math.floor(count / 2 - 0.98 * math.sqrt(count)))
    return ordered[out], ordered[count - 1 - out]


def _measured(module: str, row: str, processes: list[_Process], rounds: int, per: int) -> tuple[str, float]:
    """Return the line of one row and its ratio."""
    best = {"old": math.inf, "new": math.inf}
    count = batches = 1
    ratios: list[float] = []
    for number in range(rounds):
        if number % math.ceil(rounds / _MAKES) == 0:
            once = [process.ask(module=module, row=row) for process in processes]
            for process, answer in zip(processes, once, strict=True):
                if isinstance(answer, str):
                    return f"{row:<47}failed, {process.side}: {answer}", math.nan
            count = max(1, math.ceil(_BATCH_S / min(once)))
            batches = max(1, min(_BATCHES, round(_BATCHES * _BATCH_S / (count * min(once)))))
        turns = dict.fromkeys(best, math.inf)
        for process in random.sample(processes, len(processes)):
            turns[process.side] = min(turns[process.side], process.ask(count=count, batches=batches))
        best = {side: min(best[side], turns[side]) for side in best}
        ratios.append(turns["new"] / turns["old"])
    ratio, (low, high) = median(ratios), _interval(ratios)
    mark = "ok" if ratio <= WORSE else "WORSE" if low > 1.0 else "worse, or chance"
    times = (spell(best["old"] / per), spell(best["new"] / per))
    return _LINE.format(row, *times, f"{ratio:.3f}", f"{low:.3f} - {high:.3f}", mark), ratio


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a benchmark that can be run so."""
    group = parser.add_argument_group("today's packages beside older ones")
    group.add_argument("--against", metavar="REVISION", help="the older ones: a revision of git, or a directory")
    group.add_argument("--rounds", type=int, default=20, metavar="N", help="rounds a row; 20 if not given")
    group.add_argument("--processes", type=int, default=4, metavar="N", help="processes a side; 4 if not given")


def compare(module: str, rows: dict[str, int], given: argparse.Namespace) -> None:
    """Print how today's packages do beside older ones, a line a row.

    Args:
        module: The module of the claim, in which our candidate of each row is what is timed.
        rows: How many operations one run of each row is, by its name.
        given: The options of `add_options`.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sides = {"old": _copied(given.against, folder / "old"), "new": _copied(str(ROOT), folder / "new")}
        processes: list[_Process] = []
        try:
            for side, code in sides.items():
                processes += [_Process(side, code, folder / "compiled") for _ in range(given.processes)]
            print("CPU time of the calling thread: the least of each side; the ratio is the median over all rounds.\n")
            print(_LINE.format("", "old", "new", "ratio", "95 %", "").rstrip())
            worse: list[str] = []
            for row, per in rows.items():
                line, ratio = _measured(module, row, processes, given.rounds, per)
                print(line, flush=True)
                if not ratio <= WORSE:
                    worse.append(row)
        finally:
            for process in processes:
                process.close()
    print(f"\nWorse by more than {WORSE - 1:.0%}, or failed: {', '.join(worse) or 'none'}.")


if __name__ == "__main__":
    _answers(sys.argv[1])
