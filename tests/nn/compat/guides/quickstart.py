"""A first model: a State, a module, its parameters, a gradient, and a step that is compiled."""

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_nn import compat as brainstate

brainstate.random.seed(0)

counter = brainstate.State(jnp.array(0))


@brainstate.transform.jit
def count(by):
    counter.value = counter.value + by
    return counter.value


assert [int(count(2)) for _ in range(3)] == [2, 4, 6]
assert int(counter.value) == 6


class Net(brainstate.nn.Module):
    def __init__(self, n_in, n_hidden, n_out):
        super().__init__()
        self.w = brainstate.ParamState(brainstate.random.randn(n_in, n_hidden) * 0.5)
        self.b = brainstate.ParamState(jnp.zeros(n_hidden))
        self.act = brainstate.nn.Tanh()
        self.out = brainstate.nn.Linear(n_hidden, n_out, w_init=brainstate.nn.init.Constant(0.1))
        self.calls = brainstate.LongTermState(jnp.array(0))

    def update(self, x):
        self.calls.value += 1
        return (x @ self.w.value + self.b.value) >> self.act >> self.out


net = Net(3, 4, 2)
x, y = brainstate.random.rand(8, 3), brainstate.random.rand(8, 2)
assert net(x).shape == (8, 2)
assert net.out.out_size == (2,)
params = net.states(brainstate.ParamState)
assert ("w",) in params
assert ("out", "weight") in params
first = {"w": net.w.value, "b": net.b.value, "v": jnp.full((4, 2), 0.1), "c": jnp.zeros(2)}


def loss_fn():
    return ((net(x) - y) ** 2).mean()


@brainstate.transform.jit
def train_step():
    grads, loss = brainstate.transform.grad(loss_fn, params, return_value=True)()
    for key in params:
        params[key].value = jax.tree.map(lambda p, g: p - 0.1 * g, params[key].value, grads[key])
    return loss


losses = [float(train_step()) for _ in range(5)]


def plain_loss(p):
    return ((jnp.tanh(x @ p["w"] + p["b"]) @ p["v"] + p["c"] - y) ** 2).mean()


plain = []
for _ in range(5):
    loss, grads = jax.value_and_grad(plain_loss)(first)
    first = jax.tree.map(lambda p, g: p - 0.1 * g, first, grads)
    plain.append(float(loss))
np.testing.assert_allclose(losses, plain, rtol=1e-5)
np.testing.assert_allclose(net.w.value, first["w"], rtol=1e-5)
assert losses[-1] < losses[0]
assert int(net.calls.value) == 6
