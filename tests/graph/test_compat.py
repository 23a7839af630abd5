"""Older spellings of states, hooks and graphs: what each does is what a line of plain Python does."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import FlattedDict, Node, State, compat
from tests.tables import each


class Kind(State):
    pass


class Pair(Node):
    def __init__(self, inner=None):
        self.own, self.many, self.inner = State(1.0), [Kind(2.0), Kind(3.0)], inner


def states():
    return compat.StateDictManager(a=State(1.0), b=Kind(2.0), c=Kind(3.0))


PARTS = {
    "filter_by_predicate": (lambda s: s.filter_by_predicate(lambda key, state: key > "a"), ["b", "c"]),
    "subset": (lambda s: s.subset(Kind), ["b", "c"]),
    "not_subset": (lambda s: s.not_subset(Kind), ["a"]),
    "split": (lambda s: s.split(Kind)[1], ["a"]),
    "map_keys": (lambda s: s.map_keys(str.upper), ["A", "B", "C"]),
    "unique": (lambda s: compat.StateDictManager({**s, "d": s["a"]}).unique(), ["a", "b", "c"]),
    "assign": (lambda s: s.assign({"d": State(4.0)}, {"e": State(5.0)}) or s, ["a", "b", "c", "d", "e"]),
    "to_dict": (lambda s: s.to_dict(), ["a", "b", "c"]),
}


@each("name, row", PARTS.items())
def test_parts_of_a_dict_of_states(name, row):
    part, keys = row
    assert list(part(states())) == keys


def test_values_of_a_dict_of_states_are_all_written_or_none():
    given = states()
    assert given.split_values(Kind) == ({"b": 2.0, "c": 3.0}, {"a": 1.0})
    assert given.map_values(lambda state: state.value + 1) == {"a": 2.0, "b": 3.0, "c": 4.0}
    with pytest.raises(KeyError):
        given.assign_values({"a": 9.0, "d": 9.0})
    assert given.collect_values() == {"a": 1.0, "b": 2.0, "c": 3.0}
    given.assign_values({"a": 9.0}, {"b": 8.0})
    assert given.to_dict_values() == {"a": 9.0, "b": 8.0, "c": 3.0}


def test_what_states_have():
    state = State({"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, tag="a")
    assert state.numel() == compat.numel(state) == 9
    state.add_tag("b")
    assert state.tag == {"a", "b"}
    ref = state.to_state_ref()
    assert ref.type is State
    assert ref.tag == state.tag
    state.update_from_ref(State({"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}).to_state_ref())
    assert float(state.value["w"].sum()) == 0.0
    np.testing.assert_allclose(state.value_call(jnp.cos)["b"], np.ones(3))


def test_hooks_by_name_and_kind():
    state, log = State(1.0), []
    first = state.register_hook("write_after", lambda context: log.append(context.transformed_value))
    with state.temporary_hook("read", lambda context: log.append(context.operation)):
        _ = state.value
        assert state.has_hooks("read")
        assert len(state.list_hooks()) == 2
    state.value = 2.0
    first.disable()
    state.value = 3.0
    assert not first.is_enabled()
    first.enable()
    state.value = 4.0
    assert log == ["read", 2.0, 4.0]
    assert state.list_hooks("read") == []
    assert state.unregister_hook(first)
    assert not state.unregister_hook(first)
    state.register_hook("read", print)
    state.clear_hooks()
    assert not state.has_hooks()


def test_hooks_for_all_states():
    log = []
    hook = compat.register_state_hook("write_after", lambda context: log.append(context.state_name), name="seen")
    try:
        State(1.0, name="s").value = 2.0
        assert compat.list_state_hooks("write_after") == [hook]
        assert compat.has_state_hooks()
        assert log == ["s"]
        assert compat.unregister_state_hook(hook)
        assert not compat.unregister_state_hook(hook)
    finally:
        compat.clear_state_hooks()
    assert not compat.has_state_hooks()


@each("levels, found", [
    ((0, 0), [("many", 0), ("many", 1), ("own",)]),
    ((1, 1), [("inner", "many", 0), ("inner", "many", 1), ("inner", "own")]),
    ((0, 9), None),
    (None, None),
    ((2, 9), []),
])  # fmt: skip
def test_a_hierarchy_counts_the_nodes_on_the_way(levels, found):
    model = Pair(Pair())
    chosen = compat.states(model, allowed_hierarchy=levels)
    assert isinstance(chosen, FlattedDict)
    assert sorted(chosen) == (sorted(compat.states(model)) if found is None else found)
    parts = compat.states(model, Kind, ..., allowed_hierarchy=levels)
    assert sorted([*parts[0], *parts[1]]) == sorted(chosen)
    assert len(compat.nodes(model, allowed_hierarchy=(1, 1))) == 1


def test_states_that_are_made_in_a_block():
    with compat.catch_new_states("fresh", compat.OfType(Kind)) as caught:
        made = Pair()
    assert caught.get_states() == [made.own]
    assert caught.get_state_values() == [1.0]
    assert caught.get_by_tag("fresh") == [made.own]
    assert caught.get_by_tag("other") == []


def test_trees_by_level_and_by_path():
    flat = {("a", "b"): 1, ("a", "c"): 2}
    assert compat.flat_mapping(compat.nest_mapping(flat)) == FlattedDict(flat)
    assert compat.FakeState(2.0, name="gain", tag="x").name == "gain"
