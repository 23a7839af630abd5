"""What a first try meets: the line to write instead stands in the message."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, diff, graphdef
from brainstate_transform import for_loop
from tests.tables import each

NET = nn.Sequential(nn.Linear(3, 1))

SLIPS = {
    "a dotted name as key": (
        lambda: NET.states()["layers.0.weight"], KeyError, r"write \[\('layers', 0, 'weight'\)\]"
    ),
    "a number as text": (
        lambda: NET.states()["layers", "0", "bias"], KeyError, r"write \[\('layers', 0, 'bias'\)\]"
    ),
    "a tuple as path": (lambda: nn.get_at(NET, ("layers", 0)), TypeError, r"write `get_at\(model, 'layers\.0'\)`"),
    "a class as layer": (lambda: nn.Sequential(nn.Linear(3, 1), nn.Dropout), TypeError, r"write `Dropout\(\.\.\.\)`"),
    "a list to penalise": (lambda: nn.penalise([NET], "**.weight", nn.L2(1.0)), TypeError, "not list: penalise each"),
    "the model to update": (
        lambda: nn.Optimizer(NET, optax.sgd(1.0)).update(NET, {}), TypeError, r"write `optimizer\.update\(grads\)`"
    ),
    "a count to run over": (lambda: for_loop(lambda x: x, 1000), ValueError, r"write `length=1000`, or `jnp\.arange"),
    "a range to run over": (
        lambda: for_loop(lambda x: x, range(10)), TypeError, r"write `jnp\.array\(range\(0, 10\)\)`"
    ),
    "yes to a bar": (lambda: for_loop(lambda: 0, length=3, pbar=True), TypeError, r"as in `pbar=ProgressBar\(\)`"),
}  # fmt: skip


@each("act, kind, told", SLIPS.values(), ids=list(SLIPS))
def test_the_message_has_the_line_to_write(act, kind, told):
    with pytest.raises(kind, match=told):
        act()


@each("metric, batch", [
    (lambda: nn.Average("loss"), {"loss": jnp.array([1.0, 2.0])}),
    (lambda: nn.Welford("loss"), {"loss": jnp.array([1.0, 2.0])}),
    (nn.Accuracy, {"logits": jnp.eye(2), "labels": jnp.array([0, 0])}),
    (lambda: nn.F1(num_classes=2), {"logits": jnp.eye(2), "labels": jnp.array([0, 0])}),
    (lambda: nn.ConfusionMatrix(2), {"logits": jnp.eye(2), "labels": jnp.array([0, 0])}),
])  # fmt: skip
def test_metrics_under_strict_promotion(metric, batch):
    results = []
    for promotion in ("strict", "standard"):
        with jax.numpy_dtype_promotion(promotion):
            made = metric()
            made.update(**batch)
            made.update(**batch, mask=jnp.array([True, False]))
            results.append(made.compute())
    jax.tree.map(np.testing.assert_array_equal, *results)


@each("one, other", [(np.zeros((0, 2)), np.zeros((0, 3))), (np.zeros(0, "f4"), np.zeros(0, "i4"))])
def test_a_difference_of_arrays_without_elements(one, other):
    first, second = Node(), Node()
    first.a, second.a = one, other
    assert "a" in str(diff(graphdef(first), graphdef(second)))
