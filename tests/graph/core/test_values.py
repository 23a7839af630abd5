"""Values are alike where JAX would take one for the other: structure, shapes and dtypes, whatever holds the numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph.extend import alike, aval_of
from tests.tables import each

ONE = jnp.ones((2, 3))
ALIKE = [
    (ONE, jnp.zeros((2, 3))),
    (ONE, np.zeros((2, 3), "float32")),
    (ONE, jax.ShapeDtypeStruct((2, 3), "float32")),
    ({"a": ONE, "b": (1, None)}, {"a": ONE, "b": (2, None)}),
    (2.0, jnp.float32(1)),
    (True, np.bool_(False)),
    (jax.random.key(0), jax.random.key(1)),
    ("relu", "tanh"),
]
UNLIKE = [
    (ONE, jnp.ones((3, 2))),
    (ONE, jnp.ones((2, 3), int)),
    (ONE, np.ones((2, 3))),  # of 64 bits
    (1, 1.0),
    (1, True),
    ((ONE,), [ONE]),
    ({"a": ONE}, {"b": ONE}),
    (None, ONE),
    (jax.random.key(0), jnp.zeros((), "uint32")),
    ("relu", 1),
]


@each("left, right", ALIKE)
def test_values_that_are_alike(left, right):
    assert alike(left, right)
    assert alike(right, left)


@each("left, right", UNLIKE)
def test_values_that_are_not(left, right):
    assert not alike(left, right)
    assert not alike(right, left)


@each("leaf", [ONE, np.ones(2, "int8"), True, 3, 2.0, 1j, np.float32(1)])
def test_the_aval_of_a_leaf_is_that_of_jax(leaf):
    aval = jax.typeof(jnp.asarray(leaf))
    assert aval_of(leaf) == (aval.shape, aval.dtype)


def test_inside_a_trace():
    found = []
    jax.jit(lambda x: found.append((alike(x, ONE), alike(x, x[0]))))(ONE)
    assert found == [(True, False)]
