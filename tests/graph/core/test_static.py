"""Two static values are the same by type and by value; what cannot be compared or hides a state is an error."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import functools
import itertools
import pathlib
import pickle
import types

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from brainstate_graph import GraphError, State, Static, clone, graphdef, treefy_split
from tests.laws.graphs import STATICS, Gadget, Param, net, same_static, uncached
from tests.tables import each


def shape_of(value):
    return graphdef(Gadget(x=value))


@each("number", range(len(STATICS)))
def test_equal_statics_share_a_graphdef_and_no_others_do(number):
    make = STATICS[number]
    mine = shape_of(make())
    assert shape_of(make()) is mine
    for other in STATICS:
        assert (shape_of(other()) is mine) == same_static(make(), other()), (make(), other())


@each("number", range(len(STATICS)))
def test_statics_survive_clone(number):
    value = STATICS[number]()
    assert same_static(clone(Gadget(x=value)).x, value)


def test_static_compares_like_a_static_attribute():
    # containers of containers compare by value here too
    makes = [make for make in STATICS if type(make()) is not collections.defaultdict]
    for one, two in itertools.product(makes, makes):
        a, b = Static(one()), Static(two())
        assert (a == b) == same_static(one(), two()), (one(), two())
        if a == b:
            assert hash(a) == hash(b)


def test_static_defaultdicts_compare_their_factories():
    assert Static(collections.defaultdict(int)) != Static(collections.defaultdict(list))


def test_static_is_a_pytree_without_leaves_that_keys_jit():
    traces = []

    @jax.jit
    def f(x, rate):
        traces.append(rate.value)
        return x * rate.value

    assert f(1, Static(2)).dtype == jnp.int32
    assert f(1, Static(2.0)).dtype == jnp.float32
    f(1, Static(2))
    f(1, Static(float("nan")))
    f(1, Static(float("nan")))
    assert len(traces) == 3


def test_static_pickles():
    assert pickle.loads(pickle.dumps(Static((1, "a", float("nan"))))) == Static((1, "a", float("nan")))


class Half(float):
    pass


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object


@dataclasses.dataclass
class Config:
    x: object


EAST = datetime.timezone(datetime.timedelta(hours=1))
DIFFERENT = [
    (lambda: Frozen(1), lambda: Frozen(True)),
    (lambda: Config([1]), lambda: Config([1.0])),
    (lambda: types.SimpleNamespace(x=0.0), lambda: types.SimpleNamespace(x=-0.0)),
    (lambda: functools.partial(max, 1), lambda: functools.partial(max, 1.0)),
    (lambda: functools.partial(max, key=1), lambda: functools.partial(max, key=True)),
    (lambda: np.array([1, 2])[::-1], lambda: np.array([1, 2])),
    (lambda: np.array(["a"]), lambda: np.array(["b"])),
    (lambda: np.datetime64("2020-01-01", "D"), lambda: np.datetime64("2020-01-01", "s")),
    (lambda: collections.Counter(a=1), lambda: collections.Counter(a=2)),
    # What is equal in Python, and not the same.
    (lambda: decimal.Decimal("2.0"), lambda: decimal.Decimal("2.00")),
    (lambda: decimal.Decimal("NaN"), lambda: decimal.Decimal("sNaN")),
    (lambda: range(0), lambda: range(3, 3)),
    (lambda: range(0, 4, 3), lambda: range(0, 5, 3)),
    (lambda: slice(0, 1), lambda: slice(False, 1)),
    (lambda: datetime.datetime(2020, 1, 1, 1, tzinfo=EAST), lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
    (lambda: datetime.time(1, tzinfo=EAST), lambda: datetime.time(0, tzinfo=datetime.UTC)),
    (lambda: datetime.datetime(2020, 1, 1), lambda: datetime.datetime(2020, 1, 1, fold=1)),
    (lambda: pathlib.PureWindowsPath("A"), lambda: pathlib.PureWindowsPath("a")),
]


@each("pair", DIFFERENT)
def test_composite_statics(pair):
    one, two = pair
    assert shape_of(one()) is shape_of(one())
    assert shape_of(one()) is not shape_of(two())


def test_sign_of_zero_shows_in_a_subclass_of_float():
    assert shape_of(Half(0.0)) is not shape_of(Half(-0.0))


@each(
    "dtypes",
    [
        ([("a", "f4")], [("b", "f4")]),
        ([("a", "f4")], [("a", "i4")]),
        (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3),
        (ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e4m3b11fnuz),
    ],
)
def test_arrays_of_special_dtypes_differ(dtypes):
    one, two = (np.zeros(4 * np.dtype(d).itemsize, "uint8").view(d) for d in dtypes)
    assert shape_of(one) is not shape_of(two)


@each("keys", [((1,), (True,)), (0.0, -0.0), ((0, "a"), (0.0, "a"))])
def test_keys_of_a_dict_of_states_are_compared_by_type_and_value(keys):
    one, two = keys
    assert shape_of({one: State(1.0)}) is not shape_of({two: State(1.0)})


def test_keys_1_and_true_of_a_dict_of_states():
    assert len({shape_of({k: State(1.0)}) for k in (1, True, 1.0, "1")}) == 4
    for key in (1, True, 1.0):
        _shape, tree = treefy_split(Gadget(x={key: State(1.0)}))
        assert same_static(list(clone(Gadget(x={key: State(1.0)})).x), [key])
        assert tree["x"][key].value == 1.0


def test_arrays_of_jax_are_the_same_by_identity():
    x = jnp.ones(2)
    assert shape_of(x) is shape_of(x)
    assert shape_of(x) is not shape_of(jnp.ones(2))
    f = jax.jit(lambda shape, y: y)
    f(shape_of(x), 1.0)
    f(shape_of(x), 1.0)
    f(shape_of(jnp.ones(2)), 1.0)  # compares with the first, and must not ask an array for its truth


def test_unhashable_objects_split_and_merge():
    class Odd:
        __hash__ = None

    odd = Odd()
    assert clone(Gadget(x=odd)).x is odd
    assert shape_of(odd) is shape_of(odd)
    assert shape_of(odd) is not shape_of(Odd())


HIDING = [
    lambda s: {s},
    lambda s: frozenset({s}),
    lambda s: Frozen(s),
    lambda s: Config(s),
    lambda s: Config([s]),
    lambda s: types.SimpleNamespace(x=s),
    lambda s: functools.partial(max, s),
    lambda s: functools.partial(max, key=s),
    lambda s: type("L", (list,), {})([s]),
    lambda s: type("D", (dict,), {})(k=s),
    lambda s: type("T", (tuple,), {})([s]),
    lambda s: collections.Counter({"a": s}),
    lambda s: slice(s),
]


@each("hide", HIDING)
@each("what", [lambda: Param(1.0), lambda: net(1)], ids=["state", "node"])
def test_a_state_or_node_out_of_sight_is_an_error_with_its_path(hide, what):
    item = what()
    model = Gadget(parts=[Gadget(box=hide(item))])
    with pytest.raises(GraphError, match=rf"at parts\.0\.box: a {type(item).__name__} is hidden where the graph"):
        graphdef(model)
    model.parts[0].box = None  # and the failure leaves nothing behind
    assert graphdef(model) is uncached(model)


def test_a_state_in_a_plain_object_is_an_error():
    class Box:
        def __init__(self, x):
            self.x = x

    with pytest.raises(GraphError, match="hidden"):
        graphdef(Gadget(box=Box(State(1.0))))


class Speaker(Gadget):
    def speak(self):
        return self.s.value


@pytest.mark.parametrize("wrap", [lambda f: f, functools.partial])
def test_a_bound_method_of_a_node_is_refused_or_follows_its_clone(wrap):
    model = Speaker(s=State(1.0))
    model.act = wrap(model.speak)
    try:
        copied = clone(model)
    except GraphError:
        return
    copied.s.value = 5.0
    assert copied.act() == 5.0


def test_a_state_cannot_be_born_with_a_state_inside():
    with pytest.raises((ValueError, GraphError), match="another State"):
        State({"a": State(1.0)})


def test_a_node_in_the_value_of_a_state_is_an_error():
    with pytest.raises((ValueError, GraphError)):
        treefy_split(Gadget(s=State([net(1)])))


def test_a_tracer_as_attribute_is_an_error_with_its_path():
    model = Gadget(child=Gadget())

    def f(x):
        model.child.x = x
        with pytest.raises(GraphError, match=r"at child\.x: a traced value .* Hold it in a State"):
            graphdef(model)
        return x

    jax.jit(f)(1.0)


# ------------------------------------------------------------------------ a GraphDef does not change with its model


def test_writing_into_an_array_does_not_change_an_existing_graphdef():
    model = Gadget(x=np.array([5, 6, 7]))
    shape, _tree = treefy_split(model)
    model.x[0] = 9
    assert shape_of(np.array([5, 6, 7])) is shape
    assert clone(Gadget(x=np.array([5, 6, 7]))).x.tolist() == [5, 6, 7]


@each(
    ("make", "change"),
    [
        (lambda: np.array([17, 23]), lambda x: x.fill(9)),
        (lambda: {"only", "here"}, lambda x: x.add(2)),
        (lambda: Config(["only", "this"]), lambda x: x.x.append(2)),
        (lambda: types.SimpleNamespace(a="only this"), lambda x: setattr(x, "a", 2)),
    ],
    ids=["array", "set", "dataclass", "namespace"],
)
def test_mutable_statics_of_a_clone_are_its_own(make, change):
    model = Gadget(x=make())
    copied = clone(model)
    change(copied.x)
    assert shape_of(model.x) is shape_of(make())
