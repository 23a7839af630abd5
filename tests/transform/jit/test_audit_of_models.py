"""No audit alarms over models and their training: each makes a function of a number with the `jit` that it is given."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

import brainstate_nn as nn
from brainstate_transform import (
    for_loop,
    grad,
    value_and_grad,
)
from tests.laws.transforms import Net, values
from tests.tables import each
from tests.transform.jit.audits import no_alarm

one = jnp.float32(1.0)


def net_and_data(*layers, **options):
    nn.seed(0)
    x = jax.random.normal(jax.random.key(1), (8, 4))
    return nn.Sequential(*[layer() for layer in layers], **options), x


def training(jit, layers, **options):
    net, x = net_and_data(*layers)
    params = net.states(nn.ParamState)
    optimizer = nn.Optimizer(params, optax.adam(1e-2))

    @jit(**options)
    def step(x):
        loss, grads = value_and_grad(lambda: jnp.mean(net(x) ** 2), params)()
        optimizer.update(grads)
        return loss

    return lambda i: (step(x + i), values(net))


def linear():
    return nn.Linear(4, 4)


def adam(jit):
    return training(jit, [linear, lambda: nn.Lambda(nn.relu), linear])


def dropout(jit):
    return training(jit, [linear, lambda: nn.Dropout(0.5), linear])


def batch_norm(jit):
    return training(jit, [linear, lambda: nn.BatchNorm(4), lambda: nn.Lambda(nn.gelu)])


def layer_norm(jit):
    return training(jit, [linear, lambda: nn.LayerNorm(4), lambda: nn.Lambda(nn.silu)])


def donation(jit):
    return training(jit, [linear, lambda: nn.Dropout(0.5), linear], donate_states=True)


def lazy_layer(jit):
    class Lazy(nn.Module):
        def __call__(self, x):
            if not hasattr(self, "seen"):
                self.seen = nn.HiddenState(jnp.zeros(x.shape))
            self.seen.value += x
            return self.seen.value

    net = Lazy()
    step = jit(lambda x: net(x))
    return lambda i: step(jnp.ones(2) * i)


def hidden_states_made_inside(jit):
    nn.seed(0)
    rnn = nn.RNN(nn.GRUCell(2, 3))

    @jit
    def run(x):
        nn.init_all_states(rnn, batch_size=4)
        return rnn(x)

    return lambda i: run(jnp.ones((4, 5, 2)) * i)


def recurrent_training(jit):
    nn.seed(0)
    cell = nn.LSTMCell(2, 3)
    cell.init_state(4)
    params = cell.states(nn.ParamState)

    @jit
    def step(xs):
        nn.reset_all_states(cell, batch_size=4)
        return grad(lambda: jnp.sum(for_loop(lambda x: cell(x), xs)), params)()

    return lambda i: step(jnp.ones((5, 4, 2)) * i)


def spiking(jit):
    neurons = nn.LIF(2, tau=10.0)
    neurons.init_state()
    run = jit(lambda x: for_loop(neurons, jnp.tile(x, (20, 1))))
    return lambda i: run(jnp.array([1.1, 2.0]) * i)


def stacked(jit):
    nn.seed(0)
    stack = nn.Stack(3, lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))
    step = jit(lambda x: grad(lambda: jnp.sum(stack(x)), stack.states(nn.ParamState))())
    return lambda i: step(jnp.ones((2, 4)) * i)


def attention(jit):
    nn.seed(0)
    layer = nn.MultiHeadAttention(2, 8)
    layer.init_cache(3, 10)
    step = jit(lambda x: layer(x, decode=True))
    return lambda i: step(jnp.ones((3, 1, 8)) * i)


def metrics(jit):
    metrics = nn.MultiMetric(loss=nn.Average("loss"), accuracy=nn.Accuracy())
    step = jit(lambda logits: metrics.update(loss=logits.sum(), logits=logits, labels=jnp.array([1])))
    return lambda i: (step(jnp.array([[0.0, 1.0]]) * i), metrics.compute())


def average_of_weights(jit):
    net, x = net_and_data(linear)
    ema = nn.EMA(net, 0.9)

    @jit
    def step(x):
        net.layers[0].weight.value += jnp.mean(x)
        ema.update()
        return ema.apply_to(net)(x)

    return lambda i: step(x * i)


def static_arguments(jit):
    step = jit(lambda x, power, by: x**power + by, static_argnums=1, static_argnames="by")
    return lambda i: step(one * i, 2 + i % 2, by=(1, 2)[i % 2])


def modules_as_arguments(jit):
    nets = [Net(2.0), Net(3.0)]
    step = jit(lambda net, x: (net(x), net))
    return lambda i: step(nets[i % 2], one)[0]


def nodes_made_inside(jit):
    make = jit(lambda x: {"net": Net(x), "x": x})
    return lambda i: values(make(one * i)["net"])


PROGRAMS = {
    f.__name__: f
    for f in (
        adam, dropout, batch_norm, layer_norm, donation, lazy_layer, hidden_states_made_inside,
        recurrent_training, spiking, stacked, attention, metrics, average_of_weights, static_arguments,
        modules_as_arguments, nodes_made_inside,
    )
}  # fmt: skip


@each("name", PROGRAMS)
def test_no_alarm(name):
    no_alarm(PROGRAMS[name])
