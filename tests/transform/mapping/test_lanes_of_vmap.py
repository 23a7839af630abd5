"""Kinds of state that behave in a way of their own in each lane."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State
from brainstate_transform import for_loop, jit, register_lanes, vmap

xs = jnp.arange(3.0)


class Ticket(State):
    pass


class SpecialTicket(Ticket):
    pass


register_lanes(Ticket, lambda value, lane: value * 10.0 + lane, lambda value: value + 100.0)


@pytest.mark.parametrize("kind", [Ticket, SpecialTicket])
def test_lanes(kind):
    t = kind(jnp.array(1.0))

    def f(x):
        y = t.value
        t.value = t.value + x
        return y, t.value

    out = vmap(f)(xs)
    np.testing.assert_allclose(out[0], [10.0, 11.0, 12.0])
    np.testing.assert_allclose(out[1], [10.0, 12.0, 14.0])
    assert t.value == 101.0
    out = jit(vmap(f))(xs)
    np.testing.assert_allclose(out[0], 1010.0 + xs)


def test_lanes_that_only_read_do_not_advance():
    t = Ticket(jnp.array(1.0))
    before = t.value
    vmap(lambda x: t.value * x)(xs)
    assert t.value is before


def test_lanes_of_nested_maps_all_differ():
    t = Ticket(jnp.array(1.0))
    out = vmap(vmap(lambda x: t.value + 0.0 * x), in_axes=None, axis_size=2)(xs)
    np.testing.assert_allclose(out, [[100.0, 101.0, 102.0], [110.0, 111.0, 112.0]])


def test_lanes_inside_a_loop_inside_a_lane():
    t = Ticket(jnp.array(0.0))

    def step(i):
        t.value = t.value + 1.0
        return t.value

    out = vmap(lambda x: for_loop(step, jnp.arange(2.0)) + x)(xs)
    np.testing.assert_allclose(out, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert t.value == 100.0


def test_a_mapped_state_of_a_lane_kind_is_left_alone():
    t = Ticket(xs)
    np.testing.assert_allclose(vmap(lambda: t.value, in_states=t)(), xs)
