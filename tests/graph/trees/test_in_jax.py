"""State trees inside JAX, optax and orbax: one treedef for equal models, written or not."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brainstate_graph import NestedDict, states, treefy_merge, treefy_split, treefy_states, update_states
from tests.laws.graphs import Gadget, Param, Stat, layer, net, same_value
from tests.tables import each

VIEWS = [NestedDict.copy, NestedDict.to_flat]


views = pytest.mark.parametrize("view", VIEWS, ids=["nested", "flat"])


def parameters(seed=0):
    """A tree of states, and the same as plain nested dictionaries."""
    tree = treefy_states(Gadget(layers=[layer(seed), layer(seed + 1)], head=layer(seed + 9)), Param)
    return tree, tree.to_pure_dict()


def assert_close(tree, plain):
    plain = NestedDict(plain)
    assert [p for p in tree.to_flat()] == [p for p in plain.to_flat()]  # noqa: C416 - in order
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


def loss(weights: Any, x: Any) -> Any:
    """Of plain dictionaries."""
    for name in (0, 1):
        x = jnp.tanh(x @ weights["layers"][name]["weight"] + weights["layers"][name]["bias"][None])
    return jnp.sum((x @ weights["head"]["weight"] + weights["head"]["bias"][None]) ** 2)


def tree_loss(tree: Any, x: Any) -> Any:
    return loss(tree.to_nest().to_pure_dict(), x)


X = jnp.arange(4.0).reshape(2, 2) / 4


_slow_and_fast = {"fast": optax.sgd(0.1), "slow": optax.adam(0.01)}


def _label(path: Any) -> str:
    return "fast" if "bias" in jax.tree_util.keystr(path) else "slow"


# Each as a function of the parameters, since masks and labels may be trees like them.
OPTIMIZERS = {
    "sgd": lambda _: optax.sgd(0.1, momentum=0.9),
    "adam": lambda _: optax.adamw(0.01),
    "masked by a tree": lambda p: optax.masked(optax.sgd(0.1), jax.tree.map(lambda x: x.ndim == 1, p)),
    "masked by a function": lambda _: optax.masked(
        optax.sgd(0.1), lambda params: jax.tree.map(lambda x: x.ndim == 1, params)
    ),
    "weight decay with a mask": lambda p: optax.adamw(0.01, mask=jax.tree.map(lambda x: x.ndim > 1, p)),
    "several steps in one": lambda _: optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2),
    "by labels": lambda p: optax.multi_transform(
        _slow_and_fast, jax.tree_util.tree_map_with_path(lambda path, _: _label(path), p)
    ),
    "parts": lambda _: optax.partition(
        _slow_and_fast, lambda params: jax.tree_util.tree_map_with_path(lambda path, _: _label(path), params)
    ),
    "clipped": lambda _: optax.chain(optax.clip_by_global_norm(0.5), optax.rmsprop(0.01)),
}


@views
def test_two_trees_of_one_model_before_and_after_a_write(view):
    model = net()
    before = view(treefy_states(model))
    values = jax.tree.leaves(before)
    for state in states(model).values():
        state.value = state.value + 1
    after = view(treefy_states(model))
    change = jax.tree.map(lambda a, b: b - a, before, after)
    assert jax.tree.structure(change) == jax.tree.structure(before)
    assert [float(x.max()) for x in map(jnp.asarray, jax.tree.leaves(change))] == pytest.approx([1.0] * len(values))
    assert all(a is b for a, b in zip(values, jax.tree.leaves(before), strict=True))


@pytest.mark.counts_traces
@views
def test_jit_traces_once_for_equal_models(view):
    traced = []

    @jax.jit
    def double(tree):
        traced.append(tree)
        return jax.tree.map(lambda x: x * 2, tree)

    for seed in range(3):
        tree, plain = parameters(seed)
        found = double(view(tree))
        assert type(found) is type(view(tree))
        assert jax.tree.structure(found) == jax.tree.structure(view(tree))
        assert_close(found, jax.tree.map(lambda x: x * 2, plain))
    double(pickle.loads(pickle.dumps(view(tree))))
    double(view(NestedDict.from_flat(reversed(list(tree.to_flat().items())))))
    assert len(traced) == 1
    double(view(NestedDict(plain)))  # without kinds it is another tree
    assert len(traced) == 2


@views
def test_grad(view):
    tree, plain = parameters()
    value, grads = jax.value_and_grad(tree_loss)(view(tree), X)
    expected, plain_grads = jax.value_and_grad(loss)(plain, X)
    assert value == expected
    assert_close(grads, plain_grads)
    assert jax.tree.structure(grads) == jax.tree.structure(view(tree))
    assert grads.to_nest()["head"]["bias"].type is Param


@views
def test_scan_carry(view):
    tree, plain = parameters()

    def step(carry, x):
        return jax.tree.map(lambda w, g: w - 0.1 * g, carry, jax.grad(tree_loss)(carry, x)), tree_loss(carry, x)

    def plain_step(carry, x):
        return jax.tree.map(lambda w, g: w - 0.1 * g, carry, jax.grad(loss)(carry, x)), loss(carry, x)

    xs = jnp.stack([X, -X, X + 1])
    found, losses = jax.lax.scan(step, view(tree), xs)
    expected, plain_losses = jax.lax.scan(plain_step, plain, xs)
    assert_close(found, expected)
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-6)


def test_a_merged_model_in_the_carry_of_a_scan():
    graphdef, tree = treefy_split(Gadget(count=Stat(jnp.array(0)), w=Param(jnp.ones(2))))

    def step(tree, x):
        model = treefy_merge(graphdef, tree)
        model.count.value += 1
        return treefy_states(model), model.w.value * x

    last, out = jax.lax.scan(step, tree, jnp.arange(3.0))
    assert last["count"].value == 3
    np.testing.assert_array_equal(out, np.arange(3.0)[:, None] * np.ones(2))


@views
def test_vmap_over_stacked_trees(view):
    trees = [parameters(seed)[0] for seed in range(4)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *map(view, trees))
    found = jax.vmap(tree_loss, in_axes=(0, None))(stacked, X)
    np.testing.assert_allclose(found, [loss(tree.to_pure_dict(), X) for tree in trees], rtol=1e-6)
    axes = jax.tree.map(lambda _: 0, stacked)  # a tree of axes, too
    np.testing.assert_allclose(jax.vmap(tree_loss, in_axes=(axes, None))(stacked, X), found)


@views
@each("name", OPTIMIZERS)
def test_optax(name, view):
    tree, plain = parameters()
    results = []
    for params, function in ((view(tree), tree_loss), (plain, loss)):
        optimizer = OPTIMIZERS[name](params)

        @jax.jit
        def step(params, state, optimizer=optimizer, function=function):
            grads = jax.grad(function)(params, X)
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        state = optimizer.init(params)
        for _ in range(4):
            params, state = step(params, state)
        results.append(params)
    assert jax.tree.structure(results[0]) == jax.tree.structure(view(tree))
    assert_close(*results)


def test_optax_on_a_model_that_was_written_between():
    model = Gadget(w=Param(jnp.array([1.0, 2.0])))
    optimizer = optax.adam(0.1)
    state = optimizer.init(treefy_states(model, Param))
    plain, plain_state = jnp.array([1.0, 2.0]), optimizer.init(jnp.array([1.0, 2.0]))
    for _ in range(3):
        model.w.value = model.w.value * 1.0  # no part of the treedef
        params = treefy_states(model, Param)
        grads = jax.grad(lambda tree: jnp.sum(tree["w"].value ** 2))(params)
        updates, state = optimizer.update(grads, state, params)
        update_states(model, optax.apply_updates(params, updates))
        plain_updates, plain_state = optimizer.update(2 * plain, plain_state, plain)
        plain = plain + plain_updates
    np.testing.assert_allclose(model.w.value, plain, rtol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("orbax") is None, reason="orbax-checkpoint is not installed")
@pytest.mark.filterwarnings("ignore")  # orbax and what it imports have their own
@views
def test_orbax(view, tmp_path):
    checkpoint = importlib.import_module("orbax.checkpoint")
    tree = view(parameters()[0])
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "tree", tree)
        checkpointer.wait_until_finished()
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
        found = checkpointer.restore(tmp_path / "tree", abstract)
        plain = checkpointer.restore(tmp_path / "tree")
    assert type(found) is type(tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert same_value(found, tree)
    assert len(jax.tree.leaves(plain)) == len(jax.tree.leaves(tree))
