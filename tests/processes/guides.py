"""The guides that the packages fulfil: what their reader types works, and prints what they show.

guide_pages.py has an example for each code cell of the guides, and docs/guides/jit_notebook.md has the cells of one of
them as they are.  The guides themselves are not part of this repository; where the environment variable
``BRAINSTATE_GUIDES`` names a folder that has them, their own code is run too, under the names of the reference system.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import brainstate_graph
import brainstate_nn
import brainstate_transform
from brainstate_graph import State
from tests.public.guide_pages import PAGES
from tests.public.notebooks import cells_of
from tests.public.sources import ROOT

NAMES = {
    "__name__": "guide",
    "jax": jax,
    "jnp": jnp,
    "brainstate_graph": brainstate_graph,
    "brainstate_transform": brainstate_transform,
    "brainstate_nn": brainstate_nn,
}


@pytest.fixture(autouse=True)
def _as_a_reader_has_it() -> Iterator[None]:
    with jax.numpy_rank_promotion("allow"):  # what JAX does unless told otherwise, and the guides rely on
        yield


COUNTS = {"a static argument"}


@pytest.mark.parametrize("page", [pytest.param(p, marks=[pytest.mark.counts_traces] * (p in COUNTS)) for p in PAGES])
def test_page(page):
    example = doctest.DocTestParser().get_doctest(PAGES[page], NAMES, page, __file__, 0)
    report = io.StringIO()
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.write)  # by the letter: no flags
    assert result.attempted
    assert not result.failed, report.getvalue()


# ------------------------------------------------------------------------------------------- the notebook of one guide

NOTEBOOK = ROOT / "docs/guides/jit_notebook.md"
MEANS = "step 0: mean=1.50\nstep 1: mean=2.00\nstep 2: mean=2.50\n"
GRADIENT = """\
grad {} TreefyState(
  type=<class 'brainstate_nn.ParamState'>,
  value=Array({}, dtype=float32),
  tag=None
)
"""
SOFTPLUS = """\
Array([0.00671535, 0.03505242, 0.17300805, 0.69314724, 1.839675  ,
       3.368386  , 5.0067153 ], dtype=float32)"""
# What the guide shows below its cells, in their order: what they print, and their last value.
SHOWN = [
    ("", ""),
    ("", SOFTPLUS),
    ("", ""),
    (MEANS, "(30.0, 12)"),
    ("", "Array([1.3132617, 1.3132617, 1.3132617, 1.3132617], dtype=float32)"),
    ("", "Array([0.3132617, 0.474077 , 0.6931472, 0.974077 , 1.3132617], dtype=float32)"),
    (MEANS, "(12, 30.0)"),
    ("".join(f"{verb} param paths: [('bias',), ('weight',)]\n" for verb in ("treefy_split", "treefy_states")), ""),
    ("loss: 2.5\n" + GRADIENT.format("bias", "[-3.]") + GRADIENT.format("weight", "[[-2.]]"), ""),
    ("[ 6. 34.] [ 6. 34.] [10. 98.]\n", ""),
]


def cells_of_the_notebook() -> list[str]:
    """The cells but the one that shows pages to unfold: the guide has none of these."""
    return [cell for cell in cells_of(NOTEBOOK.read_text()) if "treescope" not in cell]


def test_the_notebook_shows_what_the_guide_shows():
    names: dict[str, Any] = {"__name__": "guide"}
    assert [run_cell(cell, names) for cell in cells_of_the_notebook()] == SHOWN


# ---------------------------------------------------------------------------------------- the guides, by the letter

GUIDES = os.environ.get("BRAINSTATE_GUIDES")
needs_guides = pytest.mark.skipif(not GUIDES, reason="set BRAINSTATE_GUIDES to the folder that has the guides")


def reference_names() -> types.ModuleType:
    """Our packages, arranged as the guides import them."""
    module = types.ModuleType("brainstate")
    module.graph = brainstate_graph
    module.transform = brainstate_transform
    module.nn = brainstate_nn
    module.State = State
    for name in ("ParamState", "HiddenState", "ShortTermState", "LongTermState", "BatchState"):
        setattr(module, name, getattr(brainstate_nn, name))
    return module


def texts() -> list[str]:
    assert GUIDES is not None
    found = [path.read_text() for path in sorted(Path(GUIDES).iterdir()) if path.is_file()]
    assert found, f"no guides in {GUIDES}"
    return found


def as_notebook(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) and "cells" in data else None


def joined(lines: Any) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


def run_cell(source: str, names: dict[str, Any]) -> tuple[str, str]:
    """Run a cell as a notebook does; return what it prints, and the repr of its last expression."""
    tree, last = ast.parse(source), None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(tree, "<cell>", "exec"), names)
        value = None if last is None else eval(compile(last, "<cell>", "eval"), names)
    return out.getvalue(), "" if value is None else repr(value)


def shown_in(cell: dict[str, Any]) -> tuple[str, str]:
    """What the notebook shows below a cell: printed text, and the repr of the result."""
    outputs = cell.get("outputs", [])
    printed = "".join(joined(o["text"]) for o in outputs if o["output_type"] == "stream")
    result = "".join(joined(o["data"]["text/plain"]) for o in outputs if o["output_type"] == "execute_result")
    return printed.replace("<class 'brainstate.", "<class 'brainstate_nn."), result


def as_we_write_it(cell: str) -> str:
    """A cell of the guide with our names, without comments and in one layout."""
    for theirs, ours in {"brainstate.transform.": "", "brainstate.graph.": "", "brainstate.nn.": "nn."}.items():
        cell = cell.replace(theirs, ours)
    return ast.unparse(ast.parse(cell.replace("brainstate.", "nn.")))


@needs_guides
def test_the_notebook_has_the_cells_of_the_guide():
    (notebook,) = filter(None, map(as_notebook, texts()))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [shown_in(cell) for cell in cells] == SHOWN
    ours = [ast.unparse(ast.parse(cell)) for cell in cells_of_the_notebook()]
    assert [as_we_write_it(joined(cell["source"])) for cell in cells[1:]] == ours[1:]  # the first ones import


@needs_guides
def test_the_code_of_the_guides(monkeypatch):
    monkeypatch.setitem(sys.modules, "brainstate", reference_names())
    guides = texts()
    ran = {"cells": 0, "blocks": 0, "examples": 0}
    cells: list[str] = []
    wrong = []
    for notebook in filter(None, map(as_notebook, guides)):
        names: dict[str, Any] = {"__name__": "guide"}
        for number, cell in enumerate(notebook["cells"]):
            if cell["cell_type"] != "code":
                continue
            cells.append(joined(cell["source"]).strip())
            ran["cells"] += 1
            try:
                got = run_cell(cells[-1], names)
            except Exception as error:
                wrong.append(f"cell {number}: {type(error).__name__}: {error}")
                continue
            if got != shown_in(cell):
                wrong.append(f"cell {number} shows\n{got}\nand should show\n{shown_in(cell)}")
    for text in guides:
        if as_notebook(text) is None:
            for run in (run_blocks, run_examples):
                kind, count = run(text, wrong)
                ran[kind] += count
    # the guide as text has the code of the notebook, which has been run
    plain = next(text for text in guides if as_notebook(text) is None and cells[0] in text)
    wrong += [f"the text of the guide has another cell than the notebook:\n{c}" for c in cells if c not in plain]
    assert not wrong, "\n\n".join(wrong)
    assert all(ran.values()), ran


def run_blocks(text: str, wrong: list[str]) -> tuple[str, int]:
    """Run the training step that a page shows, on a model made for it."""
    first, last = "@brainstate.transform.jit\ndef train_step", "return loss_fn(x, y)"
    if first not in text:
        return "blocks", 0
    block = text[text.index(first) :].partition(last)[0] + last
    slope = brainstate_nn.ParamState(jnp.array(0.0))

    def loss_fn(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean((slope.value * x - y) ** 2)

    names: dict[str, Any] = {"brainstate": reference_names(), "params": {"slope": slope}, "lr": 0.1, "loss_fn": loss_fn}
    try:
        exec(block, names)
        x = jnp.array([1.0, 2.0])
        losses = [float(names["train_step"](x, 2 * x)) for _ in range(3)]
        if losses != [2.5, 0.625, 0.15625]:
            wrong.append(f"train_step returns {losses}")
    except Exception as error:
        wrong.append(f"train_step: {type(error).__name__}: {error}")
    return "blocks", 1


def run_examples(text: str, wrong: list[str]) -> tuple[str, int]:
    """Run the examples behind ``>>>``; the page does not say what they print."""
    examples = doctest.DocTestParser().get_examples(text)
    names: dict[str, Any] = {"__name__": "guide", "brainstate": reference_names(), "x": jnp.array(2.0)}
    for example in examples:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(example.source, "<example>", "single"), names)
        except Exception as error:
            wrong.append(f"line {example.lineno + 1}: {example.source.strip()}\n{type(error).__name__}: {error}")
    return "examples", len(examples)
