from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import brainstate_nn as nn
from brainstate_graph import graphdef
from tests.tables import each


def turned(x, positions, theta):
    """The formula with complex numbers: the pair of features is one, and is turned by an angle."""
    half = x.shape[-1] // 2
    z = x[..., :half] + 1j * x[..., half:]
    angle = positions[..., None, None] * theta ** (-np.arange(half) / half)
    z = z * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag], -1)


@settings(max_examples=8)
@given(
    st.sampled_from([(), (2,), (2, 3)]), st.integers(1, 5), st.sampled_from([2, 6]), st.sampled_from([10.0, 1e4]),
    st.integers(0, 10_000), st.booleans(),
)  # fmt: skip
def test_is_the_formula_at_any_positions(leading, length, size, theta, seed, own):
    numbers = np.random.default_rng(seed)
    x = numbers.normal(size=(*leading, length, 2, size)).astype(np.float32)
    positions = numbers.integers(0, 500, (*leading, length) if own else length)
    ours = nn.RotaryEmbedding(size, theta=theta)(jnp.asarray(x), jnp.asarray(positions))
    np.testing.assert_allclose(ours, turned(x, positions, theta), atol=2e-4)


@each(
    ("size", "options", "first", "second"),
    [
        (6, {"rotary_size": 4}, [0, 1], [2, 3]),
        (5, {"rotary_size": 2}, [0], [1]),
        (6, {"rotary_size": 6}, [0, 1, 2], [3, 4, 5]),
        (6, {"interleaved": True}, [0, 2, 4], [1, 3, 5]),
        (6, {"interleaved": True, "rotary_size": 4}, [0, 2], [1, 3]),
    ],
)
def test_a_part_of_the_features_and_pairs_of_neighbours(size, options, first, second):
    x = np.random.default_rng(0).normal(size=(2, 4, 3, size)).astype(np.float32)
    want, pairs = x.copy(), np.concatenate([x[..., first], x[..., second]], -1)
    want[..., [*first, *second]] = turned(pairs, np.arange(4), 100.0)
    turn = nn.RotaryEmbedding(size, theta=100.0, **options)
    np.testing.assert_allclose(turn(jnp.asarray(x)), want, atol=2e-6)
    # other frequencies are those of what is turned
    told = []
    nn.RotaryEmbedding(size, scaling=lambda n, theta: told.append(n) or np.ones(n // 2), **options)(jnp.asarray(x))
    assert set(told) == {2 * len(first)}


def test_positions_count_from_zero_unless_given():
    x = jax.random.normal(jax.random.key(0), (3, 4, 2, 6))
    turn = nn.RotaryEmbedding(6)
    np.testing.assert_array_equal(turn(x), turn(x, jnp.arange(4)))
    np.testing.assert_array_equal(turn(x)[:, 0], x[:, 0])


def test_the_product_depends_on_the_distance_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 8))
    turn = nn.RotaryEmbedding(8)
    products = [(turn(q, jnp.array([i + 3])) * turn(k, jnp.array([i]))).sum() for i in (0, 1, 50)]
    np.testing.assert_allclose(products, products[0], rtol=1e-4)


def test_half_precision_is_lost_in_the_result_alone():
    x = jax.random.normal(jax.random.key(0), (1000, 1, 8)).astype(jnp.bfloat16)
    turn = nn.RotaryEmbedding(8)
    out = turn(x)
    assert out.dtype == jnp.bfloat16  # which has no number between 512 and 516: angles need more
    np.testing.assert_array_equal(out, turn(x.astype(jnp.float32)).astype(jnp.bfloat16))


def test_it_has_no_state():
    assert not nn.RotaryEmbedding(4).states()
    assert graphdef(nn.RotaryEmbedding(4)) is graphdef(nn.RotaryEmbedding(4, theta=10_000, rotary_size=4))
    assert graphdef(nn.RotaryEmbedding(4)) is not graphdef(nn.RotaryEmbedding(4, rotary_size=2))
    assert graphdef(nn.RotaryEmbedding(4)) is not graphdef(nn.RotaryEmbedding(4, interleaved=True))
    assert graphdef(nn.RotaryEmbedding(4)) is not graphdef(nn.RotaryEmbedding(4, theta=500_000))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"^head_size must be even, because features are rotated in pairs, not 3$"):
        nn.RotaryEmbedding(3)
    with pytest.raises(ValueError, match=r"^rotary_size must be even, because features are rotated in pairs, not 3$"):
        nn.RotaryEmbedding(4, rotary_size=3)
    with pytest.raises(ValueError, match=r"^rotary_size must be a positive whole number, not 2\.0$"):
        nn.RotaryEmbedding(4, rotary_size=2.0)
    with pytest.raises(ValueError, match=r"^rotary_size=6 must not be above head_size=4$"):
        nn.RotaryEmbedding(4, rotary_size=6)
    with pytest.raises(ValueError, match=r"^theta must be a number greater than 0, not 0$"):
        nn.RotaryEmbedding(2, theta=0)


def test_wrong_inputs_are_refused():
    net = nn.Sequential(nn.RotaryEmbedding(4))
    turn = net.layers[0]
    x = jnp.ones((2, 3, 1, 4))
    with pytest.raises(
        ValueError,
        match=r"^RotaryEmbedding at Sequential\.layers\.0 expects 4 features along axis -1 of `x`, which is f32",
    ):
        turn(x[..., :2])
    with pytest.raises(
        ValueError, match=r"^RotaryEmbedding at Sequential\.layers\.0 needs at least 3 axes of `x`, which is f32\[1,4\]"
    ):
        turn(x[0, 0])
    with pytest.raises(
        TypeError,
        match=r"^RotaryEmbedding at Sequential\.layers\.0 takes whole numbers for `positions`, which is f32\[3\]",
    ):
        turn(x, jnp.ones(3))
    for shape in ((2,), (3, 2), (1, 2, 3)):
        with pytest.raises(
            ValueError,
            match=r"at Sequential\.layers\.0 takes `positions` of shape \(3,\) or \(2, 3\) for this input, not i",
        ):
            turn(x, jnp.ones(shape, int))
