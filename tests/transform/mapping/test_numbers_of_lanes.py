"""Numbers of lanes and steps that do not agree are told with what has how many."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from brainstate_graph import State
from brainstate_transform import BatchAxisError, for_loop, vmap
from tests.laws.transforms import same


def test_a_mismatch_of_lanes_says_what_has_how_many():
    s = State(jnp.zeros(4), name="memory")

    def f(x, y=0.0):
        s.value = s.value + x + y

    with pytest.raises(ValueError, match=r"3 in argument 'x'.*4 in State 'memory'"):
        vmap(f, in_states=s)(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"3 in argument 'x'.*2 in argument 'y'"):
        vmap(lambda x, y: x)(jnp.zeros(3), jnp.zeros(2))
    with pytest.raises(BatchAxisError, match="memory"):
        vmap(f)(jnp.zeros(3))
    with pytest.raises(ValueError, match="number of steps") as caught:
        for_loop(lambda x, y: x, jnp.zeros(3), jnp.zeros(2))
    assert "[0]" in str(caught.value)
    assert same(s.value, jnp.zeros(4))
