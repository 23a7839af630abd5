"""The one mutable thing and the one door to its value."""

from __future__ import annotations

import copy
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    FlattedDict,
    State,
    TraceContextError,
    catch_new_states,
    clone,
    maybe_state,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_graph.extend import locate, write_values
from tests.laws.graphs import RAW, Gadget, Param, net, same_value
from tests.tables import each

# ------------------------------------------------------------------------------------------------- a box


def test_a_state_is_a_box():
    s = State(1.0)
    s.value += 1
    assert s.value == 2.0
    s.restore_value(jnp.ones(2))
    assert s.value.shape == (2,)
    s.value = {"a": (1, None)}
    assert s.value == {"a": (1, None)}
    assert (s.name, s.tag, dict(s.metadata)) == (None, None, {})


def test_metadata():
    s = Param(1.0, name="w", tag="a", unit="mV")
    assert (s.name, s.tag) == ("w", frozenset({"a"}))
    assert dict(s.metadata) == {"name": "w", "tag": frozenset({"a"}), "unit": "mV"}
    assert State(1.0, tag=["a", "b"]).tag == {"a", "b"} == State(1.0, tag={"b", "a"}).tag
    with pytest.raises(TypeError):
        s.metadata["unit"] = "V"
    for other in (s.copy(), s.replace(2.0), copy.copy(s), copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert type(other) is Param
        assert other is not s
        assert dict(other.metadata) == dict(s.metadata)


def test_a_state_of_a_state_takes_its_value():
    assert State(State(1.0)).value == 1.0


def test_copies_are_independent():
    s = State(np.ones(2))
    for other in (s.copy(), s.replace(np.zeros(2)), copy.deepcopy(s)):
        other.value = 5.0
        assert s.value.tolist() == [1.0, 1.0]
    deep = copy.deepcopy(State({"a": np.ones(2), "b": [1]}))
    assert deep.value["b"] == [1]


def test_deepcopy_copies_numpy_arrays_and_containers():
    s = State({"a": np.ones(2), "b": [1]})
    deep = copy.deepcopy(s)
    deep.value["a"][0] = 7
    deep.value["b"].append(2)
    assert s.value["a"].tolist() == [1.0, 1.0]
    assert s.value["b"] == [1]


@each("value", [1.0, None, np.ones(2), {"a": (1, 2)}, "key", jnp.arange(3)])
def test_pickle(value):
    value = jax.random.key(3) if value is not None and isinstance(value, str) else value
    back = pickle.loads(pickle.dumps(State(value))).value
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value, back = jax.random.key_data(value), jax.random.key_data(back)
    assert same_value(value, back)


def test_repr_shows_structure_and_never_fails():
    assert repr(Param(jnp.ones((2, 3)), name="w", tag="a")) == "Param(f32[2,3], name='w', tag={'a'})"
    assert repr(State({"a": [1, np.zeros(2)]})) == "State({'a': [1, f64[2]]})"
    assert repr(State(jnp.ones(1, "bfloat16"))) == "State(bf16[1])"
    assert "State(" in repr(State(jax.random.key(0)))
    jax.jit(lambda x: (repr(State(x)), x)[1])(1.0)


def test_a_state_that_is_held_by_many_lists_is_located():
    model = Gadget(cells=[Gadget(s=State(1.0))])
    others = [[model.cells[0].s, model.cells[0]] for _ in range(100)]
    assert locate(model.cells[0].s) == "State at Gadget.cells.0.s"
    assert len(others) == 100


def test_a_state_inside_the_value_is_refused_with_its_path():
    model = Gadget(cells=[Gadget(s=State(1.0))])
    s = model.cells[0].s
    for wrong in (State(1.0), [State(1.0)], {"a": State(1.0)}):
        with pytest.raises(ValueError, match=r"State at Gadget\.(cells\.0\.)?s cannot be or hold another State"):
            s.value = wrong
    assert s.value == 1.0


# ------------------------------------------------------------------------------------------------- raw traces

DOORS = {
    "value": lambda m, x: setattr(m.layers[1].weight, "value", x),
    "value in a tree": lambda m, x: setattr(m.layers[1].weight, "value", {"a": [x]}),
    "restore_value": lambda m, x: m.layers[1].weight.restore_value(x),
    "update_states": lambda m, x: update_states(m, {"layers": {1: {"weight": x}}}),
    "update_states of a tree": lambda m, x: update_states(
        m, jax.tree.map(lambda _: x, treefy_states(m, lambda p, s: p == ("layers", 1, "weight")))
    ),
    "update_states flat": lambda m, x: update_states(m, FlattedDict({("layers", 1, "weight"): x})),
    "write_values": lambda m, x: write_values([m.layers[1].weight], [x]),
}


@each(("transform", "door"), [*((t, "value") for t in RAW), *(("jit", d) for d in DOORS), ("scan", "update_states")])
def test_raw_transforms_cannot_write_a_captured_state(transform, door):
    model = net()
    before = model.layers[1].weight.value

    def f(x):
        DOORS[door](model, x)
        return x

    message = (
        r"Param at Gadget\.layers\.1\.weight cannot take a traced value here: .*brainstate_transform.*treefy_split"
    )
    with pytest.raises(TraceContextError, match=message):
        RAW[transform](f)
    assert model.layers[1].weight.value is before


@each("transform", RAW)
def test_states_born_in_a_raw_trace_may_be_written_in_it(transform):
    model = net()
    shape, tree = treefy_split(model)

    def f(x):
        inner = treefy_merge(shape, tree)
        inner.head.seen.value = x + 1
        copied = clone(model)
        update_states(copied, {"head": {"seen": x}})
        fresh = State(0.0)
        fresh.value = x
        write_values([fresh], [fresh.value + 1])
        return inner.head.seen.value + copied.head.seen.value + fresh.value - 2 - 2 * x

    RAW[transform](f)
    assert model.head.seen.value == 0


def test_functional_use_under_raw_jit():
    model = net()
    shape, tree = treefy_split(model)

    @jax.jit
    def step(tree, x):
        inner = treefy_merge(shape, tree)
        inner.head.seen.value += 1
        inner.head.bias.value = inner.head.bias.value * x
        return treefy_states(inner)

    out = step(tree, 2.0)
    update_states(model, out)
    assert int(model.head.seen.value) == 1
    assert np.allclose(model.head.bias.value, 2 * tree["head"]["bias"].value)


def test_reading_a_captured_state_is_allowed():
    s = State(3.0)
    assert jax.jit(lambda x: x * s.value)(2.0) == 6.0


def test_a_state_of_an_outer_raw_trace_is_closed_to_an_inner_one():
    def outer(x):
        s = State(x)
        model = Gadget(s=s)

        def inner(y):
            model.s.value = y
            return y

        with pytest.raises(TraceContextError, match=r"State at Gadget\.s cannot take"):
            jax.grad(inner)(x)
        assert s.value is x
        s.value = x * 2
        return s.value

    assert jax.jit(outer)(1.0) == 2.0


def test_checking_leaks_stays_silent():
    model = net()
    shape, tree = treefy_split(model)
    with jax.checking_leaks():
        jax.jit(lambda t: treefy_states(treefy_merge(shape, t)))(tree)


def test_the_path_of_a_private_class_is_named_too():
    class _Net(Gadget):
        pass

    model = _Net(s=State(1.0))
    with pytest.raises(ValueError, match=r"State at _Net\.s cannot"):
        model.s.value = State(2.0)


def test_catching_new_states():
    with catch_new_states("outer") as outer:
        a = State(1.0)
        with catch_new_states("inner", exclude=Param) as inner:
            b, c = State(1.0, tag="own"), Param(1.0)
            clone([b])
    d = State(1.0)
    assert outer == [a, b, c]
    assert inner == [b]
    assert [s.tag for s in (a, b, c, d)] == [{"outer"}, {"own", "inner", "outer"}, {"outer"}, None]


def test_replacing_metadata():
    s = Param(1.0, "n", tag="t", unit="mV")
    other = s.replace(2.0, name="m", unit=None, axis=1)
    assert (other.value, dict(other.metadata), type(other)) == (2.0, {"name": "m", "tag": {"t"}, "axis": 1}, Param)
    assert dict(s.metadata) == {"name": "n", "tag": {"t"}, "unit": "mV"}
    assert dict(s.replace().metadata) == dict(s.metadata)
    with pytest.raises(ValueError, match=r"other\.value"):
        s.replace(State(1.0))


def test_a_state_is_light():
    s = State(None)
    assert sys.getsizeof(s) < 300
    assert not hasattr(s, "__dict__")


def test_maybe_state():
    assert maybe_state(State(2.0)) == 2.0
    assert maybe_state([1]) == [1]


def test_locating_asks_no_metaclass_for_a_hash():
    class Meta(type):
        def __hash__(cls) -> int:
            asked.append(cls)
            return type.__hash__(cls)

    class Other(metaclass=Meta):
        pass

    other, model, asked = Other(), Gadget(w=State(1.0)), []
    assert locate(model.w) == "State at Gadget.w"
    assert not asked, other
