"""The keys of gradients: those of `model.states()`, however the function comes by the model."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import optax

import brainstate_nn as nn
from brainstate_graph import Node
from brainstate_transform import checkpoint, cond, for_loop, grad, jit, value_and_grad, vmap
from tests.tables import each

X = jnp.ones((3, 2))
net = nn.Sequential(nn.Linear(2, 2, rng=nn.RandomState(0)), nn.Linear(2, 2, rng=nn.RandomState(1)))


class Trainer:
    def __init__(self, net):
        self.net = net
        self.losses = [self.loss]

    def loss(self):
        return total(self.net)

    @property
    def model(self):
        return self.net


class Ring(nn.Module):
    def __init__(self):
        self.w = nn.ParamState(1.0)
        self.me = self

    def __call__(self, x):
        return self.w.value * x


def total(model):
    return (model(X) ** 2).sum()


def of_module():
    return total(net)


def in_ways():
    """Yield functions that reach the model, with their arguments."""
    model, part, weight, call = net, net[0], net[1].weight, net.__call__
    trainer, held, several = Trainer(net), {"z": {"net": net}, "n": 2}, [net[1], net]
    optimizer, average = nn.Optimizer(net, optax.adam(0.1)), nn.Average()
    yield "a global name", of_module
    yield "a variable", lambda: total(model)
    yield "a default", lambda model=net: total(model)
    yield "an argument", lambda model: total(model), net
    yield "an argument in a dict", lambda d: total(d["a"][0]), {"a": [net]}
    yield "an argument and its part", lambda part, model: total(model) + part(X).sum(), net[0], net
    yield "a method of a trainer", trainer.loss
    yield "a property", lambda: total(trainer.model)
    yield "functions in a list", lambda: trainer.losses[0]()
    yield "a dict in a dict", lambda: total(held["z"]["net"])
    yield "a list with a part before it", lambda: total(several[1])
    yield "a part before it", lambda: (part(X) + 0 * total(net)).sum()
    yield "a part, by a name that comes first", lambda: total(model) + aaa_part(X).sum()
    yield "its state", lambda: total(model) + weight.value.sum()
    yield "a bound method", lambda: (call(X) ** 2).sum()
    yield "a partial", functools.partial(total, net)
    yield (
        "an optimizer",
        lambda: total(model) + 0.0 * sum(s.value.sum() for s in optimizer.states(nn.ParamState).values()),
    )
    yield "a metric", lambda: (total(model), average.update(values=X))[0]
    yield "two names", lambda: total(model) + total(net)
    yield "jit", lambda: (jit(model)(X) ** 2).sum()
    yield "a function in a loop", lambda: for_loop(lambda x: (model(x) ** 2).sum(), X).sum()
    yield "vmap, checkpoint, cond", lambda: cond(True, lambda: vmap(checkpoint(net))(X).sum(), lambda: 0.0)
    yield "perturbed", nn.perturbed(net, call=lambda: total(net)), {}
    yield "its mode", lambda: in_evaluation(model)


aaa_part = net[0]


def in_evaluation(model):
    with nn.mode(model, training=False):
        return total(model)


WAYS = {name: call for name, *call in in_ways()}


@each("way", list(WAYS), ids=list(WAYS))
def test_keys_do_not_depend_on_how_the_model_is_reached(way):
    fun, *args = WAYS[way]
    want = list(net.states(nn.ParamState))
    grads = grad(fun, nn.ParamState, allow_unused=True)(*args)
    assert list(grads) == want
    assert [g.shape for g in grads.values()] == [s.value.shape for s in net.states(nn.ParamState).values()]
    if way in ("a variable", "a part before it"):
        assert list(jit(value_and_grad(fun, nn.ParamState, allow_unused=True))(*args)[1]) == want


def test_an_optimizer_takes_them():
    model = nn.Sequential(nn.Linear(2, 2, rng=nn.RandomState(0)), nn.Linear(2, 2, rng=nn.RandomState(1)))
    part, before = model[0], net[0].weight.value
    optimizer = nn.Optimizer(model, optax.sgd(0.5))
    grads = grad(lambda: total(model) + part(X).sum(), nn.ParamState)()
    by_hand = grad(lambda: total(net) + aaa_part(X).sum(), net.states(nn.ParamState))()
    optimizer.update(grads)
    assert jnp.allclose(part.weight.value, before - 0.5 * by_hand["layers", 0, "weight"], atol=1e-5)


def test_of_several_models_the_names_stand_in_front():
    gen, disc, alone = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 1)), nn.ParamState(1.0)
    a_part, ring = disc[0], Ring()
    z_optimizer = a_optimizer = nn.Optimizer(disc, optax.adam(0.1))

    def loss():
        scale = alone.value * a_optimizer.step.value * z_optimizer.step.value
        return disc(gen(X)).sum() + a_part(X).sum() + scale + ring(1.0)

    grads = grad(loss, nn.ParamState)()
    assert sorted(map(str, grads)) == sorted(
        map(str, [("alone",), ("disc", "layers", 0, "bias"), ("disc", "layers", 0, "weight"), ("gen", "bias"),
                  ("gen", "weight"), ("ring", "w")])
    )  # fmt: skip
    assert jnp.allclose(grads["disc", "layers", 0, "weight"], grad(loss, a_part.weight)())


def test_a_model_that_holds_itself_and_one_in_a_trainer_that_is_a_node():
    class Holder(Node):
        def __init__(self):
            self.net = net

        def loss(self):
            return total(self.net)

    ring, holder = Ring(), Holder()
    again = ring.me
    assert list(grad(lambda: ring(2.0) + again(1.0), nn.ParamState)()) == [("w",)]
    want = [("net", *path) for path in net.states(nn.ParamState)]
    assert list(grad(holder.loss, nn.ParamState)()) == want
    assert list(grad(lambda: holder.loss() + total(net), nn.ParamState)()) == want
