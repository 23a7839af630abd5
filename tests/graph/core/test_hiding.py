"""What an attribute of a node may not hide: a state that is meant to stay, and a method of its class."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State, graphdef, states
from tests.tables import each


class Cell(Node):
    def __init__(self):
        self.w = State(jnp.ones(2))
        self.n = State(0)
        self.tree = State({"a": jnp.ones(2)})

    def step(self):
        return self.w.value

    @classmethod
    def new(cls):
        return cls()

    @staticmethod
    def activation(x):
        return x

    default = None


ARRAYS = {
    "jax": lambda: jnp.zeros(2),
    "numpy": lambda: np.zeros(2),
    "scalar": lambda: np.float32(1.0),
    "float": lambda: 1.0,
    "int": lambda: 1,
    "bool": lambda: True,
    "key": lambda: jax.random.key(0),
    "tuple": lambda: (jnp.zeros(2), 1.0),
    "dict": lambda: {"a": jnp.zeros(2)},
}


@each("value", ARRAYS)
@each("name", ["w", "n", "tree"])
def test_an_array_does_not_take_the_place_of_a_state(name, value):
    top = Node()
    top.cells = [Cell()]
    cell, state, shape = top.cells[0], getattr(top.cells[0], name), graphdef(top)
    line = rf"State at Node\.cells\.0\.{name} would be dropped.*`node\.{name}\.value = x`.*`del node\.{name}`"
    with pytest.raises(TypeError, match=line):
        setattr(cell, name, ARRAYS[value]())
    assert getattr(cell, name) is state
    assert graphdef(top) is shape
    delattr(cell, name)
    setattr(cell, name, ARRAYS[value]())  # the second of the two lines
    assert name in vars(cell)


@each("value", [None, "x", (), [], {}, len, State(1.0), Cell(), [Cell()], {"a": State(1.0)}, (State(1.0),), object()])
def test_what_is_no_array_may(value):
    cell = Cell()
    cell.w = value
    assert cell.w is value
    cell.w = value
    cell.w = jnp.ones(2) if not isinstance(value, State) else State(2.0)


def test_a_method_of_the_class_is_not_hidden_by_a_part():
    cell = Cell()
    for name in ("step", "new", "__init__"):
        for part in (Cell(), State(1.0), [Cell()], {"a": (State(1.0),)}):
            with pytest.raises(
                TypeError, match=rf"`{name}` of Cell is a method, and this \w+ would hide it: .*{name}_"
            ):
                setattr(cell, name, part)
        setattr(cell, name, len)  # a function may
    for name in ("graph_invisible_attrs", "graph_in_paths"):
        with pytest.raises(TypeError, match=rf"`{name}` of Cell is a setting"):
            setattr(cell, name, Cell())
    for name in ("activation", "default", "other"):
        setattr(cell, name, Cell())
        assert isinstance(getattr(cell, name), Cell)

    class Other(Node):  # where the name is no method
        step = None

        def __init__(self):
            self.step = Cell()
            self.new = State(1.0)

    assert list(states(Other())) == [("new",), ("step", "n"), ("step", "tree"), ("step", "w")]


def test_in_a_trace_nothing_changes_by_a_refusal():
    from brainstate_transform import jit

    cell = Cell()
    cell.other = 1

    @jit
    def forgotten(x):
        cell.other = 2
        cell.w = cell.w.value - x

    with pytest.raises(TypeError, match=r"State at Cell\.w would be dropped"):
        forgotten(1.0)
    assert (cell.other, isinstance(cell.w, State)) == (1, True)
