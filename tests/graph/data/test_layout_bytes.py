"""Layouts as text: what is read is the layout that was written, or an error that says what cannot be."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from brainstate_graph import GraphError, NestedDict, State, TreefyState, treefy_states
from brainstate_graph._data.layout_bytes import layout_from_bytes, layout_to_bytes, spec_from_bytes, spec_to_bytes
from brainstate_graph._trees.leaf import spec_of
from tests.laws.graphs import Param, Stat, net
from tests.tables import each

_keys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda x: st.tuples(x, x) | st.frozensets(x, max_size=2),
    max_leaves=4,
)
_data = st.recursive(_keys, lambda x: st.lists(x, max_size=2) | st.dictionaries(_keys, x, max_size=2), max_leaves=4)


@given(st.dictionaries(_keys, st.one_of(_data, st.dictionaries(_keys, st.just(1.0), max_size=2)), max_size=4), _keys)
def test_a_layout_and_back(nested, extra):
    ref = TreefyState(Param, 1.0, name="n", tag=["b", "a"], extra=extra)
    try:
        layout = NestedDict({"ref": ref, "odd": nested})._layout
    except GraphError:  # two nans
        assume(False)
    assert layout_from_bytes(layout_to_bytes(layout)) is layout
    again = spec_from_bytes(spec_to_bytes(spec_of(ref)))
    assert again.kind is Param
    assert jax.tree.structure(TreefyState(Param, 1.0, **dict(again.meta))) == jax.tree.structure(ref)


@each(
    "extra", [np.dtype("int8"), np.dtype("bfloat16"), PartitionSpec("x", None, ("y", "z")), np.float32(1.0), int, 2**70]
)
def test_values_that_arrays_are_described_with(extra):
    tree = NestedDict({"w": TreefyState(Param, 1.0, extra=extra)})
    assert layout_from_bytes(layout_to_bytes(tree._layout)) is tree._layout


def test_the_layout_of_a_model_names_its_classes():
    layout = treefy_states(net())._layout
    text = layout_to_bytes(layout)
    assert layout_from_bytes(bytearray(text)) is layout
    assert {spec[0] for spec in json.loads(text)["specs"]} == {
        f"{Param.__module__}:{k.__qualname__}" for k in (Param, Stat)
    }


@each("extra", [len, jnp.ones(2), object(), lambda: 0])
def test_what_is_no_plain_data(extra):
    tree = NestedDict({"a": {0: TreefyState(State, 1.0, extra=(1, extra))}})
    with pytest.raises(GraphError, match=r"the metadata of a\.0: .* cannot be written as text"):
        layout_to_bytes(tree._layout)
    with pytest.raises(GraphError, match=r"the last key of a\.<.*>: .* a Key, cannot be written as text"):
        layout_to_bytes(NestedDict({"a": {type("Key", (), {})(): 1.0}})._layout)


def test_a_class_that_is_not_there():
    class Gone(State):
        pass

    text = layout_to_bytes(NestedDict({"a": TreefyState(Gone, 1.0)})._layout)
    found = layout_from_bytes(text)
    assert found.specs[0].kind is Gone
    with pytest.raises(GraphError, match=r"no class of states .*<locals>\.Other: import the module that defines it"):
        layout_from_bytes(text.replace(b".Gone", b".Other"))


def test_of_two_classes_of_one_name_the_later_one_is_meant():
    def define():
        class Twice(State):
            pass

        return Twice

    first, second = define(), define()
    text = layout_to_bytes(NestedDict({"a": TreefyState(first, 1.0)})._layout)
    assert layout_from_bytes(text).specs[0].kind is second
    assert jax.tree.structure(TreefyState(first, 1.0)) != jax.tree.structure(TreefyState(second, 1.0))
