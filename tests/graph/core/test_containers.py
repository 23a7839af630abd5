"""Containers, empty ones and those made on the spot among them, and arrays in them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    State,
    TreefyState,
    clone,
    graphdef,
    iter_leaf,
    nodes,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from brainstate_transform import jit
from tests.laws.graphs import Bag, Gadget, Pair, Param, assert_isomorphic
from tests.tables import each


class Box(NamedTuple):
    item: Any


@jax.tree_util.register_pytree_with_keys_class
class Fresh:
    """Its flatten makes a new container at each call."""

    def __init__(self, **held: Any) -> None:
        self.held = held

    def tree_flatten_with_keys(self) -> Any:
        keys = tuple(self.held)
        return [(jax.tree_util.GetAttrKey(k), {"in": [{"deep": self.held[k]}]}) for k in keys], keys

    @classmethod
    def tree_unflatten(cls, keys: Any, children: Any) -> Fresh:
        return cls(**{k: c["in"][0]["deep"] for k, c in zip(keys, children, strict=True)})


@each("item", [[], {}, (), None, [None], [[]], ([],), {"a": {}}, ((),), Pair((), None), (2, 3), [2, 3], Bag()])
def test_empty_and_static_containers_come_back_as_they_are(item):
    model = Gadget(item=item, w=State(1.0))
    again = treefy_merge(*treefy_split(model))
    assert_isomorphic(model, again)
    assert type(again.item) is type(item)


@each(
    "hold",
    [lambda x: (1, x), lambda x: [1, x], lambda x: {"a": (x,)}, lambda x: Box(x), lambda x: Bag(x), lambda x: x],
    ids=lambda item: None,
)
def test_arrays_are_not_swallowed(hold):
    array = jnp.arange(3.0)
    model = Gadget(item=hold(array), w=State(0.0))
    (found,) = (leaf for _, leaf in iter_leaf(model) if isinstance(leaf, jax.Array))
    assert found is array
    (back,) = (leaf for _, leaf in iter_leaf(clone(model)) if isinstance(leaf, jax.Array))
    assert np.array_equal(back, array)
    assert graphdef(model) is graphdef(clone(model))
    other = Gadget(item=hold(jnp.arange(3.0) + 1), w=State(0.0))
    assert graphdef(other) is not graphdef(model)
    f = jit(lambda m: sum(jnp.sum(leaf) for _, leaf in iter_leaf(m) if isinstance(leaf, jax.Array)))
    for _ in range(2):
        assert f(model) == 3.0
        assert f(other) == 6.0


def test_a_treefied_state_as_attribute_is_data():
    model = Gadget(ref=TreefyState(Param, jnp.ones(2), tag="t"), w=State(0.0))
    again = clone(model)
    assert isinstance(again.ref, TreefyState)
    assert again.ref.type is Param
    assert np.array_equal(again.ref.value, [1.0, 1.0])
    model.ref = model.ref.replace(jnp.zeros(2))
    assert np.array_equal(clone(model).ref.value, [0.0, 0.0])


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_state_in_the_root_list_and_in_a_node_there_is_one(kind):
    shared = State(1.0)
    for items in (
        [shared, Gadget(s=shared)],
        [Gadget(s=shared), shared],
        [Gadget(deep=[{"x": shared}]), (shared,), Gadget(s=shared)],
    ):
        again = treefy_merge(*treefy_split(kind(items)))
        assert_isomorphic(kind(items), again)
        assert len(states(again)) == 1
        for found in states(again).values():
            found.value = 9.0
        assert {leaf.value for _, leaf in iter_leaf(again) if isinstance(leaf, State)} == {9.0}


def test_no_state_is_lost_in_containers_made_on_the_spot():
    model = Gadget(**{f"a{i}": Fresh(x=State(1.0), y=Gadget(z=State(2.0))) for i in range(40)})
    assert len(states(model)) == len(treefy_states(model)) * 2 == len(treefy_states(model).to_flat()) == 80
    assert len(nodes(model)) == 41
    assert sum(isinstance(leaf, State) for _, leaf in iter_leaf(model)) == 80
    assert len({*map(id, states(model).values())}) == 80
    assert len(states(clone(model))) == 80
