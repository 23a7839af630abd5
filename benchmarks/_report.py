"""What all benchmarks print, and the options that all have."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import warnings
from collections.abc import Mapping

import jax

from ._timing import Work, interleaved, spell

__all__ = ["chosen", "disk_table", "header", "options", "ratios", "version"]

_DISK_LINE = "{:<36}{:>10}{:>12}{:>8}  {}"


def options(name: str, doc: str | None, quick: str = "", rows: bool = False) -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks.<name>``, described by the first line of `doc`.

    Args:
        name: The name of the benchmark.
        doc: The docstring of its module.
        quick: What ``--quick`` does; without it there is no such option.
        rows: Whether it takes ``--rows``.
    """
    warnings.simplefilter("ignore")  # those of the peers
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(doc or "").partition("\n")[0])
    if quick:
        parser.add_argument("--quick", action="store_true", help=quick)
    if rows:
        parser.add_argument(
            "--rows",
            "--only",
            nargs="+",
            default=[],
            metavar="WORD",
            help="only rows whose name contains one of the words",
        )
    return parser


def chosen(name: str, words: list[str]) -> bool:
    """Whether a row is among those that ``--rows`` names."""
    return not words or any(word in name for word in words)


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def header(*packages: str) -> str:
    """Return a line on the machine, JAX, and the versions of the peers, with `packages` behind flax and brainstate."""
    peers = ", ".join(f"{package} {version(package)}" for package in ("flax", "brainstate", *packages))
    return (
        f"Python {platform.python_version()}, jax {jax.__version__} on {jax.default_backend()}, {os.cpu_count()} CPUs; "
        + peers
    )


def ratios(best: Mapping[str, float], target: float, per: int = 1) -> list[str]:
    """Return the cells of a row: ours, raw JAX, their ratio, the target, nnx and brainstate by raw JAX, the verdict.

    Args:
        best: The least time of each system.
        target: The greatest ratio that is claimed.
        per: How many operations one run is.
    """
    by_raw = {system: seconds / best["raw"] for system, seconds in best.items()}
    peers = [f"{by_raw[peer]:.1f}" if peer in by_raw else "-" for peer in ("nnx", "brainstate")]
    times = [spell(best[system] / per) for system in ("ours", "raw")]
    return [*times, f"{by_raw['ours']:.2f}", f"{target:g}", *peers, "MISSED" if by_raw["ours"] > target else "ok"]


def disk_table(what: str, works: Mapping[str, Work], ours: set[str], target: float, size: int, budget_s: float) -> None:
    """Print how long each way takes to write or read `size` bytes; the first is what the others are compared with."""
    best, _ = interleaved(works, budget_s)
    base = next(iter(best.values()))
    print(_DISK_LINE.format(what, "time", "speed", "ratio", "").rstrip())
    for name, seconds in best.items():
        ratio, speed = seconds / base, f"{size / seconds / 1e6:.0f} MB/s"
        note = ("MISSED" if ratio > target else "ok") if name in ours else ""
        print(_DISK_LINE.format(name, spell(seconds), speed, f"{ratio:.2f}", note).rstrip())
    print(flush=True)
