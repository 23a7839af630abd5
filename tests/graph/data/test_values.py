"""Static values go through their JSON form unchanged; equal ones share it; what has none is named with its path."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import fractions
import functools
import io
import itertools
import json
import math
import threading
import types

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from brainstate_graph import GraphError, NestedDict, Node, State, Static, TreefyState, graphdef
from brainstate_graph._core.static import static_key
from brainstate_graph._data.json import _GraphDefReader
from brainstate_graph._data.names import Allowed
from brainstate_graph._data.read import Decoder
from brainstate_graph._data.values import Encoder, dumps
from brainstate_graph.extend import flatten
from tests.laws.graphs import STATICS, Color, Gadget, Level, Pair, net, same_static
from tests.tables import each


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object
    y: object = 3


@dataclasses.dataclass(slots=True)
class Slotted:
    x: object


@dataclasses.dataclass
class Strict:
    x: object

    def __post_init__(self):
        assert self.x != "unchecked"


class Flags(enum.Flag):
    A = 1
    B = 2


class Text(str):
    __slots__ = ()


def helper(x):
    return x


def strict_unchecked():
    made = object.__new__(Strict)
    made.x = "unchecked"
    return made


DECIMALS = ("2", "2.0", "2.00", "0", "-0", "0E+2", "NaN", "-NaN", "sNaN", "NaN7", "Infinity", "1E-400", "1" * 60)

MORE = [
    lambda: 2**53, lambda: 2**53 - 1, lambda: -(2**53), lambda: 10**5000, lambda: -(10**30), lambda: 1e-320,
    lambda: 0.1, lambda: 1e308, lambda: -float("inf"), lambda: complex(float("nan"), float("inf")),
    lambda: "é\x00\U0001f600",
    lambda: "\ud83d\ude00", lambda: "\udc00", lambda: b"\x00\xff", lambda: bytearray(b"ab"),
    lambda: (1, [2, {3: {4}}]),
    list, dict, lambda: {"b": 1, "a": 2}, lambda: {"a": 2, "b": 1}, lambda: OrderedDictOf(b=1, a=[0.0]),
    lambda: collections.defaultdict(None), lambda: collections.defaultdict(helper, {(): ()}),
    lambda: {1, "a", (2, "b")},
    lambda: frozenset({frozenset({"x", "y"}), "z"}), lambda: slice(None), lambda: slice(1, 2.0, (3,)),
    lambda: range(0),
    lambda: range(5, 5), lambda: range(3), lambda: range(3, 4, 7), lambda: range(3, 4), lambda: range(9, 0, -2),
    lambda: range(9, -1, -2), lambda: range(0, 10**30, 10**29), lambda: range(-5), lambda: range(0, 0, -1),
    *[functools.partial(decimal.Decimal, text) for text in DECIMALS],
    lambda: types.SimpleNamespace(a=1, b=[0.0]), lambda: types.SimpleNamespace(b=1),
    lambda: functools.partial(helper, 1, k=2.0),
    lambda: functools.partial(functools.partial(helper, 1), 2), lambda: Frozen([1], (2,)).__repr__,
    lambda: Gadget.__init__,
    lambda: P(), lambda: P("x", None, ("y", "z")), lambda: Static((1, 2.0)), lambda: graphdef(net()),
    lambda: graphdef([1, State(1)]),
    lambda: Frozen(1), lambda: Frozen({"k": Frozen(None)}), lambda: Slotted([1]), strict_unchecked,
    lambda: Pair(Pair(1, 2.0), [3]),
    lambda: Color.RED, lambda: Flags.A, lambda: {Level.ONE: Color.RED}, lambda: np.dtype([("a", "<f4")]),
    lambda: np.dtype(">i2"),
    lambda: np.dtype(ml_dtypes.bfloat16), lambda: np.zeros((2, 0), "<U3"), lambda: np.float32(1),
    lambda: np.str_("é"),
    lambda: np.datetime64("2020-01-01"), lambda: (np.arange(3), {"k": np.array(1.0)}), lambda: jnp.float32,
    lambda: jax.nn.relu,
    lambda: np.add, lambda: State, lambda: Node, lambda: Gadget, lambda: (..., None, True),
]  # fmt: skip
OrderedDictOf = collections.OrderedDict
VALUES = [*STATICS, *MORE]
ALLOW = ["tests", __name__, "math", "builtins", "jax.nn", "numpy"]


def form_of(value):
    encoder = Encoder()
    form = encoder.value(value)
    encoder.check("no form:")
    return json.loads(dumps(form))


@each("number", range(len(VALUES)))
def test_values_survive(number):
    value = VALUES[number]()
    back = _GraphDefReader(Allowed(ALLOW)).values.value(form_of(value))
    assert type(back) is type(value)
    assert static_key(back) == static_key(value)


def test_the_same_form_exactly_for_the_same_value():
    made = [(make(), dumps(form_of(make()))) for make in VALUES]
    for (a, x), (b, y) in itertools.combinations(made, 2):
        assert (static_key(a) == static_key(b)) == (x == y), (a, b)


def test_floats_come_back_to_the_bit():
    rng = np.random.default_rng(0)
    for x in rng.integers(0, 2**64, 2000, dtype="u8").view("f8").tolist():
        assert same_static(Decoder(Allowed([])).value(form_of(x)), x)


def test_jax_arrays_come_back_as_jax_arrays():
    x = jnp.arange(3, dtype="bfloat16")
    back = Decoder(Allowed([])).value(form_of((x,)))[0]
    assert isinstance(back, jax.Array)
    assert back is not x
    assert same_static(back, x)


def lambdas_in_a_tree():
    return {"a": [1, (lambda: 0)], "b": types.SimpleNamespace(c=lambda: 1)}


class Local:
    pass


Gone = Local
del Local


def nested(depth):
    value = ()
    for _ in range(depth):
        value = (value,)
    return value


@each(
    ("make", "words"),
    [
        (lambda: lambda: 0, "a lambda has no name to find it by: write a `def` at the top level"),
        (lambda: type("Local", (), {}), "keep it there, at the top level"),
        (lambda: Gone, "Local is not what .* has under that name"),
        (lambda: nested, None),
        (object, "a value of type object cannot be written as data: hold a number"),
        (threading.Lock, "cannot be written as data"),
        (lambda: fractions.Fraction(1, 2), "type Fraction cannot be written as data"),
        (lambda: math, "type module cannot be written as data"),
        (io.StringIO, "a value of type StringIO cannot be written as data"),
        (lambda: jax.random.key(0), "hold it in a State"),
        (lambda: np.array([None]), "Python objects"),
        (lambda: Flags.A | Flags.B, "frozenset of members"),
        (lambda: Text("a"), "type Text cannot be written as data"),
        (lambda: collections.Counter("a"), "type Counter cannot be written as data"),
        (lambda: [].append, "no form"),
        (lambda: functools.partial(lambda: 0), "lambda"),
        (lambda: P(P.UNCONSTRAINED), "only a PartitionSpec of names"),
        (lambda: P("x", unreduced={"y"}), "only a PartitionSpec of names"),
        (lambda: nested(99), None),
        (lambda: nested(100), "more than 100 deep"),
        (lambda: nested(900), "more than 100 deep"),
    ],
)
def test_what_has_no_form(make, words):
    if words is None:
        form_of(make())
    else:
        with pytest.raises(GraphError, match=words):
            form_of(make())


def test_all_problems_are_named_with_their_paths():
    class Hidden(Gadget):
        pass

    model = Gadget(layers=[Gadget(act=lambda x: x), Hidden(lock=threading.Lock())], ok=1)
    model.config = Frozen({"f": lambda: 0}, [object()])
    model.tagged = State(1.0, note=Frozen(object()))
    model.tree = NestedDict({"a": {"b": 1.0}})
    model.one = TreefyState(State, 1.0)
    model.key = {helper: State(1.0), (lambda: 0): State(2.0)}
    model.inner = graphdef(Gadget(deep=[Gadget(f=lambda: 0, s=State(1.0))]))
    encoder = Encoder()
    for _ in encoder.rows(graphdef(model)):
        pass
    with pytest.raises(GraphError) as caught:
        encoder.check("head:")
    lines = str(caught.value).splitlines()
    assert lines[0] == "head:"
    places = [line.strip().split(": ")[0] for line in lines[1:]]
    assert sorted(places) == sorted(
        ["at layers.0.act", "at layers.1", "at layers.1.lock", "at config.x.f", "at config.y.0", "at tagged.note.x",
         "at tree", "at one", "at key", "at inner.deep.0.f"]
    )  # fmt: skip


def test_a_long_list_of_problems_is_cut():
    encoder = Encoder()
    list(encoder.rows(graphdef([Gadget(f=lambda: 0) for _ in range(1000)])))
    with pytest.raises(GraphError, match=r"\n  at 99\.f: .*\n  \.\.\. and 900 more$"):
        encoder.check("head:")


def test_a_part_of_a_graph_has_no_form():
    inner = Gadget(x=1)
    shape = flatten(Gadget(a=inner), known=lambda item: 0 if item is inner else None).graphdef
    encoder = Encoder()
    list(encoder.rows(shape))
    with pytest.raises(GraphError, match="at a: this Gadget is held elsewhere"):
        encoder.check("head:")
