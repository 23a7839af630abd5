"""Convolutions of any rank, channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ._module import Module
from ._parameters import (
    Initializer,
    along_axis,
    as_dtype,
    as_input,
    lecun_normal,
    make_parameter,
    per_axis,
    positive,
    promote,
)
from ._random import Rng
from ._states import ParamState

__all__ = ["Conv", "Conv1d", "Conv2d", "Conv3d", "Padding"]

Padding = str | int | Sequence[int | tuple[int, int]]

_BY_LAX = ("SAME", "SAME_LOWER", "VALID")
_PAD_MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect"}


def _plain_padding(padding: Any, rank: int) -> str | tuple[tuple[int, int], ...]:
    """Bring a padding to a known name or one pair per axis."""
    if isinstance(padding, str):
        name = padding.upper()
        if name in (*_BY_LAX, *_PAD_MODES) or (name == "CAUSAL" and rank == 1):
            return name
    elif hasattr(padding, "__index__"):
        return ((int(padding), int(padding)),) * rank
    elif isinstance(padding, Sequence) and len(padding) == rank:
        pairs = [(p, p) if hasattr(p, "__index__") else tuple(p) for p in padding]
        if all(len(pair) == 2 for pair in pairs):
            return tuple((int(low), int(high)) for low, high in pairs)
    raise ValueError(
        f"padding={padding!r} does not fit {rank} spatial axes: give one of {', '.join(_BY_LAX)}, "
        f"{', '.join(_PAD_MODES)}, CAUSAL (one axis only), a whole number, or {rank} numbers or pairs (low, high)"
    )


class Conv(Module):
    """A convolution whose rank is the length of `kernel_size`; channels are the last axis.

    Computes the cross-correlation that the field calls convolution, as `jax.lax.conv_general_dilated` does.

    Args:
        in_channels: The number of input channels.
        out_channels: The number of output channels.
        kernel_size: The window, one number per spatial axis. `Conv1d`, `Conv2d` and `Conv3d` also take a single one.
        stride: The step of the window, one number or one per axis.
        padding: "SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", "CAUSAL" (one axis only), a number, or one
            number or pair ``(low, high)`` per axis.
        dilation: The step between the elements of the window, one number or one per axis.
        groups: Into how many groups the channels are divided, each seeing only its own.
        use_bias: Whether to add `bias`.
        w_init: The initialiser of `weight`, any callable ``(key, shape, dtype) -> array``; not kept.
        b_init: The initialiser of `bias`.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(*kernel_size, in_channels // groups, out_channels)``.
        bias: ParamState of shape ``(out_channels,)``, or None.

    Raises:
        ValueError: An argument does not fit the number of spatial axes, or `groups` does not divide the channels.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Conv, Conv1d
        >>> Conv(3, 8, (3, 3), stride=2)(jnp.ones((1, 28, 28, 3))).shape
        (1, 14, 14, 8)
        >>> Conv1d(3, 8, 5, padding="VALID")(jnp.ones((28, 3))).shape
        (24, 8)
    """

    spatial_rank: ClassVar[int | None] = None

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
        rng: Rng = None,
    ) -> None:
        rank = self.spatial_rank
        if rank is None:
            if not isinstance(kernel_size, Sequence):
                raise ValueError(
                    f"kernel_size={kernel_size!r} does not say how many spatial axes there are: write "
                    f"`Conv2d(..., {kernel_size})` or `Conv(..., ({kernel_size}, {kernel_size}))`"
                )
            rank = len(kernel_size)
        self.in_channels = positive("in_channels", in_channels)
        self.out_channels = positive("out_channels", out_channels)
        self.kernel_size = per_axis("kernel_size", kernel_size, rank)
        self.stride = per_axis("stride", stride, rank)
        self.padding = _plain_padding(padding, rank)
        self.dilation = per_axis("dilation", dilation, rank)
        self.groups = positive("groups", groups)
        self.dtype = as_dtype(dtype)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels} without rest"
            )
        shape = (*self.kernel_size, self.in_channels // self.groups, self.out_channels)
        self.weight = make_parameter("w_init", w_init, shape, param_dtype, rng)
        self.bias: ParamState | None = None
        if use_bias:
            self.bias = make_parameter("b_init", b_init, (self.out_channels,), param_dtype, rng)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(..., *spatial, in_channels)`` with any number of leading axes, also none.

        Returns:
            An array of shape ``(..., *spatial, out_channels)``.
        """
        rank = len(self.kernel_size)
        x = as_input(x, self, size=self.in_channels, rank=rank + 1)
        x, weight, bias = promote(x, self.weight.value, self.bias and self.bias.value, dtype=self.dtype)
        leading = x.shape[: -rank - 1]
        x, padding = self._pad(x.reshape((math.prod(leading), *x.shape[-rank - 1 :])) if len(leading) != 1 else x)
        axes = tuple(range(1, rank + 1))
        last_first = (0, rank + 1, *axes)
        y = jax.lax.conv_general_dilated(
            x,
            weight,
            window_strides=self.stride,
            padding=padding,
            rhs_dilation=self.dilation,
            feature_group_count=self.groups,
            dimension_numbers=jax.lax.ConvDimensionNumbers(last_first, (rank + 1, rank, *range(rank)), last_first),
        )
        if bias is not None:
            y = y + along_axis(bias, y.ndim)
        return y.reshape((*leading, *y.shape[1:])) if len(leading) != 1 else y

    def _pad(self, x: jax.Array) -> tuple[jax.Array, Any]:
        """Do by hand what the convolution of XLA cannot, and return the padding left to do."""
        name = self.padding
        extents = [(k - 1) * d for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        if isinstance(name, str) and name in _PAD_MODES:
            widths = [(0, 0), *((e // 2, e - e // 2) for e in extents), (0, 0)]
            return jnp.pad(x, widths, mode=_PAD_MODES[name]), "VALID"
        return x, [(extents[0], 0)] if name == "CAUSAL" else name


class Conv1d(Conv):
    """A `Conv` over one spatial axis: inputs ``(..., length, in_channels)``.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Conv1d
        >>> Conv1d(2, 4, 3, padding="CAUSAL")(jnp.ones((1, 10, 2))).shape
        (1, 10, 4)
    """

    spatial_rank = 1


class Conv2d(Conv):
    """A `Conv` over two spatial axes: inputs ``(..., height, width, in_channels)``.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Conv2d
        >>> Conv2d(2, 4, 3, stride=2)(jnp.ones((1, 10, 10, 2))).shape
        (1, 5, 5, 4)
    """

    spatial_rank = 2


class Conv3d(Conv):
    """A `Conv` over three spatial axes: inputs ``(..., depth, height, width, in_channels)``.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Conv3d
        >>> Conv3d(2, 4, 3, padding="VALID")(jnp.ones((1, 4, 4, 4, 2))).shape
        (1, 2, 2, 2, 4)
    """

    spatial_rank = 3
