"""A file holds one idea, a folder few files, and the two cores can be read in one sitting."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

from tests.public.sources import PACKAGES, ROOT

LINES, FILES, FUNCTION = 400, 25, 60
CORES, CORE_LINES = ("brainstate_graph/_core", "brainstate_transform/_engine"), 4000
FOLDERS = [
    *PACKAGES,
    "benchmarks",
    "tests/benchmarks",
    "tests/laws",
    "tests/graph",
    "tests/transform",
    "tests/public",
    "tests/processes",
    "tests/mutants",
]
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that are neither empty, nor a comment, nor a docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    words: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            words.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    return found - words


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_code_is_counted_without_words():
    source = (
        '"""One.\n\nTwo."""\n\nx = 1  # three\n# four\n\n\ndef f():\n    """Five."""\n    return """\n\n    six"""\n'
    )
    assert code_lines(source) == {5, 9, 11, 12, 13}


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_are_short(folder):
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files(folder)}
    assert not {path: count for path, count in lines.items() if count > LINES}


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_hold_few_files(folder):
    folders = {path.parent for path in python_files(folder)}
    counts = {str(path.relative_to(ROOT)): len(list(path.glob("*.py"))) for path in folders}
    assert not {path: count for path, count in counts.items() if count > FILES}


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package):
    long = []
    for path in python_files(package):
        source = path.read_text()
        code = code_lines(source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                size = len(code.intersection(range(node.lineno, (node.end_lineno or 0) + 1)))
                long += [f"{path.relative_to(ROOT)}: {node.name}, {size} lines"] * (size > FUNCTION)
    assert not long


def test_the_two_cores_are_read_in_one_sitting():
    counts = {core: sum(len(code_lines(path.read_text())) for path in python_files(core)) for core in CORES}
    assert sum(counts.values()) <= CORE_LINES, counts


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_where_to_begin(package):
    readme = ROOT / package / "README.md"
    assert readme.exists(), f"{package}/README.md: its words, which files to read first, the path of a call"
    assert len(readme.read_text().split()) > 100
