from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, clone, treefy_merge, treefy_split
from tests.tables import each

KINDS = [nn.LongTermState, nn.ShortTermState, nn.ParamState, nn.BatchState, nn.HiddenState]


def test_state_is_the_one_of_the_graph_package():
    assert nn.State is State


def test_what_is_a_kind_of_what():
    assert issubclass(nn.ParamState, nn.LongTermState)
    assert issubclass(nn.BatchState, nn.LongTermState)
    assert issubclass(nn.HiddenState, nn.ShortTermState)
    assert not issubclass(nn.LongTermState, nn.ShortTermState)


@each("kind", [*KINDS, nn.RandomState, nn.OptState])
def test_a_kind_prints_as_the_user_imports_it(kind):
    assert repr(kind) == f"<class 'brainstate_nn.{kind.__name__}'>"


@each("kind", KINDS)
def test_a_kind_adds_no_attribute_and_can_be_copied_and_pickled(kind):
    state = kind(jnp.ones(3), "gain", tag="slow")
    assert not hasattr(state, "__dict__")
    for twin in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state)), clone([state])[0]):
        assert type(twin) is kind
        assert twin is not state
        assert twin.name == "gain"
        assert twin.tag == {"slow"}
        assert twin.value.tolist() == [1.0, 1.0, 1.0]


@each("value", [np.zeros(2), jnp.zeros(()), nn.ParamState(jnp.zeros(1))])
def test_hidden_state_takes_arrays(value):
    assert isinstance(nn.HiddenState(value).value, (np.ndarray, jax.Array))


@each("value", [0.0, 1, [1.0], {"a": jnp.zeros(1)}, None, np.float32(1), nn.State(2.0)])
def test_hidden_state_refuses_what_is_no_array(value):
    with pytest.raises(TypeError, match=r"holds one array, not \w+: write `HiddenState\(jnp.asarray\(value\)\)`"):
        nn.HiddenState(value)


def test_hidden_state_takes_a_traced_array():
    assert jax.jit(lambda x: nn.HiddenState(x).value + 1)(jnp.zeros(())) == 1


def test_merging_puts_any_value_back_into_a_hidden_state():
    class Cell(nn.Module):
        def __init__(self):
            self.h = nn.HiddenState(jnp.zeros(2))

    shape, tree = treefy_split(Cell())
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
    assert treefy_merge(shape, abstract).h.value == jax.ShapeDtypeStruct((2,), jnp.float32)
