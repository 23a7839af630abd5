"""Pools and pads by rank, and `Flatten` and `Unflatten`, with their older arguments."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

import brainstate_nn as today

from .layers import channels_last, classes_by_rank
from .module import Module, Sized, as_sizes

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "CircularPad1d", "CircularPad2d", "CircularPad3d",
    "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "Flatten", "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d",
    "MaxPool2d", "MaxPool3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "Unflatten", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip


def _each_axis(size: Any, rank: int) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, (tuple, list)) else (size,) * rank


class _Pool(Sized):
    """The arguments of a pool as they were."""

    rank = 1
    default_stride: int | None = None

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = "VALID",
        channel_axis: int = -1,
        name: str | None = None,
        in_size: Any = None,
    ) -> None:
        channels_last(channel_axis)
        stride = self.default_stride if stride is None else stride
        super().__init__(_each_axis(kernel_size, self.rank), stride, padding)  # type: ignore[call-arg] - of the pool
        self.in_size = as_sizes(in_size)


class _MaxPool(_Pool, today.MaxPool):
    """The greatest element of each window."""


class _AvgPool(_Pool, today.AvgPool):
    """The mean of each window, which moves by one element where no stride is given."""

    default_stride = 1


class _LPPool(_Pool, today.AvgPool):
    """The p-norm of each window."""

    def __init__(self, norm_type: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm_type = norm_type

    def __call__(self, x: jax.Array) -> jax.Array:
        return (super().__call__(x**self.norm_type) * math.prod(self.window)) ** (1.0 / self.norm_type)


class _AdaptivePool(Sized):
    """The arguments of a pool whose result has a given size."""

    rank = 1

    def __init__(self, target_size: Any, channel_axis: int = -1, name: str | None = None, in_size: Any = None) -> None:
        channels_last(channel_axis)
        super().__init__(_each_axis(target_size, self.rank))  # type: ignore[call-arg] - of the pool
        self.in_size = as_sizes(in_size)


class _AdaptiveAvgPool(_AdaptivePool, today.AdaptiveAvgPool):
    """The means of windows, as many as asked for."""


class _AdaptiveMaxPool(_AdaptivePool, today.AdaptiveMaxPool):
    """The greatest elements of windows, as many as asked for."""


class _Pad(Sized, today.Module):
    """Padding of the spatial axes, by `jnp.pad`."""

    rank = 1
    mode = "constant"

    def __init__(self, padding: Any, in_size: Any = None, name: str | None = None, **how: Any) -> None:
        widths = [padding] * 2 * self.rank if isinstance(padding, int) else list(padding)
        if len(widths) == self.rank != 1:  # one number for both sides of each axis
            widths = [width for width in widths for _ in range(2)]
        if len(widths) != 2 * self.rank:
            raise ValueError(
                f"padding={padding!r} does not fit {self.rank} spatial axes: give a number, or a pair each"
            )
        self.widths = tuple(zip(widths[::2], widths[1::2], strict=True))
        self.how = how
        self.in_size = as_sizes(in_size)

    def __call__(self, x: jax.Array) -> jax.Array:
        lead = [(0, 0)] * (x.ndim - self.rank - 1)
        return jnp.pad(x, [*lead, *self.widths, (0, 0)], self.mode, **self.how)


class _CircularPad(_Pad):
    """Padding by the other end."""

    mode = "wrap"


class _ReflectionPad(_Pad):
    """Padding by the elements next to the first and last ones, mirrored."""

    mode = "reflect"


class _ReplicationPad(_Pad):
    """Padding by the first and last elements."""

    mode = "edge"


class _ConstantPad(_Pad):
    """Padding by a number."""

    def __init__(self, padding: Any, value: float = 0.0, in_size: Any = None, name: str | None = None) -> None:
        super().__init__(padding, in_size, constant_values=value)


MaxPool1d, MaxPool2d, MaxPool3d = classes_by_rank(_MaxPool, "MaxPool{}d", module=__name__)
AvgPool1d, AvgPool2d, AvgPool3d = classes_by_rank(_AvgPool, "AvgPool{}d", module=__name__)
LPPool1d, LPPool2d, LPPool3d = classes_by_rank(_LPPool, "LPPool{}d", module=__name__)
AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = classes_by_rank(
    _AdaptiveAvgPool, "AdaptiveAvgPool{}d", module=__name__
)
AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = classes_by_rank(
    _AdaptiveMaxPool, "AdaptiveMaxPool{}d", module=__name__
)
CircularPad1d, CircularPad2d, CircularPad3d = classes_by_rank(_CircularPad, "CircularPad{}d", module=__name__)
ConstantPad1d, ConstantPad2d, ConstantPad3d = classes_by_rank(_ConstantPad, "ConstantPad{}d", module=__name__)
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = classes_by_rank(_ReflectionPad, "ReflectionPad{}d", module=__name__)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = classes_by_rank(
    _ReplicationPad, "ReplicationPad{}d", module=__name__
)
ZeroPad1d, ZeroPad2d, ZeroPad3d = classes_by_rank(_Pad, "ZeroPad{}d", module=__name__)


class Flatten(Sized, today.Flatten):
    """`Flatten` from its first axis on; with the size of one example, it counts the axes of that.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import compat
        >>> compat.Flatten()(jnp.ones((2, 3))).shape, compat.Flatten(in_size=(3, 4))(jnp.ones((2, 3, 4))).shape
        ((6,), (2, 12))
    """

    def __init__(self, start_axis: int = 0, end_axis: int = -1, in_size: Any = None) -> None:
        sizes = as_sizes(in_size)
        rank = 0 if sizes is None else len(sizes)
        super().__init__(*(axis - rank if axis >= 0 else axis for axis in (start_axis, end_axis)))
        self.in_size = sizes


class Unflatten(Module):
    """Several axes in place of one."""

    def __init__(self, axis: int, sizes: Any, name: str | None = None, in_size: Any = None) -> None:
        super().__init__(name)
        self.axis = axis
        self.sizes = as_sizes(sizes) or ()
        if in_size is not None:
            self.in_size = in_size

    def __call__(self, x: jax.Array) -> jax.Array:
        axis = self.axis % x.ndim
        return x.reshape((*x.shape[:axis], *self.sizes, *x.shape[axis + 1 :]))
