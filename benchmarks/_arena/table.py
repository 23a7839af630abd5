"""Results as text: a table in the terminal, and the same in Markdown for a page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from .claim import OURS, PEERS
from .machine import described
from .results import ClaimResult, RowResult, behind, factor

__all__ = ["columns", "console", "markdown", "remarks", "shown", "spell", "spell_factor", "table_of"]

_PALE = {"ok": "green", "missed": "bold red", "failed": "bold red", "": "dim"}


def console() -> Console:
    """Return the terminal; where the output goes to a file, lines are as long as they have to be."""
    wide = Console()
    return wide if wide.is_terminal else Console(width=180)


def spell(value: float, unit: str = "s") -> str:
    """Write a value with its unit, a time in three digits."""
    if unit != "s":
        return f"{value:,.0f}" if unit not in ("B", "MB") else f"{value:,.4g} {unit}"
    for name, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value * 1e9:.3g} ns"


def spell_factor(value: float) -> str:
    """Write how many times what the base takes."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def columns(rows: Sequence[RowResult]) -> list[str]:
    """Return the candidates beside ours and the bases, peers first, then in the order of the rows."""
    bases = {row["base"] for row in rows}
    seen = dict.fromkeys(name for row in rows for name in (*row["systems"], *row["absent"], *row["failed"]))
    others = [name for name in seen if name not in bases and name not in (OURS, *PEERS)]
    return [name for name in PEERS if name in seen and name not in bases] + others


def shown(row: RowResult, others: Sequence[str]) -> list[str]:
    """Return the cells of a row: name, ours, base, ratio with quartiles, target, the others, verdict.

    Others are divided by the base; where there is none, their values are shown.
    """
    systems, unit = row["systems"], row["unit"]
    base = systems.get(row["base"] or "")
    cells = [row["name"], spell(systems[OURS]["median"], unit) if OURS in systems else "-"]
    cells.append("-" if base is None else spell(base["median"], unit))
    seen = row["ratio"]
    cells.append("-" if seen is None else f"{seen['median']:.2f} ({seen['low']:.2f}-{seen['high']:.2f})")
    cells.append("-" if row["target"] is None else f"{row['target']:g}")
    for name in others:
        if name in systems:
            times = factor(row, name)
            cells.append(spell(systems[name]["median"], unit) if times is None else spell_factor(times))
        elif name in row["unfinished"]:
            cells.append(f"> {spell(row['unfinished'][name])}")
        else:
            cells.append("failed" if name in row["failed"] else "-")
    cells.append(_verdict(row))
    return cells


def _verdict(row: RowResult) -> str:
    return ", ".join([row["verdict"] or "-", *(f"behind {name}" for name in behind(row))])


def table_of(result: ClaimResult) -> Table:
    """Return the table of a claim."""
    others = columns(result["rows"])
    table = Table(
        title=f"{result['title']}\n[dim]{result['command']}: {described(result['machine'])}", title_justify="left"
    )
    bases = list(dict.fromkeys(row["base"] for row in result["rows"] if row["base"]))
    for number, name in enumerate(["", OURS, "/".join(bases) or "-", "ratio", "target", *others, ""]):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in result["rows"]:
        table.add_row(*shown(row, others), style="" if row["verdict"] == "ok" else _PALE[row["verdict"]])
    return table


def remarks(result: ClaimResult) -> list[str]:
    """Return what a table has no cell for: fitted exponents, who is not installed, who failed and why."""
    lines = [
        f"{curve}: grows as the size to the power of "
        + ", ".join(f"{fitted:.2f} ({name})" for name, fitted in systems.items())
        for curve, systems in result["fits"].items()
    ]
    rows = result["rows"]
    for name, package in {name: package for row in rows for name, package in row["absent"].items()}.items():
        lines.append(f"{name}: left out, as {package} is not installed")
    lines += [f"{row['name']}, {name}: {why}" for row in rows for name, why in row["failed"].items()]
    lines += [
        f"{row['name']}, {name}: cut off after {seconds:.0f} s"
        for row in rows
        for name, seconds in row["unfinished"].items()
    ]
    if result["error"]:
        lines.append(f"ended early: {result['error']}")
    return lines


def markdown(result: ClaimResult, names: Sequence[str] = ()) -> str:
    """Return the table of a claim, or of the rows of some names, for a page."""
    rows = [row for row in result["rows"] if not names or row["name"] in names]
    others = columns(rows)
    bases = list(dict.fromkeys(row["base"] for row in rows if row["base"]))
    head = ["", OURS, "/".join(bases) or "-", "ratio", "target", *others, ""]
    lines = [head, ["---"] * len(head), *(shown(row, others) for row in rows)]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)
