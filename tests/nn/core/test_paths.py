from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError, clone


class Box(nn.Module):
    def __init__(self, held):
        self.held = held


def test_names_are_dotted_paths():
    box = Box([{"a": nn.ParamState(jnp.ones(1))}, nn.ParamState(jnp.ones(1))])
    assert list(nn.to_flat_dict(box)) == ["held.0.a", "held.1"]


def test_each_array_of_a_tree_has_a_name():
    box = Box(nn.ParamState({"w": jnp.ones(1), "parts": (jnp.ones(2), jnp.ones(3))}))
    assert list(nn.to_flat_dict(box)) == ["held.parts.0", "held.parts.1", "held.w"]


def test_a_dot_in_a_key_is_a_border_between_keys():
    box = Box({"a.b": nn.ParamState(jnp.ones(1)), "a": {"c": nn.ParamState(jnp.ones(2))}})
    assert list(nn.to_flat_dict(box)) == ["held.a.c", "held.a.b"]
    other = clone(box)
    nn.from_pure_dict(other, {"held": {"a": {"b": jnp.zeros(1), "c": jnp.zeros(2)}}})
    nn.from_pure_dict(box, nn.to_pure_dict(other))
    assert box.held["a.b"].value.tolist() == [0.0]


@pytest.mark.parametrize(
    "held",
    [
        {1: nn.ParamState(jnp.ones(1)), "1": nn.ParamState(jnp.ones(1))},
        {"a.b": nn.ParamState(jnp.ones(1)), "a": {"b": nn.ParamState(jnp.ones(1))}},
    ],
    ids=["number and text", "dot in a key"],
)
def test_two_paths_with_one_name_are_refused(held):
    for spell in (nn.to_flat_dict, nn.to_pure_dict, lambda box: nn.from_flat_dict(box, {})):
        with pytest.raises(
            GraphError, match=r"the paths .* would both be named 'held.\S+': rename one attribute or key"
        ):
            spell(Box(held))


class Tied(nn.Module):
    def __init__(self):
        self.one = Box(nn.Linear(2, 2))
        self.two = Box(nn.Linear(2, 2))
        self.two.held.weight = self.one.held.weight
        self.again = [self.one]
        self.one.up = self  # a cycle has no end of names


def test_aliases_are_the_other_names_of_states_in_several_places():
    model = Tied()
    assert nn.aliases(model) == {
        "again.0.held.bias": "one.held.bias",
        "again.0.held.weight": "one.held.weight",
        "two.held.weight": "one.held.weight",
    }
    assert list(nn.to_flat_dict(model)) == ["one.held.bias", "one.held.weight", "two.held.bias"]
    assert nn.aliases(Box([nn.Linear(2, 3), nn.Linear(2, 3)])) == {}


def test_names_of_one_state_lead_to_it_in_a_checkpoint_of_a_copy():
    model = Tied()
    for name, first in nn.aliases(model).items():
        flat = nn.to_flat_dict(model)
        flat[name] = flat.pop(first) + 1.0
        nn.from_flat_dict(model, flat)
        assert nn.to_flat_dict(model)[first] is not None
        np.testing.assert_array_equal(nn.to_flat_dict(model)[first], flat[name])
