"""`switch`: the branch of an index, as an item of a list."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State, StateArgumentError
from brainstate_transform import jit, switch
from tests.tables import each


def three(s):
    def first(x):
        return x

    def second(x):
        s.value = s.value + x
        return -x

    def third(x):
        s.value = s.value * 2.0
        return x + s.value

    return [first, second, third]


@each("index", [0, 1, 2, -3, 7, np.int64(1), np.uint8(2), jnp.array(2), jnp.int8(-1)])
@each("under", [lambda f: f, jit])
def test_switch_against_a_list(index, under):
    for without_jit in (False, True):
        s, o = State(jnp.array(5.0)), State(jnp.array(5.0))
        want = three(o)[min(max(int(index), 0), 2)](3.0)
        with jax.disable_jit(without_jit):
            assert under(lambda s=s: switch(index, three(s), 3.0))() == want
        assert s.value == o.value


@each("index", [None, True, 1.0, "1", [1], jnp.array([1]), jnp.array(1.0), np.bool_(True), 1j])
def test_an_index_that_is_none(index):
    with pytest.raises(TypeError, match="the index of switch must be an integer"):
        switch(index, [lambda: 1, lambda: 2])


def test_branches_that_are_no_list_of_functions():
    with pytest.raises(ValueError, match="switch has no branches"):
        switch(0, [])
    with pytest.raises(TypeError, match="list of functions"):
        switch(0, lambda: 1)
    with pytest.raises(TypeError, match="functions, not 3"):
        switch(0, [lambda: 1, 3])
    with pytest.raises(StateArgumentError, match="the index of switch"):
        switch(State(0), [lambda: 1])
    with pytest.raises(StateArgumentError):
        switch(0, [lambda x: 1], State(0))


def test_one_branch_is_called():
    s = State(jnp.array(5.0))
    assert switch(7, [three(s)[1]], 1.0) == -1.0
    assert jit(lambda i: switch(i, [three(s)[1]], 1.0))(0) == -1.0
    assert s.value == 7.0
