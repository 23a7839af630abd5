"""Arrays that are written into a model by name: those that are deleted are refused, and nothing is written."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError
from brainstate_transform import grad, jit
from tests.tables import each


def model():
    return nn.Sequential(nn.Linear(2, 2, rng=nn.RandomState(0)), nn.BatchNorm(2))


def flat_without(kill):
    data = {name: jnp.array(leaf) for name, leaf in nn.to_flat_dict(model()).items()}
    for name in kill:
        data[name].delete()
    return data


def nested_without(kill):
    root: dict = {}
    for name, leaf in flat_without(kill).items():
        *above, last = name.split(".")
        inner = root
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = leaf
    return root


VERBS = {
    "from_flat_dict": lambda net, kill: nn.from_flat_dict(net, flat_without(kill)),
    "not strictly": lambda net, kill: nn.from_flat_dict(net, flat_without(kill), strict=False),
    "with a cast": lambda net, kill: nn.from_flat_dict(net, flat_without(kill), cast=True),
    "from_pure_dict": lambda net, kill: nn.from_pure_dict(net, nested_without(kill)),
    "renamed": lambda net, kill: nn.from_flat_dict(
        net, {f"old.{name}": leaf for name, leaf in flat_without(kill).items()}, rename=[(r"^old\.", "")]
    ),
}


@each("kill", [["layers.0.weight"], ["layers.0.weight", "layers.1.running_mean"]])
@each("verb", VERBS)
def test_deleted_arrays_are_refused(verb, kill):
    net = model()
    before = nn.to_flat_dict(net)
    with pytest.raises(GraphError) as caught:
        VERBS[verb](net, kill)
    for name in before:
        assert (f"{name} is given an array that was deleted" in str(caught.value)) == (name in kill)
    assert all(leaf is before[name] for name, leaf in nn.to_flat_dict(net).items())


def test_a_tied_weight_that_the_data_have_twice():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.weight = one.weight
    data = {name: jnp.array(leaf) for name, leaf in nn.to_flat_dict([one, two]).items()}
    data["1.weight"] = jnp.array(data["0.weight"])
    data["1.weight"].delete()
    with pytest.raises(GraphError, match=r"0\.weight is given an array that was deleted"):
        nn.from_flat_dict([one, two], data)


def test_the_best_weights_of_a_training_that_donates():
    net = nn.Linear(2, 2)
    optimizer = nn.Optimizer(net, optax.adam(1e-2))

    @jit(donate_states=True)
    def step():
        optimizer.update(grad(lambda: net(jnp.ones(2)).sum(), nn.ParamState)())

    step()
    best, kept = nn.to_flat_dict(net), {k: jnp.array(v) for k, v in nn.to_flat_dict(net).items()}
    step()
    with pytest.raises(GraphError, match="bias is given an array that was deleted"):
        nn.from_flat_dict(net, best)
    assert not any(leaf.is_deleted() for leaf in nn.to_flat_dict(net).values())
    nn.from_flat_dict(net, kept)
    assert (net.weight.value == kept["weight"]).all()
    step()  # which goes on


# -- arrays that are shared --------------------------------------------------------------------------------------------


def by_flat_dict(net, array):
    nn.from_flat_dict(net, {"0.w": array, "1.w": array})


def by_assignment(net, array):
    net[0].w.value = net[1].w.value = array


def inside_of_one(net, array):
    net[0].w.value = {"a": array, "b": [array]}


class Box(nn.Module):
    def __init__(self):
        self.w = nn.ParamState(jnp.zeros(3))


@each(
    "share, places",
    [
        (by_flat_dict, r"ParamState at Box\.w and ParamState at Box\.w"),
        (by_assignment, r"ParamState at Box\.w and ParamState at Box\.w"),
        (inside_of_one, r"ParamState at Box\.w\['a'\] and ParamState at Box\.w\['b'\]\[0\]"),
    ],
)
def test_an_array_in_two_places_is_not_donated(share, places):
    net = [Box(), Box()]
    share(net, jnp.ones(3))
    before = [box.w.value for box in net]

    @jit(donate_states=True)
    def step():
        for box in net:
            box.w.value = jax.tree.map(lambda x: x + 1.0, box.w.value)

    with pytest.raises(ValueError, match=rf"donate_states: .*({places}) hold the same array"):
        step()
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    for box in net:
        box.w.value = jax.tree.map(jnp.array, box.w.value)  # the line that the message shows
    step()
