"""Equal GraphDefs have one fingerprint in every process, others have others."""

from __future__ import annotations

import dataclasses
import enum
import functools
import threading
import time
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from brainstate_graph import GraphError, NestedDict, State, TreefyState, clone, fingerprint, graphdef
from brainstate_graph.extend import flatten
from tests.laws.graphs import STATICS, Bag, Gadget, Pair, Param, Stat, Widget, graphs, layer, net


class Half(float):
    pass


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass
class Sized:
    x: object

    def __new__(cls, *_):
        return object.__new__(cls)


def scaled(by, shift=0):
    return lambda x: x * by + shift


def recursive():
    def down(n):
        return down(n - 1) if n else 0

    return down


def local_class():
    class Local:
        pass

    return Local


# What has no JSON form, and is known by name and content all the same.
MORE = [
    lambda: scaled(2), lambda: scaled(2.0), lambda: scaled(2, 1), lambda: lambda x: x, lambda: lambda x: x + 1,
    lambda: lambda x, y=1: x, lambda: lambda x, y=2: x, lambda: lambda x, *, y=2: x, lambda: lambda y: y, recursive,
    lambda: functools.partial(scaled(3), 1), local_class, lambda: Half(0.0), lambda: Half(-0.0),
    lambda: Counter("ab"),
    lambda: Counter("ba"), lambda: Counter("aab"), lambda: Flags.A | Flags.B, lambda: Sized(1), lambda: Sized(1.0),
    lambda: np.longlong(1), lambda: np.dtype("q"), lambda: dict.fromkeys, lambda: np.array([1, 2]).view(np.recarray),
    lambda: jnp.ones(2), lambda: jnp.ones(2, "int32"), lambda: jnp.zeros(2), lambda: jnp.asarray(1.0),
    lambda: jnp.float32(1),
    lambda: jnp.ones((1, 2)), lambda: jax.random.key(0), lambda: jax.random.key(1),
    lambda: jax.random.key(0, impl="rbg"),
    lambda: jax.random.PRNGKey(0), lambda: frozenset({"a", "b", ("c", 1)}), lambda: {"x", "y", 1, 2.0, None},
    lambda: jax.sharding.PartitionSpec("x", unreduced={"y", "z"}), lambda: jax.sharding.PartitionSpec("x"),
    lambda: NestedDict({"a": {"b": 1.0}}), lambda: NestedDict({"a": {"c": 1.0}}),
    lambda: TreefyState(Param, 1.0, name="n"),
    lambda: TreefyState(Stat, 1.0, name="n"),
    lambda: {frozenset({"p", "q"}): State(1.0), frozenset({"r", "s"}): Param(1.0), ("t",): Stat(1.0)},
]  # fmt: skip
if np.longlong is np.int64:
    MORE = [make for make in MORE if make() is not np.dtype("q")]


def zoo() -> list[str]:
    values = [make() for make in [*STATICS, *MORE]]
    shapes = [graphdef(Gadget(x=value)) for value in values]
    tied = layer()
    models = [
        net(), net(3), [layer(), layer()], [tied, tied], (1, State(1.0)), Gadget(), Widget(), {"a": State(1.0), "b": 1},
        {"b": 1, "a": State(1.0)}, {1: State(1.0)}, {True: State(1.0)}, {1.0: State(1.0)}, Pair(1, State(1.0)),
        Gadget(s=State(1.0)), Gadget(s=Param(1.0)), Gadget(s=State(1.0, name="a")), Gadget(s=State(1.0, tag={"a",
        "b"})),
        Gadget(s=State(1.0, unit=1)), Gadget(s=State(1.0, unit=1.0)), Gadget(b=Bag(label=1)), Gadget(b=Bag(label=True)),
    ]  # fmt: skip
    return [fingerprint(shape) for shape in [*shapes, *map(graphdef, models)]]


def test_different_graphs_have_different_fingerprints():
    digests = zoo()
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests)
    assert digests == zoo()
    assert [where for where in range(len(digests)) if digests[where] in digests[:where]] == []


@given(graphs(shared_pytrees=False), graphs(shared_pytrees=False))
def test_equal_exactly_where_the_graphdefs_are(a, b):
    one, two = graphdef(a), graphdef(b)
    assert (fingerprint(one) == fingerprint(two)) == (one is two)
    assert fingerprint(graphdef(clone(a))) == fingerprint(one)


def test_history_does_not_show():
    one, two = Gadget(a=1, b=State(1.0)), Gadget(b=State(2.0), a=1)
    assert fingerprint(graphdef(one)) == fingerprint(graphdef(two))


def test_a_shape_inside_a_shape():
    digests = {fingerprint(graphdef(Gadget(g=graphdef(net(n)), s=State(1.0)))) for n in (1, 2, 1)}
    assert len(digests) == 2


def test_shared_and_cyclic():
    a, b = State(1.0), State(1.0)
    digests = {
        fingerprint(graphdef(items)) for items in ([a, a, b], [a, b, a], [a, b, b], [a, b, State(1.0)], [a, a, a])
    }
    assert len(digests) == 5
    model = Gadget(x=Gadget())
    model.x.up = model
    other = Gadget(x=Gadget())
    other.x.up = other.x
    assert fingerprint(graphdef(model)) != fingerprint(graphdef(other))


def test_known_objects():
    inner = Gadget(x=1)
    shapes = [
        flatten(Gadget(a=inner), known=lambda item, n=n: n if item is inner else None).graphdef for n in (0, 1, 1)
    ]
    assert len({fingerprint(shape) for shape in shapes}) == 2


def test_what_has_no_identity_outside_the_process():
    model = Gadget(layers=[Gadget(lock=threading.Lock())], f=lambda: model, ok=functools.partial(max, key=object()))
    with pytest.raises(GraphError) as caught:
        fingerprint(graphdef(model))
    lines = str(caught.value).splitlines()
    assert lines[0] == "a fingerprint cannot be made of what is compared by identity:"
    assert sorted(line.split(": ")[0].strip() for line in lines[1:]) == ["at f.0", "at layers.0.lock", "at ok.key"]
    with pytest.raises(TypeError, match=r"write `fingerprint\(graphdef\(model\)\)`"):
        fingerprint(model)


def test_deep_graphs_in_linear_time():
    def seconds(length):
        model = Gadget()
        for number in range(length):
            model = Gadget(next=model, number=number)
        shape = graphdef(model)
        start = time.perf_counter()
        fingerprint(shape)
        return time.perf_counter() - start

    assert seconds(50_000) < 40 * min(seconds(5_000) for _ in range(3))


def test_nested_functions_end():
    function = len
    for _ in range(2000):
        function = scaled(function)
    with pytest.raises(GraphError, match="more than 100 deep"):
        fingerprint(graphdef(Gadget(f=function)))
