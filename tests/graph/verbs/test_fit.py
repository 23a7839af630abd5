"""What may take the place of what, when values are written to states."""

from __future__ import annotations

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import GraphError, State, update_states
from tests.laws.graphs import same_value
from tests.tables import each

F = jax.ShapeDtypeStruct((2,), "float32")

FITS = {
    "numpy for jax": (jnp.zeros(2), np.ones(2, "float32")),
    "jax for numpy": (np.zeros(2, "float32"), jnp.ones(2)),
    "float64 of numpy, which JAX takes for float32": (np.zeros(2), jnp.ones(2)),
    "and back": (jnp.zeros(2), np.ones(2)),
    "a scalar of numpy": (jnp.zeros(()), np.float32(1)),
    "anything for None": (None, {"w": jnp.ones(2)}),
    "a tree": ({"w": jnp.zeros(2), "b": (1, None)}, {"b": (2, None), "w": np.ones(2, "float32")}),
    "a weak type": (jnp.zeros(()), jnp.asarray(1.0) * 1),
    "bfloat16": (jnp.zeros(2, "bfloat16"), jnp.ones(2, "bfloat16")),
    "a key": (jax.random.key(0), jax.random.key(1)),
    "a float for a float": (3.0, 5.0),
    "a float for an int": (3, 5.5),
    "an array for a number": (3.0, jnp.asarray(5.0)),
    "an array of ints for a float": (3.0, jnp.asarray(5)),
    "a bool for a bool": (True, False),
    "an array for a bool": (True, jnp.asarray(False)),
    "a string for a string": ("a", "b"),
    "an array for a shape": (F, jnp.ones(2)),
    "a shape for a shape": (F, jax.ShapeDtypeStruct((2,), "float32")),
}


@each("name", FITS)
def test_it_fits_and_is_written_as_it_is(name):
    now, new = FITS[name]
    state = State(now)
    update_states([state], {0: new})
    if name in ("a key", "a string for a string", "a shape for a shape"):
        assert state.value is new
    else:
        assert same_value(state.value, new)


CONVERTED = {
    "an int for a float": (3.0, 5, 5.0),
    "an int for a complex": (1j, 5, 5 + 0j),
    "a float for an array": (jnp.zeros((), "bfloat16"), 5.0, jnp.asarray(5.0, "bfloat16")),
    "an int for an array of floats": (jnp.zeros(()), 5, jnp.asarray(5.0)),
    "an int for an array of ints": (jnp.zeros((), "int8"), 5, jnp.asarray(5, "int8")),
    "a float for an array of numpy": (np.zeros(()), 5.0, np.asarray(5.0)),
    "a bool for an array": (jnp.asarray(True), False, jnp.asarray(False)),
    "inside a tree": ({"a": jnp.zeros(()), "b": [1.0]}, {"a": 5, "b": [2]}, {"a": jnp.asarray(5.0), "b": [2.0]}),
}


@each("name", CONVERTED)
def test_a_number_takes_the_form_of_what_was_there(name):
    now, new, expected = CONVERTED[name]
    state = State(now)
    update_states([state], {0: new})
    assert same_value(state.value, expected)
    assert jax.tree.map(type, state.value) == jax.tree.map(type, expected)
    assert jax.tree.map(jax.typeof, state.value) == jax.tree.map(jax.typeof, now)


REFUSED = {
    "shape": (jnp.zeros(2), jnp.ones(3), r"wrong shape: 0 is f32\[2\], not f32\[3\]"),
    "axes": (jnp.zeros(2), jnp.ones((1, 2)), r"wrong shape: 0 is f32\[2\], not f32\[1,2\]"),
    "dtype": (jnp.zeros(2), jnp.ones(2, "int32"), r"wrong dtype: 0 is f32\[2\], not i32\[2\]"),
    "width": (jnp.zeros(2, "bfloat16"), jnp.ones(2), r"wrong dtype: 0 is bf16\[2\], not f32\[2\]"),
    "a number for an array": (jnp.zeros(2), 1.0, r"wrong shape: 0 is f32\[2\], not 1.0"),
    "an array for a number": (1.0, jnp.zeros(2), r"wrong shape: 0 is 1.0, not f32\[2\]"),
    "a float for ints": (jnp.zeros((), "int32"), 1.0, r"wrong dtype: 0 is i32\[\], not 1.0"),
    "too big": (jnp.zeros((), "int8"), 300, r"wrong dtype: 0 is i8\[\], not 300"),
    "a number for a bool": (True, 1, "wrong dtype: 0 is True, not 1"),
    "a bool for a number": (1, True, "wrong dtype: 0 is 1, not True"),
    "a bool for an array": (jnp.zeros(()), True, r"wrong dtype: 0 is f32\[\], not True"),
    "an array for a bool": (True, jnp.zeros(()), r"wrong dtype: 0 is True, not f32\[\]"),
    "a number for a key": (jax.random.key(0), 1, r"wrong dtype: 0 is key<fry>\[\], not 1"),
    "an array for a key": (jax.random.key(0), jnp.zeros(()), r"wrong dtype: 0 is key<fry>\[\], not f32\[\]"),
    "a string for an array": (jnp.zeros(2), "x", r"wrong value: 0 is f32\[2\], not 'x'"),
    "a string for a number": (1.0, "x", "wrong value: 0 is 1.0, not 'x'"),
    "a shape for an array": (jnp.zeros(2), F, r"no value: 0 is f32\[2\], not f32\[2\]"),
    "a shape for a number": (1.0, jax.ShapeDtypeStruct((), "float32"), r"no value: 0 is 1.0, not f32\[\]"),
    "structure": (jnp.zeros(2), [jnp.zeros(2)], r"wrong structure: 0 is f32\[2\], not \[f32\[2\]\]"),
    "None": (jnp.zeros(2), None, r"wrong structure: 0 is f32\[2\], not None"),
    "keys": ({"a": 1.0}, {"b": 1.0}, "wrong structure: 0 is {a: 1.0}, not {b: 1.0}"),
    "dicts": ({"a": 1.0}, OrderedDict(a=1.0), "wrong structure: 0 is PyTreeDef.*, not PyTreeDef.*OrderedDict"),
    "inside": (
        {"a": jnp.zeros(2), "b": (1.0, jnp.zeros(3))}, {"a": jnp.zeros(1), "b": (1.0, jnp.zeros(3, "int8"))},
        r"wrong shape: 0\.a is f32\[2\], not f32\[1\]; wrong dtype: 0\.b\.1 is f32\[3\], not i8\[3\]",
    ),
}  # fmt: skip


@each("name", REFUSED)
def test_it_does_not_fit_and_nothing_is_written(name):
    now, new, words = REFUSED[name]
    states = [State(now), State(1.0)]
    with pytest.raises(GraphError, match="nothing was written, the state trees do not fit the graph: " + words):
        update_states(states, {0: new, 1: 2.0})
    assert states[0].value is now
    assert states[1].value == 1.0


@each("name", REFUSED)
def test_without_strict_shapes_and_dtypes_may_change_but_not_structure(name):
    now, new, words = REFUSED[name]
    state = State(now)
    if words.startswith("wrong structure"):
        with pytest.raises(GraphError, match=words) as caught:
            update_states([state], {0: new}, strict=False)
        assert "strict=False" not in str(caught.value)
    else:
        update_states([state], {0: new}, strict=False)
        assert jax.tree.leaves(state.value)[0] is jax.tree.leaves(new)[0]
        with pytest.raises(GraphError, match="With `strict=False`, shapes and dtypes may change"):
            update_states([State(now)], {0: new})


def test_a_value_is_not_shared_with_the_data():
    """Trap: writing to a list in place changed the checkpoint that it came from."""
    state, data = State([1.0, {"a": 2.0}]), {0: [3.0, {"a": 4.0}]}
    update_states([state], data)
    state.value[1]["a"] = 9.0
    assert data == {0: [3.0, {"a": 4.0}]}


def test_tracers_have_shapes_too():
    def f(x):
        state = State(x)
        update_states([state], {0: x + 1})
        with pytest.raises(GraphError, match=r"wrong shape: 0 is .*, not f32\[3\]"):
            update_states([state], {0: jnp.ones(3)})
        return state.value

    assert jax.jit(f)(jnp.zeros(2)).tolist() == [1, 1]
    assert jax.vmap(f)(jnp.zeros((3, 2))).shape == (3, 2)
