"""The JSON file of results: what is in it, how claims are merged into it, and how it is checked.

A claim that is measured again takes the place of what the file has of it; the other claims stay.  So a run that was
ended goes on where it was, and one claim can be measured alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from .claim import OURS, PEERS

__all__ = [
    "SCHEMA",
    "ClaimResult",
    "Results",
    "RowResult",
    "SpreadResult",
    "behind",
    "checked",
    "factor",
    "merged",
    "read",
    "write",
]

SCHEMA = 1
# Of these, who has less is ahead; how many files a call goes through says how a library is written.
_LESS_IS_AHEAD = ("s", "B", "MB", "calls", "runs")
VERDICTS = ("ok", "missed", "failed", "")


class SpreadResult(TypedDict):
    """A `Spread` by name."""

    median: float
    low: float
    high: float
    least: float
    rounds: int


class RowResult(TypedDict):
    """What was measured for a row.

    Attributes:
        name, unit, base, target, curve, size: Those of the row.
        systems: The times or values of each candidate, for one operation.
        ratio: Ours by the base; None where the row has no base or one of them failed.
        verdict: Whether the target was met, as one of `VERDICTS`; empty where there is no target.
        absent: The package of each candidate that is not installed.
        failed: What each candidate that failed has said.
        unfinished: The seconds after which a candidate was cut off.
    """

    name: str
    unit: str
    base: str | None
    target: float | None
    curve: str
    size: int
    systems: dict[str, SpreadResult]
    ratio: SpreadResult | None
    verdict: str
    absent: dict[str, str]
    failed: dict[str, str]
    unfinished: dict[str, float]


class ClaimResult(TypedDict):
    """What was measured for a claim; `error` is what ended it early, empty where nothing did."""

    title: str
    command: str
    axis: str
    machine: dict[str, Any]
    quick: bool
    seconds: float
    rows: list[RowResult]
    fits: dict[str, dict[str, float]]
    error: str


class Results(TypedDict):
    """The file."""

    schema: int
    claims: dict[str, ClaimResult]


def checked(found: Any) -> Results:
    """Return a value if it is such a file, else raise a ValueError that says where it is not."""
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ValueError(f"a file of results has schema {SCHEMA}; this one does not: measure again")
    for claim, result in found.get("claims", {}).items():
        _keys(f"claims.{claim}", result, ClaimResult)
        for row in result["rows"]:
            where = f"claims.{claim}.rows: {row.get('name')!r}"
            _keys(where, row, RowResult)
            if row["verdict"] not in VERDICTS:
                raise ValueError(f"{where}: {row['verdict']!r} is no verdict; those are {VERDICTS}")
            for system, seen in {**row["systems"], "ratio": row["ratio"]}.items():
                if seen is not None:
                    _keys(f"{where}, {system}", seen, SpreadResult)
    return {"schema": SCHEMA, "claims": found.get("claims", {})}


def _keys(where: str, found: Mapping[str, Any], kind: Any) -> None:
    missing, more = kind.__required_keys__ - set(found), set(found) - set(kind.__annotations__)
    if missing or more:
        raise ValueError(f"{where}: missing {sorted(missing)}, unknown {sorted(more)}")


def read(path: Path) -> Results:
    """Return what a file holds; nothing where there is none."""
    if not path.exists():
        return {"schema": SCHEMA, "claims": {}}
    return checked(json.loads(path.read_text()))


def merged(results: Results, name: str, result: ClaimResult) -> Results:
    """Return results with a claim in the place of what they had of it."""
    return {"schema": SCHEMA, "claims": {**results["claims"], name: result}}


def write(path: Path, results: Results) -> None:
    """Write a file, in one step: who reads it meanwhile finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(_rounded(results), indent=1) + "\n")
    os.replace(part, path)


def _rounded(found: Any) -> Any:
    """Leave four digits of each float, so that a file is short and its changes can be read."""
    if isinstance(found, float):
        return float(f"{found:.4g}")
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    return [_rounded(value) for value in found] if isinstance(found, list) else found


def factor(row: RowResult, system: str) -> float | None:
    """Return how many times what the base takes a system takes; None where one of them was not measured.

    Ours is compared with the base round by round, the others by their medians.
    """
    base, seen = row["systems"].get(row["base"] or ""), row["systems"].get(system)
    if system == OURS and row["ratio"] is not None:
        return row["ratio"]["median"]
    return None if base is None or seen is None or not base["median"] else seen["median"] / base["median"]


def behind(row: RowResult) -> list[str]:
    """Return the peers that ours is behind by more than 1 %, where the middle halves of both do not overlap."""
    systems = row["systems"]
    if OURS not in systems or row["unit"] not in _LESS_IS_AHEAD:
        return []
    return [peer for peer in PEERS if peer in systems and systems[peer]["high"] < 0.99 * systems[OURS]["low"]]
