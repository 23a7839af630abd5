"""What `check_state_value_tree` refuses, in which thread, and until when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_transform as bst
from brainstate_graph import State, check_state_value_tree, clone
from tests.laws.graphs import Gadget, Param
from tests.tables import each


def test_the_innermost_block_of_this_thread_decides():
    s, other = State((1.0, 2.0)), State((1.0, 2.0))
    with check_state_value_tree():
        s.value = (5.0, 1.0)
        with pytest.raises(ValueError, match=r"structure"):
            s.value = 1.0
        with check_state_value_tree(False):
            s.value = 3.0
        s.value = 7.0
        with pytest.raises(ValueError, match=r"structure"):
            s.value = (1.0, 2.0)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(setattr, other, "value", 3.0).result()
    s.value = (1.0, 7.0)
    assert (s.value, other.value) == ((1.0, 7.0), 3.0)


@each("new", [jnp.zeros(2, "int32"), jnp.zeros(3), np.zeros((1, 2), "float32")])
def test_a_checked_state_keeps_its_form(new):
    s = Gadget(w=Param(jnp.zeros(2), checked=True)).w
    for write in (
        lambda: setattr(s, "value", new),
        bst.jit(lambda: setattr(s, "value", new)),
        lambda: s.restore_value(new),
    ):
        with pytest.raises(
            ValueError, match=r"Param.* is checked: its value is f32\[2\], and was assigned .*Make a new State"
        ):
            write()
    s.value = np.ones(2, "float32")
    assert clone([s])[0].metadata["checked"]
    with pytest.raises(ValueError, match="is checked"):
        clone([s])[0].value = new


def test_a_checked_number():
    s = State(1.0, checked=True)
    s.value = jnp.float32(2.0)
    s.value = 3.0
    with pytest.raises(ValueError, match=r"is f32\[\], and was assigned i32\[\]"):
        s.value = 3
    with pytest.raises(ValueError, match="structure"):
        s.value = (1.0,)
    assert s.value == 3.0


def test_checking_the_structure_of_all_states():
    s = State((1.0, 2.0))
    with check_state_value_tree():
        s.value = (1.0, jnp.zeros(7))  # shapes are not its concern
        with pytest.raises(ValueError, match="State holds a value of structure"):
            s.value = [1.0, 2.0]
        with check_state_value_tree(False):
            s.value = [1.0, 2.0]
    s.value = 3.0
