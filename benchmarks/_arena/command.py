"""The command line of one claim, ``python -m benchmarks.NAME``, and the lines that ``python -m benchmarks`` reads.

A claim that is run alone draws a progress bar and its table. With ``--lines`` it prints JSON instead: one line when it
starts, one for each row, and one at its end.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import against, results
from .claim import OURS, Claim, restrict
from .machine import machine
from .measure import Effort, measure_claim
from .results import ClaimResult, RowResult
from .table import console, remarks, table_of

__all__ = ["bar", "effort_options", "options", "prepare", "run", "show"]

QUICK_SCALE = 0.15  # of the time that a row gets otherwise


def effort_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much is measured, which one claim and all of them share."""
    parser.add_argument("--quick", action="store_true", help="fewer rows, and less time for each")
    parser.add_argument("--alone", action="store_true", help="ours and raw JAX, without the other systems")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="multiply the time for a row with this")
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="when a candidate is cut off; 60")
    parser.add_argument("--platform", default="cpu", help="what JAX runs on: cpu (default), cuda, tpu; see gpu.md")


def options(claim: Claim, doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of a claim, described by the docstring of its module."""
    first = (doc or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{claim.name}", description=first)
    effort_options(parser)
    parser.add_argument("--rows", nargs="+", default=[], metavar="WORD", help="only rows whose name contains a word")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the result into this file, beside other claims"
    )
    parser.add_argument("--lines", action="store_true", help=argparse.SUPPRESS)
    against.add_options(parser)
    return parser


def prepare(claim: Claim, platform: str) -> None:
    """Choose the devices, before anything asks JAX for them, and silence the warnings of others."""
    warnings.simplefilter("ignore")
    logging.getLogger("absl").setLevel("ERROR")  # orbax warns that saving takes all the time
    jax.config.update("jax_platforms", platform)
    if platform == "cpu":
        jax.config.update("jax_num_cpu_devices", claim.devices)


def bar(*columns: Any) -> Progress:
    """Return a progress bar for the terminal."""
    shown = columns or (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*shown, console=console(), transient=True)


def show(result: ClaimResult) -> None:
    """Print the table of a claim and its remarks."""
    out = console()
    out.print(table_of(result))
    for line in remarks(result):
        out.print(f"  {line}", style="dim", markup=False, highlight=False)
    out.print()


def run(claim: Claim, given: argparse.Namespace) -> int:
    """Measure a claim as its options say; return 0, as it reports and never fails."""
    prepare(claim, given.platform)
    effort = Effort(given.quick, given.scale * (QUICK_SCALE if given.quick else 1.0), given.limit, tuple(given.rows))
    if given.alone:
        restrict({OURS, *(row.base for row in claim.rows if row.base)})
    chosen = claim.chosen(effort.words, effort.quick)
    if given.against:
        against.compare(claim.name, {row.name: row.per for row in chosen}, given)
        return 0
    if given.lines:
        _say({"start": {"rows": len(chosen), "machine": machine()}})
        result = measure_claim(claim, effort, lambda row: _say({"row": row}))
        _say({"claim": result})
    else:
        with bar() as progress:
            task = progress.add_task(claim.name, total=len(chosen))

            def advance(row: RowResult) -> None:
                progress.update(task, advance=1, description=f"{claim.name}: {row['name']}")

            result = measure_claim(claim, effort, advance)
        show(result)
    if given.json:
        results.write(given.json, results.merged(results.read(given.json), claim.name, result))
    return 0


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), file=sys.stdout, flush=True)
