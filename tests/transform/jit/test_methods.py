"""Methods and callables of every kind, compiled."""

from __future__ import annotations

import dataclasses
import functools
import gc
import types
import weakref

import jax.numpy as jnp
import pytest

from brainstate_transform import JittedFunction, jit
from tests.laws.transforms import Net, Runs

one = jnp.float32(1.0)


class Trainer:
    def __init__(self, w, tag="t"):
        self.model = Net(w)
        self.tag = tag

    @jit
    def step(self, x):
        return self.model(x)

    def plain(self, x):
        return self.model(x)


def test_a_method_of_a_node():
    class Owner(Net):
        @jit
        def step(self, x):
            return self(x)

    a, b = Owner(2.0), Owner(3.0)
    assert (a.step(one), b.step(one), Owner.step(a, one)) == (2.0, 3.0, 2.0)
    assert (a.n.value, b.n.value) == (2.0, 1.0)
    assert isinstance(Owner.step, JittedFunction)


def test_a_method_of_a_plain_object():
    a, b = Trainer(2.0), Trainer(3.0)
    assert (a.step(one), b.step(one), a.step(one)) == (2.0, 3.0, 2.0)
    a.model = Net(5.0)
    assert a.step(one) == 5.0
    a.model.rate = 2.0
    assert a.step(one) == 10.0


def test_a_method_of_equal_but_distinct_objects():
    class Equal(Trainer):
        def __eq__(self, other):
            return isinstance(other, Equal) and self.tag == other.tag

        def __hash__(self):
            return hash(self.tag)

    a, b = Equal(2.0), Equal(3.0)
    assert (a.step(one), b.step(one)) == (2.0, 3.0)


def test_a_method_of_an_object_without_room():
    class Slots:
        __slots__ = ("model",)

        def __init__(self):
            self.model = Net()

        @jit
        def step(self, x):
            return self.model(x)

    s = Slots()
    assert s.step(one) == 2.0
    s.model.w.value = jnp.array(3.0)
    assert s.step(one) == 3.0


def _by_hand():
    class Slots:
        __slots__ = ("__held",)  # under another name in fact

        def __init__(self, model):
            self.__held = [{"model": model}]

        @jit
        def step(self, x):
            return self.__held[0]["model"](x)

        def put(self, model):
            self.__held = [{"model": model}]

    return Slots


def _of_dataclass():
    @dataclasses.dataclass(slots=True, eq=True)
    class Slots:
        model: Net

        @jit
        def step(self, x):
            return self.model(x)

        def put(self, model):
            self.model = model

    return Slots


def _derived():
    class Derived(_of_dataclass()):
        __slots__ = ()

    return Derived


SLOTTED = pytest.mark.parametrize("make", [_by_hand, _of_dataclass, _derived])


@pytest.mark.counts_traces
@SLOTTED
def test_a_method_of_an_object_with_slots_is_compiled_once(make):
    runs = Runs()

    class Counting(Net):
        def __call__(self, x):
            runs()
            return self.w.value * x

    kind = make()
    a, b = kind(Counting(2.0)), kind(Counting(3.0))
    assert [a.step(one), b.step(one)] == [2.0, 3.0]
    runs.since()
    assert [f(one) for f in (a.step, b.step, a.step, b.step)] == [2.0, 3.0, 2.0, 3.0]
    assert runs.count == 0
    a.put(Counting(5.0))
    assert [a.step(one), b.step(one)] == [5.0, 3.0]


@SLOTTED
def test_an_object_with_slots_goes_with_its_model(make):
    kind, model = make(), Net(2.0)
    gone = weakref.ref(model)
    holder = kind(model)
    holder.step(one)
    del holder, model
    gc.collect()
    assert gone() is None


def test_of_objects_with_slots_that_share_a_model_few_are_kept():
    kind, model = _of_dataclass(), Net(2.0)
    tags = []
    for _ in range(20):
        holder = kind(model)
        holder.step(one)
        tags.append(weakref.ref(holder.step))
    del holder
    gc.collect()
    assert sum(ref() is not None for ref in tags) <= 8
    assert kind(model).step(one) == 2.0


@pytest.mark.counts_traces
def test_a_method_of_an_object_with_slots_and_no_model():
    model, runs = Net(2.0), Runs()

    class Scale:
        __slots__ = ("k",)

        def __init__(self, k):
            self.k = k

        @jit
        def step(self, x):
            runs()
            return self.k * model(x)

    a, b = Scale(2.0), Scale(3.0)
    assert [f(one) for f in (a.step, b.step, a.step, b.step)] == [4.0, 6.0, 4.0, 6.0]
    assert runs.count == 2


@pytest.mark.counts_traces
def test_a_method_is_compiled_once_per_object():
    runs = Runs()

    class Counting(Trainer):
        @jit
        def step(self, x):
            runs()
            return self.model(x)

    a = Counting(2.0)
    for _ in range(3):
        a.step(one)
    assert runs.count == 1


class Reading(Trainer):
    """Reads itself in all the ways that are watched."""

    scale = 2.0

    def __init__(self, w):
        super().__init__(w)
        self.config = types.SimpleNamespace(rate=3.0, names=["a"])
        self.table = {"k": 1.0}
        self.count = 0
        self.act = jnp.sin

    @property
    def rate(self):
        return self.config.rate * self.table["k"]

    @jit
    def step(self, x):
        self.count += 1
        x = self.act(x) * self.rate * self.scale * len(self.config.names)
        return self.plain(x) + len(self.tag)

    def __getattr__(self, name):
        raise AttributeError(name)


class Slotted:
    __slots__ = ("__weakref__", "model", "tag")
    __init__, step = Trainer.__init__, Trainer.step


@pytest.mark.parametrize("kind", [Trainer, Reading, Slotted, functools.partial(Trainer, tag="other")])
def test_an_object_with_a_jitted_method_is_collected(kind):
    a = kind(2.0)
    a.step(one)
    a.step(jnp.ones(2))
    gone = weakref.ref(a)
    del a
    gc.collect()
    assert gone() is None


def test_callables_of_every_kind():
    m, t = Net(), Trainer(2.0)

    class Callable:
        def __init__(self):
            self.inside = {"models": [m]}

        def __call__(self, x):
            return self.inside["models"][0](x)

    def by_default(x, net=m):
        return net(x)

    def by_keyword_default(x, *, net=m):
        return net(x)

    def nested(x):
        def inner(y):
            return m(y)

        return inner(x)

    @functools.wraps(nested)
    def wrapped(x):
        return nested(x)

    funs = [
        m, t.plain, Callable(), by_default, by_keyword_default, nested, wrapped, lambda x: m(x), m.__call__,
        functools.partial(lambda net, x: net(x), m), functools.partial(lambda x, net: net(x), net=m),
        functools.partial(functools.partial(lambda a, b, x: a(x), m), 1.0), Trainer.plain.__get__(t),
    ]  # fmt: skip
    for fun in funs:
        net = t.model if getattr(fun, "__self__", None) is t else m
        f = jit(fun)
        for w in (2.0, 3.0):
            net.w.value = jnp.array(w)
            assert f(one) == w, fun
        net.rate = 10.0
        assert f(one) == 30.0, fun
        net.rate = 1.0
