"""State trees through flax.serialization: bytes and back, and all that does not fit."""

from __future__ import annotations

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    FlattedDict,
    GraphError,
    NestedDict,
    State,
    TreefyState,
    register_with_flax,
    states,
    treefy_states,
    update_states,
)
from tests.laws.graphs import Gadget, Param, Stat, layer, net, same_value

VIEWS = [NestedDict.copy, NestedDict.to_flat]


views = pytest.mark.parametrize("view", VIEWS, ids=["nested", "flat"])


register_with_flax()
to_bytes, from_bytes = flax.serialization.to_bytes, flax.serialization.from_bytes


def everything():
    return treefy_states(
        {
            "layers": [{"w": Param(jnp.ones(2, jnp.bfloat16))}, {"w": Param(2.5)}],
            "rng": State(jax.random.key(3, impl="rbg")),
            "keys": State({"k": jax.random.split(jax.random.key(1), 2), "n": [np.int8(3)]}),
            "nothing": State(None),
            "tuple": State((1, jnp.zeros((2, 0)), {"x": 1j})),
            7: Stat(np.arange(3)),
        }
    )


def bits(tree):
    """The same without typed keys, which NumPy cannot compare."""
    key = jax.dtypes.prng_key
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, key) else x, tree
    )


def parameters(seed=0):
    """A tree of states, and the same as plain nested dictionaries."""
    tree = treefy_states(Gadget(layers=[layer(seed), layer(seed + 1)], head=layer(seed + 9)), Param)
    return tree, tree.to_pure_dict()


to_state_dict, from_state_dict = flax.serialization.to_state_dict, flax.serialization.from_state_dict


@views
def test_flax_bytes_and_back(view):
    tree = view(everything())
    blank = jax.tree.map(lambda x: x, tree)
    for target in (tree, {"params": tree, "step": 3}, [tree]):
        blank = jax.tree.map(lambda x: x, target)
        found = from_bytes(blank, to_bytes(target))
        assert jax.tree.structure(found) == jax.tree.structure(target)
        assert same_value(bits(found), bits(target))
    found = from_bytes(tree, to_bytes(tree)).to_nest()
    assert jax.random.key_impl(found["rng"].value) == jax.random.key_impl(tree.to_nest()["rng"].value)
    assert found["layers"][0]["w"].value.dtype == jnp.bfloat16
    assert found["layers"][1]["w"].type is Param


def test_flax_sees_nested_dictionaries_of_bare_values():
    tree, plain = parameters()
    assert same_value(to_state_dict(tree), to_state_dict(plain))
    assert to_bytes(tree) == to_bytes(tree.to_flat()) == to_bytes(plain)
    assert from_bytes(tree.to_flat(), to_bytes(tree)).to_nest() == tree
    changed = jax.tree.map(lambda x: x + 1, plain)
    assert from_state_dict(tree, to_state_dict(changed)) == tree | NestedDict(changed)
    assert to_state_dict(NestedDict({"a": {}, "b": 1.0})) == {"a": {}, "b": 1.0}
    assert from_state_dict(NestedDict({"a": {}, "b": 1.0}), {"b": 2.0}).to_pure_dict() == {"a": {}, "b": 2.0}


def test_flax_and_one_state():
    ref = TreefyState(Param, {"w": jnp.ones(2), "k": jax.random.key(0)}, name="n")
    found = from_bytes(ref, to_bytes(ref))
    assert jax.tree.structure(found) == jax.tree.structure(ref)
    assert same_value(bits(found), bits(ref))
    assert to_state_dict(TreefyState(State, 2.0)) == 2.0


def test_flax_and_live_states():
    model = net()
    live = states(model)
    data = to_bytes(live)
    assert data == to_bytes(treefy_states(model))
    found = from_bytes(live, data)
    assert list(found) == list(live)
    assert not any(isinstance(value, State) for value in found.values())
    update_states(model, found)


def test_flax_lists_all_that_does_not_fit():
    tree = NestedDict({"a": {0: 1.0, "b": 2.0}, "c": 3.0, "d": {"e": 4.0}, "t": {"k": 1.0}})
    target = {"params": tree | NestedDict.from_flat({("v",): TreefyState(State, (1.0, 2.0))})}
    data = {"params": {"a": {"0": 1.0, "x": {"y": 5.0}}, "d": 7.0, "w": 8.0, "v": {"0": 1.0}, "t": {"k": 1.0}}}
    with pytest.raises(GraphError, match=r"the data does not fit the tree at params: ") as error:
        from_state_dict(target, data)
    message = str(error.value)
    for problem in ("missing: a.b", "missing: c", "missing: d.e", "unexpected: a.x", "unexpected: w", "d is one value"):
        assert problem in message
    assert "v: The size of the list" in message
    assert "t.k" not in message
    with pytest.raises(GraphError, match=r"does not fit the tree: missing: a\.0; missing: a\.b"):
        from_state_dict(tree, {})
    with pytest.raises(GraphError, match=r"r: "):
        from_state_dict(treefy_states({"r": State(jax.random.key(0))}), {"r": 3})


def test_flax_refuses_keys_that_are_no_names():
    tree = NestedDict({"a": {(1, 2): 1.0, None: 2.0}, "b": {1: 1.0, "1": 2.0}})
    for action in (lambda: to_bytes(tree), lambda: from_state_dict(tree, {})):
        with pytest.raises(GraphError, match="keys of a tree must be strings or integers") as error:
            action()
        assert "the key (1, 2) of a.(1, 2) is a tuple" in str(error.value)
        assert "the key None of a.None is a NoneType" in str(error.value)
        assert "b.1 stands for two keys, '1' and 1" in str(error.value)
    with pytest.raises(GraphError, match="beginning of another"):
        to_bytes(FlattedDict({("a",): 1.0, ("a", "b"): 1.0}))
