"""Large plain things stand in a shape by their digest: as exact as their content, and never gone through again."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import gc
import types
import warnings
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

from brainstate_graph import GraphError, Snapshot, State, graphdef
from brainstate_graph._kept import large
from brainstate_graph.extend import Larges, patched
from tests.laws.graphs import Gadget
from tests.tables import each

MANY = 1000


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Record(NamedTuple):
    key: str
    value: Any


class Words(list):
    pass


@dataclasses.dataclass
class Config:
    words: Any


def numbers(middle: Any = 500) -> list[Any]:
    """Many numbers, one of which, that no sample looks at, may be another one."""
    items: list[Any] = list(range(MANY))
    items[MANY // 2 + 1] = middle
    return items


def pairs(middle: Any = 500) -> dict[str, Any]:
    return {f"w{i}": number for i, number in enumerate(numbers(middle))}


def array(middle: Any = 500) -> np.ndarray:
    return np.asarray(numbers(middle), "float64").reshape(10, -1)


# Each makes a large thing with one item of another value or type in its middle.
THINGS = {
    "list": numbers,
    "tuple": lambda middle=500: tuple(numbers(middle)),
    "set": lambda middle=500: {f"{x!r}" for x in numbers(middle)},
    "frozenset": lambda middle=500: frozenset(f"{x!r}" for x in numbers(middle)),
    "dict": pairs,
    "ordered dict": lambda middle=500: collections.OrderedDict(pairs(middle)),
    "defaultdict": lambda middle=500: collections.defaultdict(list, pairs(middle)),
    "counter": lambda middle=500: collections.Counter(pairs(middle)),
    "subclass of list": lambda middle=500: Words(numbers(middle)),
    "list of floats": lambda middle=500: [float(x) for x in numbers(middle)],
    "list of lists": lambda middle=500: [[x, "a"] for x in numbers(middle)],
    "list of small lists": lambda middle=500: [numbers(middle)[i : i + 50] for i in range(0, MANY, 20)] * 2,
    "list of tuples": lambda middle=500: [(x, None) for x in numbers(middle)],
    "list of records": lambda middle=500: [Record("a", x) for x in numbers(middle)],
    "list of enums": lambda middle=500: [Color.RED, *[x if x != middle else repr(x) for x in numbers(middle)]],
    "list of scalars": lambda middle=500: [np.float32(x) for x in numbers(middle)],
    "list of arrays": lambda middle=500: [np.full(MANY, x) for x in numbers(middle)[400:600]],
    "array": array,
    "array of another layout": lambda middle=500: array(middle).T,
    "array of dates": lambda middle=500: array(middle).astype("int64").astype("datetime64[D]"),
    "array with gaps": lambda middle=500: array(middle)[1::2],
    "bytearray": lambda middle=500: bytearray(array(middle).tobytes()),
    "dataclass": lambda middle=500: Config(numbers(middle)),
    "namespace": lambda middle=500: types.SimpleNamespace(table=array(middle), k=1),
    "partial": lambda middle=500: functools.partial(max, numbers(middle)),
    "dict of large ones": lambda middle=500: {"words": numbers(middle), "table": array(middle), "k": 2.0},
}


def snapshot_of(thing: Any) -> Snapshot:
    return Snapshot(Gadget(inner=Gadget(data=thing, w=State(1.0))), larges=Larges())


@each("thing", THINGS)
def test_equal_things_share_a_shape_and_no_others_do(thing):
    make = THINGS[thing]
    shape = snapshot_of(make()).graphdef
    assert snapshot_of(make()).graphdef is shape
    assert snapshot_of(make(-1)).graphdef is not shape


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0.0, -0.0), ("a", b"a"), (None, ...)])
def test_items_are_told_apart_by_type_and_value(one, other):
    for wrap in (list, tuple, lambda items: dict(enumerate(items)), lambda items: [[x] for x in items]):
        shapes = {snapshot_of(wrap([x] * MANY)).graphdef for x in (one, other, one)}
        assert len(shapes) == 2


def test_nan_equals_itself_and_order_counts():
    assert snapshot_of([float("nan")] * MANY).graphdef is snapshot_of([float("nan")] * MANY).graphdef
    items = {f"w{i}": i for i in range(MANY)}
    assert snapshot_of(items).graphdef is not snapshot_of(dict(reversed(items.items()))).graphdef
    words = [{f"w{i}" for i in order} for order in (range(MANY), range(MANY - 1, -1, -1))]
    assert list(words[0]) != list(words[1])
    assert snapshot_of(words[0]).graphdef is snapshot_of(words[1]).graphdef


def test_the_type_of_a_container_counts():
    kinds = [list, tuple, Words, set, frozenset, collections.OrderedDict.fromkeys, dict.fromkeys]
    assert len({snapshot_of(kind(range(MANY))).graphdef for kind in kinds}) == len(kinds)
    factories = [collections.defaultdict(factory, pairs()) for factory in (int, list, None)]
    assert len({snapshot_of(made).graphdef for made in factories}) == 3


# How something is changed so that it must be seen: size, shape, or another object.
def _fill(x):
    x[...] = 7


CHANGES = {
    "an item more": (numbers, lambda x: x.append(1)),
    "an item less": (numbers, lambda x: x.pop()),
    "the first item": (numbers, lambda x: x.__setitem__(0, -1)),
    "all items": (numbers, lambda x: x.__setitem__(slice(None), [0] * MANY)),
    "a key more": (pairs, lambda x: x.update(new=1)),
    "another first key": (pairs, lambda x: x.update(w0=x.pop("w0"))),
    "another value": (pairs, lambda x: x.update(w0=-1)),
    "another factory": (THINGS["defaultdict"], lambda x: setattr(x, "default_factory", int)),
    "a word more": (THINGS["set"], lambda x: x.add("new")),
    "other words": (THINGS["set"], lambda x: (x.clear(), x.update(map(str, range(-MANY, 0))))),
    "all numbers": (array, _fill),
    "all numbers of a column": (THINGS["array of another layout"], _fill),
    "more bytes": (THINGS["bytearray"], lambda x: x.extend(b"a")),
    "in a dataclass": (THINGS["dataclass"], lambda x: x.words.append(1)),
    "another one in a dataclass": (THINGS["dataclass"], lambda x: setattr(x, "words", numbers(-1))),
    "something small beside it": (THINGS["namespace"], lambda x: setattr(x, "k", 2)),
    "something small in its dict": (THINGS["dict of large ones"], lambda x: x.update(k=3.0)),
    "another one in its dict": (THINGS["dict of large ones"], lambda x: x.update(words=numbers(-1))),
}


@pytest.mark.graph_cache
@each("change", CHANGES)
def test_changes_that_are_seen(change):
    make, do = CHANGES[change]
    thing = make()
    model = Gadget(data=thing)
    before = Snapshot(model, larges=Larges())
    assert before.is_current()
    do(thing)
    assert not before.is_current()
    assert Snapshot(model, larges=Larges()).graphdef is not before.graphdef


@pytest.mark.graph_cache
def test_an_equal_one_in_its_place_has_the_same_shape():
    model = Gadget(data=numbers(), table=array())
    before = Snapshot(model, larges=Larges())
    model.data, model.table = numbers(), array()
    assert not before.is_current()
    assert Snapshot(model, larges=Larges()).graphdef is before.graphdef
    model.data = numbers(-1)
    assert Snapshot(model, larges=Larges()).graphdef is not before.graphdef


def test_by_default_content_is_compared_as_a_whole():
    model = Gadget(data=numbers(), table=array())
    before = graphdef(model)
    assert Snapshot(model).large == ()
    model.data[MANY // 2 + 1] = -1  # where no sample looks
    after = graphdef(model)
    assert after is not before
    model.table[5, 51] = -1
    assert graphdef(model) is not after


def test_a_container_with_a_part_of_the_graph_is_watched_in_full():
    model = Gadget(items=[*range(MANY), State(1.0)])
    snapshot = Snapshot(model, larges=Larges())
    assert len(snapshot.states) == 1
    assert snapshot.large == ()
    model.items[MANY // 2] = -1
    assert not snapshot.is_current()


@pytest.mark.graph_cache
def test_the_content_is_gone_through_once(monkeypatch):
    asked, digest = [], large._digest
    monkeypatch.setattr(large, "_digest", lambda item, kinds: asked.append(item) or digest(item, kinds))
    things = [numbers(), pairs(), array(), tuple(numbers()), Config(numbers())]
    model = Gadget(data=list(things))
    kept = [Snapshot(model, larges=Larges())]
    for _ in range(3):
        model.more = Gadget()  # another structure
        kept.append(Snapshot(model, larges=Larges()))
        kept.append(Snapshot([model], larges=Larges()))
    assert len(asked) == len(things)


def test_a_shape_holds_no_content():
    thing = array()
    gone = weakref.ref(thing)
    shape = snapshot_of(thing).graphdef
    del thing
    gc.collect()
    assert gone() is None
    assert shape.rows


def test_what_is_large_is_told_by_its_path():
    model = Gadget(
        vocabulary=pairs(), small=[1], inner=Gadget(table=np.zeros((1000, 1000), "float32"), config=Config(numbers()))
    )
    assert dict(Snapshot(model, larges=Larges()).large) == {
        ("vocabulary",): "dict of 1,000",
        ("inner", "table"): "f32[1000,1000], 4.0 MB",
        ("inner", "config"): "Config with a list of 1,000",
    }


def test_a_list_that_holds_itself_is_refused_with_its_path():
    items: list[Any] = list(range(MANY))
    items.append(items)
    with pytest.raises(GraphError, match=r"at inner\.data: a list holds itself"):
        snapshot_of(items)


def test_a_state_that_is_hidden_in_a_large_thing_is_refused():
    with pytest.raises(GraphError, match="hidden"):
        snapshot_of({*range(MANY), State(1.0)})


def test_a_defaultdict_is_looked_at_without_making_items():
    thing = collections.defaultdict(list, pairs())
    snapshot = snapshot_of(thing)
    del thing["w0"]
    thing["new"] = 1
    assert not snapshot.is_current()
    assert "w0" not in thing


@pytest.mark.parametrize("shape", [(5000,), (2, 5000), (5000, 2), (1,) * 20 + (5000,), (2,) * 14, (71, 73, 1)])
def test_arrays_of_any_number_of_axes(shape):
    thing = np.zeros(shape)
    model = Gadget(data=thing)
    snapshot = Snapshot(model, larges=Larges())
    assert snapshot.large
    thing += 1
    assert not Snapshot.enabled or not snapshot.is_current()


def test_a_mapped_file_is_known_by_identity(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(10_000))
    one, other = (np.load(tmp_path / "a.npy", mmap_mode="r") for _ in range(2))
    assert snapshot_of(one).graphdef is snapshot_of(one).graphdef is not snapshot_of(other).graphdef


# ------------------------------------------------------------------------------------------------------- prices


@pytest.fixture
def _dear(monkeypatch):
    """Things of the sizes of these tests are dear."""
    for name, size in (("_DEAR_BYTES", 40_000), ("_DEAR_VALUES", 2 * MANY), ("_DEAR_BESIDE", MANY)):
        monkeypatch.setattr(large, name, size)


def told(root):
    """Take a graph apart, and return what was told of it, and the snapshot."""
    larges = Larges()
    snapshot = Snapshot(root, larges=larges)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        larges.tell(snapshot)
    return [str(warning.message) for warning in caught], snapshot


STATE = "Hold it in a State, `inner.data = State(inner.data)`, or pass it as an argument."
PART = "is part of the programs that are compiled with the model. To read it all took "
BESIDE = "holds nodes or states among plain items. "
DEAR = {
    "an array": (lambda: np.zeros(10_000, "f4"), "inner.data (f32[10000], 40.0 kB)", STATE),
    "bytes": (lambda: bytearray(40_000), "inner.data (bytearray, 40.0 kB)", "graph_invisible_attrs"),
    "a list": (lambda: [*range(2 * MANY)], "inner.data (list of 2,000)", "graph_invisible_attrs"),
    "a tuple": (lambda: tuple(range(2 * MANY)), "inner.data (tuple of 2,000)", "graph_invisible_attrs"),
    "a dict": (lambda: {i: i for i in range(2 * MANY)}, "inner.data (dict of 2,000)", "as an argument"),
    "a set": (lambda: {*range(2 * MANY)}, "inner.data (set of 2,000)", "hold that in a State"),
    "a nest": (lambda: [[*range(100)] for _ in range(100)], "inner.data (list of 100)", "as an argument"),
    "in a dict": (lambda: {"k": np.zeros(10_000, "f4")}, "inner.data.k (f32[10000], 40.0 kB)", "data.k = State"),
    "in a list": (lambda: [np.zeros(10_000, "f4")], "inner.data.0 (f32[10000], 40.0 kB)", "in a State or pass"),
    "in an object": (lambda: Config([*range(2 * MANY)]), "inner.data (Config with a list of 2,000)", "argument"),
    "beside a state": (lambda: [State(1.0), *range(MANY)], "inner.data (list of 1,001)", "a container of their own"),
    "beside a node": (lambda: {"n": Gadget(), **pairs()}, "inner.data (dict of 1,001)", "compares all of them"),
}  # fmt: skip


@pytest.mark.usefixtures("_dear")
@pytest.mark.parametrize(("make", "what", "cure"), DEAR.values(), ids=DEAR)
def test_what_is_dear_is_told_once_of_each_object(make, what, cure):
    model = Gadget(inner=Gadget(data=make()), w=State(1.0))
    [text], snapshot = told(model)
    assert text.startswith((f"{what} {PART}", f"{what} {BESIDE}"))
    assert cure in text
    again, other = told(model)  # by another function, while the first one lives
    assert again == told(Gadget(holder=model))[0] == []
    model.inner.data = make()  # for which it is all done again
    [anew], _ = told(model)
    assert anew.startswith(what)
    assert snapshot.graphdef is other.graphdef


CHEAP = {
    "a smaller array": lambda: np.zeros(9_999, np.float32),
    "a smaller list": lambda: [*range(2 * MANY - 1)],
    "a smaller nest": lambda: [[*range(100)] for _ in range(19)],
    "fewer beside a state": lambda: [State(1.0), *range(MANY - 1)],
    "many nodes": lambda: [Gadget(s=State(1)) for _ in range(MANY)],
    "a State": lambda: State(np.zeros(10**5, np.float32)),
    "a text": lambda: "x" * 10**6,
}


@pytest.mark.usefixtures("_dear")
@each("name", CHEAP)
def test_what_is_cheap_is_not_told(name):
    assert told(Gadget(inner=Gadget(data=CHEAP[name]())))[0] == []


def test_what_is_in_a_graph_is_gone_through_once_for_all_functions(monkeypatch):
    digest, counted = large._digest, []
    monkeypatch.setattr(large, "_digest", lambda *args: counted.append(1) or digest(*args))
    model = Gadget(data=[*range(MANY)], table=np.zeros(10_000), w=State(1.0))
    kept = [Snapshot(model, larges=Larges()) for _ in range(3)]
    model.w = State(2.0)
    kept[0] = patched(kept[0])
    del kept[1:]
    kept.append(Snapshot(model, larges=Larges()))
    assert len(counted) == 2
