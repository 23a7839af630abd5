from __future__ import annotations

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError


class Box(nn.Module):
    def __init__(self, held):
        self.held = held


def test_names_are_dotted_paths():
    box = Box([{"a": nn.ParamState(jnp.ones(1))}, nn.ParamState(jnp.ones(1))])
    assert list(nn.to_flat_dict(box)) == ["held.0.a", "held.1"]


def test_each_array_of_a_tree_has_a_name():
    box = Box(nn.ParamState({"w": jnp.ones(1), "parts": (jnp.ones(2), jnp.ones(3))}))
    assert list(nn.to_flat_dict(box)) == ["held.parts.0", "held.parts.1", "held.w"]


@pytest.mark.parametrize(
    "held",
    [
        {1: nn.ParamState(jnp.ones(1)), "1": nn.ParamState(jnp.ones(1))},
        {"a.b": nn.ParamState(jnp.ones(1)), "a": {"b": nn.ParamState(jnp.ones(1))}},
    ],
    ids=["number and text", "dot in a key"],
)
def test_two_paths_with_one_name_are_refused(held):
    with pytest.raises(GraphError, match=r"the paths .* would both be named 'held.\S+': rename one attribute or key"):
        nn.to_flat_dict(Box(held))
