"""Build a wheel and an sdist below dist, and try them: ``python -m tools.package``.

The wheel is installed, with what it needs, in an environment of its own. There the example of README.md runs, in an
empty folder and out of reach of this checkout. A wheel that is built from the sdist must have the same files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST, VENV = ROOT / "dist", ROOT / ".venv-package"
# Beside the code: what a type checker and a lawyer look for.
NEEDED = [f"brainstate_{name}/py.typed" for name in ("graph", "transform", "nn")] + [
    "brainstate_graph-{version}.dist-info/licenses/LICENSE"
]


def run(*command: object, cwd: Path = ROOT) -> str:
    """Run a command, and return what it prints; end with its output where it fails."""
    print("+", *(str(word).partition("\n")[0] for word in command), flush=True)
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    return done.stdout


def files_of(wheel: Path) -> set[str]:
    """Return the names of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def example() -> tuple[str, str]:
    """Return the first example of README.md, and what it prints."""
    found = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, "README.md has no example"
    return found[1], found[2]


def build() -> Path:
    """Build both, compare them, and return the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "-d", DIST)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, sdist)
        (again,) = Path(folder).glob("*.whl")
        different = files_of(wheel) ^ files_of(again)
    version = wheel.name.split("-")[1]
    missing = {name.format(version=version) for name in NEEDED} - files_of(wheel)
    if different or missing:
        sys.exit(f"in the wheel or in that of the sdist alone: {sorted(different)}; missing: {sorted(missing)}")
    return wheel


def main() -> None:
    """Build, install and try."""
    wheel = build()
    shutil.rmtree(VENV, ignore_errors=True)
    run(sys.executable, "-m", "venv", VENV)
    python = VENV / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel)
    run(python, "-m", "pip", "check")
    code, expected = example()
    version = wheel.name.split("-")[1]
    code += f"assert nn.__version__ == {version!r}\nassert {str(VENV)!r} in nn.__file__, nn.__file__\n"
    with tempfile.TemporaryDirectory() as folder:
        printed = run(python, "-I", "-W", "error", "-c", code, cwd=Path(folder))
    if printed.strip() != expected.strip():
        sys.exit(f"the example of README.md prints\n{printed}")
    print(f"{wheel.name}: installed, and the example of README.md prints what it should")


if __name__ == "__main__":
    main()
