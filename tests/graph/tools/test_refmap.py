"""Mappings keyed by identity."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import Node, RefMap, State


class Same:
    """Equal to all of its kind."""

    def __eq__(self, other):
        return isinstance(other, Same)

    def __hash__(self):
        return 0


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["set", "del", "pop", "default"]), st.integers())))
def test_it_is_a_dict_by_identity(steps):
    keys = [Same() for _ in range(6)]
    mine, oracle = RefMap(), {}
    for number, how, value in steps:
        if how == "set":
            mine[keys[number]] = oracle[number] = value
        elif how == "del" and number in oracle:
            del mine[keys[number]], oracle[number]
        elif how == "pop":
            assert mine.pop(keys[number], None) == oracle.pop(number, None)
        elif how == "default":
            assert mine.setdefault(keys[number], value) == oracle.setdefault(number, value)
        assert [keys.index(k) for k in mine] == [0] * len(oracle)  # all are equal...
        assert [next(i for i, k in enumerate(keys) if k is x) for x in mine] == list(oracle)  # ...and kept apart
        assert list(mine.values()) == list(oracle.values())
        assert len(mine) == len(oracle)
        assert [k in mine for k in keys] == [i in oracle for i in range(6)]


def test_keys_may_be_unhashable_and_equal():
    a, b = [], []
    found = RefMap({"x": 1})
    found.update([(a, 2), (b, 3), (a, 4)])
    assert (found[a], found[b], len(found)) == (4, 3, 3)
    assert [] not in found
    assert found.get([], "nothing") == "nothing"


def test_a_missing_key_is_shown():
    for look in (lambda m, k: m[k], lambda m, k: m.pop(k), lambda m, k: m.__delitem__(k)):
        with pytest.raises(KeyError) as caught:
            look(RefMap(), ["the key"])
        assert caught.value.args == (["the key"],)
        assert "the key" in str(caught.value)


def test_keys_are_kept_alive():
    node = Node()
    alive = weakref.ref(node)
    found = RefMap([(node, 1)])
    del node
    gc.collect()
    assert alive() is not None
    found.clear()
    gc.collect()
    assert alive() is None


def test_it_prints_its_contents():
    assert repr(RefMap([([1], "a"), (2, None)])) == "RefMap([([1], 'a'), (2, None)])"
    found = RefMap()
    found["me"] = found
    assert repr(found) == "RefMap([('me', RefMap([...]))])"


def test_copies():
    state = State(1.0)
    found = RefMap([(state, [1])])
    shallow = copy.copy(found)
    assert shallow == found
    shallow["more"] = 1
    assert len(found) == 1
    deep, key = copy.deepcopy((found, state))
    assert deep[key] == [1]
    assert state not in deep
    again, key = pickle.loads(pickle.dumps((found, state)))
    assert again[key] == [1]
    found["me"] = found
    around = copy.deepcopy(found)
    assert around[next(k for k in around if isinstance(k, str))] is around


def test_equality():
    a, b = [], []
    assert RefMap([(a, 1), (b, 2)]) == RefMap([(b, 2), (a, 1)])
    assert RefMap([(a, 1)]) != RefMap([(b, 1)])
    assert RefMap([(a, 1)]) != RefMap([(a, 2)])
    assert RefMap() != {}
    with pytest.raises(TypeError):
        hash(RefMap())
