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


class Odd(Everything):
    """What few formats can hold: all that one file must."""

    def __init__(self, seed=0):
        super().__init__(seed)
        narrow = ["int4", "uint4", "float8_e5m2", "float8_e4m3b11fnuz", "float8_e8m0fnu", "float4_e2m1fn", "float16"]
        self.narrow = {n: nn.State(jnp.arange(6).reshape(2, 3).astype(getattr(jnp, n)) + 0 * seed) for n in narrow}
        self.wide = nn.State({n: np.array([seed, 1, 2], n) for n in ("float64", "complex128", "uint64", "int8")})
        self.numbers = nn.State(
            [2**80 + seed, -(2**64), -1, True, float("nan"), float("-inf"), -0.0, 1j * seed, -(2**63)]
        )
        self.scalars = nn.State([np.bool_(seed), np.int64(2**60 + seed), np.complex128(1j), np.float64("nan")])
        self.strided = nn.State(np.arange(6.0).reshape(2, 3).T + seed)
        self.weak = nn.State(jnp.full((2,), 0.5 + seed))
        self.none = nn.State(None)
        self.by_number = {3: nn.State(jnp.full(2, 3 + seed)), 10: nn.Linear(2, 2, rng=nn.RandomState(seed))}
        self.named = {
            "": nn.State(seed),
            "a.b": nn.State(seed + 1),
            "ü\\\n\0": nn.State(seed + 2),
            "__metadata__": nn.State(0),
        }
        self.tied = [self.layers[0], nn.Linear(3, 2, rng=nn.RandomState(seed + 9))]
        self.tied[1].weight = self.layers[0].weight
        self.vectors = nn.State((jnp.zeros(()), jnp.full((1,), seed), jnp.zeros((2, 0))))


def bits(value):
    value = jax.random.key_data(value) if jnp.issubdtype(getattr(value, "dtype", None), jax.dtypes.prng_key) else value
    if type(value) is int:  # of any size
        return repr(value)
    return (str(np.asarray(value).dtype), np.shape(value), np.asarray(value).tobytes())


def all_bits(node):
    return [(type(leaf), bits(leaf)) for leaf in jax.tree.leaves(treefy_states(node))]
