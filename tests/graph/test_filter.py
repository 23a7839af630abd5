"""Filters: each answers for itself, and a split gives each state to the first that accepts it."""

from __future__ import annotations

import pickle
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    All,
    Any,
    Everything,
    FlattedDict,
    Node,
    Not,
    Nothing,
    OfType,
    PathContains,
    State,
    TreefyState,
    WithTag,
    nodes,
    states,
    to_predicate,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from tests.graph.zoo import Gadget, Param, Stat, Widget, net


def even(path, state):
    return len(path) % 2 == 0


# Each filter with the slow way to its answer.
FILTERS = [
    (..., lambda p, s: True),
    (True, lambda p, s: True),
    (Everything(), lambda p, s: True),
    (None, lambda p, s: False),
    (False, lambda p, s: False),
    (Nothing(), lambda p, s: False),
    (State, lambda p, s: True),
    (Param, lambda p, s: isinstance(s, Param)),
    (OfType(Stat), lambda p, s: isinstance(s, Stat)),
    ("bias", lambda p, s: p[-1] == "bias"),
    (WithTag("bias"), lambda p, s: p[-1] == "bias"),
    ("absent", lambda p, s: False),
    (PathContains("head"), lambda p, s: p[0] == "head"),
    (PathContains(0), lambda p, s: 0 in p),
    (PathContains(False), lambda p, s: False),
    (even, even),
    (Param | Stat, lambda p, s: isinstance(s, (Param, Stat))),
    (typing.Union[Stat, None], lambda p, s: isinstance(s, Stat)),  # noqa: UP007
    (["bias", Stat], lambda p, s: p[-1] == "bias" or isinstance(s, Stat)),
    ((), lambda p, s: False),
    (Any(Stat, PathContains("head")), lambda p, s: isinstance(s, Stat) or p[0] == "head"),
    (All(Param, Not("bias"), even), lambda p, s: isinstance(s, Param) and p[-1] != "bias" and even(p, s)),
    (All(), lambda p, s: True),
    (Not(Param), lambda p, s: not isinstance(s, Param)),
]


@given(st.lists(st.sampled_from(FILTERS[2:]), min_size=1, max_size=4))
def test_each_state_goes_to_the_first_filter_that_accepts_it(chosen):
    model = net()
    filters = [f for f, _ in chosen]
    everywhere = states(model)
    rest, expected = dict(everywhere), []
    for _, accepts in chosen:
        expected.append({p: s for p, s in rest.items() if accepts(p, s)})
        rest = {p: s for p, s in rest.items() if not accepts(p, s)}
    found = states(model, *filters)
    found = found if len(filters) > 1 else (found,)
    assert [dict(tree) for tree in found] == expected
    trees = treefy_states(model, *filters)
    trees = trees if len(filters) > 1 else (trees,)
    assert [list(tree.to_flat()) for tree in trees] == [list(tree) for tree in found]
    assert treefy_states(model).filter(*filters) == treefy_states(model, *filters)
    if rest:
        names = ", ".join(".".join(map(str, p)) for p in list(everywhere) if p in rest)
        for split in (lambda: treefy_split(model, *filters), lambda: treefy_states(model).split(*filters)):
            with pytest.raises(ValueError, match="Non-exhaustive filters: no filter accepts") as error:
                split()
            assert names[:30] in str(error.value)
            assert "Add `...` as the last filter" in str(error.value)
    parts = treefy_split(model, *filters, ...)
    merged = treefy_merge(*parts)
    assert treefy_states(merged) == treefy_states(model)
    assert sum(len(tree.to_flat()) for tree in parts[1:]) == len(everywhere)


@pytest.mark.parametrize("filter", [f for f, _ in FILTERS])
def test_alone_on_live_and_on_treefied_states(filter):
    accepts = {id(f): a for f, a in FILTERS}[id(filter)]
    predicate = to_predicate(filter)
    for path, state in states(net()).items():
        for form in (state, TreefyState(type(state), state.value, **state.metadata)):
            assert predicate(path, form) == accepts(path, state)


def test_dots_stand_last():
    for dots in (..., True):
        with pytest.raises(ValueError, match=r"`\.\.\.` takes all that is left, so it stands last"):
            treefy_split(net(), dots, Param)
    assert len(treefy_split(net(), Param, ..., ...)) == 4


def test_filters_compare_by_contents_and_pickle():
    for make in (
        lambda: Any(Param, "a"),
        lambda: All(Param, Not("a")),
        lambda: PathContains(1),
        lambda: OfType(Param),
        Everything,
        Nothing,
    ):
        assert make() == make()
        assert hash(make()) == hash(make())
        assert pickle.loads(pickle.dumps(make())) == make()
    assert Any(Param) != All(Param)
    assert WithTag("a") != WithTag("b")
    assert repr(Any(Param, "a", ...)) == f"Any(OfType({Param!r}), WithTag('a'), Everything())"


def test_path_contains_compares_as_it_accepts():
    assert PathContains(1) != PathContains(True)


@pytest.mark.parametrize("wrong", [3, 1.5, {"a": 1}, object()])
def test_what_is_no_filter(wrong):
    with pytest.raises(TypeError, match="is not a filter: use a State class, a tag"):
        to_predicate(wrong)
    with pytest.raises(TypeError, match="is not a filter"):
        Any(Param, wrong)


def test_a_tag_is_a_string():
    with pytest.raises(TypeError, match=r"a tag is a string, not \['a'\].*Any\('a', 'b'\)"):
        WithTag(["a"])


def test_a_subscripted_class_is_the_class_or_an_error():
    model = Gadget(a=Param(1.0), b=Stat(2.0))
    try:
        found = treefy_states(model, State[float], ...)[0]
        other = to_predicate(State[float])(("a",), 3.0)
    except TypeError:
        return
    assert len(found) == 2
    assert other is False


def test_nodes_by_class_and_path():
    model = Gadget(a=Widget(), b=[Widget(c=Gadget())])
    model.b[0].up = model
    assert set(nodes(model)) == {(), ("a",), ("b", 0), ("b", 0, "c")}
    assert nodes(model)[()] is model
    assert set(nodes(model, Widget)) == {("a",), ("b", 0)}
    _widgets, rest = nodes(model, Widget, ...)
    assert isinstance(rest, FlattedDict)
    assert set(rest) == {(), ("b", 0, "c")}
    assert set(nodes(model, Not(Widget))) == set(rest)
    assert set(nodes(model, Node)) == set(nodes(model))
    assert set(nodes(model, PathContains("b"))) == {("b", 0), ("b", 0, "c")}


def test_attributes_of_nodes_named_type_and_tag_mean_nothing():
    model = Gadget(a=Gadget(tag="abc"), b=Gadget(type=Widget))
    assert not nodes(model, "a")
    assert not nodes(model, Widget)
