"""A compiled function that makes states at each call is one program, and what it leaves is what Python would leave."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import Snapshot, State
from brainstate_transform import grad, jit

ONE = jnp.float32(1.0)


class Cell(nn.Module):
    def __init__(self, more=0):
        self.w = nn.ParamState(jnp.float32(2.0))
        self.others = [State(ONE) for _ in range(more)]

    def reset(self):
        self.h = nn.HiddenState(jnp.zeros(()))

    def __call__(self, x):
        self.h.value = self.h.value + self.w.value * x
        return self.h.value


class Net(nn.Module):
    def __init__(self, more=0):
        self.cells = [Cell(more), Cell(more)]

    def __call__(self, x):
        for cell in self.cells:
            cell.reset()
        return sum(cell(x) for cell in self.cells)


@pytest.mark.parametrize("more", [0, 20], ids=["all passed", "a choice passed"])
@pytest.mark.counts_traces
def test_one_program_and_the_graph_of_python(more):
    net, plain, runs = Net(more), Net(more), []

    @jit
    def step(x):
        runs.append(x)
        return net(x)

    held = []
    for number in range(6):
        x = jnp.float32(number)
        assert step(x) == plain(x)
        assert [float(cell.h.value) for cell in net.cells] == [float(cell.h.value) for cell in plain.cells]
        held.append(net.cells[0].h)
        assert Snapshot(net).graphdef is Snapshot(plain).graphdef
    assert len(runs) <= 2
    assert [float(state.value) for state in held] == [2.0 * number for number in range(6)]
    assert len(set(map(id, held))) == 6


def test_what_changes_between_the_calls_is_seen():
    net = Net()
    step = jit(lambda x: net(x) if net.training else -net(x))
    look = jit(lambda: sum(cell.h.value for cell in net.cells))
    assert step(ONE) == 4.0
    assert step(ONE) == look() == 4.0
    net.eval()
    assert step(ONE) == -4.0
    assert look() == 4.0
    net.train()
    net.cells[0].w.value = jnp.float32(3.0)
    assert step(ONE) == look() == 5.0
    net.cells[1] = net.cells[0]  # tied from now on
    assert step(ONE) == 9.0  # 3 and, of the same state, 6
    net.cells[1] = Cell()
    assert step(ONE) == look() == 5.0
    del net.cells[1].h
    assert step(ONE) == look() == 5.0


def test_beside_gradients_arguments_and_a_result_with_modules():
    net = Net()

    @jit
    def step(model, x):
        grads = grad(lambda: model(x), net.states(nn.ParamState))()
        return model, sum(g for g in grads.to_flat().values())

    for _ in range(4):
        got, total = step(net, ONE)
        assert got is net
        assert total == 2.0
        assert [float(cell.h.value) for cell in net.cells] == [2.0, 2.0]
