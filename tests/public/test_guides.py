"""The guides that the packages fulfil: what their reader types works, and prints what they show.

`PAGES` has an example for each code cell of the guides, with values that are known in closed form or that the guides
show.  The guides themselves are not part of this repository; where the environment variable ``BRAINSTATE_GUIDES``
names a folder that has them, their own code is run too, under the names of the reference system.
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

PAGES = {
    "a pure function": """
        >>> @brainstate_transform.jit
        ... def softplus(x):
        ...     return jnp.logaddexp(x, 0.0)
        >>> type(softplus).__name__
        'JittedFunction'
        >>> softplus(jnp.linspace(-5.0, 5.0, 7))
        Array([0.00671535, 0.03505242, 0.17300805, 0.69314724, 1.839675  ,
               3.368386  , 5.0067153 ], dtype=float32)
        >>> bool(softplus.origin_fun(0.0) == softplus(0.0))
        True

        Without compilation the same function runs as plain Python.

        >>> with jax.disable_jit():
        ...     softplus(jnp.zeros(2))
        Array([0.6931472, 0.6931472], dtype=float32)
    """,
    "a compiled function ahead of its first call": """
        >>> @brainstate_transform.jit
        ... def softplus(x):
        ...     return jnp.logaddexp(x, 0.0)
        >>> _ = softplus.compile(jnp.ones(4))
        >>> softplus(jnp.ones(4))
        Array([1.3132617, 1.3132617, 1.3132617, 1.3132617], dtype=float32)
        >>> softplus.clear_cache()
        >>> softplus(jnp.linspace(-1.0, 1.0, 5))
        Array([0.3132617, 0.474077 , 0.6931472, 0.974077 , 1.3132617], dtype=float32)
    """,
    "a module with hidden states": """
        >>> class RunningMean(brainstate_nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.sum = brainstate_nn.HiddenState(jnp.array(0.0))
        ...         self.count = brainstate_nn.HiddenState(jnp.array(0))
        ...
        ...     def __call__(self, batch):
        ...         self.count.value += batch.size
        ...         self.sum.value += batch.sum()
        ...         return self.sum.value / self.count.value
        >>> tracker = RunningMean()
        >>> @brainstate_transform.jit
        ... def update_running_mean(batch):
        ...     return tracker(batch)
        >>> for step in range(3):
        ...     print(f"step {step}: mean={float(update_running_mean(jnp.arange(4.0) + step)):.2f}")
        step 0: mean=1.50
        step 1: mean=2.00
        step 2: mean=2.50
        >>> float(tracker.sum.value), int(tracker.count.value)
        (30.0, 12)

        The same under plain JAX, with the states handed in and out.

        >>> graph_def, state_tree = brainstate_graph.treefy_split(RunningMean(), brainstate_nn.HiddenState)
        >>> @jax.jit
        ... def running_mean_stateless(state_tree, batch):
        ...     module = brainstate_graph.treefy_merge(graph_def, state_tree)
        ...     mean = module(batch)
        ...     return mean, brainstate_graph.treefy_states(module, brainstate_nn.HiddenState)
        >>> for step in range(3):
        ...     mean, state_tree = running_mean_stateless(state_tree, jnp.arange(4.0) + step)
        ...     print(f"step {step}: mean={float(mean):.2f}")
        step 0: mean=1.50
        step 1: mean=2.00
        step 2: mean=2.50
        >>> int(state_tree["count"].value), float(state_tree["sum"].value)
        (12, 30.0)
    """,
    "a module as data": """
        >>> class TinyLinear(brainstate_nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = brainstate_nn.ParamState(jnp.ones((1, 1)))
        ...         self.bias = brainstate_nn.ParamState(jnp.zeros(1))
        ...
        ...     def __call__(self, x):
        ...         return x @ self.weight.value + self.bias.value
        >>> lin = TinyLinear()
        >>> lin_graph, param_tree, other_states = brainstate_graph.treefy_split(lin, brainstate_nn.ParamState, ...)
        >>> list(param_tree.to_flat().keys()), len(other_states)
        ([('bias',), ('weight',)], 0)
        >>> params_only = brainstate_graph.treefy_states(lin, brainstate_nn.ParamState)
        >>> list(params_only.to_flat().keys())
        [('bias',), ('weight',)]

        The state trees are what ``jax.value_and_grad`` differentiates; the gradients have their form.  At the inputs 0
        and 1 the error of x against 2 x + 1 is -1 and -2: the loss is 5/2, its derivatives -3 and -2.

        >>> def mse_loss(params, others, x):
        ...     pred = brainstate_graph.treefy_merge(lin_graph, params, others)(x)
        ...     return jnp.mean((pred - (2.0 * x + 1.0)) ** 2)
        >>> loss_value, grads = jax.value_and_grad(mse_loss)(param_tree, other_states, jnp.array([[0.0], [1.0]]))
        >>> print("loss:", float(loss_value))
        loss: 2.5
        >>> for path, g in grads.items():
        ...     print("grad", path, g)
        grad bias TreefyState(
          type=<class 'brainstate_nn.ParamState'>,
          value=Array([-3.], dtype=float32),
          tag=None
        )
        grad weight TreefyState(
          type=<class 'brainstate_nn.ParamState'>,
          value=Array([[-2.]], dtype=float32),
          tag=None
        )
    """,
    "a static argument": """
        >>> runs = []
        >>> @brainstate_transform.jit(static_argnums=1)
        ... def polynomial_series(x, degree):
        ...     runs.append(degree)
        ...     return sum((k * x**k for k in range(1, degree + 1)), jnp.zeros_like(x))
        >>> x = jnp.array([1.0, 2.0])
        >>> print(polynomial_series(x, 3), polynomial_series(x, 3), polynomial_series(x, 4))
        [ 6. 34.] [ 6. 34.] [10. 98.]
        >>> runs
        [3, 4]
    """,
    # the loss is (w - 2)^2 (1 + 4) / 2, so its derivative is 5 (w - 2): each step halves the distance
    "a training step": """
        >>> class Line(brainstate_nn.Module):
        ...     def __init__(self):
        ...         self.slope = brainstate_nn.ParamState(jnp.array(0.0))
        >>> model, lr = Line(), 0.1
        >>> params = model.states(brainstate_nn.ParamState)
        >>> def loss_fn(x, y):
        ...     return jnp.mean((model.slope.value * x - y) ** 2)
        >>> @brainstate_transform.jit
        ... def train_step(x, y):
        ...     grads = brainstate_transform.grad(loss_fn, params)(x, y)
        ...     for key in params:
        ...         params[key].value -= lr * grads[key]
        ...     return loss_fn(x, y)
        >>> x = jnp.array([1.0, 2.0])
        >>> [float(train_step(x, 2 * x)) for _ in range(3)]
        [2.5, 0.625, 0.15625]
        >>> float(model.slope.value)
        1.75

        Without `jit` the step does the same.

        >>> float(train_step.origin_fun(x, 2 * x)), float(model.slope.value)
        (0.0390625, 1.875)
    """,
    "a stateful function": """
        >>> state = brainstate_graph.State(1.0)
        >>> def f(x):
        ...     state.value = x * 2 + state.value
        >>> sf = brainstate_transform.StatefulFunction(f)
        >>> sf(3.0)
        >>> float(state.value)
        7.0
    """,
    "the states of a stateful function": """
        >>> state = brainstate_graph.State(jnp.array([1.0, 2.0]))
        >>> def f(x):
        ...     state.value += x
        ...     return 2 * state.value
        >>> sf = brainstate_transform.StatefulFunction(f)
        >>> x = jnp.array([0.5, 0.5])
        >>> sf.make_jaxpr(x) is sf
        True
        >>> cache_key = sf.get_arg_cache_key(x)
        >>> cache_key._fields
        ('static_args', 'dyn_args', 'static_kwargs', 'dyn_kwargs')
        >>> cache_key == sf.get_arg_cache_key(x + 1), cache_key == sf.get_arg_cache_key(jnp.ones(3))
        (True, False)
        >>> sf.get_states_by_cache(cache_key) == (state,) == sf.get_write_states_by_cache(cache_key)
        True
        >>> sf.get_read_states_by_cache(cache_key)
        ()
        >>> print(state.value)
        [1. 2.]
        >>> sf.jaxpr_call_auto(x)
        Array([3., 5.], dtype=float32)
        >>> print(state.value)
        [1.5 2.5]
        >>> sf(x)
        Array([4., 6.], dtype=float32)
        >>> print(state.value)
        [2. 3.]

        A static argument is part of the key.

        >>> def g(x, n):
        ...     state.value = state.value**n
        ...     return state.value
        >>> sf_static = brainstate_transform.StatefulFunction(g, static_argnums=(1,))
        >>> _ = sf_static.make_jaxpr(x, 2)
        >>> sf_static.jaxpr_call_auto(x, 2), sf_static.jaxpr_call_auto(x, 1)
        (Array([4., 9.], dtype=float32), Array([4., 9.], dtype=float32))
    """,
    "the cache of a stateful function": """
        >>> sf = brainstate_transform.StatefulFunction(lambda x: x * 2)
        >>> cache_key = sf.make_jaxpr(jnp.array([1.0, 2.0])).get_arg_cache_key(jnp.array([1.0, 2.0]))
        >>> len(sf.get_jaxpr_by_cache(cache_key).jaxpr.eqns), sf.get_cache_stats()["compilation_cache"]["size"]
        (1, 1)
        >>> sf.clear_cache()
        >>> sf.get_cache_stats()["compilation_cache"]["size"]
        0
        >>> try:
        ...     sf.get_jaxpr_by_cache(cache_key)
        ... except ValueError:
        ...     print("not compiled")
        not compiled

        >>> def power(x, n):
        ...     return x**n
        >>> sf = brainstate_transform.StatefulFunction(power, static_argnums=(1,))
        >>> square = sf.get_arg_cache_key(jnp.array([1.0, 2.0]), 2)
        >>> isinstance(hash(square), int), square == sf.get_arg_cache_key(jnp.array([1.0, 2.0]), 3)
        (True, False)
    """,
}

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
    jax.config.update("jax_disable_most_optimizations", False)  # the guides show the last digit of optimised programs
    jax.clear_caches()
    with jax.numpy_rank_promotion("allow"):  # what JAX does unless told otherwise, and the guides rely on
        yield
    jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1")


COUNTS = {"a static argument"}


@pytest.mark.parametrize("page", [pytest.param(p, marks=[pytest.mark.counts_traces] * (p in COUNTS)) for p in PAGES])
def test_page(page):
    example = doctest.DocTestParser().get_doctest(PAGES[page], NAMES, page, __file__, 0)
    report = io.StringIO()
    result = doctest.DocTestRunner(verbose=False).run(example, out=report.write)  # by the letter: no flags
    assert result.attempted
    assert not result.failed, report.getvalue()


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
