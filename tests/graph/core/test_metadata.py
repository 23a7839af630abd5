"""What a state carries besides its value: tags and metadata; and that it is no array."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
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

BUG = pytest.mark.xfail


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


def test_a_state_takes_part_in_no_arithmetic_and_says_so():
    s = State(jnp.ones(2))
    for use in (
        lambda: s + 1,
        lambda: 1 * s,
        lambda: s[0],
        lambda: jnp.sin(s),
        lambda: float(s),
        lambda: len(s),
        lambda: list(s),
    ):
        with pytest.raises(TypeError):
            use()
    with pytest.raises(AttributeError):
        s.vlaue = 1.0  # type: ignore[attr-defined]
    assert maybe_state(s) is s.value


@BUG(strict=True, reason="NumPy makes an array of one object of a State, without a word")
def test_numpy_does_not_wrap_a_state():
    with pytest.raises(TypeError):
        np.asarray(State(jnp.ones(2)))


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
