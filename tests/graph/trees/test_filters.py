"""Filters: each answers for itself, and a split gives each state to the first that accepts it."""

from __future__ import annotations

import copy
import functools
import pickle
import typing

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import brainstate_graph
from brainstate_graph import (
    All,
    Any,
    Everything,
    Filter,
    FlattedDict,
    Node,
    Not,
    Nothing,
    OfType,
    PathContains,
    PathGlob,
    PathPrefix,
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
from tests.laws.graphs import Gadget, Param, Stat, Widget, net
from tests.tables import each


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
    (State[float], lambda p, s: True),
    (PathGlob("layers.*.bias"), lambda p, s: p[0] == "layers" and p[2] == "bias"),
    (Param & ~WithTag("bias"), lambda p, s: isinstance(s, Param) and p[-1] != "bias"),
    ("bias" | OfType(Stat), lambda p, s: p[-1] == "bias" or isinstance(s, Stat)),
]


SELECTIVE = [(f, accepts) for f, accepts in FILTERS if not isinstance(to_predicate(f), Everything)]


@given(st.lists(st.sampled_from(SELECTIVE), min_size=1, max_size=4))
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


@each("filter", [f for f, _ in FILTERS])
def test_alone_on_live_and_on_treefied_states(filter):
    accepts = {id(f): a for f, a in FILTERS}[id(filter)]
    predicate = to_predicate(filter)
    for path, state in states(net()).items():
        for form in (state, TreefyState(type(state), state.value, **state.metadata)):
            assert predicate(path, form) == accepts(path, state)


def test_dots_stand_last():
    for dots in (..., True, Everything()):
        with pytest.raises(ValueError, match=r"`\.\.\.` takes all states that are left, so it must be the last filter"):
            treefy_split(net(), dots, Param)
        with pytest.raises(ValueError, match="so it must be the last filter"):
            treefy_states(net()).filter(dots, Param)
    assert len(treefy_split(net(), Param, ..., ...)) == 4
    assert len(treefy_split(net(), Param, ..., True, Everything())) == 5


# Code that makes a filter, with another that makes a different one.
CODE = [
    ("Any(OfType(Param), WithTag('a'))", "Any(OfType(Param), WithTag('b'))"),
    ("All(OfType(Param), Not(WithTag('a')))", "Any(OfType(Param), Not(WithTag('a')))"),
    ("PathContains(1)", "PathContains(True)"),
    ("PathContains([1])", "PathContains([True])"),
    ("PathPrefix('a.b')", "PathPrefix(('a', 'b'))"),
    ("PathGlob('*.b')", "PathGlob('**.b')"),
    ("PathRegex('a.*')", "PathGlob('a.*')"),
    ("OfType(Param)", "OfType(Stat)"),
    ("Everything()", "Nothing()"),
    ("Any()", "All()"),
    ("Not(even)", "Not(WithTag('even'))"),
]


@each(("code", "other"), CODE)
def test_filters_compare_by_contents_copy_pickle_and_show_as_their_code(code, other):
    names = {**vars(brainstate_graph), "Param": Param, "Stat": Stat, "even": even}
    one, two, different = (eval(text, names) for text in (code, code, other))
    assert one == two
    assert hash(one) == hash(two)
    assert one != different
    assert len({one, two, different}) == 2
    assert repr(one) == code
    for same in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert same == one
        assert hash(same) == hash(one)
        assert [same(p, s) for p, s in states(net()).items()] == [one(p, s) for p, s in states(net()).items()]


class Picky(Gadget):
    def likes(self, path, state):
        return path[0] == "head"


class Unhashable:
    __hash__ = None

    def __init__(self, model=None):
        self.model = model

    def __eq__(self, other):
        return True

    def __call__(self, path, state):
        return path[0] == "head"


def test_predicates_that_have_no_hash_or_hold_a_model():
    picky = Picky(w=Param(1.0))
    makes = [lambda: picky.likes, Unhashable, lambda: Unhashable(picky), lambda: functools.partial(picky.likes)]
    for make in makes:
        for filter in (Any(make()), make() & OfType(Param), ~to_predicate([make()])):
            assert isinstance(hash(filter), int)
            assert filter == filter
        assert list(states(net(), Param & Any(make()))) == [("head", "bias"), ("head", "weight")]
    assert Any(picky.likes) == Any(picky.likes)
    assert Any(picky.likes) != Any(Picky().likes)


# ------------------------------------------------------------------------------------------------- & | ~

SHORT = [..., True, None, False, Param, Stat, Param | Stat, State[float], "bias", ["bias", Stat], (), even]


def accepted(filter):
    return [to_predicate(filter)(path, state) for path, state in states(net()).items()]


@each("short", SHORT, ids=lambda short: getattr(short, "__name__", repr(short)))
@each("filter", [OfType(Param), Not("bias"), Any(Stat, "bias"), All(), PathPrefix("head")], ids=repr)
def test_operators_take_short_forms_on_both_sides(filter, short):
    left, right = accepted(filter), accepted(short)
    pairs = list(zip(left, right, strict=True))
    assert accepted(filter & short) == accepted(short & filter) == [a and b for a, b in pairs]
    assert accepted(filter | short) == accepted(short | filter) == [a or b for a, b in pairs]
    assert accepted(~filter) == [not a for a in left]
    assert accepted(~(filter & short)) == accepted(~filter | ~to_predicate([short]))


def test_operators_make_flat_filters():
    a, b, c = OfType(Param), WithTag("b"), PathContains("c")
    assert (a | b) | c == a | (b | c) == Any(a, b, c)
    assert Param | (b | c) == a | b | c == Any(a, b, c)
    assert (a & b) & c == a & (b & c) == All(a, b, c)
    assert repr(a & "b" | c) == "Any(All(OfType(Param), Named('b')), PathContains('c'))"
    assert ~~a == a
    assert accepted(~~Not(even) & "bias") == accepted(All(Not(even), "bias"))


@each("wrong", [3, 1.5, {"a": 1}])
def test_operators_refuse_what_is_no_filter(wrong):
    for combine in (
        lambda: OfType(Param) | wrong,
        lambda: wrong | OfType(Param),
        lambda: OfType(Param) & wrong,
        lambda: wrong & OfType(Param),
    ):
        with pytest.raises(TypeError, match="is not a filter"):
            combine()


@pytest.mark.graph_cache
def test_what_a_filter_selects_is_remembered_where_it_asks_for_the_shape_only():
    model, asked = net(), []

    class Asks(OfType):
        def __call__(self, path, item):
            asked.append(path)
            return super().__call__(path, item)

    def tells(path, item):
        asked.append(path)
        return True

    for filter in (Asks(Param), Any(Asks(Param)), tells, [tells]):
        before = treefy_states(model, filter)
        count = len(asked)
        assert treefy_states(model, filter) == before
        assert len(asked) == 2 * count > 0
        asked.clear()
    partitions = treefy_split(model)[0].memo
    for make in (lambda: PathGlob("**.bias") & OfType(Param), lambda: ~WithTag("x"), lambda: Any("x", Stat)):
        treefy_states(model, make())
        held = dict(partitions)
        assert treefy_states(model, make()) == treefy_states(model).filter(make())
        assert partitions == held


def test_path_contains_compares_as_it_accepts():
    assert PathContains(1) != PathContains(True)


@each("wrong", [3, 1.5, {"a": 1}, object(), typing.Any, typing.Literal["a"]])
def test_what_is_no_filter(wrong):
    with pytest.raises(TypeError, match="is not a filter: use a State class, a tag"):
        to_predicate(wrong)
    with pytest.raises(TypeError, match="is not a filter"):
        Any(Param, wrong)


def test_a_tag_is_a_string():
    with pytest.raises(TypeError, match=r"a tag must be a string, not \['a'\].*Any\('a', 'b'\)"):
        WithTag(["a"])


def test_of_type_takes_a_class():
    assert OfType(State[jax.Array]) == OfType(State)
    for wrong in ("a", 3, Param | Stat, typing.Any):
        with pytest.raises(TypeError, match=r"OfType takes a class, not .*Any\(A, B\)"):
            OfType(wrong)


def test_the_rest_is_listed_or_counted():
    many = {f"s{i:02}": State(1.0) for i in range(20)}
    with pytest.raises(ValueError, match=r"accepts s00, s01, .*s07 and 12 more\. Add `\.\.\.` as the last filter"):
        treefy_split(many, Param)
    with pytest.raises(ValueError, match=r"no filter accepts s00\. Add"):
        treefy_states(many).split(~PathGlob("s00"))
    assert treefy_states(many, Param) == treefy_states(many).filter(Param)  # which may leave out the rest


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
    assert not nodes(model, WithTag("a"))
    assert not nodes(model, Widget)


class AnyUnhashable:
    """A predicate, and equal to its like, but without a hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyUnhashable)

    def __call__(self, path: tuple[object, ...], item: object) -> bool:
        return path[-1] == "w"


def test_filters_of_unhashable_predicates_hash_and_select():
    predicate = AnyUnhashable()
    model = Gadget(w=Param(1.0), v=State(2.0))
    for made in (Any(predicate, "t"), All(predicate, State), Not(Not(predicate)), Any([predicate, [predicate]])):
        assert hash(made) == hash(made)
        assert made in {made}
        for _ in range(2):
            assert list(states(model, made)) == [("w",)]
            assert [list(part) for part in treefy_split(model, made, ...)[1:]] == [["w"], ["v"]]


def test_a_predicate_that_reads_values_is_asked_each_time():
    model = Gadget(a=State(1.0), b=State(-1.0))
    positive = Any(lambda path, s: s.value > 0)
    assert list(states(model, positive)) == [("a",)]
    model.a.value, model.b.value = -1.0, 1.0
    assert list(states(model, positive)) == [("b",)]


@each("tag", [["a"], ("a",), {"a"}, None, 3, b"a", State])
def test_a_tag_is_one_string(tag):
    with pytest.raises(TypeError, match=r"a tag must be a string.*Any\('a', 'b'\)"):
        WithTag(tag)


def test_what_is_short_for_a_tag():
    made: Filter = to_predicate(["a", ("b", WithTag("c"))])
    for tag, found in (("a", True), ("c", True), ("abc", False), (["x", "b"], True)):
        assert made(("w",), State(1.0, tag=tag)) is found
    assert not made(("w",), State(1.0))
