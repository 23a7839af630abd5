"""The public names: each is meant to be seen, and shows how it is used."""

from __future__ import annotations

import builtins
import doctest
import importlib
import inspect
import tomllib
import types

import pytest

from tests.public.sources import INSIDE, PACKAGES, ROOT, exports, files_of
from tests.tables import each

METHODS = (types.FunctionType, classmethod, staticmethod, property)
ALL = [*PACKAGES, *INSIDE]
PUBLIC = [(package, name) for package in ALL for name in exports(package)]


def documented(item: object) -> bool:
    """Our functions and classes are; exceptions say all in a sentence; constants, aliases and modules have none."""
    if isinstance(item, type) and issubclass(item, BaseException):
        return False
    return callable(item) and str(getattr(item, "__module__", "")).startswith("brainstate_")


def modules_of(package: str) -> list[types.ModuleType]:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files_of(package)]
    return [importlib.import_module(name.removesuffix(".__init__")) for name in names]


@pytest.mark.parametrize("package", ALL)
def test_no_underscore_and_no_name_twice(package):
    names = exports(package)
    assert names
    assert not [name for name in names if name.startswith("_")]
    assert len(set(names)) == len(names)


def test_the_version_is_written_once():
    (version,) = {importlib.import_module(package).__version__ for package in PACKAGES}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert f'__version__ = "{version}"' in (ROOT / project["tool"]["hatch"]["version"]["path"]).read_text()
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("package", ALL)
def test_all_lists_what_init_imports(package):
    module = importlib.import_module(package)
    if hasattr(module, "__all__"):
        # What Python has by the same name is not hidden by `import *`.
        assert sorted(module.__all__) == sorted(set(exports(package)).difference(dir(builtins)))


@each("package, name", PUBLIC)
def test_public_name_shows_an_example(package, name):
    item = getattr(importlib.import_module(package), name)
    if documented(item):
        assert ">>> " in (inspect.getdoc(item) or ""), f"{name} needs a docstring with an example"


@pytest.mark.parametrize("package", ALL)
def test_every_example_is_run(package):
    # `--doctest-modules` runs what a DocTestFinder finds in each file; a class that claims to live in another module
    # than its file is not found there.
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {test.docstring for module in modules_of(package) for test in finder.find(module) if test.examples}
    public = importlib.import_module(package)
    for name in exports(package):
        item = getattr(public, name)
        if not documented(item) or not inspect.unwrap(item).__module__.startswith(package):
            continue  # the package below runs the examples of what is passed on
        members = vars(item) if isinstance(item, type) else {}
        parts = {f"{name}.{m}": part for m, part in members.items() if isinstance(part, METHODS)}
        for where, part in {name: item, **parts}.items():
            text = part.__doc__ or ""
            assert ">>> " not in text or text in found, f"the example of {where} is not collected"
