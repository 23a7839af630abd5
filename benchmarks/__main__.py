"""``python -m benchmarks``: all claims, each in a Python of its own, as tables, a JSON file and pictures.

Options: names of claims (all if none), ``--quick`` (under three minutes), ``--alone`` (without the other systems),
``--json FILE``, ``--pictures FOLDER``, ``--resume`` (only the claims that the file does not have yet),
``--platform cuda`` (see gpu.md). After each claim its result is in the file, in the place of the old one, so a run that
was ended goes on with ``--resume``. It reports and never fails: the exit code is 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ._arena import pictures, results
from ._arena.claim import CLAIMS
from ._arena.command import bar, effort_options, show
from ._arena.machine import ROOT
from ._arena.measure import fits
from ._arena.results import ClaimResult, Results, RowResult

FILE = ROOT / "benchmarks" / "results.json"
OUTPUT = ROOT / "output" / "benchmarks"


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=f"which ones: {', '.join(CLAIMS)}")
    effort_options(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="the file of results (default: benchmarks/results.json)"
    )
    parser.add_argument("--pictures", type=Path, default=OUTPUT, metavar="FOLDER", help="where pictures are drawn")
    parser.add_argument("--resume", action="store_true", help="only the claims that the file does not have yet")
    given = parser.parse_args(argv)
    unknown = set(given.claims) - set(CLAIMS)
    if unknown:
        parser.error(f"no claims of that name: {', '.join(sorted(unknown))}; there are {', '.join(CLAIMS)}")
    return given


def default_file(quick: bool, platform: str) -> Path:
    """Return where results go: what is committed is a whole run on a CPU."""
    return FILE if not quick and platform == "cpu" else OUTPUT / f"{'quick' if quick else 'whole'}-{platform}.json"


def missing(claims: list[str], found: Results, resume: bool, quick: bool) -> list[str]:
    """Return the claims that are to be measured: those that the file has whole may be left out."""
    claims = claims or list(CLAIMS)
    if not resume:
        return claims
    has = {name for name, result in found["claims"].items() if result["quick"] == quick and not result["error"]}
    return [name for name in claims if name not in has]


def measured(name: str, given: argparse.Namespace, progress: Any, task: Any) -> ClaimResult:
    """Run a claim in a Python of its own; what it has said until it ended early is a result too."""
    command = [
        sys.executable,
        "-m",
        f"benchmarks.{name}",
        "--lines",
        f"--scale={given.scale}",
        f"--limit={given.limit}",
    ]
    command += [f"--platform={given.platform}", *(["--quick"] * given.quick), *(["--alone"] * given.alone)]
    rows: list[RowResult] = []
    machine: dict[str, Any] = {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            for line in process.stdout or ():
                match _line(line):
                    case {"start": {"rows": count, "machine": machine}}:
                        progress.update(task, total=count, completed=0, description=name)
                    case {"row": row}:
                        rows.append(row)
                        progress.update(task, advance=1, description=f"{name}: {row['name']}")
                    case {"claim": result}:
                        process.wait()
                        return result
                    case _:  # a library has printed something
                        pass
        finally:
            process.kill()
        errors.seek(0)
        said = errors.read().strip().rpartition("\n")[2] or f"exit code {process.wait()}"
    return {
        "title": name, "command": f"python -m benchmarks.{name}", "axis": "", "machine": machine, "quick": given.quick,
        "seconds": 0.0, "rows": rows, "fits": fits(rows), "error": said,
    }  # fmt: skip


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    given = parsed(argv)
    path = given.json or default_file(given.quick, given.platform)
    found = results.read(path)
    claims = missing(given.claims, found, given.resume, given.quick)
    with bar() as progress:
        whole, task = progress.add_task("claims", total=len(claims)), progress.add_task("", total=None)
        for name in claims:
            progress.update(task, description=f"{name}: starting", total=None, completed=0)
            result = measured(name, given, progress, task)
            found = results.merged(found, name, result)
            results.write(path, found)
            if result["machine"]:
                show(result)
            else:
                progress.console.print(f"{name} failed: {result['error']}")
            progress.advance(whole)
    drawn = pictures.draw(found, given.pictures)
    print(f"Results: {path}. Pictures: {', '.join(map(str, drawn)) or 'none'}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
