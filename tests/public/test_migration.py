"""Each row of the tables for those who come over: the older line gives what today's does, or its name is absent."""

from __future__ import annotations

import importlib
import importlib.util
import math
import types
import warnings

import flax
import jax
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
from tests.public.migration import DATA, PAGE, TABLES, names, page, value_of
from tests.tables import each

TODAY = {
    "flax": flax, "graph": graph, "jax": jax, "jnp": jnp, "math": math, "nn": nn, "np": np, "optax": optax,
    "transform": transform,
}  # fmt: skip
ROWS = [(table, row["older"]) for table, content in TABLES.items() for row in content["rows"]]
GIVEN = [(module, name) for module, text in DATA["names"].items() for name in text.split()]
ABSENT = {name for row in DATA["absent"] for name in names(row)}


def found(module, name):
    """Whether the older modules have a name."""
    owner = compat
    for part in module.split(".") if module != "brainstate" else ():
        owner = getattr(owner, part)
    return hasattr(owner, name)


def assert_same(older, today, how):
    if how == "shape":
        older, today = jax.tree.map(jnp.shape, (older, today))
    left, right = map(jax.tree.flatten, (older, today))
    assert left[1] == right[1]
    for one, other in zip(left[0], right[0], strict=True):
        if isinstance(one, (jax.Array, np.ndarray, float)):
            np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)
        else:
            assert one == other


@each("table, older", ROWS)
def test_the_older_line_gives_what_todays_does(table, older):
    content = TABLES[table]
    row = next(row for row in content["rows"] if row["older"] == older)
    library = content["imports"].split()[1].split(".")[0]
    runs = importlib.util.find_spec(library) is not None
    results = {}
    for which in ["older", "today"] if runs else ["today"]:
        # Each on states of its own, and from the same seed.
        nn.seed(0)
        scope = dict(TODAY)
        if runs:
            exec(content["imports"], scope)
        exec(row.get("given", ""), scope)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a spelling that people have all the same
            results[which] = value_of(row[which], scope)
        if "gives" in row:
            assert_same(results[which], value_of(row["gives"], scope), row.get("same"))
    if "gives" not in row:
        assert_same(results["older"], results["today"], row.get("same"))


@each("table", TABLES)
def test_a_line_of_another_library_that_may_be_missing_says_what_it_gives(table):
    # So that no row is left untested where the library is not installed.
    known = {"brainstate", "nnx", "equinox"}
    assert table in known or not [row["older"] for row in TABLES[table]["rows"] if "gives" not in row]


@each("module, name", GIVEN)
def test_each_name_of_the_reference_is_there_or_absent_with_its_reason(module, name):
    full = name if module == "brainstate" else f"{module}.{name}"
    assert found(module, name) != (full in ABSENT), full


def test_what_is_absent_is_a_name_of_the_reference():
    known = {name if module == "brainstate" else f"{module}.{name}" for module, name in GIVEN}
    assert known >= ABSENT


@each("row", DATA["absent"])
def test_what_is_written_in_place_of_an_absent_name_is_there(row):
    for code in row["why"].split("`")[1::2]:
        if code.startswith(("nn.", "graph.", "transform.")):
            name = code.split("(")[0].split(".")
            assert hasattr(TODAY[name[0]], name[1]), code


def test_an_absent_name_says_where_to_look():
    with pytest.raises(AttributeError, match=r"compat has no 'AlphaDropout': docs/coming_from/migration\.md says"):
        compat.AlphaDropout  # noqa: B018


def test_the_page_has_the_tables():
    text = PAGE.read_text()
    assert page(text) == text, "write the tables into the page: python -m tests.public.migration"
    assert [f"<!-- table: {table} -->" in text for table in [*TABLES, "absent"]] == [True] * (len(TABLES) + 1)


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
