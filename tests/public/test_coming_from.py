"""The spellings of other frameworks: each line gives what ours gives, and each absent name is in the table."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
import types
import warnings

import flax
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_graph as graph
import brainstate_graph.extend
import brainstate_nn as nn
import brainstate_transform as transform
import brainstate_transform.ir
from brainstate_nn import compat
from tests.public.coming_from import FOLDER, PAGES, PARTS, REFERENCE, TABLE, library, listed, marks, page, value_of
from tests.public.test_docs import blocks_of, printed_by, run_page
from tests.tables import each

OURS = {
    "flax": flax, "graph": graph, "jax": jax, "jnp": jnp, "math": math, "nn": nn, "np": np, "optax": optax,
    "transform": transform,
}  # fmt: skip
ROWS = [(framework, row["there"]) for framework, content in TABLE.items() for row in content.get("rows", ())]
GIVEN = [(module, name) for module, text in REFERENCE.items() for name in text.split()]
ABSENT = {name for row in TABLE["brainstate"]["absent"] for name in listed(row)}
INSTALLED = {f for f in TABLE if importlib.util.find_spec(library(f)) is not None}


def found(module, name):
    """Whether the older modules have a name."""
    owner = compat
    for part in module.split(".") if module != "brainstate" else ():
        owner = getattr(owner, part)
    return hasattr(owner, name)


def assert_same(there, here, how):
    if how == "shape":
        there, here = jax.tree.map(jnp.shape, (there, here))
    left, right = map(jax.tree.flatten, (there, here))
    assert left[1] == right[1]
    for one, other in zip(left[0], right[0], strict=True):
        if isinstance(one, (jax.Array, np.ndarray, float)):
            np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)
        else:
            assert one == other


@each("framework, there", ROWS)
def test_the_line_there_gives_what_ours_gives(framework, there):
    content = TABLE[framework]
    row = next(row for row in content["rows"] if row["there"] == there)
    results = {}
    for which in ["there", "here"] if framework in INSTALLED else ["here"]:
        # Each on states of its own, and from the same seed.
        nn.seed(0)
        scope = dict(OURS)
        if framework in INSTALLED:
            exec(content["imports"], scope)
        exec(row.get("given", ""), scope)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a spelling that people have all the same
            results[which] = value_of(row[which], scope)
        if "gives" in row:
            assert_same(results[which], value_of(row["gives"], scope), row.get("same"))
    if "gives" not in row:
        assert_same(results["there"], results["here"], row.get("same"))


def test_a_line_of_a_framework_that_may_be_missing_says_what_it_gives():
    # So that no row is left untested where the framework is not installed.
    always = {"brainstate", "nnx", "linen", "equinox"}
    rows = [row for framework in TABLE.keys() - always for row in TABLE[framework].get("rows", ())]
    assert len(rows) > 10
    assert not [row["there"] for row in rows if "gives" not in row]


@each("module, name", GIVEN)
def test_each_name_of_the_reference_is_there_or_absent_with_its_reason(module, name):
    full = name if module == "brainstate" else f"{module}.{name}"
    assert found(module, name) != (full in ABSENT), full


def test_what_is_absent_is_a_name_of_the_reference():
    known = {name if module == "brainstate" else f"{module}.{name}" for module, name in GIVEN}
    assert known >= ABSENT


def test_the_pages_have_the_tables():
    on_pages = []
    for path in PAGES:
        text = path.read_text()
        assert page(text) == text, f"write the tables into {path.name}: python -m tests.public.coming_from"
        on_pages += marks(text)
    assert sorted(on_pages) == sorted((part, f) for f, content in TABLE.items() for part in PARTS if part in content)


@each("name", ["torch", "brainstate"])
def test_the_program_there_prints_what_the_page_says(name, tmp_path, monkeypatch):
    # Where the framework is installed; the program beside it is run everywhere, and prints the same.
    path = FOLDER / f"{name}.md"
    text = path.read_text()
    blocks = blocks_of(text)
    there = [i for i, block in enumerate(blocks) if block.info == "python no-run"]
    assert there
    printed = [printed_by(block, following, text) for block, following in itertools.pairwise(blocks)]
    for i in there:
        assert printed[i] in [printed[j] for j in range(len(printed)) if j not in there], "ours prints something else"
    if importlib.util.find_spec(name) is not None:
        monkeypatch.chdir(tmp_path)
        with jax.numpy_rank_promotion("allow"):
            for i in there:
                run_page(f"```python\n{blocks[i].code}\n```\n\n```text\n{printed[i]}\n```", path.name)


@pytest.mark.skipif(importlib.util.find_spec("brainstate") is None, reason="the reference is not installed")
def test_the_names_are_those_of_the_reference():
    reference = pytest.importorskip("brainstate")
    for module, name in GIVEN:
        owner = reference
        for part in module.split(".") if module != "brainstate" else ():
            owner = getattr(owner, part)
        assert hasattr(owner, name), (module, name)
    for module in ("brainstate", "graph", "transform", "nn", "random"):
        owner = reference if module == "brainstate" else getattr(reference, module)
        public = {n for n in dir(owner) if n[0] != "_"}
        if module != "brainstate":
            public = {n for n in public if not isinstance(getattr(owner, n), types.ModuleType)}
        assert public == {name for part, name in GIVEN if part == module} | (public & {"Any", "Optional"})
