"""A model with every sort of value that a checkpoint may meet, and its bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_graph import treefy_states


class Everything(nn.Module):
    def __init__(self, seed=0, size=3):
        key = jax.random.key(seed)
        self.layers = [nn.Linear(size, 2, rng=nn.RandomState(seed)), nn.Dropout(0.5, rng=nn.RandomState(seed))]
        self.norm = nn.BatchNorm(2)
        self.half = nn.ParamState(jax.random.normal(key, (5,), jnp.bfloat16))
        self.tiny = nn.ParamState(jax.random.normal(key, (5,)).astype(jnp.float8_e4m3fn))
        self.flag = nn.State(jnp.array([True, seed > 0]))
        self.steps = nn.State(seed)
        self.rate = nn.State(0.1 + seed)
        self.table = nn.State(np.arange(4, dtype=np.int64) + seed)
        self.scalar = nn.State(np.float32(seed))
        self.keys = nn.State({"a": jax.random.split(key, 3), "b": jax.random.key(seed, impl="rbg")})
        self.complex = nn.State(jnp.array(1j * seed))
        self.empty = nn.State(jnp.zeros((0, 3)))


def bits(value):
    value = jax.random.key_data(value) if jnp.issubdtype(getattr(value, "dtype", None), jax.dtypes.prng_key) else value
    return (str(np.asarray(value).dtype), np.shape(value), np.asarray(value).tobytes())


def all_bits(node):
    return [(type(leaf), bits(leaf)) for leaf in jax.tree.leaves(treefy_states(node))]
