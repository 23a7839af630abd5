"""Filters by path, against the slow way: step by step."""

from __future__ import annotations

import fnmatch
import re

import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    FlattedDict,
    NestedDict,
    Node,
    PathContains,
    PathGlob,
    PathPrefix,
    PathRegex,
    nodes,
    states,
    treefy_states,
)
from tests.laws.graphs import Gadget, Param, layer, net
from tests.tables import each

_paths = st.lists(st.sampled_from(["a", "b", "ab", "w1", "w2", 0, 1, 12, "a]"]), max_size=4).map(tuple)
_globs = st.lists(
    st.sampled_from(["a", "b", "*", "?", "a*", "*b", "w[12]", "w[!1]", "w[0-2]", "1?", "**", "**", "w1", "+", "[a-]"]),
    min_size=1,
    max_size=4,
)


def fits(steps, path):
    """The slow way."""
    if not steps:
        return not path
    if steps[0] == "**":
        return any(fits(steps[1:], path[i:]) for i in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(str(path[0]), steps[0]) and fits(steps[1:], path[1:])


@given(_globs, _paths)
def test_glob(steps, path):
    assert PathGlob(".".join(steps))(path, None) == fits(steps, path)


@given(_paths, _paths)
def test_prefix(prefix, path):
    begins = path[: len(prefix)] == prefix
    assert PathPrefix(prefix)(path, None) == begins
    if prefix:
        assert PathPrefix(".".join(map(str, prefix)))(path, None) == begins


@given(st.sampled_from(["a", "a.*", r".*\.0", "(?i)A", r"w[12]\.\d+", ""]), _paths)
def test_regex(pattern, path):
    assert PathRegex(pattern)(path, None) == bool(re.fullmatch(pattern, ".".join(map(str, path))))


def test_keys_of_a_tuple_have_types_and_those_of_a_text_have_none():
    path = ("layers", 0, "w")
    assert PathPrefix(("layers", 0))(path, None)
    for wrong in (("layers", "0"), ("layers", False), ("layers", 0.0)):
        assert not PathPrefix(wrong)(path, None)
        assert PathPrefix("layers.0")(("layers", "0", "w"), None)
    nan = float("nan")
    assert PathContains(nan)((nan,), None)
    assert PathPrefix(())((), None)


def test_a_key_with_a_dot_reads_as_several_steps():
    path = ("a.b", "c")
    for filter in (PathPrefix("a"), PathPrefix("a.b"), PathGlob("a.b.c"), PathRegex(r"a\.b\.c"), PathPrefix(("a.b",))):
        assert filter(path, None)
    assert not PathPrefix(("a",))(path, None)


def test_on_models_trees_and_nodes():
    model = net()
    expected = [p for p in states(model) if p[0] == "layers" and p[-1] == "bias"]
    for filter in (
        PathGlob("layers.*.bias"),
        PathRegex(r"layers\.\d\.bias"),
        PathPrefix("layers") & PathContains("bias"),
    ):
        assert list(states(model, filter)) == expected
        assert list(treefy_states(model, filter).to_flat()) == expected
        assert list(treefy_states(model).filter(filter).to_flat()) == expected
    model = Gadget(a=Node(), b=[Gadget(c=Node())])
    assert set(nodes(model, PathGlob("*"))) == {("a",)}
    assert set(nodes(model, PathGlob("**"))) == {(), ("a",), ("b", 0), ("b", 0, "c")}
    assert set(nodes(model, PathPrefix("b"))) == {("b", 0), ("b", 0, "c")}
    assert set(nodes(model, PathRegex(""))) == {()}


@each(
    ("make", "error", "message"),
    [
        (lambda: PathGlob("a..b"), ValueError, r"PathGlob\('a\.\.b'\) has an empty step"),
        (lambda: PathGlob(""), ValueError, "has an empty step"),
        (
            lambda: PathGlob("a**"),
            ValueError,
            r"PathGlob\('a\*\*'\): `\*\*` is a step of its own.*write `\*`",
        ),
        (lambda: PathGlob("a[b"), ValueError, r"PathGlob\('a\[b'\): a `\[` needs its `\]` in the same step"),
        (lambda: PathGlob("a[b.c]"), ValueError, r"a `\[` needs its `\]` in the same step"),
        (lambda: PathGlob("[]"), ValueError, "characters between"),
        (lambda: PathGlob("[z-a]"), ValueError, r"PathGlob\('\[z-a\]'\): bad character range z-a"),
        (lambda: PathGlob(3), TypeError, r"a glob must be dotted text, not 3"),
        (lambda: PathPrefix("a."), ValueError, r"PathPrefix\('a\.'\) has an empty step.*one dot between"),
        (lambda: PathPrefix(0), TypeError, r"dotted text or a tuple of keys, not 0: `PathPrefix\(\(0,\)\)`"),
        (lambda: PathRegex("a("), ValueError, r"PathRegex\('a\('\): missing \)"),
        (
            lambda: PathRegex(re.compile("a")),
            TypeError,
            r"a regular expression must be text.*write its flags inside: `\(\?i\)`",
        ),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_many_double_stars_take_no_time_to_speak_of():
    path = ("a",) * 60
    assert not PathGlob(".".join(["**"] * 40 + ["b"]))(path, None)
    assert PathGlob("**.a.**.a.**.a")(path, None)


def test_the_text_of_a_path_is_made_once_for_all_filters():
    class Key:
        shown = 0

        def __str__(self):
            Key.shown += 1
            return "key"

    tree = FlattedDict({(Key(), "w"): 1.0})
    tree.filter(PathRegex("no"), PathGlob("neither"), PathRegex(r"key\.w"))
    assert Key.shown == 1
    assert len(NestedDict({"a": 1.0}).filter(PathRegex("no"), PathRegex("a"))[1]) == 1


def parameters(seed=0):
    """A tree of states, and the same as plain nested dictionaries."""
    tree = treefy_states(Gadget(layers=[layer(seed), layer(seed + 1)], head=layer(seed + 9)), Param)
    return tree, tree.to_pure_dict()


def test_paths_select_in_the_trees_of_others():
    tree = optax.adam(0.1).init(parameters()[0])[0].mu
    assert len(tree.filter(PathGlob("**.bias")).to_flat()) == 3
