"""Transformations of optax that look at whole arrays, over a Stack beside a list of its layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

import brainstate_nn as nn
from brainstate_graph import clone
from brainstate_transform import vmap
from tests.tables import each

WHOLE = {
    "lamb": lambda: optax.lamb(0.1),
    "lars": lambda: optax.lars(0.1, weight_decay=0.1),
    "adafactor": lambda: optax.adafactor(0.1, min_dim_size_to_factor=2),
    "muon": lambda: optax.contrib.muon(0.1),
    "by blocks": lambda: optax.clip_by_block_rms(0.1),
    "by all": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0, momentum=0.9)),
    "mask by axes": lambda: optax.adamw(0.1, weight_decay=0.5, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
}


def gradients(model):
    return {path: jnp.cos(7.0 * state.value) for path, state in model.states(nn.ParamState).items()}


@each("name", WHOLE)
def test_layers_are_moved_as_in_a_list(name):
    stack = nn.Stack(3, lambda: nn.Linear(4, 5, b_init=jax.nn.initializers.normal()))
    listed = nn.Sequential(*stack.unstack())
    optimizers = [nn.Optimizer(stack, WHOLE[name](), each_layer=True), nn.Optimizer(listed, WHOLE[name]())]
    for _ in range(2):
        for optimizer, model in zip(optimizers, (stack, listed), strict=True):
            optimizer.update(gradients(model))
    for part in ("weight", "bias"):
        want = np.stack([getattr(layer, part).value for layer in listed.layers])
        np.testing.assert_allclose(getattr(stack.layers, part).value, want, rtol=1e-5, atol=1e-6)


def test_members_of_ensembles_along_any_axis():
    for axis in (0, 1, -1):
        two = vmap(
            lambda axis=axis: vmap(lambda: nn.Linear(4, 5), axis_size=2, new_states=axis)(), axis_size=3, new_states=0
        )()
        alone = clone(two)
        nn.Optimizer(two, optax.lars(0.5), each_layer=True).update(gradients(two))
        in_states = {0: list(alone.states().values())}

        def each_member(alone=alone, axis=axis):
            def one():
                nn.Optimizer(alone, optax.lars(0.5)).update(gradients(alone))

            vmap(one, in_states={axis: list(alone.states().values())})()

        vmap(each_member, in_states=in_states)()
        np.testing.assert_allclose(two.weight.value, alone.weight.value, rtol=1e-6)


def test_what_is_kept_for_a_layer_lies_as_it_does():
    mesh = jax.sharding.AbstractMesh((2,), ("data",))
    stack = nn.Stack(3, lambda: nn.Linear(4, 8))
    optimizer = nn.Optimizer(stack, optax.sgd(0.1, momentum=0.9), each_layer=True)
    plan = nn.shardings({"m": stack, "o": optimizer}, mesh, {"m.layers.weight": jax.P(None, "data")})
    found = {name: tuple(sharding.spec) for name, sharding in plan.items() if "weight" in name}
    assert found.pop("m.layers.weight") == (None, "data")
    assert len(found) == 3
    assert set(found.values()) == {("data",)}
    one = nn.Optimizer(stack, optax.sgd(0.1, momentum=0.9))
    plan = nn.shardings({"m": stack, "o": one}, mesh, {nn.OptState: nn.fully_sharded("data"), ...: None})
    assert {tuple(s.spec) for name, s in plan.items() if name.startswith("o.") and "weight" in name} == {
        (None, None, "data")
    }
