"""Graphs with one of everything, to be written as JSON, and classes that only a text names."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from abc import ABC, abstractmethod
from collections import OrderedDict, defaultdict

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from brainstate_graph import Node, State, Static, graphdef
from tests.laws.graphs import STATICS, Bag, Gadget, Pair, net

HERE = __name__
ALLOW = ["tests.laws.graphs", HERE, "math", "builtins"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Twin:
    x: object
    y: object
    z: int = dataclasses.field(metadata={"static": True}, default=3)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Fixed:
    x: int


@dataclasses.dataclass(frozen=True)
class Config:
    a: object
    b: object = 3


class Shy(Node):
    graph_invisible_attrs = ("cache",)


class Abstract(Node, ABC):
    @abstractmethod
    def run(self): ...


@jax.tree_util.register_pytree_node_class
class Table(dict):
    def tree_flatten(self):
        return tuple(self.values()), tuple(self)

    @classmethod
    def tree_unflatten(cls, keys, values):
        return cls(zip(keys, values, strict=True))


def museum() -> Gadget:
    """A graph with one of everything."""
    model = net()
    model.me = model
    model.pair = Pair(model.head.weight, (1, State(2.0)))
    model.ordered = OrderedDict(b=State(1.0), a=2)
    model.default = defaultdict(list, {(1, "k"): State(2.0), 3: "x", None: 1})
    model.meta = State(1.0, name="q", tag={"a", "b"}, spec=P("x", None, ("y", "z")), many=(1, 2.0))
    for number, make in enumerate(STATICS):
        setattr(model, f"v{number}", make())
    model.config = Config({1, 2}, frozenset({3}))
    model.names = types.SimpleNamespace(a=[1, {"k": (1,)}], b=Config([1], Pair(1, 2)))
    model.called = functools.partial(math.tanh, 1, k=OrderedDict(a=1))
    model.big = -(10**40)
    model.ends = slice(1, None, 2.5)
    model.half = np.zeros(3, "bfloat16")
    model.fields = np.zeros(2, [("a", "<f4"), ("b", "S3", (2,))])
    model.static = Static((1, 2))
    model.inner = graphdef(net(1))
    return model


def gallery() -> Gadget:
    """Pytrees that only JAX knows, shared and in cycles."""
    model = Gadget(s=State(1.0))
    model.bag = Bag(model, model.s, Bag(State(2.0)), label=("x", 2.5))
    model.again = [model.bag, Bag()]
    model.twin = Twin(model.s, [Twin(1, None, 0)], 4)
    model.fixed = Fixed(7)
    model.table = Table(b=State(1.0), a=Table())
    return model
