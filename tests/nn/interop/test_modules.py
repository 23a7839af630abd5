"""Whole modules of linen and equinox inside ours: they compute what they compute there, and their arrays are states."""

from __future__ import annotations

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import brainstate_nn as nn
from brainstate_graph import clone, graphdef
from brainstate_transform import for_loop, grad, jit, value_and_grad, vmap
from tests.tables import each

X = jax.random.normal(jax.random.key(0), (6, 2))
KEY = jax.random.key(1)


class Theirs(linen.Module):
    @linen.compact
    def __call__(self, x, train=True):
        init = linen.with_partitioning(linen.initializers.lecun_normal(), (None, "model"))
        x = linen.Dense(4, kernel_init=init)(x)
        x = linen.BatchNorm(use_running_average=not train)(x)
        return linen.Dropout(0.5, deterministic=not train)(x)

    def twice(self, x):
        return 2 * x


def plain(variables, x, key, train=True):
    return Theirs().apply(variables, x, train, rngs={"dropout": key}, mutable=["batch_stats"])


def linen_twin():
    net = nn.from_linen(Theirs(), jax.ShapeDtypeStruct((1, 2), jnp.float32), rng=nn.RandomState(0), train=False)
    return net, jax.tree.map(lambda s: s.value, net.variables, is_leaf=lambda s: hasattr(s, "value"))


def test_a_linen_module_computes_as_in_linen():
    net, variables = linen_twin()
    kinds = {type(s) for path, s in net.states().items() if path[1] == "params"}
    assert kinds == {nn.ParamState}
    assert isinstance(net.variables["batch_stats"]["BatchNorm_0"]["mean"], nn.BatchState)
    for how in (lambda f: f, jit):
        want, new = plain(variables, X, KEY)
        np.testing.assert_allclose(how(net)(X, rngs=KEY), want, atol=1e-6)
        variables = {**variables, **new}
        np.testing.assert_allclose(how(lambda x: net(x, train=False))(X), plain(variables, X, KEY, False)[0], atol=1e-6)
        np.testing.assert_allclose(net.variables["batch_stats"]["BatchNorm_0"]["mean"].value,
                                   new["batch_stats"]["BatchNorm_0"]["mean"], atol=1e-6)  # fmt: skip
    assert jnp.array_equal(net(X, rngs={"dropout": KEY}), net(X, rngs=KEY))
    assert not jnp.array_equal(net(X), net(X))  # it draws from its stream
    assert jnp.array_equal(net(X, method="twice"), 2 * X)
    assert jnp.array_equal(clone(net)(X, train=False), net(X, train=False))


def test_a_linen_module_is_trained_as_in_linen():
    net, variables = linen_twin()
    optimizer = nn.Optimizer(net, optax.sgd(0.1, momentum=0.9))
    params, stats = variables["params"], variables["batch_stats"]
    tx = optax.sgd(0.1, momentum=0.9)
    moments = tx.init(params)

    @jit
    def step(key):
        grads = grad(lambda: (net(X, rngs=key) ** 2).mean(), nn.ParamState)()
        optimizer.update(grads)

    for i in range(2):
        key = jax.random.key(i)

        def loss(params, stats=stats, key=key):
            y, new = plain({"params": params, "batch_stats": stats}, X, key)
            return (y**2).mean(), new["batch_stats"]

        grads, stats = jax.grad(loss, has_aux=True)(params)
        updates, moments = tx.update(grads, moments, params)
        params = optax.apply_updates(params, updates)
        step(key)
    values = nn.to_pure_dict(net, nn.ParamState)["variables"]["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), values, dict(params))


def test_in_evaluation_a_linen_module_draws_nothing():
    net, _ = linen_twin()
    before = int(net.eval().streams["dropout"].value[1])
    net(X, train=False)
    assert int(net.streams["dropout"].value[1]) == before
    assert not nn.from_linen(linen.Dense(3), X, streams=()).states(nn.RandomState)


def test_an_equinox_module_computes_as_in_equinox():
    mlp = eqx.nn.MLP(2, 3, 4, 2, key=KEY)
    net = nn.from_equinox(mlp)
    assert graphdef(nn.from_equinox(eqx.nn.MLP(2, 3, 4, 2, key=jax.random.key(5)), rng=nn.RandomState(0))) is graphdef(
        net
    )
    for run in (vmap(net), jit(vmap(net)), vmap(clone(net)), lambda x: for_loop(net, x)):
        np.testing.assert_allclose(run(X), jax.vmap(mlp)(X), atol=1e-6)
    loss, grads = value_and_grad(lambda: (vmap(net)(X) ** 2).sum(), nn.ParamState)()
    want, theirs = eqx.filter_value_and_grad(lambda m: (jax.vmap(m)(X) ** 2).sum())(mlp)
    assert float(loss) == pytest.approx(float(want), rel=1e-5)
    np.testing.assert_allclose(grads["arrays", "layers", "1", "weight"], theirs.layers[1].weight, atol=1e-5)
    assert all(
        jax.tree.leaves(jax.tree.map(jnp.array_equal, *(eqx.filter(m, eqx.is_array) for m in (net.unwrap(), mlp))))
    )


def test_an_equinox_module_with_a_state_and_keys():
    def build():
        layers = [eqx.nn.Linear(2, 4, key=KEY), eqx.nn.BatchNorm(4, "batch", mode="ema"), eqx.nn.Dropout(0.5)]
        return eqx.nn.Sequential(layers)

    def call(module, x, state, key=None):
        keys = None if key is None else jax.random.split(key, len(x))
        one = lambda x, state, key: module(x, state, key=key)
        return jax.vmap(one, (0, None, None if key is None else 0), (0, None), axis_name="batch")(x, state, keys)

    module, state = eqx.nn.make_with_state(build)()
    net = nn.from_equinox(module, state, call=call)
    for run in (net, jit(net)):
        want, state = call(module, X, state, KEY)
        np.testing.assert_allclose(run(X, key=KEY), want, atol=1e-6)
        for ours, theirs in zip(net.stats, jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(ours.value, theirs, atol=1e-6)
    quiet = eqx.nn.inference_mode(module)
    for _ in range(2):  # in evaluation nothing moves, and nothing is drawn
        np.testing.assert_allclose(net.eval()(X), call(quiet, X, state)[0], atol=1e-6)
    assert not jnp.array_equal(net.train()(X), net(X))


@each(
    ("make", "words"),
    [
        (lambda: nn.from_linen(nn.Dropout(0.5), X), "is not a module of flax.linen: write `from_linen"),
        (lambda: nn.from_equinox(lambda x: x), "is not a module of equinox: write `from_equinox"),
    ],
)
def test_what_is_no_module_of_theirs(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_without_the_library(monkeypatch):
    for make, name in ((lambda: nn.from_linen(None), "flax"), (lambda: nn.from_equinox(None), "equinox")):
        for module in [m for m in sys.modules if m.split(".")[0] == name]:
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f"{name} is not installed: run `pip install {name}`"):
            make()
