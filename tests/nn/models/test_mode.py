from __future__ import annotations

import jax.numpy as jnp
import pytest

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


# What sets and puts back an attribute in the body of a loop is taken for another thread that changes the model.


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
