"""Which axes of a state stand for lanes, by every way in which `vmap` makes states with lanes."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_graph import Not, State, clone, graphdef, nodes, states, treefy_merge, treefy_split
from brainstate_transform import each_lane, for_loop, in_lanes, jit, lane_axes, lane_sizes, map, vmap, vmap_new_states
from tests.tables import each


def linear(rng=None):
    return nn.Linear(2, 3, rng=rng)


class Holder(nn.Module):
    def __init__(self, layer=None):
        self.layer = layer

    def fill(self):
        self.layer = linear()


def filled(**options):
    holder = Holder()
    vmap(holder.fill, axis_size=5, **options)()
    return holder.layer


def keys():
    return jax.random.split(jax.random.key(0), 5)


def in_jit():
    return jit(lambda: vmap(linear, axis_size=5, new_states=0)())()


def without_jit():
    with jax.disable_jit():
        return for_loop(lambda key: linear(nn.RandomState(key)), keys())


# By hand, as JAX says where the axis of the lanes is: of the weight, and of the bias.
WAYS = {
    "returned": (lambda: vmap(linear, axis_size=5, new_states=0)(), 0, 0),
    "left on a node": (lambda: filled(new_states=0), 0, 0),
    "another axis": (lambda: vmap(linear, axis_size=5, new_states=1)(), 1, 1),
    "the last axis": (lambda: vmap(linear, axis_size=5, new_states=-1)(), -1, -1),
    "by a selector": (lambda: vmap(linear, axis_size=5, new_states={1: "weight", 0: "bias"})(), 1, 0),
    "by a filter": (lambda: vmap(linear, axis_size=5, new_states={0: Not(int)})(), 0, 0),
    "by out_axes": (lambda: vmap(lambda key: linear(nn.RandomState(key)))(keys()), 0, 0),
    "by another of out_axes": (lambda: vmap(lambda key: linear(nn.RandomState(key)), out_axes=1)(keys()), 1, 1),
    "among results": (
        lambda: vmap(lambda key: (linear(nn.RandomState(key)), 1.0), out_axes=(0, None))(keys())[0], 0, 0,
    ),
    "in a loop": (lambda: for_loop(lambda key: linear(nn.RandomState(key)), keys()), 0, 0),
    "in a loop without compiling": (without_jit, 0, 0),
    "in blocks": (lambda: map(lambda key: linear(nn.RandomState(key)), keys(), batch_size=2), 0, 0),
    "in jit": (in_jit, 0, 0),
    "vmap_new_states": (lambda: vmap_new_states(linear, axis_size=5, tag="member")(), 0, 0),
    "a copy made inside": (lambda: vmap(lambda: clone(linear()), axis_size=5, new_states=0)(), 0, 0),
    "split before": (lambda: vmap(lambda: (m := linear(), graphdef(m))[0], axis_size=5, new_states=0)(), 0, 0),
}  # fmt: skip


@each("name", WAYS)
def test_every_way_to_make_lanes_is_told(name):
    make, weight, bias = WAYS[name]
    layer = make()
    for state, axis, one in ((layer.weight, weight, (2, 3)), (layer.bias, bias, (3,))):
        assert lane_axes(state) == (axis,)
        assert lane_sizes(state) == (5,)
        shape = list(state.value.shape)
        assert shape.pop(axis) == 5
        assert tuple(shape) == one
    # A shape that was made of the graph inside of the lane is none any more.
    shape, tree = treefy_split(layer)
    copies = [clone(layer), treefy_merge(shape, tree), pickle.loads(pickle.dumps(layer))]
    assert [lane_axes(copy.weight) for copy in copies] == [(weight,)] * 3


def test_what_all_lanes_share_has_none():
    ensemble = vmap_new_states(lambda: nn.Linear(2, 3, b_init=jnp.ones), exclude=nn.BatchState, axis_size=2)
    del ensemble
    shared = vmap(lambda: nn.BatchNorm(3), axis_size=5, new_states={0: nn.ParamState})()
    assert lane_axes(shared.weight) == (0,)
    assert lane_axes(shared.running_mean) == ()
    assert shared.running_mean.metadata == {}


def test_inside_of_a_lane_there_are_none():
    inner = vmap(lambda: vmap(linear, axis_size=4, new_states=0)(), axis_size=5, new_states=0)()
    assert lane_axes(inner.weight) == (0, 0)
    assert lane_sizes(inner.weight) == (5, 4)
    seen = []

    def outer():
        seen.append(lane_axes(inner.weight))
        vmap(lambda: seen.append(lane_axes(inner.weight)), in_states=inner)()

    vmap(outer, in_states=inner)()
    shape, tree = treefy_split(inner)
    jax.vmap(lambda tree: seen.append(lane_axes(treefy_merge(shape, tree).weight)))(tree)
    assert seen == [(0,), (), (0,)]


def test_a_state_that_was_stacked_by_hand_says_so_itself():
    state = State((jnp.ones((4, 2)), jnp.ones(4)), lane_ndim=1)
    assert lane_axes(state) == (0,)
    assert lane_axes(State(jnp.ones((2, 4)), lane_ndim=1, lane_axes=(1,))) == (1,)
    assert (
        lane_axes(State(jnp.ones(2), lane_ndim=1)) == lane_axes(State(jnp.ones((2, 2)))) == lane_axes(State(None)) == ()
    )


@each("axes", [(0,), (1,), (-1,), (0, 0), (1, 0), (0, 1), (1, 1)])
def test_each_lane_is_a_loop_over_lanes(axes):
    def fun(x, y):
        return jnp.sort(x, -1)[::-1] + y, x.sum()

    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2)[: 2 + len(axes)]).astype(np.float32)
    out, total = each_lane(fun, axes, (), out=(axes, (0,) * len(axes)))(x, jnp.float32(2.0))

    def by_hand(x, axes):
        if not axes:
            return fun(x, 2.0)
        parts = [by_hand(np.take(x, i, axes[0]), axes[1:]) for i in range(x.shape[axes[0]])]
        return np.stack([p[0] for p in parts], axes[0]), np.stack([p[1] for p in parts])

    want, want_total = by_hand(x, axes)
    np.testing.assert_allclose(out, want, rtol=1e-6)
    np.testing.assert_allclose(total, want_total, rtol=1e-5)


def test_what_is_made_in_lanes_has_them_too():
    ensemble = Holder(vmap(lambda: vmap(linear, axis_size=4, new_states=1)(), axis_size=5, new_states=0)())

    def add():
        assert ensemble.layer.weight.value.shape == (2, 3)
        ensemble.gain = nn.ParamState(nn.RandomState.normal(rng, ()))

    rng = nn.RandomState(0)
    in_lanes(add, states(ensemble).values())
    assert lane_sizes(ensemble.gain) == (5, 4)
    assert len(set(ensemble.gain.value.ravel().tolist())) == 20
    assert in_lanes(lambda: 3, []) == 3
    assert len(nodes(ensemble)) == 2
