"""``ConvTranspose``: transposed convolutions of any rank, channels last: the window moves over the result.

They compute the gradient of a convolution with respect to its input, and make an image `stride` times as large. With
names of paddings they are those of JAX, with numbers those of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from brainstate_graph.extend import describe, locate

from .._core.parameters import Initializer, lecun_normal
from .._core.random import Rng
from .convolution import Convolution
from .windows import Padding, as_padding

__all__ = ["ConvTranspose", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class ConvTranspose(Convolution):
    """A transposed convolution, which makes inputs `stride` times as long; channels are the last axis.

    With names of paddings it is `jax.lax.conv_transpose`: "SAME" and "CIRCULAR" give ``n * stride`` elements for ``n``,
    "VALID" all that the window reaches, "CAUSAL" the first ``n * stride`` of these. With numbers it is the layer of
    torch: padding is what is cut off the full result, of ``(n - 1) * stride + dilation * (kernel_size - 1) + 1``
    elements, and `output_padding` is added at the end. A `Conv` with the same numbers makes ``n`` elements of it.

    Args:
        in_channels: The number of input channels.
        out_channels: The number of output channels.
        kernel_size: The window, one number per spatial axis. `ConvTranspose1d`, `ConvTranspose2d` and
            `ConvTranspose3d` also take a single one.
        stride: How many elements of the result there are for one of the input, one number or one per axis.
        padding: "SAME", "VALID", "CIRCULAR", "CAUSAL" (one axis only), a number, or one number or pair ``(low, high)``
            per axis.
        output_padding: How many elements the result is longer at the end, one number or one per axis; with numbers
            for `padding` only, and less than the stride or the dilation.
        dilation: The step between the elements of the window, one number or one per axis.
        groups: Into how many groups the channels are divided, each seeing only its own.
        transpose_kernel: Whether `weight` is that of the `Conv` whose transpose this is: its window is reversed and
            its channels exchanged, as in torch. Otherwise it is used as it is.
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
        weight: ParamState of shape ``(*kernel_size, in_channels // groups, out_channels)``, or of shape
            ``(*kernel_size, out_channels // groups, in_channels)`` if `transpose_kernel`.
        bias: ParamState of shape ``(out_channels,)``, or None.

    Raises:
        ValueError: An argument does not fit the number of spatial axes or the padding, or `groups` does not divide the
            channels.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ConvTranspose
        >>> ConvTranspose(8, 3, (4, 4), stride=2)(jnp.ones((1, 14, 14, 8))).shape
        (1, 28, 28, 3)
        >>> ConvTranspose(8, 3, (3, 3), stride=2, padding=1, output_padding=1)(jnp.ones((1, 14, 14, 8))).shape
        (1, 28, 28, 3)
    """

    paddings: ClassVar[tuple[str, ...]] = ("SAME", "VALID", "CIRCULAR", "CAUSAL")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        output_padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        transpose_kernel: bool = False,
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
        self.transpose_kernel = transpose_kernel
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            input_dilation=None,
            groups=groups,
            use_bias=use_bias,
            w_init=w_init,
            b_init=b_init,
            dtype=dtype,
            param_dtype=param_dtype,
            precision=precision,
            preferred_element_type=preferred_element_type,
            conv_general_dilated=conv_general_dilated,
            rng=rng,
        )
        self.output_padding = self._as_output_padding(output_padding)

    def _as_output_padding(self, output_padding: Any) -> tuple[int, ...]:
        rank = len(self.kernel_size)
        try:
            pairs: Any = as_padding(output_padding, rank, ())
        except ValueError:
            pairs = ()
        # A padding of pairs is not meant: the result grows at its end only.
        more = tuple(high for low, high in pairs if low == high)
        limits = [max(s, d) for s, d in zip(self.stride, self.dilation, strict=True)]
        if len(more) < rank or any(m >= limit for m, limit in zip(more, limits, strict=True)):
            raise ValueError(
                f"output_padding must be one number or {rank} of them, each less than the stride or the dilation of "
                f"its axis, not {output_padding!r}"
            )
        if any(more) and isinstance(self.padding, str):
            raise ValueError(
                f"output_padding={output_padding!r} needs numbers for padding, not {self.padding!r}, which "
                "sets the length of the result by itself"
            )
        return more

    def _channels(self) -> tuple[int, int]:
        if self.transpose_kernel:
            return self.out_channels // self.groups, self.in_channels
        return self.in_channels // self.groups, self.out_channels

    def _kernel(self, weight: jax.Array) -> jax.Array:
        if not self.transpose_kernel:
            return weight
        window, groups = weight.shape[:-2], self.groups
        weight = jnp.flip(weight, tuple(range(len(window))))
        # Of each group the input and output channels are exchanged, and the groups stay in their order.
        weight = weight.reshape((*window, self.out_channels // groups, groups, self.in_channels // groups))
        return jnp.swapaxes(weight, -1, -3).reshape((*window, self.in_channels // groups, self.out_channels))

    def _placed(self, x: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """Let the window move by single steps over the input, whose elements are `stride` apart.

        What is left to find is where it begins, and where it ends for the result to have its length.
        """
        pads: list[tuple[int, int]] = []
        wraps: list[tuple[int, int]] = []
        for axis, (n, stride, extent) in enumerate(zip(x.shape[1:-1], self.stride, self._extents, strict=True)):
            low, length = self._begin(axis, n)
            if n and length < 1:
                raise ValueError(
                    f"{locate(self)} has a padding that cuts off the whole result for `x`, {describe(x)}: write a "
                    "smaller padding"
                )
            wrap = (0, 0)
            # The input goes around: it gets as many elements more, on either side, as the window reaches.
            if self.padding == "CIRCULAR":
                wrap = (-(-low // stride), (extent - low + stride - 1) // stride)
            wraps.append(wrap)
            low -= wrap[0] * stride
            pads.append((low, length + extent - low - (n + sum(wrap) - 1) * stride - 1))
        if any(map(any, wraps)):
            x = jnp.pad(x, [(0, 0), *wraps, (0, 0)], mode="wrap")
        return x, {"window_strides": (1,) * len(pads), "padding": pads, "lhs_dilation": self.stride}

    def _begin(self, axis: int, n: int) -> tuple[int, int]:
        """Return how many elements before the first of the input the window begins, and the length of the result."""
        stride, extent = self.stride[axis], self._extents[axis]
        if not isinstance(self.padding, str):
            low, high = self.padding[axis]
            return extent - low, (n - 1) * stride + 1 + extent - low - high + self.output_padding[axis]
        # How much longer the result of VALID is than `n * stride`, as in `jax.lax.conv_transpose`.
        beyond = max(extent + 1 - stride, 0)
        if self.padding == "VALID":
            return extent, n * stride + beyond
        if self.padding == "SAME":
            return min(extent, -(-(extent + stride - 1) // 2)), n * stride
        # The elements of VALID, added up with the period of the result; the middle one stays in its place.
        if self.padding == "CIRCULAR":
            return extent - (-(-beyond // 2) if self.transpose_kernel else beyond // 2), n * stride
        return extent, n * stride


class ConvTranspose1d(ConvTranspose):
    """A `ConvTranspose` over one spatial axis: inputs ``(..., length, in_channels)``.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ConvTranspose1d
        >>> ConvTranspose1d(2, 4, 3, stride=2)(jnp.ones((1, 10, 2))).shape
        (1, 20, 4)
    """

    spatial_rank = 1


class ConvTranspose2d(ConvTranspose):
    """A `ConvTranspose` over two spatial axes: inputs ``(..., height, width, in_channels)``.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ConvTranspose2d
        >>> ConvTranspose2d(2, 4, 4, stride=2, padding=1)(jnp.ones((1, 5, 5, 2))).shape
        (1, 10, 10, 4)
    """

    spatial_rank = 2


class ConvTranspose3d(ConvTranspose):
    """A `ConvTranspose` over three spatial axes: inputs ``(..., depth, height, width, in_channels)``.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ConvTranspose3d
        >>> ConvTranspose3d(2, 4, 2, stride=2)(jnp.ones((1, 2, 2, 2, 2))).shape
        (1, 4, 4, 4, 4)
    """

    spatial_rank = 3
