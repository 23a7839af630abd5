"""Training over four devices; `test_several_devices.py` runs this file in a process that has as many."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_transform import grad, jit

MESH = jax.make_mesh((4,), ("part",))  # with explicit axes, as is the default

TRANSFORMATIONS = {
    "adam": lambda: optax.adam(0.1),
    "accumulation": lambda: optax.MultiSteps(optax.adam(0.1), 2),
    "hyperparameters": lambda: optax.inject_hyperparams(optax.adam)(0.1),
    "half precision": lambda: optax.adam(0.1, mu_dtype=jnp.bfloat16),
}


def make(mesh=MESH):
    layer = nn.Linear(8, 4, rng=nn.RandomState(0))
    layer.weight.value = jax.device_put(layer.weight.value, NamedSharding(mesh, P(None, "part")))
    return layer


def specs(tree, shape=(8, 4)):
    return {leaf.sharding.spec for leaf in jax.tree.leaves(tree) if leaf.shape == shape}


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", AxisType.Auto), *((name, AxisType.Explicit) for name in TRANSFORMATIONS)]
)
def test_what_is_kept_for_a_parameter_lies_where_it_lies(name, kind):
    mesh = jax.make_mesh((4,), ("part",), axis_types=(kind,))
    x = jnp.ones((2, 8))
    with jax.set_mesh(mesh):
        layer = make(mesh)
        optimizer = nn.Optimizer(layer, TRANSFORMATIONS[name]())

        @jit
        def step():
            optimizer.update(grad(lambda: jnp.mean((layer(x) - 1.0) ** 2), nn.ParamState)())

        assert specs(optimizer.opt_state.value) == {P(None, "part")}
        for _ in range(2):
            step()
        assert specs(optimizer.opt_state.value) == {P(None, "part")}
        assert layer.weight.value.sharding.spec == P(None, "part")
    alone = nn.Linear(8, 4, rng=nn.RandomState(0))
    other = nn.Optimizer(alone, TRANSFORMATIONS[name]())
    for _ in range(2):
        other.update(grad(lambda: jnp.mean((alone(x) - 1.0) ** 2), nn.ParamState)())
    ours, theirs = np.asarray(layer.weight.value), np.asarray(alone.weight.value)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3 if name == "half precision" else 1e-5)


@pytest.mark.parametrize("debias", [False, True])
def test_averages_lie_where_their_parameters_lie(debias):
    with jax.set_mesh(MESH):
        layer = make()
        ema = nn.EMA(layer, 0.9, debias=debias)
        jit(ema.update)()
        assert specs([ema.averages["weight"].value, ema.apply_to(layer).weight.value]) == {P(None, "part")}


def test_metrics_of_a_batch_over_four_devices():
    key = jax.random.key(0)
    logits, labels = jax.random.normal(key, (8, 3)), jax.random.randint(key, (8,), 0, 3)
    values, mask = jax.random.normal(key, (8, 5)), jnp.arange(8) < 6

    def gather(*arrays):
        metrics = nn.MultiMetric(
            loss=nn.Average(), spread=nn.Welford(), accuracy=nn.Accuracy(), f1=nn.F1(3), table=nn.ConfusionMatrix(3)
        )
        values, logits, labels, mask = arrays
        jit(metrics.update)(values=values, logits=logits, labels=labels, mask=mask)
        return jax.tree.map(np.asarray, metrics.compute())

    want = gather(values, logits, labels, mask)
    with jax.set_mesh(MESH):
        put = lambda x: jax.device_put(x, NamedSharding(MESH, P("part")))
        jax.tree.map(np.testing.assert_allclose, gather(*map(put, (values, logits, labels, mask))), want)
        # a mask that is on no device in particular
        jax.tree.map(np.testing.assert_allclose, gather(*map(put, (values, logits, labels)), np.asarray(mask)), want)


def test_penalties_of_a_sharded_weight():
    weight = jax.random.normal(jax.random.key(0), (8, 4))
    with jax.set_mesh(MESH):
        for spec in (P("part"), P(None, "part")):
            sharded = jax.device_put(weight, NamedSharding(MESH, spec))
            for penalty in (nn.L1(0.5), nn.ElasticNet(0.1, 0.2), nn.Orthogonal(0.3)):
                np.testing.assert_allclose(np.asarray(penalty(sharded)), np.asarray(penalty(weight)), rtol=1e-5)
