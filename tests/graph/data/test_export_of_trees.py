"""State trees as arguments of functions that ``jax.export`` writes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import PartitionSpec

from brainstate_graph import GraphError, NestedDict, State, TreefyState, treefy_states
from tests.laws.graphs import Gadget, Param, Stat, layer

VIEWS = [NestedDict.copy, NestedDict.to_flat]


views = pytest.mark.parametrize("view", VIEWS, ids=["nested", "flat"])


def parameters(seed=0):
    """A tree of states, and the same as plain nested dictionaries."""
    tree = treefy_states(Gadget(layers=[layer(seed), layer(seed + 1)], head=layer(seed + 9)), Param)
    return tree, tree.to_pure_dict()


def loss(weights: Any, x: Any) -> Any:
    """Of plain dictionaries."""
    for name in (0, 1):
        x = jnp.tanh(x @ weights["layers"][name]["weight"] + weights["layers"][name]["bias"][None])
    return jnp.sum((x @ weights["head"]["weight"] + weights["head"]["bias"][None]) ** 2)


def tree_loss(tree: Any, x: Any) -> Any:
    return loss(tree.to_nest().to_pure_dict(), x)


def assert_close(tree, plain):
    plain = NestedDict(plain)
    assert [p for p in tree.to_flat()] == [p for p in plain.to_flat()]  # noqa: C416 - in order
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


X = jnp.arange(4.0).reshape(2, 2) / 4


def exported(function, *args):
    """The function after a way through bytes."""
    pytest.importorskip("flatbuffers", reason="jax.export writes with flatbuffers, which is not installed")
    return export.deserialize(export.export(jax.jit(function))(*args).serialize()).call


METADATA = [
    2, True, -1.5, float("nan"), float("-inf"), -0.0, 1 + 2j, "text", b"\x00\xff", (1, (True, None)),
    frozenset({1, "a"}), np.dtype("float32"), PartitionSpec("x", None, ("y", "z")), 10**40,
]  # fmt: skip


@views
def test_export_a_function_of_trees(view):
    tree = view(parameters()[0])

    def step(tree, x):
        return jax.tree.map(lambda w, g: w - 0.1 * g, tree, jax.grad(tree_loss)(tree, x))

    found = exported(step, tree, X)(tree, X)
    assert type(found) is type(tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert_close(found, step(tree, X).to_nest().to_pure_dict())
    assert found.to_nest()["head"]["bias"].tag == {"bias"}


def test_export_keeps_keys_and_metadata():
    odd = {(1, "x"): 1.0, None: {0: 2.0, True: {}}, b"k": 3.0, 0.5: TreefyState(Stat, 4.0, name="n", tag=["a", "b"])}
    odd["meta"] = {str(i): TreefyState(Param, 1.0, extra=item) for i, item in enumerate(METADATA)}
    for tree in (NestedDict(odd), {"one": TreefyState(Param, {"w": 1.0}, rate=0.5)}, NestedDict()):
        found = exported(lambda t: jax.tree.map(jnp.negative, t), tree)(tree)
        assert jax.tree.structure(found) == jax.tree.structure(tree)
        assert jax.tree.leaves(found) == [-x for x in jax.tree.leaves(tree)]


def test_export_refuses_another_tree():
    tree, plain = parameters()
    call = exported(tree_loss, tree, X)
    with pytest.raises(ValueError, match="NestedDict"):
        call(NestedDict(plain), X)


def test_export_refuses_metadata_that_is_no_data():
    def rate(x):
        return x

    tree = treefy_states(Gadget(a=State(1.0, rate=rate), b=State(1.0)))
    with pytest.raises(GraphError, match=r"the metadata of a: <function .*, a function, cannot be written as text"):
        exported(lambda t: t["b"].value, tree)
    with pytest.raises(GraphError, match=r"the metadata of a TreefyState: .* cannot be written"):
        exported(lambda t: t.value, tree["a"])
