"""Surgery inside of lanes: Stacks, Stacks of Stacks, ensembles, and ensembles of Stacks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef, treefy_merge, treefy_split, treefy_states
from brainstate_transform import lane_axes, lane_sizes, vmap
from tests.nn.whole import all_bits
from tests.tables import each


class Block(nn.Module):
    """A layer of its own, one in common, and parts without states."""

    def __init__(self, common):
        self.own, self.common = nn.Linear(4, 4), common
        self.none = nn.Identity()

    def __call__(self, x):
        return self.none(self.own(self.common(x)))


def stack(n=3):
    common = nn.Linear(4, 4)
    return nn.Stack(n, lambda: Block(common))


def of_stacks():
    return nn.Stack(2, stack)


def ensemble():
    return vmap(lambda: nn.Sequential(nn.Linear(4, 4), nn.Identity()), axis_size=5, new_states=0)()


def ensemble_with_a_stream():
    stream = nn.RandomState(0)

    def member():
        return nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5, rng=stream)))

    return vmap(member, axis_size=5, new_states=0)()


def ensemble_of_stacks():
    return vmap(stack, axis_size=5, new_states=0)()


def both():
    """A plain layer and a plain part beside a Stack and an ensemble."""
    return nn.Sequential(nn.Linear(4, 4), nn.Identity(), stack(), ensemble())


def stateless():
    return nn.Stack(3, nn.Identity)


X = jnp.ones((2, 4))


def linear(_=None):
    return nn.Linear(4, 4)


# The model, the part that is replaced, and the lanes of what takes its place.
CASES = {
    "a layer of a Stack": (stack, "layers.own", (3,)),
    "the layers of a Stack": (lambda: nn.Stack(3, linear), "layers", (3,)),
    "a part without states": (stack, "layers.none", (3,)),
    "layers without states": (stateless, "layers", (3,)),
    "what the layers share": (stack, "layers.common", ()),
    "a part whose states the layers share": (
        lambda: (lambda common: nn.Stack(3, lambda: nn.Sequential(nn.Sequential(common))))(nn.Linear(4, 4)),
        "layers.layers.0", (3,),
    ),
    "a Stack in a Stack": (of_stacks, "layers.layers.own", (2, 3)),
    "what the inner layers share": (of_stacks, "layers.layers.common", (2,)),
    "a whole inner Stack": (of_stacks, "layers", (2,)),
    "a part without states of an inner Stack": (of_stacks, "layers.layers.none", (2, 3)),
    "a member": (ensemble, "layers.0", (5,)),
    "a member without states": (ensemble, "layers.1", (5,)),
    "a Stack of an ensemble": (ensemble_of_stacks, "layers.own", (5, 3)),
    "what the layers of an ensemble share": (ensemble_of_stacks, "layers.common", (5,)),
    "without states in a Stack of an ensemble": (ensemble_of_stacks, "layers.none", (5, 3)),
    "beside lanes": (both, "layers.0", ()),
    "without states beside lanes": (both, "layers.1", ()),
    "a whole Stack": (both, "layers.2", ()),
    "in a Stack beside others": (both, "layers.2.layers.own", (3,)),
    "in an ensemble beside others": (both, "layers.3.layers.0", (5,)),
    "what holds an ensemble": (lambda: nn.Sequential(both()), "layers.0", ()),
    "an ensemble with a stream in common": (ensemble_with_a_stream, "layers.0", (5,)),
    "a layer of ensembles": (lambda: nn.Stack(3, lambda: nn.Sequential(ensemble())), "layers.layers.0", (3, 5)),
    "a member of a layer": (lambda: nn.Stack(3, lambda: nn.Sequential(ensemble())), "layers.layers.0.layers.0", (3, 5)),
}  # fmt: skip


@each("name", CASES)
def test_what_is_put_in_has_the_lanes_of_its_place(name):
    build, path, lanes = CASES[name]
    model = build()
    (new,) = nn.rewrite(model, path, linear).values()
    assert nn.get_at(model, path) is new
    assert lane_sizes(new.weight) == lanes
    assert new.weight.value.shape == (*lanes, 4, 4)
    assert len(set(new.weight.value[..., 0, 0].ravel().tolist())) == int(np.prod(lanes))  # drawn anew in each
    if build in (stack, of_stacks, stateless):
        assert model(X).shape == (2, 4)


def test_a_part_is_seen_as_one():
    model = ensemble_of_stacks()
    seen = []

    def fn(layer):
        seen.append((layer.weight.value.shape, lane_axes(layer.weight)))
        return layer

    before = all_bits(model)
    shape = graphdef(model)
    nn.rewrite(model, "layers.own", fn)
    assert set(seen) == {((4, 4), ())}
    assert all_bits(model) == before
    assert graphdef(model) is shape


@each(
    ("fn", "error", "message"),
    [
        (lambda layer: 1 / 0, ZeroDivisionError, "division"),
        (lambda layer: None, TypeError, r"what replaces the Linear at layers\.own must be a module"),
        (lambda layer: OUTSIDE, ValueError, r"Stack holds ParamState.* make it inside of the function, or replace"),
        (lambda layer: nn.Linear(4, 4) if float(layer.weight.value.sum()) else layer, TypeError, "[Tt]rac"),
    ],
)
def test_nothing_changes_where_it_fails(fn, error, message):
    model = stack()
    before, shape = all_bits(model), graphdef(model)
    with pytest.raises(error, match=message):
        nn.rewrite(model, lambda path, part: path[-1:] == ("own",), fn)
    assert graphdef(model) is shape
    assert all_bits(model) == before


OUTSIDE = nn.Linear(4, 4)


def test_what_was_stacked_by_hand_has_to_say_so():
    model = stack()
    model.layers.own.weight = nn.ParamState(jnp.ones((3, 4, 4)))
    before = graphdef(model)
    with pytest.raises(
        ValueError, match=r"Stack\.layers\.own\.weight has the values of all layers .* `ParamState\(value, lane_ndim="
    ):
        nn.add_lora(model, 2)
    assert graphdef(model) is before
    model.layers.own.weight = nn.ParamState(jnp.ones((3, 4, 4)), lane_ndim=2)
    assert nn.add_lora(model, 2) == ["layers.common", "layers.own"]


def test_freeze_and_unfreeze_keep_the_very_states():
    model = stack()
    weight = model.layers.own.weight
    nn.freeze(model, "layers.own")
    assert lane_axes(model.layers.own.weight) == (0,)
    assert not isinstance(model.layers.own.weight, nn.ParamState)
    want = weight.value
    assert nn.unfreeze(model).layers.own.weight is weight
    np.testing.assert_array_equal(weight.value, want)


@pytest.mark.parametrize("build", [stack, of_stacks, ensemble_of_stacks])
def test_lora_changes_nothing_at_first_and_is_merged_again(build):
    def run(model):
        if build is not ensemble_of_stacks:
            return model(X)
        shape, tree = treefy_split(model)
        return jax.vmap(lambda tree: treefy_merge(shape, tree)(X))(tree)

    model = build()
    want, shape = run(model), graphdef(model)
    added = nn.add_lora(model, 4)  # as many as features, so that shapes tell nothing
    np.testing.assert_allclose(run(model), want, rtol=1e-5, atol=1e-5)
    for state in model.states(nn.LoRAParam).values():
        state.value = jnp.full_like(state.value, 0.1)
    moved = run(model)
    assert not np.allclose(moved, want)
    assert nn.merge_lora(model) == added
    np.testing.assert_allclose(run(model), moved, rtol=1e-4, atol=1e-4)
    assert graphdef(model) is shape
    assert treefy_states(model).to_flat().keys() == treefy_states(build()).to_flat().keys()
