"""``Conv``: convolutions of any rank, channels last; ``Conv1d`` to ``Conv3d`` fix the number of spatial axes.

They compute the cross-correlation that the field calls convolution. For one that makes its input longer see
`conv_transpose`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .convolution import Convolution

__all__ = ["Conv", "Conv1d", "Conv2d", "Conv3d"]

_PAD_MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect", "REPLICATE": "edge"}


class Conv(Convolution):
    """A convolution whose rank is the length of `kernel_size`; channels are the last axis.

    Computes the cross-correlation that the field calls convolution, as `jax.lax.conv_general_dilated` does.

    Args:
        in_channels: The number of input channels.
        out_channels: The number of output channels.
        kernel_size: The window, one number per spatial axis. `Conv1d`, `Conv2d` and `Conv3d` also take a single one.
        stride: The step of the window, one number or one per axis.
        padding: "SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", "REPLICATE", "CAUSAL" (one axis only), a number,
            or one number or pair ``(low, high)`` per axis.
        dilation: The step between the elements of the window, one number or one per axis.
        input_dilation: The step between the elements of the input, one number or one per axis, with zeros between them:
            the padding is that of the input so made. Not with "CIRCULAR", "REFLECT" and "REPLICATE".
        groups: Into how many groups the channels are divided, each seeing only its own.
        use_bias: Whether to add `bias`.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; LeCun normal by default.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the products, as `jax.lax.conv_general_dilated` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and the result has; None for `dtype`.
        conv_general_dilated: The function that computes the convolution, such as a quantiser's; None for that of
            `jax.lax`.
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

    paddings: ClassVar[tuple[str, ...]] = ("SAME", "SAME_LOWER", "VALID", *_PAD_MODES, "CAUSAL")

    def _check(self) -> None:
        if self.padding in _PAD_MODES and self._spreads():
            raise ValueError(
                f"input_dilation={self.input_dilation} puts zeros between the elements, which padding={self.padding!r} "
                'would repeat: give "SAME", "SAME_LOWER", "VALID", "CAUSAL" or numbers for padding'
            )

    def _spreads(self) -> bool:
        # A model of an older file has no such attribute.
        return any(step > 1 for step in getattr(self, "input_dilation", None) or ())

    def _channels(self) -> tuple[int, int]:
        return self.in_channels // self.groups, self.out_channels

    def _kernel(self, weight: jax.Array) -> jax.Array:
        return weight

    def _placed(self, x: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        padding: Any = self.padding
        if padding in _PAD_MODES:
            # As much as SAME pads, with values that XLA cannot pad by itself.
            widths = [(0, 0), *((e // 2, e - e // 2) for e in self._extents), (0, 0)]
            x, padding = jnp.pad(x, widths, mode=_PAD_MODES[padding]), "VALID"
        elif padding == "CAUSAL":
            # All of it before the first element, so that no result sees what comes later.
            padding = [(self._extents[0], 0)]
        if not self._spreads():
            return x, {"window_strides": self.stride, "padding": padding}
        if isinstance(padding, str):
            # XLA takes names of paddings only for an input as it is.
            spread = zip(x.shape[1:-1], self.input_dilation or (), strict=True)
            lengths = [0 if n == 0 else (n - 1) * step + 1 for n, step in spread]
            padding = jax.lax.padtype_to_pads(lengths, [e + 1 for e in self._extents], self.stride, padding)
        return x, {"window_strides": self.stride, "padding": padding, "lhs_dilation": self.input_dilation}


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
