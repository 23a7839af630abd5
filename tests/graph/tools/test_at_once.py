"""Stores in one step: all of them, in order, and the old values held until the last one is done."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict, defaultdict

import jax.numpy as jnp
import pytest

from brainstate_graph import State
from brainstate_graph._tools.at_once import at_once, filling, holding
from brainstate_graph.extend import read_values, write_values
from tests.tables import each


class Loud:
    """Tells when it goes."""

    def __init__(self, told):
        self.told = told

    def __del__(self):
        self.told.append(self)


def test_loops_run_in_turn():
    done = []
    at_once(map(done.append, "ab"), map(done.append, "c"))
    assert done == ["a", "b", "c"]


@each("container", [[1, 2], {"a": 1}, OrderedDict(b=1, a=2), defaultdict(list, a=[])])
def test_a_container_is_filled_in_one_step(container):
    old = container.copy()
    container.clear()
    loops = filling(container, old)
    assert not container
    at_once(*loops)
    assert container == old
    assert list(container) == list(old)


def test_old_items_are_held_until_the_end():
    told, seen = [], []
    container, value = [Loud(told)], {"a": Loud(told)}
    at_once(*filling(container, []), map(value.pop, "a"), holding(value["a"]), map(seen.extend, [told]))
    assert seen == []
    assert len(told) == 2


@pytest.mark.parametrize("many", [2, 50])
def test_no_thread_reads_a_mixture(many):
    states = [State(jnp.float32(0)) for _ in range(many)]
    values = [[jnp.float32(number)] * many for number in range(2)]
    stop, mixed = threading.Event(), []

    def read():
        while not stop.is_set():
            found = read_values(states)
            if len(set(map(id, found))) > 1 and found[0] is not found[-1]:
                mixed.append(found)

    write_values(states, values[0])
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=read)
    try:
        thread.start()
        for number in range(1000):
            write_values(states, values[number % 2])
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    assert not mixed
