"""Where the packages are, and what they export, for the tests of this directory."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("brainstate_graph", "brainstate_transform", "brainstate_nn")
# Packages inside them that users import by their own name.
INSIDE = ["brainstate_transform.ir"]
PACKAGES = [name for name in NAMES if (ROOT / name / "__init__.py").exists()]


def folder(package: str) -> Path:
    return ROOT.joinpath(*package.split("."))


def files_of(package: str) -> list[Path]:
    return sorted(folder(package).rglob("*.py"))


def exports(package: str) -> list[str]:
    """The names that the package's `__init__.py` imports, and so exports, in its order."""
    tree = ast.parse((folder(package) / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [alias.asname or alias.name for node in imports for alias in node.names if node.module != "__future__"]
    return [name for name in names if name != "__version__"]
