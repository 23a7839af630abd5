from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_transform import for_loop
from tests.tables import each


def fixed(rate=0.5, size=(50,), batch=(40,)):
    drop = nn.FixedDropout(rate, size, rng=nn.RandomState(0))
    drop.init_state(batch)
    return drop


def test_a_fixed_mask_is_held_until_it_is_reset_and_differs_between_examples():
    drop, x = fixed(), jnp.ones((40, 50))
    first = drop(x)
    assert (for_loop(drop, jnp.stack([x] * 5)) == first[None]).all()
    assert int(drop.rng.value[1]) == 1
    assert len({tuple(row) for row in first.tolist()}) == 40
    state = drop.mask
    drop.reset_state()
    assert drop.mask is state
    assert (drop(x) != first).any()
    drop.reset_state(3)
    assert drop(x[:3]).shape == (3, 50)


@each("rate", [0.1, 0.5, 0.9])
def test_a_fixed_mask_drops_a_share_and_keeps_the_mean(rate):
    y = fixed(rate, (100, 10), (100,))(jnp.ones((100, 100, 10)))
    assert float((y == 0).mean()) == pytest.approx(rate, abs=0.01)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.03)
    # in expectation it is `Dropout`
    assert float(y.max()) == float(nn.Dropout(rate)(jnp.ones((1000,))).max())


def test_a_fixed_mask_in_evaluation_and_at_the_ends():
    drop, x = fixed(), jnp.ones((40, 50))
    assert drop.eval()(x) is x
    assert drop(x, training=True) is not x
    assert drop.train()(x, training=False) is x
    assert fixed(0.0)(x) is not None
    assert (fixed(0.0)(x) == x).all()
    assert not fixed(1.0)(x).any()
    assert fixed()(x.astype("bfloat16")).dtype == jnp.bfloat16


def test_a_fixed_mask_in_a_recurrent_model():
    """The use of Gal and Ghahramani: one mask on the input and one on the hidden state, for a whole sequence."""

    class Net(nn.Module):
        def __init__(self):
            self.cell = nn.RNNCell(3, 4, rng=nn.RandomState(1))
            self.on_x, self.on_h = nn.FixedDropout(0.5, 3), nn.FixedDropout(0.5, 4)

        def __call__(self, x):
            self.cell.h.value = self.on_h(self.cell.h.value)
            return self.cell(self.on_x(x))

    net, xs = nn.init_all_states(Net(), 2), jax.random.normal(jax.random.key(0), (6, 2, 3))
    ys = for_loop(net, xs)
    h = jnp.zeros((2, 4))
    for x, y in zip(xs, ys, strict=True):
        h, want = net.cell.step(2.0 * net.on_h.mask.value * h, 2.0 * net.on_x.mask.value * x)
        assert jnp.allclose(y, want, rtol=1e-5, atol=1e-6)


def test_errors_of_a_fixed_mask():
    net = nn.Sequential(nn.FixedDropout(0.5, 3))
    with pytest.raises(RuntimeError, match=r"^FixedDropout at Sequential\.layers\.0 has no hidden state yet: write "):
        net(jnp.ones((2, 3)))
    with pytest.raises(RuntimeError, match=r"`init_state\(batch_size\)` on this FixedDropout"):
        net.layers[0].reset_state()
    nn.init_all_states(net, 2)
    with pytest.raises(ValueError, match=r"has a mask of shape \(2, 3\), which does not fit `x`, f32\[4,3\]"):
        net(jnp.ones((4, 3)))
    with pytest.raises(ValueError, match="rate must be the probability to drop an element"):
        nn.FixedDropout(1.5, 3)
    with pytest.raises(ValueError, match="in_size must be a positive whole number, not 0"):
        nn.FixedDropout(0.5, 0)
