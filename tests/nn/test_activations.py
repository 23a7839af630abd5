from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
import brainstate_nn._activations as module


@pytest.mark.parametrize("name", module.__all__)
def test_is_the_function_of_jax(name):
    assert getattr(nn, name) is getattr(jax.nn, name, None) or getattr(nn, name) is getattr(jnp, name)
