"""A newcomer follows install.md and first_hour.md to the letter, in a new folder, a new environment, a new process."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.public.notebooks import cells_of
from tests.public.sources import PACKAGES, ROOT
from tests.public.test_docs import blocks_of

INSTALL, FIRST_HOUR = ROOT / "docs/start/install.md", ROOT / "docs/start/first_hour.md"
NOT_LENT = re.compile(r"__editable__|_editable|brainstate_(graph|nn|transform)|pip")  # ours, and what a venv has itself
NOT_A_NEWCOMERS = ("JAX", "XLA", "PYTHON", "VIRTUAL_ENV", "MPL")  # what the tests set, or whoever runs them


def lend_packages(folder: Path) -> None:
    """Link what this Python has installed besides our packages: so pip has nothing large to download."""
    folder.mkdir()
    for packages in map(Path, site.getsitepackages()):
        for entry in packages.iterdir():
            if not NOT_LENT.match(entry.name):
                (folder / entry.name).symlink_to(entry)


def newcomer(folder: Path) -> dict[str, str]:
    """Return the environment of somebody whose `python3` is this Python, and who has our dependencies."""
    lend_packages(folder / "lent")
    (folder / "bin").mkdir()
    python = folder / "bin/python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_A_NEWCOMERS)}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "PYTHONPATH": str(folder / "lent"), "JAX_PLATFORMS": "cpu"}


def commands_of_install() -> str:
    """Return the commands of the page; those of make install for themselves, and are only looked up in the Makefile."""
    blocks = [block.code for block in blocks_of(INSTALL.read_text()) if block.info == "sh"]
    assert len(blocks) == 3, "the two commands, an environment, a wheel"
    return re.sub(r"^make ", "make --dry-run ", "\n".join(blocks), flags=re.MULTILINE)


@pytest.mark.slow
def test_from_the_checkout_to_a_loaded_model(tmp_path):
    checkout, work = tmp_path / "checkout", tmp_path / "work"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile"):
        shutil.copy(ROOT / name, checkout / name)
    work.mkdir()
    (check,) = (block.code for block in blocks_of(INSTALL.read_text()) if block.info == "python")
    (work / "check.py").write_text(f"import brainstate_nn\nprint(brainstate_nn.__file__)\n{check}")
    (work / "hour.py").write_text("\n\n".join(cells_of(FIRST_HOUR.read_text())))
    script = f"set -e\ncd {checkout}\n{commands_of_install()}\ncd {work}\npython check.py\npython hour.py\n"
    done = subprocess.run(
        ["sh", "-c", script], env=newcomer(tmp_path), capture_output=True, text=True, timeout=900, check=False
    )
    if "matching distribution found for hatchling" in done.stderr:
        pytest.skip("pip reaches no package index for what builds the package")
    assert done.returncode == 0, done.stdout + done.stderr

    where = next(line for line in done.stdout.splitlines() if line.endswith("brainstate_nn/__init__.py"))
    assert Path(where).is_relative_to(tmp_path / "digits"), "it is the installed package that runs"
    assert "\n(4, 3)\n" in done.stdout
    (accuracy,) = re.findall(r"^epoch 10: .* accuracy ([\d.]+)%$", done.stdout, re.MULTILINE)
    assert float(accuracy) >= 97
    before, loaded = re.findall(r"^(\d+) of 450 are wrong$", done.stdout, re.MULTILINE)
    assert before == loaded == f"{450 * (1 - float(accuracy) / 100):.0f}"
    for name in ("digits.png", "training.png", "wrong.png"):
        assert (work / name).read_bytes().startswith(b"\x89PNG")
