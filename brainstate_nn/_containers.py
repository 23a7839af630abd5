"""``Sequential``: layers one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, overload

from ._module import Module

__all__ = ["Sequential"]

Layer = Callable[..., Any]


class Sequential(Module):
    """Call layers one after another, each with the result of the one before.

    Args:
        *layers: Modules and plain functions.

    Attributes:
        layers: The list of layers.

    Raises:
        TypeError: A layer cannot be called.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_nn import Linear, Sequential
        >>> net = Sequential(Linear(2, 8), jax.nn.relu, Linear(8, 1))
        >>> net(jnp.ones((5, 2))).shape, len(net), type(net[:2]).__name__
        ((5, 1), 3, 'Sequential')
    """

    def __init__(self, *layers: Layer) -> None:
        self.layers: list[Layer] = []
        for layer in layers:
            self.append(layer)

    def __call__(self, x: Any) -> Any:
        """Return `x` after all layers; without layers, `x` itself."""
        for layer in self.layers:
            x = layer(x)
        return x

    def append(self, layer: Layer) -> None:
        """Add a layer at the end."""
        if not callable(layer):
            raise TypeError(
                f"layer {len(self.layers)} of Sequential is a {type(layer).__name__}, which cannot be called: "
                "write `Sequential(first, second)`, with modules or functions"
            )
        self.layers.append(layer)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer | Sequential:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]
