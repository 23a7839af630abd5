"""CONTRIBUTING.md is true: what its walk names is there, and its recipes work when they are followed to the letter."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from benchmarks.calls import count
from brainstate_transform import grad, jit
from tests.public.sources import PACKAGES, ROOT
from tests.public.test_docs import blocks_of

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = ("Add a transform", "Add a layer")
LINES_OF_CODE = 15


def section(title: str) -> str:
    """The text below the heading that begins with `title`."""
    found = re.search(rf"^## {re.escape(title)}.*?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"CONTRIBUTING.md has no section that begins with {title!r}"
    return found[1]


@pytest.mark.graph_cache
def test_the_walk_is_what_happens():
    walk = re.findall(r"^.{8}(\S+\.py) +(\S+)", section("A walk"), re.MULTILINE)
    walk = [(path if path.startswith("graph/") else f"transform/{path}", name) for path, name in walk]
    model = nn.Linear(2, 1, rng=nn.RandomState(0))

    def loss(x):
        return jnp.mean(model(x) ** 2)

    def all_of_it():
        f, x = jit(grad(loss)), jnp.ones((4, 2))
        f(x)
        f(x)

    made = count(all_of_it, *PACKAGES)
    calls = ((made.name_of_file(code).removeprefix("brainstate_"), code.co_qualname) for code in made.codes)
    for path, name in walk:  # each of them after the one before it
        assert any(call in ((path, name), (path, f"{name}.__init__")) for call in calls), f"{path}: {name} is not next"
    assert len(walk) > 20


def lines_of_code(text: str) -> int:
    """How many lines have code, other than imports and docstrings."""
    found: set[int] = set()
    for item in ast.walk(ast.parse(text)):
        is_text = isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)
        if isinstance(item, ast.stmt) and not is_text and not isinstance(item, ast.Import | ast.ImportFrom):
            found.add(item.lineno)
    return len(found)


def test_a_transform_has_fifteen_lines():
    (file,) = (block.code for block in blocks_of(section("Add a transform")) if block.info == "python")
    assert lines_of_code(file) <= LINES_OF_CODE


def follow(recipe: str, root: Path) -> None:
    """Write the files of a recipe below `root`, and change those that it changes."""
    for block in blocks_of(recipe):
        if block.info not in ("python", "diff"):
            continue
        head, *lines = block.code.splitlines()
        path = root / head.removeprefix("# ")
        if block.info == "python":
            assert not path.exists(), f"there is a {path.name} already"
            path.write_text("\n".join(lines) + "\n")
            continue
        before = "\n".join(line[1:] for line in lines if line[0] in " -")
        after = "\n".join(line[1:] for line in lines if line[0] in " +")
        text = path.read_text()
        assert text.count(before) == 1, f"{path.name} has not once:\n{before}"
        path.write_text(text.replace(before, after))


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works(title, tmp_path):
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "CONTRIBUTING.md", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    recipe = section(title)
    follow(recipe, tmp_path)
    commands = [
        re.sub(r"\s+", " ", found).split() for found in re.findall(r'`make test ARGS="(.*?)"`', recipe, re.DOTALL)
    ]
    assert commands
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for arguments in commands:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
    linter = Path(sys.executable).with_name("lint-imports")
    if linter.exists():  # of the extra `dev`
        done = subprocess.run([linter], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
