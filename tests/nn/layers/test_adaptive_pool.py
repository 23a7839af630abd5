from __future__ import annotations

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import brainstate_nn as nn
from tests.nn.oracle import sample
from tests.tables import each


def by_hand(x: np.ndarray, sizes: tuple[int, ...], reduce) -> np.ndarray:
    """Window by window, as torch documents them."""
    spatial = x.shape[-len(sizes) - 1 : -1]
    out = np.zeros((*x.shape[: -len(sizes) - 1], *sizes, x.shape[-1]), x.dtype)
    for index in np.ndindex(*sizes):
        window = tuple(
            slice(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(index, spatial, sizes, strict=True)
        )
        out[(..., *index, slice(None))] = reduce(x[(..., *window, slice(None))], tuple(range(-len(sizes) - 1, -1)))
    return out


@settings(max_examples=6)
@given(sizes=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 9)), min_size=1, max_size=3))
def test_the_windows_are_those_of_torch(sizes):
    out, spatial = tuple(m for m, _ in sizes), tuple(n for _, n in sizes)
    x = sample(2, *spatial, 3)
    np.testing.assert_allclose(nn.adaptive_avg_pool(x, out), by_hand(np.asarray(x), out, np.mean), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(nn.adaptive_max_pool(x, out), by_hand(np.asarray(x), out, np.max))


@pytest.mark.parametrize("name", ["Avg", "Max"])
def test_is_that_of_equinox_where_windows_are_equal(name):
    x = sample(6, 4, 3)
    theirs = getattr(eqx.nn, f"Adaptive{name}Pool2d")((3, 2))(jnp.moveaxis(x, -1, 0))
    ours = getattr(nn, f"Adaptive{name}Pool")((3, 2))(x)
    np.testing.assert_allclose(ours, jnp.moveaxis(theirs, 0, -1), rtol=1e-6, atol=1e-6)


def test_gradients_go_to_the_elements_of_the_windows():
    x = jnp.array([[1.0], [5.0], [2.0], [3.0], [4.0]])
    # the windows of 3 over 5 elements are 0-1, 1-3 and 3-4
    assert jax.grad(lambda x: nn.adaptive_max_pool(x, (3,)).sum())(x).ravel().tolist() == [0, 2, 0, 0, 1]
    got = jax.grad(lambda x: nn.adaptive_avg_pool(x, (3,)).sum())(x).ravel()
    np.testing.assert_allclose(got, [1 / 2, 1 / 2 + 1 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 2], rtol=1e-6)


def test_none_keeps_an_axis():
    x = sample(2, 5, 4, 3)
    assert nn.adaptive_avg_pool(x, (None, None)) is x
    np.testing.assert_array_equal(nn.AdaptiveMaxPool((None, 2))(x), nn.max_pool(x, (1, 2)))


def test_dtypes():
    assert nn.adaptive_avg_pool(jnp.full((4097, 1), 0.5, jnp.bfloat16), (1,)).tolist() == [[0.5]]
    assert nn.adaptive_avg_pool(jnp.arange(4).reshape(4, 1), (3,)).dtype == jnp.float32
    assert nn.adaptive_max_pool(jnp.arange(-5, 0).reshape(5, 1), (2,)).ravel().tolist() == [-3, -1]
    assert nn.adaptive_max_pool(jnp.array([[True], [False], [False]]), (2,)).ravel().tolist() == [True, False]


@each("kind", [nn.AdaptiveAvgPool, nn.AdaptiveMaxPool])
def test_errors(kind):
    name = kind.__name__
    for size in (7, "77", (), None):
        with pytest.raises(ValueError, match=r"output_size=.* does not say how many spatial axes there are: write"):
            kind(size)
    for size in ((0, 1), (2.5, 1), (True, 1)):
        with pytest.raises(ValueError, match="output_size must be a positive whole number, not"):
            kind(size)
    net = nn.Sequential(kind((2, 2)))
    with pytest.raises(ValueError, match=rf"^{name} at Sequential\.layers\.0 needs at least 3 axes of `x`"):
        net(jnp.ones((4, 3)))
    with pytest.raises(
        ValueError, match=rf"^{name} at .* needs `x` with 2 spatial axes, none of them empty, .* not f32\[0,4"
    ):
        net(jnp.ones((0, 4, 3)))
    with pytest.raises(TypeError, match=rf"^{name} at Sequential\.layers\.0 takes an array for `x`, not None"):
        net(None)
    with pytest.raises(ValueError, match=r"^adaptive_avg_pool needs `x` with 1 spatial axes"):
        nn.adaptive_avg_pool(jnp.ones(3), (2,))
