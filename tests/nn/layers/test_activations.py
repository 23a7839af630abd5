from __future__ import annotations

import jax
import jax.numpy as jnp

import brainstate_nn as nn
import brainstate_nn._layers.activations as module
from tests.nn.cases import together


@together("name", [name for name in module.__all__ if name != "PReLU"])
def test_is_the_function_of_jax(name):
    assert getattr(nn, name) is getattr(jax.nn, name, None) or getattr(nn, name) is getattr(jnp, name)


def test_none_of_jax_is_missing():
    others = {  # no activations
        "dot_product_attention", "get_scaled_dot_general_config", "scaled_dot_general", "scaled_matmul", "initializers",
        "log1mexp", "logmeanexp",
    }  # fmt: skip
    public = {name for name in dir(jax.nn) if not name.startswith("_")}
    assert public - others <= set(module.__all__)


def test_initialisers_are_those_of_jax():
    assert nn.initializers is jax.nn.initializers
