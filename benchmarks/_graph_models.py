"""One model in every system: a stack of layers, each with two arrays and three static attributes."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Node, State, treefy_merge, treefy_split, treefy_states

__all__ = ["Ours", "systems"]

_WEIGHT, _BIAS = jnp.ones((2, 2)), jnp.ones(2)


class Ours:
    name = "ours"

    def __init__(self) -> None:
        class Layer(Node):
            def __init__(self) -> None:
                self.in_size, self.out_size, self.activation = 2, 2, "relu"
                self.weight, self.bias = State(_WEIGHT), State(_BIAS)

        class Model(Node):
            def __init__(self, count: int) -> None:
                self.layers = [Layer() for _ in range(count)]

        self.Layer, self.model, self.state, self.node = Layer, Model, lambda: State(_BIAS), Node
        self.split = treefy_split
        self.merge = lambda parts: treefy_merge(*parts)
        self.states = treefy_states


class Nnx:
    """flax nnx."""

    name, package = "nnx", "flax"

    def __init__(self) -> None:
        nnx: Any = importlib.import_module("flax.nnx")

        class Layer(nnx.Module):
            def __init__(self) -> None:
                self.in_size, self.out_size, self.activation = 2, 2, "relu"
                self.weight, self.bias = nnx.Param(_WEIGHT), nnx.Param(_BIAS)

        class Model(nnx.Module):
            def __init__(self, count: int) -> None:
                self.layers = nnx.List([Layer() for _ in range(count)])

        class Empty(nnx.Module):
            pass

        self.Layer, self.model, self.state, self.node = Layer, Model, lambda: nnx.Param(_BIAS), Empty
        self.split = nnx.split
        self.merge = lambda parts: nnx.merge(*parts)
        self.states = nnx.state


class Brainstate:
    """brainstate, the reference system."""

    name = package = "brainstate"

    def __init__(self) -> None:
        brainstate: Any = importlib.import_module("brainstate")
        node: Any = brainstate.graph.Node

        class Layer(node):
            def __init__(self) -> None:
                self.in_size, self.out_size, self.activation = 2, 2, "relu"
                self.weight, self.bias = brainstate.ParamState(_WEIGHT), brainstate.ParamState(_BIAS)

        class Model(node):
            def __init__(self, count: int) -> None:
                self.layers = [Layer() for _ in range(count)]

        class Empty(node):
            pass

        self.Layer, self.model, self.state, self.node = Layer, Model, lambda: brainstate.ParamState(_BIAS), Empty
        self.split = brainstate.graph.treefy_split
        self.merge = lambda parts: brainstate.graph.treefy_merge(*parts)
        self.states = brainstate.graph.treefy_states


class Equinox:
    """equinox: its models are pytrees, so that its split is ``partition``, its merge ``combine``."""

    name = package = "equinox"

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

        self.Layer = lambda: Layer(_WEIGHT, _BIAS, 2, 2, "relu")
        self.model = lambda count: Model([self.Layer() for _ in range(count)])
        self.node = Empty
        self.state = None  # its arrays stand in the model themselves
        self.split = lambda model: eqx.partition(model, eqx.is_array)
        self.merge = lambda parts: eqx.combine(*parts)
        self.states = lambda model: eqx.filter(model, eqx.is_array)


def systems() -> list[Any]:
    """Ours, and the others that are installed."""
    return [Ours(), *(peer() for peer in (Nnx, Brainstate, Equinox) if importlib.util.find_spec(peer.package))]
