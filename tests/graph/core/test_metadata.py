"""What a state carries besides its value: tags and metadata."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from brainstate_graph import (
    State,
    TreefyState,
    WithTag,
    catch_new_states,
    maybe_state,
    states,
    treefy_states,
)
from tests.tables import each


@each("tag", ["a", ["a"], ("a",), {"a"}, frozenset("a"), iter(["a"]), {"a": 1}.keys()])
def test_any_form_of_tags_takes_more(tag):
    s = State(1.0, tag=tag)
    more = s.replace(tag=s.tag | {"b"})
    assert (s.tag, more.tag) == ({"a"}, {"a", "b"})
    assert hash(s.tag) is not None
    with catch_new_states("c") as caught:
        made = State(2.0, tag=["x"])
    assert caught == [made]
    assert made.tag == {"x", "c"}
    assert list(states([more, made], "c")) == [(1,)]
    assert list(states([more, made], WithTag("b"))) == [(0,)]


@each("tag", [[1, 2], [("a",)], [None], b"ab"])
def test_a_tag_is_a_string(tag):
    with pytest.raises(TypeError, match=r"string"):
        State(1.0, tag=tag)


@each(
    "make",
    [lambda: State(1.0, note=([1],)), lambda: State(1.0, note=({"a": 1},)), lambda: TreefyState(State, 1.0, note=[1])],
)
def test_metadata_cannot_change_at_any_depth(make):
    with pytest.raises(TypeError, match=r"note"):
        make()


def test_states_by_tag():
    model = [State(1.0, tag="train"), State(2.0, tag={"train", "slow"}), State(3.0, tag="t"), State(4.0)]
    assert list(states(model, "train")) == [(0,), (1,)]
    assert list(states(model, "t")) == [(2,)]
    assert [list(p) for p in treefy_states(model, "slow", "train")] == [[1], [0]]
    with catch_new_states("new") as caught:
        State(1.0, tag="x")
        State(2.0)
    assert [s.tag for s in caught] == [{"x", "new"}, {"new"}]


def test_a_state_has_no_other_attributes():
    s = State(jnp.ones(2))
    with pytest.raises(AttributeError):
        s.vlaue = 1.0  # type: ignore[attr-defined]
    assert maybe_state(s) is s.value


def test_a_state_is_small():
    import tracemalloc

    value, count = jnp.ones(2), 2_000
    State(value)
    tracemalloc.start()
    held = [State(value) for _ in range(count)]
    size = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    assert len(held) == count
    assert size < 150
