from __future__ import annotations

import jax.numpy as jnp
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import graphdef
from brainstate_transform import checkpoint, cond, eval_shape, for_loop, grad, jit, vmap
from tests.tables import each


class Net(nn.Module):
    def __init__(self):
        self.layers = [nn.Linear(2, 2), nn.BatchNorm(2), nn.Dropout(0.5)]
        self.again = self.layers[2]
        self.top = self

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


X = jnp.array([[1.0, 2.0], [3.0, 5.0]])


def modes(net):
    return [module.training for module in net.modules()]


def test_there_and_back():
    net = Net()
    shape = graphdef(net)
    with nn.mode(net, training=False):
        assert not any(modes(net))
        inside = graphdef(net)
    assert graphdef(net) is shape
    with nn.mode(net.eval(), training=True):
        assert graphdef(net) is shape
    assert graphdef(net) is inside


def test_each_module_gets_back_its_own_mode():
    net = Net()
    net.layers[1].eval()
    net.layers[0].training = True  # said twice: an attribute that is the default of the class
    shape, before = graphdef(net), modes(net)
    with nn.mode(net, training=False), nn.mode(net.layers[2], training=True):
        assert modes(net) == [module is net.again for module in net.modules()]
        net.train()  # what is switched inside does not last
    assert modes(net) == before
    assert graphdef(net) is shape


def test_after_an_error():
    net = Net()
    shape = graphdef(net)
    with pytest.raises(ZeroDivisionError), nn.mode(net, training=False), nn.mode(net, training=True):
        raise ZeroDivisionError
    assert graphdef(net) is shape


def test_containers_and_new_modules():
    net, other = Net(), nn.Dropout(0.5)
    with nn.mode({"a": [net], "b": other}, training=False):
        assert not any([*modes(net), other.training])
        net.more = nn.Dropout(0.5)
    assert net.more.training


def test_a_class_that_does_not_train_by_default():
    class Frozen(nn.Module):
        training = False

    frozen = Frozen()
    shape = graphdef(frozen)
    with nn.mode(frozen, training=True):
        assert frozen.training
    assert graphdef(frozen) is shape


def evaluated(net):
    def run(x):
        with nn.mode(net, training=False):
            return net(x)

    return run


@each(
    "how",
    [
        lambda f: f,
        jit,
        lambda f: vmap(f, in_axes=None, axis_size=1, out_axes=None),
        checkpoint,
        lambda f: lambda x: cond(x.sum() > 0, f, lambda x: x, x),
        lambda f: lambda x: grad(lambda x: f(x).sum(), has_aux=False, return_value=True)(x)[1] * 0 + f(x),
        lambda f: lambda x: for_loop(f, x[None])[0],
    ],
    ids=["eager", "jit", "vmap", "checkpoint", "cond", "grad", "for_loop"],
)
def test_inside_a_transform(how):
    net = Net()
    shape, want = graphdef(net), evaluated(net)(X)
    mean = net.layers[1].running_mean.value
    assert jnp.allclose(how(evaluated(net))(X), want, atol=1e-6)
    assert graphdef(net) is shape
    assert jnp.array_equal(net.layers[1].running_mean.value, mean)


def test_both_modes_in_one_program():
    net = Net()
    traces = []

    @jit
    def both(x):
        traces.append(1)
        trained = net(x)
        return trained, evaluated(net)(x)

    for _ in range(2):
        trained, plain = both(X)
        assert not jnp.array_equal(trained, plain)
        assert jnp.allclose(plain, evaluated(net)(X), atol=1e-6)
    assert len(traces) == 1
    assert eval_shape(evaluated(net), X).shape == X.shape


def test_an_error_while_tracing():
    net = Net()
    shape = graphdef(net)
    with pytest.raises(ValueError, match="expects 2 features"):
        jit(evaluated(net))(jnp.ones((1, 3)))
    assert graphdef(net) is shape
    assert all(modes(net))


@each(
    ("where", "switched"),
    [
        (..., ["", "layers.0", "layers.1", "layers.2"]),
        (nn.BatchNorm, ["layers.1"]),
        ("layers.[12]", ["layers.1", "layers.2"]),
        ("again", ["layers.2"]),
        (lambda path, module: module is not None and path == ("layers", 0), ["layers.0"]),
        (nn.Sequential, ["inner", "inner.layers.0", "inner.layers.1"]),
    ],
)
def test_modes_and_views_of_chosen_modules(where, switched):
    net = Net() if where is not nn.Sequential else nn.Sequential()
    net.inner = nn.Sequential(nn.Dropout(0.5), nn.Sequential()) if where is nn.Sequential else None
    shape = graphdef(net)
    if where is nn.Sequential:
        switched = ["", *switched]

    def in_evaluation(net):
        return [name for name, module in net.named_modules() if not module.training]

    seen = nn.view(net, where, training=False)
    assert sorted(in_evaluation(seen)) == sorted(switched)
    assert graphdef(net) is shape
    with nn.mode(net, where, training=False):
        assert sorted(in_evaluation(net)) == sorted(switched)
    assert graphdef(net) is shape


def test_nothing_to_switch():
    for call in (
        lambda: nn.view(Net(), "layer", training=False),
        lambda: nn.mode(Net(), nn.Conv, training=True).__enter__(),
    ):
        with pytest.raises(ValueError, match=r"chooses no module below Net, which holds again, layers\.0, layers\.1"):
            call()


@each(
    "how",
    [
        lambda f: f,
        jit,
        lambda f: lambda net, test, x: jit(lambda d: f(d["net"], d["test"], x))({"net": net, "test": test}),
    ],
)
def test_two_views_of_one_model_as_arguments(how):
    """As nnx has it: both modes in one call, over the same states, each of which is passed once."""
    net = Net()
    test = nn.view(net, training=False)
    assert list(net.states().values()) == list(test.states().values())
    mean = net.layers[1].running_mean.value
    _, plain = how(lambda net, test, x: (net(x), test(x)))(net, test, X)
    assert not jnp.array_equal(net.layers[1].running_mean.value, mean)
    assert jnp.allclose(plain, evaluated(net)(X), atol=1e-6)  # it saw the statistics that the first had moved
    assert net.training
    assert test.top is test


def test_a_frozen_norm_beside_one_that_trains():
    theirs = nnx.BatchNorm(2, rngs=nnx.Rngs(0), momentum=0.9)
    net = nn.Sequential(nn.BatchNorm(2, momentum=0.9), nn.BatchNorm(2, momentum=0.9))
    with nn.mode(net, "layers.0", training=False):
        jit(net)(X)
    nnx.view(theirs, use_running_average=True)(X)
    moved = nnx.view(theirs, use_running_average=False)
    moved(X / jnp.sqrt(1 + 1e-5))
    assert jnp.array_equal(net[0].running_mean.value, jnp.zeros(2))
    assert jnp.allclose(net[1].running_mean.value, theirs.mean[...], atol=1e-6)
