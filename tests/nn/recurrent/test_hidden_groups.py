"""Hidden states with several members: the same as one array for each."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
import brainstate_transform as bst
from brainstate_graph import clone, treefy_merge, treefy_split
from tests.tables import each


def group(names=("v", "w", "u")):
    return nn.HiddenGroupState(jnp.arange(12.0).reshape(2, 2, 3), names=names)


@pytest.mark.parametrize("make", [group, lambda: nn.HiddenGroupState(np.arange(12.0).reshape(2, 2, 3), names="vwu")])
def test_members_are_slices_of_the_last_axis(make):
    state = make()
    assert (state.num_state, state.varshape, state.names) == (3, (2, 2), ("v", "w", "u"))
    for place, name in enumerate(state.names):
        np.testing.assert_array_equal(state.get_value(name), np.asarray(state.value)[..., place])
        np.testing.assert_array_equal(state.get_value(place), state.get_value(place - 3))
    state.set_value({"w": jnp.ones((2, 2)), 2: jnp.zeros((2, 2))})
    expected = np.arange(12.0).reshape(2, 2, 3)
    expected[..., 1], expected[..., 2] = 1.0, 0.0
    np.testing.assert_array_equal(state.value, expected)
    state.set_value([jnp.full((2, 2), float(i)) for i in range(3)])
    np.testing.assert_array_equal(state.value, np.broadcast_to(np.arange(3.0), (2, 2, 3)))
    state.set_value({})


@each(
    ("wrong", "error", "words"),
    [
        ({"x": jnp.ones((2, 2))}, ValueError, "has no member 'x'; there are v, w, u"),
        ({3: jnp.ones((2, 2))}, ValueError, "has 3 members, and no member 3"),
        ({-4: jnp.ones((2, 2))}, ValueError, "no member -4"),
        ({1.0: jnp.ones((2, 2))}, TypeError, "given by its position or name"),
        ({"v": jnp.zeros((2, 2)), "w": jnp.ones(2)}, ValueError, r"'w' has the shape \(2, 2\), not \(2,\)"),
    ],
)
def test_wrong_members_change_nothing(wrong, error, words):
    state = group()
    before = np.asarray(state.value)
    with pytest.raises(error, match=words):
        state.set_value(wrong)
    np.testing.assert_array_equal(state.value, before)


def test_bad_groups():
    with pytest.raises(ValueError, match="axis of members"):
        nn.HiddenGroupState(jnp.ones(3))
    with pytest.raises(ValueError, match="one for each of the 3 members"):
        group(names=("v", "w"))
    with pytest.raises(ValueError, match="one for each"):
        group(names=("v", "v", "w"))
    with pytest.raises(TypeError, match="one array"):
        nn.HiddenGroupState([[1.0]])
    for tree in ({}, {"a": jnp.ones(2), "b": jnp.ones(3)}, {"a": 1.0}):
        with pytest.raises(ValueError, match="arrays of one shape"):
            nn.HiddenTreeState(tree)


def test_a_tree_is_a_group_with_its_names():
    tree = nn.HiddenTreeState({"v": jnp.zeros(3), "w": jnp.ones(3)}, name="cell")
    np.testing.assert_array_equal(tree.get_value("w"), np.ones(3))
    assert nn.HiddenTreeState([jnp.zeros(3)]).names == ("0",)
    again = clone([tree])[0]
    assert again.names == ("v", "w")
    shape, states = treefy_split({"h": tree})
    merged = treefy_merge(shape, states)["h"]
    assert (type(merged), merged.names, merged.name) == (nn.HiddenTreeState, ("v", "w"), "cell")


def test_in_a_compiled_loop():
    tree = nn.HiddenTreeState({"v": jnp.zeros(2), "w": jnp.ones(2)})

    def step(x):
        tree.set_value({"v": tree.get_value("v") + x * tree.get_value("w")})

    bst.for_loop(step, jnp.arange(4.0))
    np.testing.assert_allclose(tree.get_value("v"), np.full(2, 6.0))
    np.testing.assert_allclose(tree.get_value("w"), np.ones(2))
