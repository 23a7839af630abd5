"""One table of all layers, a line each; `test_laws.py` and `on_four_devices.py` hold the laws that run over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import brainstate_nn as nn
from tests.nn.peers import SCALE, Oracle, flax, formula


class Sizes(NamedTuple):
    """Sizes that fit each other; the laws draw them at random."""

    batch: int = 4
    length: int = 6
    heads: int = 2
    head: int = 4
    out: int = 3

    @property
    def width(self) -> int:
        """The number of features."""
        return self.heads * self.head


USUAL = Sizes()


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


def _dtypes(layer: Any) -> dict[str, Any]:
    """What makes a layer of flax compute as ours does."""
    weight = next(iter(layer.states(nn.ParamState).values()), None)
    return {"dtype": layer.dtype, "param_dtype": weight.value.dtype if weight else jnp.float32, "rngs": nnx.Rngs(0)}


LAYERS: list[Layer] = [
    Layer("Linear", lambda s, **o: nn.Linear(s.width, s.out, b_init=NORMAL, **o), rows,
          flax(lambda m: nnx.Linear(m.in_size, m.out_size, **_dtypes(m)))),
    Layer("Linear without bias", lambda s, **o: nn.Linear(s.width, s.out, use_bias=False, **o), series,
          flax(lambda m: nnx.Linear(m.in_size, m.out_size, use_bias=False, **_dtypes(m)))),
    Layer("Conv1d", lambda s, **o: nn.Conv1d(s.width, s.out, 3, b_init=NORMAL, **o), series,
          flax(lambda m: nnx.Conv(m.in_channels, m.out_channels, (3,), **_dtypes(m)))),
    Layer("Conv2d strided", lambda s, **o: nn.Conv2d(s.width, s.out, 3, stride=2, padding="VALID", b_init=NORMAL, **o),
          pictures, flax(lambda m: nnx.Conv(m.in_channels, m.out_channels, (3, 3), 2, padding="VALID", **_dtypes(m)))),
    Layer("BatchNorm", lambda s, **o: nn.BatchNorm(s.width, w_init=NORMAL, b_init=NORMAL, **o), series,
          flax(lambda m: nnx.BatchNorm(m.num_features, use_fast_variance=False, **_dtypes(m)),
               {**SCALE, "running_mean": "mean", "running_var": "var"}), modes=(True, False)),
    Layer("LayerNorm", lambda s, **o: nn.LayerNorm(s.width, w_init=NORMAL, b_init=NORMAL, **o), series,
          flax(lambda m: nnx.LayerNorm(m.num_features, epsilon=1e-5, use_fast_variance=False, **_dtypes(m)), SCALE)),
    Layer("Dropout", lambda s, **o: nn.Dropout(0.5, **o), series, formula(lambda m, v, x: x), modes=(False,),
          plain=True, whole=True),
    Layer("MaxPool", lambda s, rng: nn.MaxPool((2, 2)), pictures,
          formula(lambda m, v, x: nnx.max_pool(x, (2, 2), (2, 2))), plain=True, whole=True),
    Layer("AvgPool", lambda s, rng: nn.AvgPool((2, 2)), pictures,
          formula(lambda m, v, x: nnx.avg_pool(x, (2, 2), (2, 2))), plain=True, whole=True),
    Layer("GlobalAvgPool", lambda s, rng: nn.GlobalAvgPool(), pictures,
          formula(lambda m, v, x: x.mean((1, 2))), plain=True, whole=True),
    Layer("Sequential", lambda s, **o: nn.Sequential(nn.Linear(s.width, s.out, **o), nn.tanh), rows,
          formula(lambda m, v, x: jnp.tanh(jnp.dot(x, v["layers.0.weight"]) + v["layers.0.bias"][None]))),
]  # fmt: skip


def layers(of: Callable[[Layer], bool] = lambda _: True) -> Any:
    """Parametrise a test by the rows of the table, or by those of a kind."""
    chosen = [row for row in LAYERS if of(row)]
    return pytest.mark.parametrize("row", chosen, ids=[row.name for row in chosen])
