"""Where and with what something was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

__all__ = ["ROOT", "described", "machine"]

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("jax", "jaxlib", "numpy", "flax", "brainstate", "equinox", "orbax-checkpoint")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str:
    """Return the revision of the packages that are measured; empty where git or its directory is not there."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """Return the date, the machine, its devices and the versions, as JSON knows them; a missing package has None."""
    device = jax.devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "cpu": platform.machine(),
        "cpus": os.cpu_count(),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "revision": _revision(),
        "versions": {package: _version(package) for package in _PACKAGES},
    }


def described(found: dict[str, Any]) -> str:
    """Return a line on the machine."""
    versions = ", ".join(
        f"{package} {version or 'not installed'}"
        for package, version in found["versions"].items()
        if package not in ("jaxlib", "numpy")
    )
    devices = f"{found['devices']} x {found['device']}" if found["devices"] > 1 else found["device"]
    return f"{found['date']}, Python {found['python']}, {versions}; {devices}, {found['cpus']} CPUs"
