"""One model in every system: a stack of layers, each with two arrays and three static attributes.

*Raw JAX* is a nested dict of arrays and the functions of ``jax.tree``: what takes their place where a model is taken
apart and put together.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import (
    Node,
    State,
    clone,
    nodes,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)

__all__ = ["SYSTEMS", "Equinox", "Ours", "Raw", "chain"]


@functools.cache
def _arrays() -> tuple[jax.Array, jax.Array]:
    return jnp.ones((2, 2)), jnp.ones(2)


class Layer(Node):
    def __init__(self) -> None:
        weight, bias = _arrays()
        self.in_size, self.out_size, self.activation = 2, 2, "relu"
        self.weight, self.bias = State(weight), State(bias)


class Model(Node):
    def __init__(self, count: int) -> None:
        self.layers = [Layer() for _ in range(count)]


class Link(Node):
    def __init__(self, w: State[Any], next: Node | None) -> None:
        self.w, self.next = w, next


def chain(count: int) -> Node:
    """Return a model that is as deep as it has states."""
    value, link = jnp.ones(()), None
    for _ in range(count):
        link = Link(State(value), link)
    assert link is not None
    return link


class Ours:
    """The verbs of `brainstate_graph`."""

    def __init__(self) -> None:
        self.model, self.state, self.node = Model, lambda: State(_arrays()[1]), Node
        self.split = treefy_split
        self.merge = lambda parts: treefy_merge(*parts)
        self.states = treefy_states
        self.update = update_states
        self.clone = clone
        self.nodes = nodes
        self.found = states
        self.by_kind = lambda model: treefy_split(model, State, ...)


class Raw:
    """A nested dict of arrays."""

    def __init__(self) -> None:
        def model(count: int) -> Any:
            weight, bias = _arrays()
            return {f"layer{number}": {"weight": weight, "bias": bias} for number in range(count)}

        self.model = model
        self.split = jax.tree.flatten
        self.merge = lambda parts: jax.tree.unflatten(parts[1], parts[0])
        self.states = jax.tree.leaves
        self.update = lambda model, tree: jax.tree.unflatten(jax.tree.structure(model), tree)
        self.clone = lambda model: jax.tree.map(lambda x: x, model)


class Nnx:
    """flax nnx."""

    def __init__(self) -> None:
        nnx: Any = importlib.import_module("flax.nnx")

        class Layer(nnx.Module):
            def __init__(self) -> None:
                weight, bias = _arrays()
                self.in_size, self.out_size, self.activation = 2, 2, "relu"
                self.weight, self.bias = nnx.Param(weight), nnx.Param(bias)

        class Model(nnx.Module):
            def __init__(self, count: int) -> None:
                self.layers = nnx.List([Layer() for _ in range(count)])

        class Empty(nnx.Module):
            pass

        self.model, self.state, self.node = Model, lambda: nnx.Param(_arrays()[1]), Empty
        self.split = nnx.split
        self.merge = lambda parts: nnx.merge(*parts)
        self.states = nnx.state
        self.update = nnx.update
        self.clone = nnx.clone  # which shares the arrays, as ours does


class Brainstate:
    """brainstate, the reference system."""

    def __init__(self) -> None:
        brainstate: Any = importlib.import_module("brainstate")
        node, graph = brainstate.graph.Node, brainstate.graph

        class Layer(node):
            def __init__(self) -> None:
                weight, bias = _arrays()
                self.in_size, self.out_size, self.activation = 2, 2, "relu"
                self.weight, self.bias = brainstate.ParamState(weight), brainstate.ParamState(bias)

        class Model(node):
            def __init__(self, count: int) -> None:
                self.layers = [Layer() for _ in range(count)]

        class Empty(node):
            pass

        self.model, self.state, self.node = Model, lambda: brainstate.ParamState(_arrays()[1]), Empty
        self.split = graph.treefy_split
        self.merge = lambda parts: graph.treefy_merge(*parts)
        self.states = graph.treefy_states
        self.update = graph.update_states
        self.clone = graph.clone


class Equinox:
    """equinox: its models are pytrees, so that its split is ``partition``, its merge ``combine``."""

    def __init__(self) -> None:
        eqx: Any = importlib.import_module("equinox")

        class Layer(eqx.Module):
            weight: jax.Array
            bias: jax.Array
            in_size: int = eqx.field(static=True)
            out_size: int = eqx.field(static=True)
            activation: str = eqx.field(static=True)

        class Model(eqx.Module):
            layers: list[Any]

        class Empty(eqx.Module):
            pass

        self.model = lambda count: Model([Layer(*_arrays(), 2, 2, "relu") for _ in range(count)])
        self.node = Empty
        self.split = lambda model: eqx.partition(model, eqx.is_array)
        self.merge = lambda parts: eqx.combine(*parts)
        self.states = lambda model: eqx.filter(model, eqx.is_array)
        self.clone = lambda model: jax.tree.map(lambda x: x, model)


SYSTEMS: dict[str, Callable[[], Any]] = {
    "ours": Ours,
    "raw": Raw,
    "nnx": Nnx,
    "brainstate": Brainstate,
    "equinox": Equinox,
}
