"""A row of the table of layers, the usual shapes of inputs, and how a cell is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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


def rows(s: Sizes) -> tuple[tuple[int, ...], ...]:
    return ((s.batch, s.width),)


def series(s: Sizes) -> tuple[tuple[int, ...], ...]:
    return ((s.batch, s.length, s.width),)


def pictures(s: Sizes) -> tuple[tuple[int, ...], ...]:
    return ((s.batch, s.length, s.length, s.width),)


def started(layer: nn.RecurrentCell, s: Sizes) -> None:
    """In the middle of a sequence, so that what the hidden states do shows."""
    layer.init_state(s.batch)
    for state in layer.states(nn.HiddenState).values():
        state.value = jnp.full_like(state.value, 0.5)
