from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError, clone, graphdef
from brainstate_transform import grad, jit
from tests.tables import each


class Tied(nn.Module):
    def __init__(self):
        self.encoder = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm(2))
        self.head = nn.Linear(2, 2)
        self.head.weight = self.encoder.layers[0].weight
        self.again = (self.encoder.layers[0].weight,)

    def __call__(self, x):
        return self.head(self.encoder(x)) @ self.again[0].value


def names(node, kind):
    return [".".join(map(str, path)) for path in node.states(kind)]


def test_sharing_values_names_and_metadata_stay():
    net = Tied()
    net.head.bias = nn.ParamState(jnp.zeros(2), name="b", tag="last", axis="out")
    before, shape, out = nn.to_flat_dict(net), graphdef(net), net.eval()(jnp.ones((1, 2)))
    net.train()
    states = net.states()
    assert nn.freeze(net) is net
    assert names(net, nn.ParamState) == []
    assert net.head.weight is net.encoder.layers[0].weight is net.again[0]
    assert (net.head.bias.name, net.head.bias.tag, net.head.bias.metadata["axis"]) == ("b", {"last"}, "out")
    after = nn.to_flat_dict(net)
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[name], before[name]) for name in before if not isinstance(before[name], dict))
    assert jnp.array_equal(net.eval()(jnp.ones((1, 2))), out)
    assert nn.unfreeze(net.train()) is net
    assert graphdef(net) is shape
    assert [*net.states().values()] == [*states.values()]


@each(
    "which",
    [
        lambda net: net.encoder,
        lambda net: "encoder",
        lambda net: "encoder.layers.*.*",
        lambda net: lambda path, state: path[0] in ("again", "encoder"),
    ],
)
def test_a_part(which):
    net = Tied()
    nn.freeze(net, which(net))
    assert isinstance(net.head.weight, nn.FrozenParam)
    assert names(net, nn.ParamState) == ["head.bias"]
    assert names(net, nn.BatchState) == ["encoder.layers.1.running_mean", "encoder.layers.1.running_var"]
    nn.unfreeze(net, "encoder.layers.1")
    assert names(net, nn.ParamState) == ["encoder.layers.1.bias", "encoder.layers.1.weight", "head.bias"]


def test_a_parameter_of_another_class_comes_back_as_one():
    class Special(nn.ParamState):
        @property
        def doubled(self):
            return self.value * 2

    layer = nn.Linear(2, 3)
    layer.weight = Special(layer.weight.value)
    nn.freeze(layer)
    assert layer.weight.metadata["kind"] is Special
    assert jnp.array_equal(layer.weight.doubled, layer.weight.value * 2)
    with pytest.raises(AttributeError, match="a FrozenParam has no attribute 'tripled'"):
        _ = layer.weight.tripled
    assert type(nn.unfreeze(clone(layer)).weight) is Special
    assert type(nn.unfreeze(layer).weight) is Special


def test_copies_thaw_by_themselves():
    frozen = nn.freeze(nn.Linear(2, 3))
    for twin in (clone(frozen), copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert graphdef(nn.unfreeze(twin)) is graphdef(nn.Linear(2, 3))
        assert jnp.array_equal(twin.weight.value, frozen.weight.value)


def test_what_is_assigned_while_frozen_stays():
    layer = nn.Linear(2, 3)
    weight = layer.weight
    nn.freeze(layer).weight.value = jnp.full((2, 3), 7.0)
    assert nn.unfreeze(layer).weight is weight
    assert weight.value.tolist() == jnp.full((2, 3), 7.0).tolist()


def test_nothing_to_freeze():
    layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match=r"selects no (FrozenParam|state)"):
        nn.unfreeze(layer)
    with pytest.raises(ValueError, match=r"RandomState.* selects no ParamState of Dropout"):
        nn.freeze(nn.Dropout(0.5), nn.RandomState)
    with pytest.raises(ValueError, match="wieght"):
        nn.freeze(layer, "wieght")


def test_a_class_that_computes_its_value_is_refused():
    class Squared(nn.ParamState):
        @property
        def value(self):
            return super().value ** 2

    layer = nn.Linear(2, 3)
    layer.weight = Squared(jnp.ones((2, 3)))
    shape = graphdef(layer)
    with pytest.raises(TypeError, match=r"Squared at Linear\.weight cannot be frozen"):
        nn.freeze(layer)
    assert graphdef(layer) is shape


def test_training_before_while_and_after():
    """The moments of the first optimizer outlive the pause, and what is frozen does not move."""
    net, x = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), jax.random.normal(jax.random.key(0), (4, 2))
    first = nn.Optimizer(net, optax.adam(0.1))

    def step(optimizer):
        @jit
        def run():
            optimizer.update(grad(lambda: (net(x) ** 2).mean(), nn.ParamState)())

        return run

    step(first)()
    held = net.layers[0].weight.value
    nn.freeze(net, net.layers[0])
    with pytest.raises(GraphError, match=r"other parameters than when the optimizer was made, at layers\.0\.bias"):
        step(first)()
    second = nn.Optimizer(net, optax.adam(0.1))
    assert list(second.params) == ["layers.1.bias", "layers.1.weight"]
    before = net.layers[1].weight.value
    step(second)()
    assert net.layers[0].weight.value is held
    assert not jnp.array_equal(net.layers[1].weight.value, before)
    nn.unfreeze(net)
    step(first)()
    assert not jnp.array_equal(net.layers[0].weight.value, held)
    assert int(first.step.value) == 2
