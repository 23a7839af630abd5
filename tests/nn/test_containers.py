from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import graphdef, treefy_merge, treefy_split
from tests.nn.oracle import give_parameters, sample


def test_is_that_of_nnx_forward_and_backward():
    ours = nn.Sequential(nn.Linear(3, 5), nn.relu, nn.Linear(5, 2))
    theirs = nnx.Sequential(nnx.Linear(3, 5, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(5, 2, rngs=nnx.Rngs(1)))
    for i in (0, 2):
        give_parameters(ours[i], theirs.layers[i])
    x = sample(4, 3)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5)
    shape, params = treefy_split(ours)
    their_shape, their_params = nnx.split(theirs)
    grads = jax.grad(lambda p: jnp.sin(treefy_merge(shape, p)(x)).sum())(params)
    their_grads = nnx.to_pure_dict(jax.grad(lambda p: jnp.sin(nnx.merge(their_shape, p)(x)).sum())(their_params))
    for i in (0, 2):
        np.testing.assert_allclose(grads["layers"][i]["weight"].value, their_grads["layers"][i]["kernel"], rtol=1e-4)


def test_length_index_slice_iteration_and_append():
    layers = [nn.Linear(2, 2), nn.relu, nn.Linear(2, 2)]
    net = nn.Sequential(*layers)
    assert len(net) == 3
    assert list(net) == layers
    assert net[0] is layers[0]
    assert net[-1] is layers[2]
    head = net[:2]
    assert isinstance(head, nn.Sequential)
    assert head[0] is layers[0]
    x = jnp.ones(2)
    np.testing.assert_array_equal(net[2](head(x)), net(x))
    net.append(nn.tanh)
    assert len(net) == 4
    assert len(head) == 2


def test_without_layers_it_is_the_identity():
    x = jnp.ones(2)
    assert nn.Sequential()(x) is x


def test_a_change_of_the_layers_is_another_structure_and_back():
    net = nn.Sequential(nn.Linear(2, 2))
    before = graphdef(net)
    net.append(nn.relu)
    assert graphdef(net) is not before
    net.layers.pop()
    assert graphdef(net) is before


def test_a_layer_in_two_places_has_its_states_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.relu, layer)
    assert list(net.states(nn.ParamState)) == [("layers", 0, "bias"), ("layers", 0, "weight")]


def test_a_layer_must_be_callable():
    with pytest.raises(TypeError, match=r"layer 1 of Sequential is a list, which cannot be called: write `Sequential"):
        nn.Sequential(nn.relu, [nn.relu])
