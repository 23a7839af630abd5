"""The change of a static value is told in words that a person can act on, at the part that changed."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Static
from brainstate_graph._core.static import static_key
from brainstate_graph._data.wording import brief, static_changes
from tests.graph.data.test_values import MORE
from tests.laws.graphs import STATICS, Color, Gadget, Pair
from tests.tables import each


@dataclasses.dataclass
class Config:
    rate: object = 0.5
    name: str = "a name that is so long that the whole does not fit into one line of a message"


def by(step):
    return lambda x: x + step


def other():
    return lambda x: x


other.__code__ = other.__code__.replace(co_name="by")


def twin(module):
    def f():
        pass

    f.__module__, f.__qualname__ = module, "f"
    return f


long = "x" * 100


@each(
    ("old", "new", "words"),
    [
        (0.5, 0.1, ": 0.5 -> 0.1"),
        (2, 2.0, ": 2 -> 2.0 (int -> float)"),
        (1, True, ": 1 -> True (int -> bool)"),
        (0.0, -0.0, ": 0.0 -> -0.0"),
        (None, 3, ": None -> 3"),
        (3, None, ": 3 -> None"),
        ("a", b"a", ": 'a' -> b'a' (str -> bytes)"),
        (np.float32(2), np.float64(2), ": np.float32(2.0) -> np.float64(2.0) (float32 -> float64)"),
        ((1, 2), (1, 3), ": (1, 2) -> (1, 3)"),
        ((1,), (1.0,), ": (1,) -> (1.0,)"),
        ([], [0], ": [] -> [0]"),
        ({"a": 1}, {"a": 2}, ": {'a': 1} -> {'a': 2}"),
        ({1, "a"}, {1, "b"}, ": {'a', 1} -> {'b', 1}: now without {'a'} and with {'b'}"),
        (set(), {1}, ": set() -> {1}: now with {1}"),
        (frozenset({1}), frozenset(), ": {1} -> frozenset(): now without {1}"),
        ({1}, {True}, ": {1} -> {True}: now without {1} and with {True}"),
        (Color.RED, None, ": <Color.RED: 1> -> None"),
        (len, max, ": len -> max"),
        (jax.nn.relu, jax.nn.gelu, ": relu -> gelu"),
        (int, float, ": int -> float"),
        (Pair(1, 2), Pair(1, 3), ": Pair(left=1, right=2) -> Pair(left=1, right=3)"),
        (Config(), Config(0.1), "rate: 0.5 -> 0.1"),
        (Config({"deep": [1, long]}), Config({"deep": [2, long]}), "rate.deep.0: 1 -> 2"),
        ((long, 1), (long, 2), "1: 1 -> 2"),
        ((long, 1), (long, 2, 3), None),
        (long + "a", long + "b", ": the text differs from character 100 on: 'a' -> 'b'"),
        (long, long + "b", ": the text differs from character 100 on: '' -> 'b'"),
        (types.SimpleNamespace(a=long, b=1), types.SimpleNamespace(a=long, b=2), "b: 1 -> 2"),
        (functools.partial(by, long, k=1), functools.partial(by, long, k=2), "keywords: {'k': 1} -> {'k': 2}"),
        (Static((long, 1)), Static((long, 2)), "value.1: 1 -> 2"),
        (Config(0.5).__eq__, Config(0.1).__eq__, "__self__.rate: 0.5 -> 0.1"),
        (np.zeros(3), np.zeros(4), ": f64[3] -> f64[4]"),
        (np.zeros(3), np.zeros(3, "int32"), ": f64[3] -> i32[3]"),
        (np.zeros((2, 2)), np.array([[0.0, 1.0], [0.0, 2.0]]), ": f64[2,2], at [0, 1] 0.0 -> 1.0, and 1 more"),
        (np.array(1), np.array(2), ": i64[], 1 -> 2"),
        (np.array([0.0]), np.array([-0.0]), ": f64[1], at [0] 0.0 -> -0.0"),
        (np.array(["a"]), np.array(["b"]), ": <U1[1], at [0] 'a' -> 'b'"),
        (np.zeros(1, [("a", "f4")]), np.ones(1, [("a", "f4")]), ": [('a', '<f4')][1], at [0] (0.0,) -> (1.0,)"),
        (jnp.zeros(2), jnp.zeros(2), ": f32[2] -> another f32[2]: arrays of JAX are compared by "
         "identity, hold it in a State"),
        (threading.Lock(), threading.Lock(), ": another <unlocked _thread.lock object>, which is not "
         "equal to the one before"),
        (by(1), by(1), ": another function by.<locals>.<lambda> of the same code: it was made anew, and functions are "
         "compared by identity; define it once, at the top level of a module"),
        (twin("a"), twin("b"), ": a:f -> b:f"),
        (collections.Counter("a"), collections.Counter("b"), ": Counter({'a': 1}) -> Counter({'b': 1})"),
    ],
)  # fmt: skip
def test_words(old, new, words):
    told = [".".join(map(str, path)) + f": {text}" for path, text in static_changes(old, new)]
    if words is None:
        assert len(told) == 1
    else:
        assert told == [words]


def test_functions_of_the_same_name_and_other_code():
    one, two = by(1), by(1)
    two.__code__ = other().__code__.replace(co_freevars=("step",))
    assert [text for _, text in static_changes(one, two)] == [
        "another function by.<locals>.<lambda>, of the same name and other code"
    ]


def test_whatever_differs_is_told_and_what_is_told_differs():
    values = [make() for make in [*STATICS, *MORE]]
    for old, new in itertools.permutations(values, 2):
        if static_key(old) != static_key(new):
            told = list(static_changes(old, new))
            assert told
            for _path, text in told:
                before, arrow, after = text.partition(" -> ")
                assert not arrow or before != after, text
                assert " at 0x" not in text
                assert len(text) < 250


def test_a_repr_that_fails_does_not_matter():
    class Bad:
        def __repr__(self):
            raise RuntimeError

    assert brief(Bad()) == "<Bad>"
    assert brief([Bad()]) == "[<Bad>]"
    assert list(static_changes(Bad(), Bad())) == [((), "another <Bad>, which is not equal to the one before")]
    assert brief(Gadget()) == "Gadget()"


def test_short_is_short():
    deep = ()
    for _ in range(500):
        deep = (deep,)
    for value in (list(range(10**5)), {str(i): i for i in range(10**5)}, "y" * 10**6, np.zeros(10**6), deep, 10**4000):
        assert len(brief(value)) <= 60
