"""Example graphs, random graphs, and what it means that two graphs are the same."""

from __future__ import annotations

import enum
import itertools
import math
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from brainstate_graph import GraphDef, Node, Snapshot, State
from brainstate_graph.extend import fields_of


class Gadget(Node):
    """A node that holds whatever it is given."""

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


class Widget(Gadget):
    pass


class Param(State):
    pass


class Stat(State):
    pass


class Pair(NamedTuple):
    left: Any
    right: Any


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    ONE = 1


@jax.tree_util.register_pytree_with_keys_class
class Bag:
    """A mutable container that only JAX knows."""

    def __init__(self, *items: Any, label: Any = None) -> None:
        self.items = list(items)
        self.label = label

    def tree_flatten_with_keys(self) -> Any:
        return [(jax.tree_util.SequenceKey(i), x) for i, x in enumerate(self.items)], self.label

    @classmethod
    def tree_unflatten(cls, label: Any, items: Any) -> Bag:
        return cls(*items, label=label)


def layer(seed: int = 0, rate: Any = 0.5) -> Gadget:
    rng = np.random.default_rng(seed)
    return Gadget(
        weight=Param(jnp.asarray(rng.normal(size=(2, 2)), "float32")),
        bias=Param(jnp.asarray(rng.normal(size=(2,)), "float32"), tag="bias"),
        seen=Stat(0),
        rate=rate,
    )


def net(depth: int = 2, rate: Any = 0.5) -> Gadget:
    return Gadget(layers=[layer(i, rate) for i in range(depth)], head=layer(9), name="net")


def tied() -> Gadget:
    """One weight in three places, of two depths."""
    w = Param(jnp.ones(2))
    return Gadget(a=Gadget(w=w, b=Param(jnp.zeros(2))), b=Gadget(w=w, s=Stat(0)), late={"w": w})


def cyclic() -> Gadget:
    """A node that leads back to itself, through a list, and to the same child twice."""
    node, child = Gadget(w=Param(1.0)), Gadget(s=Stat(2.0))
    node.me, node.all, child.up = node, [node, child, (child,)], node
    return node


def odd() -> Gadget:
    """Containers of all kinds, keys of all kinds, and values that are trees, numbers or nothing."""
    s = State({"x": (1.0, None)}, name="s")
    table = {"z": s, 7: Gadget(k=1), None: {"deep": [State(None), ()]}, (1, "k"): State(3)}
    return Gadget(
        table=table, ordered=OrderedDict(b=s, a=2), default=defaultdict(list, k=[State(True)]), pair=Pair(s, None),
        bag=Bag(State(2.0), {"k": [s]}, label="x"), empty=([], {}, (), None), note={1, 2}, array=np.arange(3),
    )  # fmt: skip


def chain(depth: int) -> Gadget:
    """A chain of nodes, every other one through a list and a dict, that leads back to its start."""
    root = node = Gadget(w=State(0.0))
    for i in range(1, depth):
        node.next = [{"n": Gadget(w=State(float(i)))}] if i % 2 else Gadget(w=State(float(i)))
        node = node.next[0]["n"] if i % 2 else node.next
    node.back = root
    return root


# One graph of each sort.
GRAPHS: dict[str, Callable[[], Any]] = {
    "nested": net,
    "tied": tied,
    "cyclic": cyclic,
    "odd": odd,
    "without states": lambda: Gadget(k=1, inner=Gadget(rate=0.5)),
    "empty": Gadget,
    "a dict as root": lambda: {"a": layer(1), "b": [layer(2)]},
    "a tuple as root": lambda: (tied(), State(1.0)),
}


def uncached(root: Any) -> GraphDef:
    """The answer without any cache: the oracle for the cached one."""
    return Snapshot(root).graphdef


# ------------------------------------------------------------------------------------------------- being the same


def same_static(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, complex):
        return same_static((a.real, a.imag), (b.real, b.imag))
    if isinstance(a, (set, frozenset)):
        return {(type(x), x) for x in a} == {(type(x), x) for x in b}
    if isinstance(a, slice):
        return same_static((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, defaultdict) and a.default_factory is not b.default_factory:
        return False
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same_static, a, b))
    if isinstance(a, dict):
        return same_static(list(a.items()), list(b.items()))
    if isinstance(a, jax.Array):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


def same_value(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.asarray(x).dtype == np.asarray(y).dtype and np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def assert_isomorphic(a: Any, b: Any) -> None:
    """The same objects in the same places, shared and cyclic alike; walks both, knows nothing of GraphDefs."""
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    stack: list[tuple[tuple[Any, ...], Any, Any]] = [((), a, b)]
    while stack:
        path, a, b = stack.pop()
        assert type(a) is type(b), (path, type(a), type(b))
        if isinstance(a, (Node, State, list, dict, Bag)):
            assert (id(a) in there) == (id(b) in back), (path, "shared in one only")
            if id(a) in there:
                assert there[id(a)] == id(b), (path, "shared with another")
                continue
            there[id(a)], back[id(b)] = id(b), id(a)
        if isinstance(a, State):
            assert same_static(dict(a.metadata), dict(b.metadata)), path
            assert same_value(a.value, b.value), (path, a.value, b.value)
            continue
        if isinstance(a, Node):
            x, y = fields_of(a), fields_of(b)
            pairs = {k: (x[k], y[k]) for k in x} if x.keys() == y.keys() else None
            assert pairs is not None, (path, list(x), list(y))
        elif isinstance(a, dict):
            assert same_static(list(a), list(b)), (path, list(a), list(b))
            assert getattr(a, "default_factory", 0) is getattr(b, "default_factory", 0), path
            pairs = dict(zip(a, zip(a.values(), b.values(), strict=True), strict=True))
        elif isinstance(a, (list, tuple)):
            assert len(a) == len(b), path
            pairs = dict(enumerate(zip(a, b, strict=True)))
        elif isinstance(a, Bag):
            assert same_static(a.label, b.label), path
            assert len(a.items) == len(b.items), path
            pairs = dict(enumerate(zip(a.items, b.items, strict=True)))
        else:
            assert same_static(a, b), (path, a, b)
            continue
        stack.extend(((*path, k), *pair) for k, pair in pairs.items())


def parts_of(root: Any) -> list[Any]:
    """Every node, state and mutable container that `root` reaches."""
    found: dict[int, Any] = {}
    stack = [root]
    while stack:
        item = stack.pop()
        if id(item) in found:
            continue
        if isinstance(item, (Node, State, list, dict, Bag)):
            found[id(item)] = item
        if isinstance(item, Node):
            stack.extend(fields_of(item).values())
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, Bag):
            stack.extend(item.items)
    return list(found.values())


# ------------------------------------------------------------------------------------------------- random graphs

STATICS: list[Callable[[], Any]] = [
    lambda: 1, lambda: 2, lambda: 2.0, lambda: True, lambda: 1.0, lambda: 0, lambda: 0.0, lambda: -0.0,
    lambda: False, lambda: float("nan"), lambda: float("inf"), lambda: 1j, lambda: complex(0.0, -0.0),
    lambda: complex(0.0, 0.0), lambda: None, lambda: ..., lambda: "2", lambda: b"2", lambda: "", lambda: Color.RED,
    lambda: Level.ONE, lambda: np.float32(2), lambda: np.float64(2), lambda: np.int32(2), lambda: np.bool_(True),
    lambda: np.float32("nan"), lambda: np.float32(-0.0), lambda: np.float32(0.0), lambda: np.array(2),
    lambda: np.array([2]), lambda: np.array([2.0]), lambda: np.array([[2.0]]), lambda: np.array([float("nan")]),
    lambda: np.array([2.0], "float32"), lambda: (), lambda: (1,), lambda: (True,), lambda: (1.0,), lambda: (0.0,),
    lambda: (-0.0,), lambda: ((1,),), lambda: (float("nan"),), list, lambda: [1], lambda: [True], dict,
    lambda: {1: "a"}, lambda: {True: "a"}, lambda: {1.0: "a"}, lambda: {"1": "a"}, lambda: {1}, lambda: {True},
    lambda: frozenset({1}), lambda: frozenset({1.0}), lambda: set(), lambda: slice(1), lambda: slice(True),
    lambda: slice(1.0), lambda: range(3), lambda: int, lambda: float, lambda: np.dtype("float32"), lambda: math.tanh,
    lambda: len, lambda: Pair(1, 2), lambda: Pair(True, 2), lambda: OrderedDict(a=1), lambda: defaultdict(list),
    lambda: defaultdict(int),
]  # fmt: skip

_arrays = st.sampled_from([
    lambda: jnp.arange(3.0),
    lambda: jnp.zeros((2, 2), "int32"),
    lambda: np.ones(2),
    lambda: np.array(True),
    lambda: 1.5,
    lambda: 3,
])  # fmt: skip


@st.composite
def values(draw: Any) -> Any:
    """What a State may hold: an array, a number, a tree of those."""
    leaf = draw(_arrays)()
    form = draw(st.sampled_from(["leaf", "leaf", "dict", "tuple", "none"]))
    return {"leaf": leaf, "dict": {"b": leaf, "a": [1.0]}, "tuple": (leaf, ()), "none": None}[form]


@st.composite
def states(draw: Any) -> State:
    kind = draw(st.sampled_from([State, Param, Stat]))
    extra = draw(st.sampled_from([{}, {"name": "n"}, {"tag": "a"}, {"tag": {"a", "b"}}, {"unit": 1}, {"unit": 1.0}]))
    return kind(draw(values()), **extra)


@st.composite
def graphs(draw: Any, shared_pytrees: bool = True) -> Gadget:
    """A random graph: nodes, states and containers, shared and in cycles."""
    nodes = [draw(st.sampled_from([Gadget, Widget]))() for _ in range(draw(st.integers(1, 4)))]
    pool: list[Any] = [*nodes, *draw(st.lists(states(), min_size=1, max_size=4))]
    growing: list[Any] = []

    def pick() -> Any:
        if draw(st.integers(0, 3)) == 0:
            return draw(st.sampled_from(STATICS))()
        return pool[draw(st.integers(0, len(pool) - 1))]

    kinds = ["list", "dict", "ordered", "tuple", "pair", "default"] + ["bag"] * shared_pytrees
    for _ in range(draw(st.integers(0, 4))):
        items = [pick() for _ in range(draw(st.integers(0, 3)))]
        keys = draw(st.permutations(["x", "y", 0, 7, (1, "k"), None]))
        kind = draw(st.sampled_from(kinds))
        if kind == "list":
            made: Any = items
        elif kind == "dict":
            made = dict(zip(keys, items, strict=False))
        elif kind == "ordered":
            made = OrderedDict(zip(keys, items, strict=False))
        elif kind == "default":
            made = defaultdict(list, zip(keys, items, strict=False))
        elif kind == "tuple":
            made = tuple(items)
        elif kind == "pair":
            made = Pair(pick(), pick())
        else:
            made = Bag(pool[-1], *items, label=draw(st.sampled_from([None, "a", (1, 2)])))
        if kind in ("list", "dict", "ordered", "default"):
            growing.append(made)
        pool.append(made)
    for container in growing:  # now that all exist: cycles through containers
        if draw(st.booleans()):
            item = nodes[draw(st.integers(0, len(nodes) - 1))]
            container.append(item) if isinstance(container, list) else container.update(late=item)
    for node in nodes:
        for name in draw(st.permutations(["a", "b", "c", "d"]))[: draw(st.integers(1, 4))]:
            setattr(node, name, pick())
        if draw(st.booleans()):
            node.bag = Bag(draw(states()), pool[-1], label="x")
    for before, after in itertools.pairwise(nodes):
        before.next = after
    nodes[0].pool = pool[-1]
    return nodes[0]


# ------------------------------------------------------------------------------------------------- raw JAX

# Each runs `f(x)` once under a JAX transform that knows nothing of states.
RAW: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "jit": lambda f: jax.jit(f)(1.0),
    "grad": lambda f: jax.grad(lambda x: f(x) * 1.0)(1.0),
    "jvp": lambda f: jax.jvp(f, (1.0,), (1.0,)),
    "vmap": lambda f: jax.vmap(f)(jnp.ones(2)),
    "scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0.0, jnp.ones(2)),
    "while": lambda f: jax.lax.while_loop(lambda x: x < 3, lambda x: f(x) + 1, 1.0),
    "cond": lambda f: jax.lax.cond(jnp.asarray(True), f, f, 1.0),
    "checkpoint": lambda f: jax.checkpoint(f)(1.0),
    "eval_shape": lambda f: jax.eval_shape(f, 1.0),
    "grad in jit": lambda f: jax.jit(jax.grad(lambda x: f(x) * 1.0))(1.0),
}
