"""What convolutions and transposed convolutions have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from .._core.module import Module
from .._core.parameters import (
    Initializer,
    along_axis,
    as_dtype,
    as_input,
    as_precision,
    lecun_normal,
    make_parameter,
    per_axis,
    positive,
    promote,
)
from .._core.random import Rng
from .._core.states import ParamState
from .windows import Padding, padding_of, refuse_short, window_of

__all__ = ["Convolution"]


class Convolution(Module):
    """Parameters, leading axes, and the one call of XLA; where the window moves is up to the subclass."""

    spatial_rank: ClassVar[int | None] = None
    paddings: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        use_bias: bool = True,
        w_init: Initializer = lecun_normal,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        rng: Rng = None,
    ) -> None:
        rank = self.spatial_rank
        if rank is None:
            name = type(self).__name__
            write = f"`{name}2d(..., {kernel_size})` or `{name}(..., ({kernel_size}, {kernel_size}))`"
            rank = window_of("kernel_size", kernel_size, write)
        self.in_channels = positive("in_channels", in_channels)
        self.out_channels = positive("out_channels", out_channels)
        self.kernel_size = per_axis("kernel_size", kernel_size, rank)
        self.stride = per_axis("stride", stride, rank)
        self.padding = padding_of(padding, rank, self.paddings)
        self.dilation = per_axis("dilation", dilation, rank)
        self.groups = positive("groups", groups)
        self.dtype = as_dtype(dtype)
        self.precision = as_precision(precision)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels} without rest"
            )
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
        x, weight, bias = promote(given, self.weight.value, self.bias and self.bias.value, dtype=self.dtype)
        leading = x.shape[: -rank - 1]
        if len(leading) != 1:
            x = x.reshape((math.prod(leading), *x.shape[-rank - 1 :]))
        x, where = self._placed(x)
        last_first = (0, rank + 1, *range(1, rank + 1))
        y = jax.lax.conv_general_dilated(
            x,
            self._kernel(weight),
            **where,
            rhs_dilation=self.dilation,
            feature_group_count=self.groups,
            dimension_numbers=jax.lax.ConvDimensionNumbers(last_first, (rank + 1, rank, *range(rank)), last_first),
            precision=self.precision,
            out_sharding=_with_one_axis(out_sharding, len(leading)),
        )
        refuse_short(self.kernel_size, given, y, rank, self)
        if bias is not None:
            y = y + along_axis(bias, y.ndim)
        return y if len(leading) == 1 else jnp.reshape(y, (*leading, *y.shape[1:]), out_sharding=out_sharding)

    @property
    def _extents(self) -> list[int]:
        """How far the last element of the window is from the first, on each axis."""
        return [(k - 1) * d for k, d in zip(self.kernel_size, self.dilation, strict=True)]

    def _channels(self) -> tuple[int, int]:
        """The last two axes of `weight`."""
        return self.in_channels // self.groups, self.out_channels

    def _kernel(self, weight: jax.Array) -> jax.Array:
        """Return the kernel of the cross-correlation that XLA computes."""
        return weight

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
    entries = tuple(sharding.spec if isinstance(sharding, NamedSharding) else sharding)
    spec = P(entries[0] if leading and entries else None, *entries[leading:])
    return NamedSharding(sharding.mesh, spec) if isinstance(sharding, NamedSharding) else spec
