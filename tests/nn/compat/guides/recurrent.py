"""A recurrent network with a cell of its own, over time, over batches, and in lanes."""

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn.compat as brainstate

brainstate.random.seed(3)
num_step, num_batch = 6, 4


@brainstate.transform.jit(static_argnums=0)
def build_data(batch_size):
    noise = brainstate.random.normal(size=(num_step, batch_size, 1))
    return noise, jnp.cumsum(noise, axis=0)


class Cell(brainstate.nn.RNNCell):
    def __init__(self, num_in, num_out, state_initializer=brainstate.nn.init.ZeroInit(), activation=jnp.tanh):
        super().__init__()
        self.num_in, self.num_out = num_in, num_out
        self.in_size, self.out_size = num_in, num_out
        self._state_initializer = state_initializer
        self.activation = activation
        self.W = brainstate.ParamState(
            brainstate.nn.init.param(brainstate.nn.init.XavierNormal(), (num_in + num_out, num_out))
        )
        self.b = brainstate.ParamState(brainstate.nn.init.param(brainstate.nn.init.ZeroInit(), (num_out,)))

    def init_state(self, batch_size=None, **kwargs):
        start = brainstate.nn.init.param(self._state_initializer, (self.num_out,), batch_size)
        self.h = brainstate.HiddenState(start)

    def reset_state(self, batch_size=None, **kwargs):
        self.h.value = brainstate.nn.init.param(self._state_initializer, (self.num_out,), batch_size)

    def update(self, x):
        x = jnp.concatenate([x, self.h.value], axis=-1)
        self.h.value = self.activation(x @ self.W.value + self.b.value)
        return self.h.value


class RNN(brainstate.nn.Module):
    def __init__(self, num_in, num_hidden):
        super().__init__()
        self.cell = Cell(num_in, num_hidden)
        self.out = brainstate.nn.Linear(num_hidden, 1, w_init=brainstate.nn.init.Constant(0.2))

    def update(self, x):
        return x >> self.cell >> self.out


model = RNN(1, 5)
weights = model.states(brainstate.ParamState)
inputs, targets = build_data(num_batch)


@brainstate.transform.jit
def predict(inputs):
    brainstate.nn.init_all_states(model, batch_size=inputs.shape[1])
    return brainstate.transform.for_loop(model.update, inputs)


def loss_fn(inputs, targets):
    return ((predict(inputs) - targets) ** 2).mean()


def plain(W, v):
    h, outs = jnp.zeros((num_batch, 5)), []
    for x in inputs:
        h = jnp.tanh(jnp.concatenate([x, h], -1) @ W)
        outs.append(h @ v)
    return jnp.stack(outs)


W, v = model.cell.W.value, jnp.full((5, 1), 0.2)
np.testing.assert_allclose(predict(inputs), plain(W, v), rtol=1e-4, atol=1e-6)
grads = brainstate.transform.grad(loss_fn, weights)(inputs, targets)
expected = jax.grad(lambda W: ((plain(W, v) - targets) ** 2).mean())(W)
np.testing.assert_allclose(grads[("cell", "W")], expected, rtol=1e-3, atol=1e-5)


@brainstate.transform.jit
def train(inputs, targets):
    grads, loss = brainstate.transform.grad(loss_fn, weights, return_value=True)(inputs, targets)
    for key, weight in weights.items():
        weight.value = jax.tree.map(lambda w, g: w - 0.05 * g, weight.value, grads[key])
    return loss


losses = [float(train(inputs, targets)) for _ in range(15)]
assert losses[-1] < losses[0]
brainstate.nn.init_all_states(model, batch_size=num_batch)
assert model.cell.h.value.shape == (num_batch, 5)
brainstate.nn.reset_all_states(model, batch_size=2)
assert model.cell.h.value.shape == (2, 5)

# Lanes: each has a hidden state, and all share the weights.
brainstate.nn.vmap_init_all_states(model, axis_size=num_batch, state_tag="lane")
assert model.cell.h.value.shape == (num_batch, 5)
assert "lane" in model.cell.h.tag
hidden = {0: brainstate.util.filter.OfType(brainstate.HiddenState)}
lane_step = brainstate.transform.vmap2(model, in_axes=0, state_in_axes=hidden, state_out_axes=hidden)
lanes = brainstate.transform.for_loop(lane_step, inputs)
np.testing.assert_allclose(lanes, predict(inputs), rtol=1e-4, atol=1e-6)

for kind in ("ValinaRNNCell", "GRUCell", "LSTMCell", "MGUCell"):
    cell = getattr(brainstate.nn, kind)(num_in=1, num_out=3)
    brainstate.nn.init_all_states(cell, num_batch)
    out = brainstate.transform.for_loop(cell, inputs)
    assert out.shape == (num_step, num_batch, 3), kind
    assert np.isfinite(out).all(), kind
