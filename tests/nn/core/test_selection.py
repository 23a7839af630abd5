"""Selectors that name a model and its optimizer together: a state that both hold is named once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import states
from brainstate_nn._core.selection import selected_states
from brainstate_transform import grad, jit
from tests.tables import each

X = jnp.array([[1.0, -2.0], [0.5, 3.0]])


def trained():
    net = nn.Sequential(nn.Linear(2, 2, rng=nn.RandomState(0)), nn.BatchNorm(2))
    optimizer = nn.Optimizer(net, optax.sgd(0.1, momentum=0.9))

    def step(x):
        optimizer.update(grad(lambda: (net(x) ** 2).sum(), nn.ParamState)())

    return net, optimizer, step


BOTH = {
    "list": lambda net, optimizer: [net, optimizer],
    "tuple, the other way": lambda net, optimizer: (optimizer, net),
    "dict": lambda net, optimizer: {"net": net, "optimizer": optimizer},
    "set": lambda net, optimizer: {net, optimizer},
    "nested": lambda net, optimizer: {"a": [net], "b": (optimizer,)},
    "kinds": lambda net, optimizer: [nn.ParamState, nn.BatchState, nn.OptState],
    "a kind and the model": lambda net, optimizer: [net, optimizer.states(nn.OptState)],
    "model by part": lambda net, optimizer: [net[0], net[1], optimizer],
}


@each("both", ["list", "dict", "model by part"])
def test_both_are_donated_and_placed(both):
    net, optimizer, step = trained()
    plain_net, _, plain_step = trained()
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    chosen = BOTH[both](net, optimizer)
    old = [leaf for state in states([net, optimizer]).values() for leaf in jax.tree.leaves(state.value)]
    jit(step, donate_states=chosen)(X)
    assert all(leaf.is_deleted() for leaf in old)
    jit(step, state_shardings={jax.NamedSharding(mesh, jax.P()): chosen})(X)
    for _ in range(2):
        plain_step(X)
    for ours, theirs in zip(net.states().values(), plain_net.states().values(), strict=True):
        np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-4, atol=1e-5)
        assert ours.value.sharding.mesh.axis_names == ("d",)


@each("both", list(BOTH), ids=list(BOTH))
def test_both_are_selected_in_both(both):
    net, optimizer, _ = trained()
    held = [net, optimizer]
    found = selected_states(held, BOTH[both](net, optimizer), "where")
    assert list(found.items()) == list(states(held).items())


def test_verbs_that_are_given_both():
    net, optimizer, step = trained()
    step(X)
    average = nn.EMA([net, optimizer], 0.5, wrt=[net, optimizer.states(nn.ParamState)])
    average.update()
    frozen = nn.freeze([net, optimizer], [net, optimizer])
    assert frozen[0] is net
    assert [type(s) for s in net[0].states().values()] == [nn.FrozenParam] * 2
    with pytest.raises(ValueError, match=r"wrt names \w+ at .* twice, as .*: leave one of them out"):
        grad(lambda: (net[1](X) ** 2).sum(), [net[1], net[1].weight])()
