"""Normalisations by their older names and keywords: sizes as tuples, a `BatchNorm` for each rank."""

from __future__ import annotations

from typing import Any

import brainstate_nn as today

from . import init
from .layers import ByFit, channels_last, classes_by_rank
from .module import Layer, as_one_size, as_sizes

__all__ = ["BatchNorm0d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "LayerNorm", "RMSNorm"]

_ZEROS, _ONES = init.ZeroInit(), init.Constant(1.0)


class _BatchNorm(ByFit, today.BatchNorm):
    """Normalisation over the batch."""

    rank = 0

    def __init__(
        self,
        in_size: Any,
        feature_axis: int = -1,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.99,
        affine: bool = True,
        bias_initializer: Any = _ZEROS,
        scale_initializer: Any = _ONES,
        axis_name: Any = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        channels_last(feature_axis, "feature_axis")
        super().__init__(
            as_one_size(in_size),
            epsilon=epsilon,
            momentum=momentum,
            use_bias=affine,
            use_scale=affine,
            b_init=init.as_initializer(bias_initializer),
            w_init=init.as_initializer(scale_initializer),
            axis_name=axis_name,
            dtype=dtype,
        )
        self.in_size = self.out_size = as_sizes(in_size)


BatchNorm0d, BatchNorm1d, BatchNorm2d, BatchNorm3d = classes_by_rank(_BatchNorm, "BatchNorm{}d", (0, 1, 2, 3), __name__)


def _normalised(in_size: Any, reduction_axes: Any, feature_axes: Any) -> tuple[int, ...]:
    """Return the last sizes, over which to normalise, or raise where the axes are others."""
    sizes, axes = as_sizes(in_size), as_sizes(reduction_axes)
    if axes != as_sizes(feature_axes) or sorted(axes or ()) != list(range(-len(axes or ()), 0)):
        raise ValueError(
            f"reduction_axes={reduction_axes!r} and feature_axes={feature_axes!r}: here both are the last axes, as -1 "
            "or (-2, -1); for others write `jnp.moveaxis` first"
        )
    return (sizes or ())[-len(axes or ()) :]


class LayerNorm(Layer, today.LayerNorm):
    """Normalisation of each example over its last axes."""

    def __init__(
        self,
        in_size: Any,
        reduction_axes: Any = -1,
        feature_axes: Any = -1,
        *,
        epsilon: float = 1e-6,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Any = _ZEROS,
        scale_init: Any = _ONES,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            _normalised(in_size, reduction_axes, feature_axes),
            epsilon=epsilon,
            use_bias=use_bias,
            use_scale=use_scale,
            b_init=init.as_initializer(bias_init),
            w_init=init.as_initializer(scale_init),
            dtype=dtype,
        )
        self.in_size = self.out_size = as_sizes(in_size)


class RMSNorm(Layer, today.RMSNorm):
    """Scaling of each example by the root of the mean of its squares."""

    def __init__(
        self,
        in_size: Any,
        *,
        epsilon: float = 1e-6,
        dtype: Any = None,
        use_scale: bool = True,
        scale_init: Any = _ONES,
        reduction_axes: Any = -1,
        feature_axes: Any = -1,
    ) -> None:
        sizes = _normalised(in_size, reduction_axes, feature_axes)
        start = init.as_initializer(scale_init)
        super().__init__(sizes, epsilon=epsilon, use_scale=use_scale, w_init=start, dtype=dtype)
        self.in_size = self.out_size = as_sizes(in_size)


class GroupNorm(Layer, today.GroupNorm):
    """Normalisation of each example over groups of its channels."""

    def __init__(
        self,
        in_size: Any,
        feature_axis: int = -1,
        num_groups: int | None = 32,
        group_size: int | None = None,
        *,
        epsilon: float = 1e-6,
        dtype: Any = None,
        use_bias: bool = True,
        use_scale: bool = True,
        bias_init: Any = _ZEROS,
        scale_init: Any = _ONES,
    ) -> None:
        channels_last(feature_axis, "feature_axis")
        channels = as_one_size(in_size)
        if (num_groups is None) == (group_size is None):
            raise ValueError("give one of `num_groups` and `group_size`, and None for the other")
        super().__init__(
            num_groups or channels // (group_size or 1),
            channels,
            epsilon=epsilon,
            use_bias=use_bias,
            use_scale=use_scale,
            b_init=init.as_initializer(bias_init),
            w_init=init.as_initializer(scale_init),
            dtype=dtype,
        )
        self.in_size = self.out_size = as_sizes(in_size)
