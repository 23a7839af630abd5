"""What a row of the table of layers is, and the inputs that rows share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

import brainstate_nn as nn
from tests.laws.sizes import USUAL, Sizes
from tests.nn.peers import Oracle


class Layer(NamedTuple):
    """A row of the table.

    Attributes:
        name: The name, which is that of a class of `brainstate_nn` up to the first space or bracket.
        build: ``build(sizes, **options)``; the options are `rng`, and `dtype` and `param_dtype` unless `plain`.
        shapes: The shapes of the inputs, of their sizes; the first axis is the batch, the last the features.
        oracle: The same computation by somebody else.
        modes: The values of `training` for which the oracle holds, and in which the layer differs.
        plain: Whether it has no parameters, and so no `dtype` and `param_dtype`.
        whole: Whether it takes any shape, so that no number of features is wrong.
        kinds: The largest whole number of each input, of the sizes, where they are indices; None for floats.
        start: What is done to it before it is called, as to make hidden states for a batch.
    """

    name: str
    build: Callable[..., nn.Module]
    shapes: Callable[[Sizes], tuple[tuple[int, ...], ...]]
    oracle: Oracle
    modes: tuple[bool, ...] = (True,)
    plain: bool = False
    whole: bool = False
    kinds: Callable[[Sizes], tuple[int | None, ...]] | None = None
    start: Callable[[Any, Sizes], None] | None = None

    def make(self, sizes: Sizes = USUAL, training: bool = True, seed: int = 0, **options: Any) -> Any:
        """Return the layer, ready to be called."""
        options = {"rng": nn.RandomState(seed), **({} if self.plain else options)}
        layer = self.build(sizes, **options).train(training)
        if self.start is not None:
            self.start(layer, sizes)
        return layer

    def inputs(self, sizes: Sizes = USUAL, seed: int = 0, dtype: Any = jnp.float32) -> list[jax.Array]:
        """Return random inputs."""
        shapes = self.shapes(sizes)
        tops = (None,) * len(shapes) if self.kinds is None else self.kinds(sizes)
        keys = jax.random.split(jax.random.key(seed), len(shapes))
        return [
            jax.random.normal(key, shape, dtype) if top is None else jax.random.randint(key, shape, 0, top)
            for key, shape, top in zip(keys, shapes, tops, strict=True)
        ]


NORMAL = jax.nn.initializers.normal(1.0)  # of biases and scales too, so that what is forgotten shows


def rows(s: Sizes) -> tuple[tuple[int, ...], ...]:
    return ((s.batch, s.width),)


def series(s: Sizes) -> tuple[tuple[int, ...], ...]:
    return ((s.batch, s.length, s.width),)


def pictures(s: Sizes) -> tuple[tuple[int, ...], ...]:
    return ((s.batch, s.length, s.length, s.width),)


def dtypes_of(layer: Any) -> dict[str, Any]:
    """What makes a layer of flax compute as ours does."""
    weight = next(iter(layer.states(nn.ParamState).values()), None)
    return {
        "dtype": layer.dtype,
        "param_dtype": weight.value.dtype if weight is not None else jnp.float32,
        "rngs": nnx.Rngs(0),
    }


class Called(nn.Module):
    """A layer that is called with options, and with inputs behind the first one by name where names are given."""

    def __init__(self, layer: nn.Module, names: tuple[str, ...] = (), **options: Any) -> None:
        self.layer, self.names, self.options = layer, names, options

    def __call__(self, first: Any, *others: Any) -> Any:
        named = dict(zip(self.names, others, strict=True)) if self.names else {}
        return self.layer(first, *([] if named else others), **named, **self.options)


def started(layer: nn.RecurrentCell, s: Sizes) -> None:
    """In the middle of a sequence, so that what the hidden states do shows."""
    layer.init_state(s.batch)
    for state in layer.states(nn.HiddenState).values():
        state.value = jnp.full_like(state.value, 0.5)
