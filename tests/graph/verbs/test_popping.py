"""States that leave a graph, by all names at once, and come back."""

from __future__ import annotations

import copy

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import GraphError, State, graphdef, iter_leaf, pop_states, states, update_states
from tests.laws.graphs import Bag, Gadget, Pair, Param, Stat, assert_isomorphic, tied
from tests.tables import each


def test_popping_a_tied_weight_leaves_no_alias():
    model = tied()
    w = model.a.w
    model.again = model.a
    model.pairs = {"x": {"y": w}}
    popped = pop_states(model, Param)
    assert list(popped) == [("a", "b"), ("a", "w")]
    assert popped["a", "w"] is w
    assert "w" not in vars(model.a)
    assert "w" not in vars(model.b)
    assert model.late == {}
    assert model.pairs == {"x": {}}
    assert [type(s) for _, s in iter_leaf(model) if isinstance(s, State)] == [Stat]


@each("wall", [list, tuple, lambda w: Pair(*w, 0), lambda w: Bag(*w)], ids=["list", "tuple", "nt", "bag"])
def test_a_pop_that_cannot_reach_an_alias_changes_nothing(wall):
    model = tied()
    model.stuck = wall([model.a.w])
    before = copy.deepcopy(model)
    with pytest.raises(GraphError, match=r"stuck\.(0|left)"):
        pop_states(model, Param)
    assert_isomorphic(model, before)
    assert graphdef(model) is graphdef(before)


def test_popped_states_go_back_alive():
    model = tied()
    w = model.a.w
    popped = pop_states(model, Param)
    update_states(model, popped, allow_new=True)
    assert model.a.w is w
    model.a.w.value = jnp.full(2, 7.0)
    assert np.array_equal(states(model)["a", "w"].value, [7.0, 7.0])
    assert all(isinstance(leaf, State) for path, leaf in iter_leaf(model.a))


def test_an_existing_key_takes_the_value_of_a_state_and_stays_itself():
    model, before = tied(), tied().a.w
    live = model.a.w
    other = Param(jnp.full(2, 5.0), tag="other")
    update_states(model, {"b": {"w": other}})
    assert model.a.w is model.b.w is live
    assert live is not before
    assert np.array_equal(live.value, [5.0, 5.0])
    assert live.tag is None
    other.value = jnp.zeros(2)
    assert np.array_equal(live.value, [5.0, 5.0])


@pytest.mark.parametrize("options", [{}, {"allow_new": True}], ids=str)
def test_a_state_onto_what_is_no_state_is_refused(options):
    model = Gadget(k=2, inner=Gadget(w=State(1.0)), items=[1], fun=len)
    for path, found in {"k": "2", "inner": "Gadget", "items": "list", "fun": "len"}.items():
        with pytest.raises(GraphError, match=rf"unexpected: {path} .*{found}"):
            update_states(
                model, {path: State(3.0), "inner": {"w": 9.0}} if path != "inner" else {path: State(3.0)}, **options
            )
    assert (model.k, model.items, model.inner.w.value) == (2, [1], 1.0)


def test_two_new_states_for_one_place_are_refused():
    inner = Gadget()
    model = Gadget(a=inner, b=inner)
    with pytest.raises(GraphError, match=r"given twice"):
        update_states(model, {"a": {"x": State(1.0)}, "b": {"x": State(2.0)}}, allow_new=True)
    assert not states(model)


def test_a_new_state_must_be_visible():
    class Hiding(Gadget):
        graph_invisible_attrs = ("cache",)

    model = Hiding(w=State(1.0))
    with pytest.raises(GraphError, match=r"cache"):
        update_states(model, {"cache": State(3.0)}, allow_new=True)
    assert list(states(model)) == [("w",)]
