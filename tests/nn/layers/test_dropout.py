from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef, treefy_merge, treefy_split, treefy_states
from tests.tables import each


@each("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_the_share_that_is_dropped_and_the_mean_stays(rate):
    drop = nn.Dropout(rate, rng=nn.RandomState(0))
    y = drop(jnp.ones((100, 1000)))
    assert float((y == 0).mean()) == pytest.approx(rate, abs=0.01)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.03)
    assert float(y.max()) == pytest.approx(1.0 / (1.0 - rate))


def test_each_call_drops_others_and_the_stream_counts():
    drop = nn.Dropout(0.5, rng=nn.RandomState(0))
    x = jnp.ones(100)
    assert drop(x).tolist() != drop(x).tolist()
    assert int(drop.rng.value[1]) == 2


def test_gradient_goes_where_the_input_was_kept():
    drop = nn.Dropout(0.5)
    key, x = jax.random.key(0), jnp.arange(1.0, 9.0)
    assert jax.grad(lambda x: drop(x, key=key).sum())(x).tolist() == (drop(x, key=key) / x).tolist()


def test_rate_zero_and_one():
    x = jnp.ones(8)
    none, all_ = nn.Dropout(0.0), nn.Dropout(1)
    assert none(x) is x
    assert not all_(x).any()
    assert jax.grad(lambda x: all_(x).sum())(x).tolist() == [0.0] * 8
    assert int(none.rng.value[1]) == int(all_.rng.value[1]) == 0


def test_evaluation_returns_the_input_and_draws_nothing():
    drop = nn.Dropout(0.5).eval()
    x = jnp.ones(8)
    assert drop(x) is x
    assert drop.train()(x, training=False) is x
    assert int(drop.rng.value[1]) == 0
    assert drop.eval()(x, training=True) is not x


def test_a_key_is_used_instead_of_the_stream():
    drop = nn.Dropout(0.5)
    key = jax.random.key(1)
    assert drop(jnp.ones(50), key=key).tolist() == drop(jnp.ones(50), key=key).tolist()
    assert int(drop.rng.value[1]) == 0


def test_broadcast_dims_share_one_decision():
    y = nn.Dropout(0.5, broadcast_dims=(0, -1), rng=nn.RandomState(0))(jnp.ones((4, 50, 3)))
    assert (y == y[:1, :, :1].repeat(4, 0).repeat(3, 2)).all()
    assert 0 < int((y[0, :, 0] == 0).sum()) < 50


@each("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_is_kept(dtype):
    assert nn.Dropout(0.5)(jnp.ones(8, dtype)).dtype == dtype


def test_a_layer_owns_its_stream_unless_it_is_given_one():
    rng = nn.RandomState(0)
    first, second = nn.Dropout(0.5, rng=rng), nn.Dropout(0.5, rng=rng)
    assert first.rng is second.rng is rng
    assert len(treefy_states([first, second]).to_flat()) == 1
    own, other = nn.Dropout(0.5), nn.Dropout(0.5)
    assert own.rng is not other.rng
    assert own(jnp.ones(50)).tolist() != other(jnp.ones(50)).tolist()
    assert graphdef(own) is graphdef(other)


def test_inside_raw_jit_through_split_and_merge():
    eager = nn.Dropout(0.5, rng=nn.RandomState(0))
    shape, tree = treefy_split(eager)

    @jax.jit
    def step(tree, x):
        drop = treefy_merge(shape, tree)
        return drop(x), treefy_states(drop)

    for _ in range(2):
        y, tree = step(tree, jnp.ones(20))
        assert y.tolist() == eager(jnp.ones(20)).tolist()


@each("rate", [-0.1, 1.1, float("nan")])
def test_the_rate_is_checked_when_made_and_when_changed(rate):
    with pytest.raises(ValueError, match="rate must be the probability to drop an element, between 0 and 1, not"):
        nn.Dropout(rate)
    drop = nn.Dropout(0.5)
    drop.rate = rate
    with pytest.raises(ValueError, match="rate must be the probability to drop"):
        drop(jnp.ones(3))
