"""All that JAX tells two arrays apart by is said where it is why a function was traced again."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from brainstate_graph import State
from brainstate_transform import jit
from brainstate_transform._jit.abstract import LEAF, differences, words_of
from tests.tables import each


def mesh(name, kind):
    return jax.make_mesh((1,), (name,), axis_types=(kind,))


def on(mesh, *spec):
    return jax.device_put(jnp.ones(4), NamedSharding(mesh, P(*spec)))


VALUES = {
    "f32[4]": lambda: jnp.ones(4),
    "f32[5]": lambda: jnp.ones(5),
    "f32[] weak": lambda: 1.0,
    "f32[]": lambda: jnp.float32(1.0),
    "i32[] weak": lambda: 1,
    "i32[4]": lambda: jnp.ones(4, int),
    "f32[4] replicated on mesh (x: 1 explicit)": lambda: on(mesh("x", AxisType.Explicit)),
    "f32[4] P('x',) on mesh (x: 1 explicit)": lambda: on(mesh("x", AxisType.Explicit), "x"),
    "f32[4] P('y',) on mesh (y: 1 explicit)": lambda: on(mesh("y", AxisType.Explicit), "y"),
    "f32[4] on mesh (x: 1 auto)": lambda: on(mesh("x", AxisType.Auto), "x"),
    "f32[4] in host memory": lambda: jax.device_put(jnp.ones(4), jax.memory.Space.Host),
}
PAIRS = list(itertools.permutations(VALUES, 2))


def in_the_abstract(value):
    leaves, treedef = jax.tree.flatten(value)
    return treedef, tuple(map(jax.typeof, leaves))


@each("words", VALUES)
def test_a_value_in_words(words):
    assert words_of(in_the_abstract(VALUES[words]())) == words


@each("old, new", PAIRS)
def test_what_differs_is_said_of_each_leaf_that_does(old, new):
    one, other = VALUES[old](), VALUES[new]()
    assert jax.typeof(one) != jax.typeof(other)
    assert list(differences(in_the_abstract(one), in_the_abstract(other))) == [("", old, new)]
    assert not list(differences(in_the_abstract(one), in_the_abstract(VALUES[old]())))
    pair = {"a": [one, 2], "b": one}, {"a": [one, 2], "b": other}
    assert list(differences(*map(in_the_abstract, pair))) == [("['b']", old, new)]


def test_another_structure_is_said_whole():
    one, other = jnp.ones(4), [1.0]
    assert list(differences(in_the_abstract(one), in_the_abstract(other))) == [("", "f32[4]", "[f32[]] weak")]


class Odd(NamedTuple):
    """An abstract value with something that our words do not know."""

    more: str
    shape: tuple[int, ...] = (4,)
    dtype: object = jnp.dtype("float32")


def test_what_our_words_do_not_know_is_said_in_those_of_jax():
    [(path, old, new)] = differences((LEAF, (Odd("one"),)), (LEAF, (Odd("two"),)))
    assert path == ""
    assert "'one'" in old
    assert "'two'" in new
    assert old != new


MOVES = [
    ("f32[4]", "f32[4] replicated on mesh (x: 1 explicit)"), ("f32[4] on mesh (x: 1 auto)", "f32[4] in host memory"),
    ("f32[]", "f32[] weak"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), MOVES)
def test_a_state_or_argument_that_has_moved(old, new):
    s, taken, ones = State({"a": VALUES[old](), "b": 1}), jit(lambda x: x), jnp.ones(())
    read = jit(lambda x: (x, s.value["a"]))
    read(ones), taken(VALUES[old]())
    s.value = {"a": VALUES[new](), "b": 1}
    read(ones), taken(VALUES[new]())
    assert read.explain().reasons == (f"s['a']: {old} is now {new}",)
    assert taken.explain().reasons == (f"argument x: {old} is now {new}",)


def test_the_report_says_where_states_lie():
    s, t = State(VALUES["f32[4] P('x',) on mesh (x: 1 explicit)"]()), State((jnp.ones(2), 1.0))
    f = jit(lambda: (s.value, t.value))
    f()
    assert [use.shape for use in f.explain().states] == ["f32[4] P('x',) on mesh (x: 1 explicit)", "(f32[2], f32[])"]
    assert "  s  f32[4] P('x',) on mesh (x: 1 explicit)  16 B  read" in str(f.explain())
    t.value = (VALUES["f32[4] on mesh (x: 1 auto)"](), 1.0)
    f()
    assert f.explain().states[1].shape == "(f32[4], f32[]) in 2 placements"


def test_a_notebook_shows_the_report():
    f = jit(lambda x: x)
    f(1.0)
    said = []

    class Printer:
        def text(self, text):
            said.append(text)

    f.explain()._repr_pretty_(Printer(), False)
    assert said == [str(f.explain())]
