"""Random streams: the same draws eager, compiled and in loops; other ones in each lane; one step of the common key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import checkpoint, cond, for_loop, grad, jit, scan, vmap
from tests.laws.transforms import CORE, TRANSFORMS

xs = jnp.arange(4.0)


def position(rng):
    key, count = rng.value
    return (*np.asarray(jax.random.key_data(key)).tolist(), int(count))


def twice(rng):
    return lambda x: rng.uniform() + 10.0 * rng.uniform() + x


LOOPS = {
    "jit": lambda f: [jit(f)(x) for x in xs],
    "for_loop": lambda f: list(for_loop(f, xs)),
    "scan": lambda f: list(scan(lambda c, x: (c, f(x)), 0.0, xs)[1]),
    "jit(for_loop)": lambda f: list(jit(lambda: for_loop(f, xs))()),
    "checkpoint": lambda f: [checkpoint(f)(x) for x in xs],
    "for_loop(cond)": lambda f: list(for_loop(lambda x: cond(x >= 0.0, f, lambda x: x, x), xs)),
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_the_same_draws_as_in_plain_python(loop):
    rng, plain = nn.RandomState(0), nn.RandomState(0)
    np.testing.assert_allclose(loop(twice(rng)), [twice(plain)(x) for x in xs], rtol=1e-6)
    assert position(rng) == position(plain)


def test_a_branch_that_is_not_taken_draws_nothing():
    rng = nn.RandomState(0)
    before = position(rng)
    cond(False, twice(rng), lambda x: x, 1.0)
    assert position(rng) == before


def test_gradients_draw_once():
    rng, plain = nn.RandomState(0), nn.RandomState(0)
    slope = grad(lambda x: checkpoint(lambda x: rng.uniform() * x)(x), argnums=0)(1.0)
    np.testing.assert_allclose(slope, plain.uniform(), rtol=1e-6)
    assert position(rng) == position(plain)


def test_lanes_differ_and_the_common_stream_moves_by_one():
    rng, plain = nn.RandomState(0), nn.RandomState(0)
    out = vmap(twice(rng))(jnp.zeros(4))
    assert len(np.unique(out)) == 4
    plain.split_key()
    assert position(rng) == position(plain)  # whatever the number of draws
    assert len(np.unique(np.concatenate([out, vmap(twice(rng))(jnp.zeros(4))]))) == 8


@pytest.mark.parametrize("size", [1, 3, 7])
def test_lane_number_i_draws_the_same_for_any_number_of_lanes(size):
    draw = [jit(vmap(twice(nn.RandomState(5)), in_axes=None, axis_size=n))(0.0) for n in (size, 8)]
    np.testing.assert_array_equal(draw[0], draw[1][:size])


def test_the_rule_in_plain_jax():
    key = jax.random.key(3)
    rng, fold = nn.RandomState(3), jax.random.fold_in
    want = jax.jit(jax.vmap(lambda lane: jax.random.uniform(fold(fold(fold(key, 0), lane), 0))))(jnp.arange(4))
    np.testing.assert_allclose(vmap(lambda x: rng.uniform() + x)(jnp.zeros(4)), want, rtol=1e-6)


def test_compiled_and_called_again():
    eager, compiled = nn.RandomState(0), nn.RandomState(0)
    mapped = jit(vmap(twice(compiled)))
    for _ in range(2):
        np.testing.assert_allclose(mapped(xs), vmap(twice(eager))(xs), rtol=1e-6)
        assert position(compiled) == position(eager)
    with jax.disable_jit():
        np.testing.assert_allclose(vmap(twice(compiled))(xs), vmap(twice(eager))(xs), rtol=1e-6)


@pytest.mark.parametrize("depth", [2, 3])
def test_nested_lanes_all_differ(depth):
    rng = nn.RandomState(0)
    mapped = lambda x: rng.uniform() + x
    for _ in range(depth):
        mapped = vmap(mapped, in_axes=None, axis_size=3)
    out = jit(mapped)(0.0)
    assert len(np.unique(out)) == 3**depth
    assert int(rng.value[1]) == 1


def test_loops_in_lanes_and_lanes_in_loops():
    rng = nn.RandomState(0)
    loop = lambda x: for_loop(lambda i: twice(rng)(x), jnp.arange(5))
    assert len(np.unique(jit(vmap(loop, in_axes=None, axis_size=4))(0.0))) == 20
    assert int(rng.value[1]) == 1
    plain = nn.RandomState(1)
    want = [vmap(twice(plain))(xs) for _ in range(3)]
    rng = nn.RandomState(1)
    np.testing.assert_allclose(for_loop(lambda i: vmap(twice(rng))(xs), jnp.arange(3)), want, rtol=1e-6)
    assert position(rng) == position(plain)
    out = jit(vmap(lambda x: for_loop(lambda i: vmap(twice(rng))(xs * 0.0), jnp.arange(3)) + x))(jnp.zeros(2))
    assert len(np.unique(out)) == 2 * 3 * 4


def test_shared_streams_draw_what_is_drawn_without_lanes():
    rng, plain = nn.RandomState(0), nn.RandomState(0)
    out = vmap(twice(rng), rngs="share")(jnp.zeros(4))
    np.testing.assert_allclose(out, np.full(4, twice(plain)(0.0)), rtol=1e-6)
    assert position(rng) == position(plain)


def test_shared_and_split_in_each_other():
    rng = nn.RandomState(0)
    f = lambda x: rng.uniform() + x
    inner = jit(vmap(vmap(f, in_axes=None, axis_size=3), in_axes=None, axis_size=2, rngs="share"))(0.0)
    assert len(np.unique(inner)) == 3
    np.testing.assert_array_equal(inner[0], inner[1])
    outer = jit(vmap(vmap(f, in_axes=None, axis_size=3, rngs="share"), in_axes=None, axis_size=2))(0.0)
    assert len(np.unique(outer)) == 2
    np.testing.assert_array_equal(outer[:, 0], outer[:, 1])


def test_a_stream_per_lane():
    make = vmap(lambda: Holder(nn.default_rng().fork()), axis_size=3, new_states=0)
    holder = make()
    assert holder.rng.value[0].shape == (3,)
    out = [vmap(lambda: holder.rng.uniform(), in_states=holder)() for _ in range(2)]
    assert len(np.unique(out)) == 6
    np.testing.assert_array_equal(holder.rng.value[1], [2, 2, 2])
    rng = nn.RandomState(0)
    vmap(lambda: rng.uniform(), axis_size=3, out_states=rng)()  # each lane keeps its own
    assert rng.value[0].shape == (3,)
    assert len(np.unique(jax.random.key_data(rng.value[0]), axis=0)) == 3


class Holder(nn.Module):
    def __init__(self, rng):
        self.rng = rng


class Boom(Exception):
    pass


@pytest.mark.parametrize("name", [*CORE, "shard_map"])
def test_restored_on_failure(name):
    rng = nn.RandomState(0)
    before = rng.value

    def f(x):
        rng.uniform()
        raise Boom

    with pytest.raises(Boom):
        TRANSFORMS[name](f)(jnp.float32(1.0))
    assert rng.value is before


def test_restored_where_the_last_step_fails():
    rng = nn.RandomState(0)
    before = rng.value
    for options in ({"out_axes": 5}, {"out_axes": None}, {"out_axes": (0, 0)}):
        with pytest.raises(ValueError):
            vmap(twice(rng), **options)(xs)
    assert rng.value is before


def test_dropout_differs_in_each_lane_or_not():
    drop = nn.Dropout(0.5)
    rows = vmap(drop)(jnp.ones((6, 32)))
    assert len(np.unique(rows, axis=0)) == 6
    rows = vmap(drop, rngs="share")(jnp.ones((6, 32)))
    assert len(np.unique(rows, axis=0)) == 1


def test_leaks():
    rng = nn.RandomState(0)
    with jax.checking_leaks():
        jit(vmap(vmap(twice(rng)), in_axes=None, axis_size=2))(xs)
        jit(vmap(lambda x: for_loop(lambda i: twice(rng)(x), jnp.arange(2))))(xs)
