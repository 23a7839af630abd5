"""``python -m benchmarks.headline``: the tables and pictures of the pages, from the committed results.

A page says where a table goes by two marks; what is between them is written anew:

    <!-- benchmarks: headline -->
    <!-- benchmarks end -->

Behind the colon is a claim, for the whole of its table, or ``headline``, for the rows that README.md shows.  Pictures
go to docs/assets.  ``--check`` writes nothing, and says with exit code 1 which pages are not as they would be written.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ._arena import pictures, results
from ._arena.claim import OURS, PEERS
from ._arena.machine import ROOT, described
from ._arena.results import Results, RowResult, factor
from ._arena.table import markdown, spell, spell_factor

__all__ = ["HEADLINE", "headline", "main", "pages", "rewritten"]

# What the first table shows: its label, the claim, the row.
HEADLINE = (
    ("call that reads and writes 3 states", "engine", "call, 3 states written"),
    ("21 states", "engine", "call, 21 states written"),
    ("201 states", "engine", "call, 201 states written"),
    ("7,600 states", "engine", "call, 7,600 states written"),
    ("training step of 50 layers, warm", "engine", "training step, 50 layers, warm"),
    ("its trace", "tracing", "trace, 50 layers"),
    ("its first call", "tracing", "first call, 50 layers"),
    ("decode step, 7,600 parameter states", "decode", "decode, 7,600 parameter states"),
    ("gated cell, 10,000 steps", "loops", "gated cell, 10,000 steps"),
    ("flatten a tree of 7,600 states", "trees", "flatten a tree, 7,600 states"),
    ("split an unchanged model of 2,000 states", "graph", "split, again, 2,000 states"),
)
TITLE = "What it costs beside raw JAX"
MARKS = re.compile(r"(<!-- benchmarks: ([\w-]+) -->\n)(.*?)(<!-- benchmarks end -->)", re.DOTALL)
# Pictures of the pages: the curves of these claims, and the headline.
CURVES = ("engine", "tracing", "graph")
ASSETS = ROOT / "docs" / "assets"


def chosen(found: Results) -> dict[str, RowResult]:
    """Return the rows of the headline by their labels; a row that was not measured is left out."""
    rows = {(claim, row["name"]): row for claim, result in found["claims"].items() for row in result["rows"]}
    return {label: rows[claim, name] for label, claim, name in HEADLINE if (claim, name) in rows}


def headline(found: Results) -> str:
    """Return the table of the headline: the time of raw JAX, and how many times that each system takes."""
    rows = chosen(found)
    if not rows:
        return "Nothing has been measured yet: `python -m benchmarks`.\n"
    peers = [peer for peer in PEERS if any(peer in row["systems"] for row in rows.values())]
    lines = [["times raw JAX", "raw JAX", "this library", *peers], ["---"] + ["---:"] * (len(peers) + 2)]
    for label, row in rows.items():
        base = row["systems"].get(row["base"] or "")
        if base is not None:
            times = [factor(row, name) for name in (OURS, *peers)]
            cells = ["-" if each is None else spell_factor(each) for each in times]
            lines.append([label, spell(base["median"], row["unit"]), f"**{cells[0]}**", *cells[1:]])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    machine = next(iter(found["claims"].values()))["machine"]
    return f"{table}\n\n{described(machine)}. `python -m benchmarks` measures all of it, `--quick` in three minutes.\n"


def rewritten(text: str, found: Results, page: str) -> str:
    """Return a page with its tables written anew.

    Args:
        text: The page.
        found: The results.
        page: Its path below the repository.

    Raises:
        ValueError: A mark names something that is no claim of the results.
    """

    def table(match: re.Match[str]) -> str:
        begin, name, _, end = match.groups()
        if name == "headline":
            picture = f"![{TITLE}]({os.path.relpath(ASSETS / 'headline.png', (ROOT / page).parent)})\n\n"
            return f"{begin}\n{picture if found['claims'] else ''}{headline(found)}\n{end}"
        if name not in found["claims"]:
            raise ValueError(f"{page}: no results of {name!r}; there are {', '.join(found['claims']) or 'none'}")
        result = found["claims"][name]
        source = f"{described(result['machine'])}. `{result['command']}` makes this table."
        return f"{begin}\n{markdown(result)}\n\n{source}\n\n{end}"

    return MARKS.sub(table, text)


def pages() -> list[Path]:
    """Return the pages that may have marks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def draw(found: Results, folder: Path) -> Iterable[Path]:
    """Draw the pictures of the pages; yield their files."""
    rows = {label: row for label, row in chosen(found).items() if row["base"] in row["systems"]}
    if rows:
        pictures.bars(rows, TITLE, folder / "headline.png")
        yield folder / "headline.png"
    for name in CURVES:
        if name in found["claims"] and pictures.curves(found["claims"][name], folder / f"{name}.png"):
            yield folder / f"{name}.png"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 where ``--check`` finds a page that would be written anew, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.headline", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results.json", metavar="FILE")
    parser.add_argument("--check", action="store_true", help="write nothing, and say which pages are not up to date")
    given = parser.parse_args(argv)
    found, stale = results.read(given.json), []
    for page in pages():
        text = page.read_text()
        new = rewritten(text, found, str(page.relative_to(ROOT)))
        if new != text:
            stale.append(str(page.relative_to(ROOT)))
            if not given.check:
                page.write_text(new)
    if given.check:
        print(f"Not up to date: {', '.join(stale)}" if stale else "All tables are those of the results.")
        return 1 if stale else 0
    drawn = [str(path.relative_to(ROOT)) for path in draw(found, ASSETS)]
    print(f"Written: {', '.join([*stale, *drawn]) or 'nothing'}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
