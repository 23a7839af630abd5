"""Pictures of results: each curve of a claim is a panel, time against size, with the fitted exponent of each system.

And the headline: what a call, a trace and a training step cost beside raw JAX, in every system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .claim import OURS, PEERS
from .results import ClaimResult, Results, RowResult, factor
from .table import spell_factor

__all__ = ["bars", "curves", "draw", "points"]

# Ours stands out, raw JAX is what it is compared with, and the peers are paler.
_STYLE: dict[str, dict[str, Any]] = {
    OURS: {"color": "tab:red", "linewidth": 2.2, "zorder": 5},
    "raw": {"color": "black", "linestyle": "--", "zorder": 4},
    "nested dict": {"color": "0.5", "linestyle": "--"},
    "nnx": {"color": "tab:blue"},
    "nnx cached": {"color": "tab:blue", "linestyle": ":"},
    "nnx tree": {"color": "tab:blue", "linestyle": "-."},
    "brainstate": {"color": "tab:green"},
    "equinox": {"color": "tab:purple"},
}
_NAMES = {"raw": "raw JAX"}
_UNITS = {"s": 1e6}  # times are drawn in microseconds


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def points(rows: Sequence[RowResult]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return the points of each curve that has more than one size, by system, from small to large."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in sorted(rows, key=lambda row: row["size"]):
        if row["curve"]:
            for name, seen in row["systems"].items():
                value = seen["median"] * _UNITS.get(row["unit"], 1.0)
                found.setdefault(row["curve"], {}).setdefault(name, []).append((row["size"], value))
    return {name: by for name, by in found.items() if len({size for seen in by.values() for size, _ in seen}) > 1}


def curves(result: ClaimResult, path: Path) -> bool:
    """Draw the curves of a claim; return whether it has any."""
    found = points(result["rows"])
    if not found:
        return False
    plt = _pyplot()
    units = {row["curve"]: row["unit"] for row in result["rows"]}
    across = min(3, len(found))
    down = -(-len(found) // across)
    figure, grid = plt.subplots(down, across, figsize=(4.6 * across, 3.6 * down), layout="constrained", squeeze=False)
    for panel in grid.flat[len(found) :]:
        panel.set_visible(False)
    for panel, (curve, systems) in zip(grid.flat, found.items(), strict=False):
        for name, seen in systems.items():
            power = result["fits"].get(curve, {}).get(name)
            label = _NAMES.get(name, name) + ("" if power is None else f"  (n^{power:.2f})")
            sizes, values = zip(*[(max(size, 0.5), value) for size, value in seen], strict=True)
            panel.plot(sizes, values, marker="o", markersize=3, label=label, **_STYLE.get(name, {"color": "0.6"}))
        unit = "microseconds" if units[curve] == "s" else units[curve]
        panel.set(xscale="log", yscale="log", title=curve, xlabel=result["axis"], ylabel=unit)
        for axis in (panel.xaxis, panel.yaxis):  # names of the powers of ten alone, as others overlap
            axis.set_minor_formatter(plt.NullFormatter())
        panel.grid(which="major", color="0.92")
        panel.legend(frameon=False, fontsize=7)
    _save(figure, path)
    return True


def bars(rows: Mapping[str, RowResult], title: str, path: Path) -> None:
    """Draw how many times longer each system takes than the base, for some rows by their label."""
    plt = _pyplot()
    names = [OURS, *(peer for peer in PEERS if any(peer in row["systems"] for row in rows.values()))]
    figure, axes = plt.subplots(figsize=(8, 0.75 + 0.13 * len(names) * len(rows)), layout="constrained")
    place, ticks = 0.0, []
    for row in rows.values():
        begin = place
        for name in names:
            times = factor(row, name)
            if times is not None:
                colour = {key: value for key, value in _STYLE[name].items() if key == "color"}
                hatch = {"nnx cached": "....", "nnx tree": "////"}.get(name)
                axes.barh(place, times, height=0.9, hatch=hatch, edgecolor="white", linewidth=0.0, **colour)
                axes.text(times * 1.04, place, spell_factor(times), va="center", size=7)
                place += 1.0
        ticks.append((begin + place - 1.0) / 2)
        place += 0.8
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set(xscale="log", title=title, xlabel="times raw JAX, threaded by hand (log scale; less is better)")
    axes.set_yticks(ticks, list(rows), fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.02)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    hatches = {"nnx cached": "....", "nnx tree": "////"}
    keys = [
        plt.Rectangle((0, 0), 1, 1, facecolor=_STYLE[n]["color"], hatch=hatches.get(n), edgecolor="white")
        for n in names
    ]
    axes.legend(keys, names, frameon=False, fontsize=8, loc="upper right")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})  # the same results give the same file
    _pyplot().close(figure)


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw the curves of each claim that has some; return the files. Without matplotlib there are none."""
    try:
        _pyplot()
    except ModuleNotFoundError:
        return []
    paths = {folder / f"{name}.png": result for name, result in results["claims"].items()}
    return [path for path, result in paths.items() if curves(result, path)]
