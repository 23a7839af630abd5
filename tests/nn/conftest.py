"""Libraries that all tests of brainstate_nn import are hidden from the garbage collector, which has less to go through.

An error that names the path of a layer looks at every live object. With the libraries among them, that takes most of the
time of a test that asks for many such errors: 4 s instead of 1 for the wrong masks of all normalisations.
"""

from __future__ import annotations

import gc

import equinox  # noqa: F401
import hypothesis  # noqa: F401
import jax  # noqa: F401
import optax  # noqa: F401
import orbax.checkpoint  # noqa: F401
import safetensors.numpy  # noqa: F401
import treescope  # noqa: F401
from flax import nnx  # noqa: F401

import brainstate_nn  # noqa: F401

gc.collect()
gc.freeze()
