"""Scaled frequencies against the formulae, written once more, pair by pair in plain Python."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef
from tests.nn.attention.test_rotary import turned
from tests.tables import each


def plain(size, theta):
    return [theta ** (-2 * i / size) for i in range(size // 2)]


def llama3(size, theta, factor, length, low, high):
    """By wavelengths, as Meta's code says it."""
    found = []
    for frequency in plain(size, theta):
        wavelength = 2 * math.pi / frequency
        if wavelength < length / high:
            found.append(frequency)
        elif wavelength > length / low:
            found.append(frequency / factor)
        else:
            smooth = (length / wavelength - low) / (high - low)
            found.append((1 - smooth) * frequency / factor + smooth * frequency)
    return found


def yarn(size, theta, factor, length, fast=32, slow=1, truncate=True):
    """By the dimension at which a wavelength fits so often into the length, as the authors' code says it."""
    dimension = lambda turns: size * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))
    low, high = dimension(fast), dimension(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001
    found = []
    for i, frequency in enumerate(plain(size, theta)):
        interpolated = min(max((i - low) / (high - low), 0), 1)
        found.append(frequency / factor * interpolated + frequency * (1 - interpolated))
    return found


CASES = [
    (128, 1e6, nn.LinearRotaryScaling(8), [f / 8 for f in plain(128, 1e6)]),
    (128, 5e5, nn.Llama3RotaryScaling(), llama3(128, 5e5, 8, 8192, 1, 4)),
    (64, 5e5, nn.Llama3RotaryScaling(32.0), llama3(64, 5e5, 32, 8192, 1, 4)),
    (8, 100.0, nn.Llama3RotaryScaling(3, original_length=50, low=0.5, high=2), llama3(8, 100.0, 3, 50, 0.5, 2)),
    (128, 1e6, nn.YarnRotaryScaling(4.0, original_length=32768), yarn(128, 1e6, 4, 32768)),
    (
        64,
        15e4,
        nn.YarnRotaryScaling(32, original_length=4096, truncate=False),
        yarn(64, 15e4, 32, 4096, truncate=False),
    ),
    (2, 1e4, nn.YarnRotaryScaling(2, original_length=7), yarn(2, 1e4, 2, 7)),
    (8, 1e4, nn.YarnRotaryScaling(2, original_length=5, fast=8, slow=4), yarn(8, 1e4, 2, 5, 8, 4)),
]


@each(("size", "theta", "scaling", "want"), CASES)
def test_frequencies_are_the_formula(size, theta, scaling, want):
    np.testing.assert_allclose(scaling(size, theta), want, rtol=1e-12)


def test_llama3_is_the_interpolation_by_parts_of_the_paper():
    # gamma of section 3.2, with alpha = low and beta = high, over the turns r = L / wavelength
    scaling, frequency = nn.Llama3RotaryScaling(4.0, original_length=2048, low=1, high=32), np.array(plain(64, 1e4))
    gamma = np.clip((2048 * frequency / (2 * np.pi) - 1) / 31, 0, 1)
    np.testing.assert_allclose(scaling(64, 1e4), (1 - gamma) * frequency / 4 + gamma * frequency, rtol=1e-12)
    assert {0.0, 1.0} < set(gamma)  # all three parts


def test_positions_are_turned_by_them_and_lengthened():
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, 5, 3, 8)))
    positions = np.array([0, 1, 7, 300, 4000])
    for scaling, factor in [
        (nn.LinearRotaryScaling(4), 1.0),
        (nn.YarnRotaryScaling(4, original_length=64), 0.1 * math.log(4) + 1),
        (nn.YarnRotaryScaling(0.5, original_length=64), 1.0),  # shorter: nothing to sharpen
        (nn.YarnRotaryScaling(4, original_length=64, attention_factor=2), 2.0),
        (lambda size, theta: np.array([1.0, 0.5, 0.25, 0.1]), 1.0),
    ]:
        angle = positions[:, None] * np.asarray(scaling(8, 1e4))
        z = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angle)[None, :, None]
        ours = nn.RotaryEmbedding(8, scaling=scaling)(jnp.asarray(x), jnp.asarray(positions))
        np.testing.assert_allclose(ours, factor * np.concatenate([z.real, z.imag], -1), atol=2e-3)
    same = nn.RotaryEmbedding(8, scaling=nn.LinearRotaryScaling(1))(jnp.asarray(x), jnp.asarray(positions))
    np.testing.assert_allclose(same, turned(x, positions, 1e4), atol=2e-3)


def test_a_scaling_is_part_of_the_shape():
    made = lambda factor: nn.RotaryEmbedding(4, scaling=nn.LinearRotaryScaling(factor))
    assert graphdef(made(2)) is graphdef(made(2.0))
    assert graphdef(made(2)) is not graphdef(made(3))


@each(
    ("make", "message"),
    [
        (lambda: nn.LinearRotaryScaling(0), "^factor must be a number greater than 0, not 0$"),
        (lambda: nn.Llama3RotaryScaling(original_length=0), "^original_length must be a positive whole number, not 0$"),
        (lambda: nn.Llama3RotaryScaling(low=4), r"^high must be above low=4, not 4\.0$"),
        (lambda: nn.YarnRotaryScaling(2, original_length=9, fast=1), "^fast must be above slow=1.0, not 1$"),
        (lambda: nn.YarnRotaryScaling(2, original_length=9, attention_factor=-1), "^attention_factor must be a number"),
        (
            lambda: nn.RotaryEmbedding(4, theta=1, scaling=nn.YarnRotaryScaling(2, original_length=9)),
            "^theta must",
        ),
        (
            lambda: nn.RotaryEmbedding(4, scaling=lambda size, theta: [1.0]),
            r"^scaling must give 2 .*, not \[1\.\]$",
        ),
        (
            lambda: nn.RotaryEmbedding(4, scaling={"factor": 8.0}),
            "^scaling must be a function .*, not dict: pass",
        ),
        (lambda: nn.RotaryEmbedding(4, scaling=8.0), "^scaling must be a function .* not float: write `scaling=Llama3"),
        (
            lambda: nn.RotaryEmbedding(4, scaling=nn.LinearRotaryScaling),
            "^scaling must be .* not LinearRotaryScaling",
        ),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
