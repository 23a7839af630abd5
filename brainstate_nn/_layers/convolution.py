"""``Convolution``: the abstract base of `Conv` and `ConvTranspose`.

It has the parameters, the leading axes, and the one call of XLA, which computes both. The two differ in the channels of
their weight, in the kernel that XLA is given, and in where the window moves. Channels are the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from .._core.arguments import as_dtype, as_precision, as_size, as_sizes_per_axis
from .._core.inputs import as_input, promote
from .._core.module import Module
from .._core.parameters import Initializer, lecun_normal, make_parameter
from .._core.products import as_element_type, as_function, convolve, with_bias
from .._core.random import Rng
from .._core.sharded import with_spec
from .._core.states import ParamState
from .windows import Padding, as_padding, rank_of_window, refuse_short_input

__all__ = ["Convolution"]


class Convolution(Module):
    """The abstract base of convolutions; a subclass defines `paddings`, `_channels`, `_kernel` and `_placed`.

    Attributes:
        spatial_rank: The number of spatial axes; None where the length of `kernel_size` tells it.
        paddings: The names of paddings that the layer takes.
    """

    spatial_rank: ClassVar[int | None] = None
    paddings: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        dilation: int | Sequence[int] = 1,
        input_dilation: int | Sequence[int] | None = 1,
        groups: int = 1,
        use_bias: bool = True,
        w_init: Initializer = lecun_normal,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        conv_general_dilated: Callable[..., Any] | None = None,
        rng: Rng = None,
    ) -> None:
        rank = self.spatial_rank
        if rank is None:
            name = type(self).__name__
            write = f"`{name}2d(..., {kernel_size})` or `{name}(..., ({kernel_size}, {kernel_size}))`"
            rank = rank_of_window("kernel_size", kernel_size, write)
        self.in_channels = as_size("in_channels", in_channels)
        self.out_channels = as_size("out_channels", out_channels)
        self.kernel_size = as_sizes_per_axis("kernel_size", kernel_size, rank)
        self.stride = as_sizes_per_axis("stride", stride, rank)
        self.padding = as_padding(padding, rank, self.paddings)
        self.dilation = as_sizes_per_axis("dilation", dilation, rank)
        # None where the stride is that of the input
        spread = None if input_dilation is None else as_sizes_per_axis("input_dilation", input_dilation, rank)
        self.input_dilation = spread
        self.groups = as_size("groups", groups)
        self.dtype = as_dtype(dtype)
        self.precision = as_precision(precision)
        self.preferred_element_type = as_element_type(preferred_element_type)
        self.conv_general_dilated = as_function("conv_general_dilated", conv_general_dilated)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels} without a "
                "remainder"
            )
        self._check()
        shape = (*self.kernel_size, *self._channels())
        self.weight = make_parameter("w_init", w_init, shape, param_dtype, rng)
        self.bias: ParamState | None = None
        if use_bias:
            self.bias = make_parameter("b_init", b_init, (self.out_channels,), param_dtype, rng)

    def __call__(self, x: jax.Array, *, out_sharding: Any = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(..., *spatial, in_channels)`` with any number of leading axes, also none.
            out_sharding: The sharding of the result, a NamedSharding or PartitionSpec, where JAX cannot tell it.

        Returns:
            An array of shape ``(..., *spatial, out_channels)``.
        """
        rank = len(self.kernel_size)
        given = as_input(x, self, size=self.in_channels, rank=rank + 1)
        bias = None if self.bias is None else self.bias.value
        x, weight, bias = promote(given, self.weight.value, bias, dtype=self.dtype)
        leading = x.shape[: -rank - 1]
        # XLA takes exactly one batch axis.
        if len(leading) != 1:
            x = x.reshape((math.prod(leading), *x.shape[-rank - 1 :]))
        x, movement = self._placed(x)
        # XLA gets the places of batch, channels and spatial axes: no array is transposed
        last_first = (0, rank + 1, *range(1, rank + 1))
        y = convolve(
            self,
            x,
            self._kernel(weight),
            _with_one_axis(out_sharding, len(leading)),
            **movement,
            rhs_dilation=self.dilation,
            feature_group_count=self.groups,
            dimension_numbers=jax.lax.ConvDimensionNumbers(last_first, (rank + 1, rank, *range(rank)), last_first),
        )
        refuse_short_input(self.kernel_size, given, y, rank, self)
        y = with_bias(y, bias)
        return y if len(leading) == 1 else jnp.reshape(y, (*leading, *y.shape[1:]), out_sharding=out_sharding)

    @property
    def _extents(self) -> list[int]:
        """How far the last element of the window is from the first, on each axis."""
        return [(k - 1) * d for k, d in zip(self.kernel_size, self.dilation, strict=True)]

    def _check(self) -> None:
        """Refuse arguments that do not go with each other."""

    def _channels(self) -> tuple[int, int]:
        """Return the sizes of the last two axes of `weight`."""
        raise NotImplementedError

    def _kernel(self, weight: jax.Array) -> jax.Array:
        """Return the kernel of the cross-correlation that XLA computes, ``(*window, in_channels // groups, out)``."""
        raise NotImplementedError

    def _placed(self, x: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """Do by hand what XLA cannot, and return the strides, the padding and the dilation of the input that are left.

        Args:
            x: An array of shape ``(batch, *spatial, in_channels)``.
        """
        raise NotImplementedError


def _with_one_axis(sharding: Any, leading: int) -> Any:
    """Return the sharding of the result while its leading axes are one: it is split as the first of them is to be."""
    if sharding is None or leading == 1:
        return sharding
    axes = tuple(getattr(sharding, "spec", sharding))
    return with_spec(sharding, P(axes[0] if leading and axes else None, *axes[leading:]))
