"""What the guide says of learning in pieces, and online, beside plain JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_transform import for_loop, grad, jit, value_and_grad
from tests.laws.neurons import spike
from tests.tables import each


def gradients_of_pieces(cell, xs, pieces):
    """Of each piece by itself, from the hidden state that it begins with."""
    weights = {name: getattr(cell, name).value for name in ("weight_ih", "weight_hh", "bias")}

    def piece(w, h, xs):
        loss = 0.0
        for x in xs:
            h = jnp.tanh(x @ w["weight_ih"] + h @ w["weight_hh"] + w["bias"][None])
            loss += jnp.sum(h**2)
        return loss, h

    h, found = jnp.zeros((2, 4)), []
    for part in jnp.split(xs, pieces):
        grads, h = jax.grad(piece, has_aux=True)(weights, h, part)
        found.append(grads)
    return found


@each("pieces", [1, 3])
def test_pieces_have_the_gradients_of_each_by_itself(pieces):
    cell = nn.RNNCell(3, 4, rng=nn.RandomState(0))
    xs = jax.random.normal(jax.random.key(0), (6, 2, 3))
    params = cell.states(nn.ParamState)
    want = gradients_of_pieces(cell, xs, pieces)
    in_pieces = xs.reshape(pieces, -1, 2, 3)

    def loss(xs):
        return jnp.sum(for_loop(cell, xs) ** 2)

    def cut(xs):
        cell.h.value = jax.lax.stop_gradient(cell.h.value)
        return loss(xs)

    step = jit(lambda xs: value_and_grad(loss, params)(xs)[1])
    cell.init_state(2)
    one_by_one = [step(xs) for xs in in_pieces]
    cell.reset_state()
    at_once = jit(grad(lambda: for_loop(cut, in_pieces).sum(), params))()
    for name in want[0]:
        for ours, theirs in zip(one_by_one, want, strict=True):
            np.testing.assert_allclose(ours[name,], theirs[name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(at_once[name,], sum(part[name] for part in want), rtol=1e-4, atol=1e-5)


def test_traces_have_the_gradient_that_leaves_out_the_paths_through_other_neurons():
    rng = nn.RandomState(0)
    spikes_in = (jax.random.uniform(jax.random.key(1), (40, 3)) < 0.4).astype(jnp.float32)
    first, recurrent = (2.0 * rng.normal(shape) for shape in ((3, 8), (8, 8)))
    neurons, sent = nn.LIF(8, tau=10.0), nn.ExponentialSynapse(8, tau=10.0)
    nn.init_all_states([neurons, sent])
    last = nn.HiddenState(jnp.zeros(8))

    def error(spikes):
        return jnp.sum((spikes - 0.3) ** 2 * jnp.arange(8.0))

    def online(x):
        current = x @ first + last.value @ recurrent
        signal = grad(lambda current: error(neurons.step(neurons.v.value, current)[1]))(current)
        remembered = sent(last.value)
        last.value = neurons(current)
        return jnp.outer(remembered, signal)

    def through_time(recurrent, is_cut):
        leak = jnp.exp(jnp.float32(-0.1))

        def step(carry, x):
            v, z = carry
            others = jax.lax.stop_gradient(z) if is_cut else z
            v = v * leak + (1 - leak) * (x @ first + others @ recurrent)
            z = spike(v - 1.0)
            return (v - jax.lax.stop_gradient(z), z), error(z)

        return jax.lax.scan(step, (jnp.zeros(8), jnp.zeros(8)), spikes_in)[1].sum()

    found = jit(lambda: for_loop(online, spikes_in).sum(0))()
    want, whole = (jax.jit(jax.grad(through_time), static_argnums=1)(recurrent, is_cut) for is_cut in (True, False))
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4)
    assert jnp.abs(found - whole).max() > 0.1 * jnp.abs(whole).max()
