"""Products, dropout and cells by their older names and keywords: sizes as tuples, the probability to keep."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import brainstate_nn as today

from .._core.inputs import along_axis
from . import environ, init
from .module import Layer, Module, Sized, as_one_size, as_sizes

__all__ = [
    "ByFit", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Dropout",
    "Dropout1d", "Dropout2d", "Dropout3d", "DropoutFixed", "Embedding", "GRUCell", "Identity", "LSTMCell", "Linear",
    "LoRA", "MGUCell", "RNNCell", "ValinaRNNCell", "channels_last", "classes_by_rank",
]  # fmt: skip

_ZEROS, _KAIMING, _XAVIER = init.ZeroInit(), init.KaimingNormal(), init.XavierNormal()
_LECUN, _UNIFORM = init.LecunNormal(), init.LecunUniform()


def channels_last(axis: Any, what: str = "channel_axis") -> None:
    """Raise where channels are not the last axis."""
    if axis not in (-1, (-1,)):
        raise ValueError(f"{what}={axis!r}: channels are the last axis here; write `jnp.moveaxis(x, {axis}, -1)` first")


def classes_by_rank(base: type, names: str, ranks: tuple[int, ...] = (1, 2, 3), module: str = __name__) -> list[Any]:
    """Return subclasses of a class that differ by the `rank` of their inputs: ``names.format(rank)``."""
    made = []
    for rank in ranks:
        words = f"{(base.__doc__ or '').splitlines()[0].rstrip('.')}, over {rank} spatial axes."
        made.append(type(base)(names.format(rank), (base,), {"rank": rank, "__doc__": words, "__module__": module}))
    return made


# ---------------------------------------------------------------------------------------------------------- products


class Linear(Layer, today.LinearGeneral):
    """A linear map of the last axis, with sizes as tuples, and with a mask of the weights where one is given.

    Example:
        >>> from brainstate_nn import compat
        >>> compat.Linear((2,), (3,), b_init=None).out_size
        (3,)
    """

    def __init__(
        self,
        in_size: Any,
        out_size: Any,
        w_init: Any = _KAIMING,
        b_init: Any = _ZEROS,
        w_mask: Any = None,
        name: str | None = None,
    ) -> None:
        biased = b_init is not None
        super().__init__(
            as_one_size(in_size),
            as_one_size(out_size),
            use_bias=biased,
            w_init=init.as_initializer(w_init),
            b_init=init.as_initializer(b_init if biased else 0.0),
        )
        mask = None if w_mask is None else init.param(w_mask, self.weight.value.shape)
        self.w_mask = None if mask is None else today.LongTermState(jnp.asarray(mask))

    def __call__(self, x: Any, **more: Any) -> jax.Array:
        """Apply the layer, with its weights times `w_mask` where one is given."""
        if self.w_mask is None:
            return super().__call__(x, **more)
        y = jnp.matmul(x, self.weight.value * self.w_mask.value)
        return y if self.bias is None else y + along_axis(self.bias.value, y.ndim)


class _ConvSizes(Sized):
    """The arguments of a convolution as they were: the size of one input, channels last."""

    def __init__(
        self,
        in_size: Any,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = "SAME",
        rhs_dilation: Any = 1,
        groups: int = 1,
        w_init: Any = _XAVIER,
        b_init: Any = None,
        channel_first: bool = False,
        name: str | None = None,
        **more: Any,
    ) -> None:
        if channel_first:
            channels_last(1, "channel_first=True, or")
        init_of_layer: Any = super().__init__  # of the convolution that this is mixed into
        init_of_layer(
            as_one_size(in_size),
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=rhs_dilation,
            groups=groups,
            use_bias=b_init is not None,
            w_init=init.as_initializer(w_init),
            b_init=init.as_initializer(0.0 if b_init is None else b_init),
            **more,
        )
        self.in_size = as_sizes(in_size)


class _Conv(_ConvSizes):
    def __init__(
        self,
        in_size: Any,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = "SAME",
        lhs_dilation: Any = 1,
        *rest: Any,
        **more: Any,
    ) -> None:
        if lhs_dilation != 1:
            more["input_dilation"] = lhs_dilation
        super().__init__(in_size, out_channels, kernel_size, stride, padding, *rest, **more)


class Conv1d(_Conv, today.Conv1d):
    """A convolution over one spatial axis, made with the size ``(length, channels)`` of an input."""


class Conv2d(_Conv, today.Conv2d):
    """A convolution over two spatial axes, made with the size ``(height, width, channels)`` of an input.

    Example:
        >>> from brainstate_nn import compat
        >>> compat.Conv2d((8, 8, 3), 4, 3, stride=2).out_size
        (4, 4, 4)
    """


class Conv3d(_Conv, today.Conv3d):
    """A convolution over three spatial axes, made with the size of an input."""


class ConvTranspose1d(_ConvSizes, today.ConvTranspose1d):
    """A transposed convolution over one spatial axis, made with the size of an input."""


class ConvTranspose2d(_ConvSizes, today.ConvTranspose2d):
    """A transposed convolution over two spatial axes, made with the size of an input."""


class ConvTranspose3d(_ConvSizes, today.ConvTranspose3d):
    """A transposed convolution over three spatial axes, made with the size of an input."""


class Embedding(Layer, today.Embedding):
    """A table of vectors."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_size: Any,
        embedding_init: Any = _UNIFORM,
        padding_idx: int | None = None,
        name: str | None = None,
    ) -> None:
        start = init.as_initializer(embedding_init)
        super().__init__(num_embeddings, as_one_size(embedding_size), padding_idx=padding_idx, w_init=start)


class LoRA(Layer, today.LoRA):
    """A product of two small matrices, beside a layer or alone."""

    def __init__(
        self,
        in_features: Any,
        lora_rank: int,
        out_features: Any,
        *,
        base_module: Any = None,
        kernel_init: Any = _LECUN,
    ) -> None:
        super().__init__(
            as_one_size(in_features),
            lora_rank,
            as_one_size(out_features),
            base=base_module,
            a_init=init.as_initializer(kernel_init),
        )


# ------------------------------------------------------------------------------------------- what behaves by the mode


class ByFit(Layer):
    """A layer that asks ``environ.get("fit")`` for its mode; where that is not set, its own `training` holds."""

    def __call__(self, x: Any, *, training: bool | None = None, **more: Any) -> Any:
        if training is None:
            training = bool(environ.get("fit", self.training))  # type: ignore[attr-defined]
        return super().__call__(x, training=training, **more)  # type: ignore[misc] - of the layer that this is mixed into


class _ByKept:
    """What has the probability to keep an element, `prob`, where ours has the rate at which they are dropped."""

    rate: float

    @property
    def prob(self) -> float:
        """The probability to keep an element."""
        return 1.0 - self.rate

    @prob.setter
    def prob(self, prob: float) -> None:
        self.rate = 1.0 - prob


class Dropout(ByFit, _ByKept, today.Dropout):
    """Dropout that keeps an element with probability `prob`.

    Example:
        >>> from brainstate_nn import compat
        >>> compat.Dropout(prob=0.75).rate
        0.25
    """

    def __init__(self, prob: float = 0.5, broadcast_dims: Any = (), name: str | None = None) -> None:
        super().__init__(1.0 - prob, broadcast_dims=broadcast_dims)


class _DropoutChannels(Dropout):
    """Dropout of whole channels."""

    rank = 1

    def __init__(self, prob: float = 0.5, channel_axis: int = -1, name: str | None = None) -> None:
        channels_last(channel_axis)
        super().__init__(prob, range(-1 - self.rank, -1))


Dropout1d, Dropout2d, Dropout3d = classes_by_rank(_DropoutChannels, "Dropout{}d")


class DropoutFixed(ByFit, _ByKept, today.FixedDropout):
    """Dropout with one mask for all steps, which keeps an element with probability `prob`."""

    def __init__(self, in_size: Any, prob: float = 0.5, name: str | None = None) -> None:
        super().__init__(1.0 - prob, in_size)


# -------------------------------------------------------------------------------------------------------------- cells

RNNCell = Module  # the base of cells that are defined by `init_state` and `update`


class _Cell(Layer):
    """The arguments of a cell as they were; initialisers for a fused matrix are ours where none is given."""

    activation_name = "tanh"

    def __init__(
        self,
        num_in: Any,
        num_out: Any,
        w_init: Any = None,
        b_init: Any = _ZEROS,
        activation: Any = None,
        name: str | None = None,
    ) -> None:
        fun = activation or self.activation_name
        starts = {} if w_init is None else dict.fromkeys(("w_init", "recurrent_init"), init.as_initializer(w_init))
        init_of_layer: Any = super().__init__  # of the cell that this is mixed into
        init_of_layer(
            as_one_size(num_in),
            as_one_size(num_out),
            activation=getattr(jax.nn, fun, None) or getattr(jnp, fun) if isinstance(fun, str) else fun,
            b_init=init.as_initializer(b_init),
            **starts,
        )
        self.out_size = (self.hidden_size,)  # type: ignore[attr-defined]


class ValinaRNNCell(_Cell, today.RNNCell):
    """A plain recurrent cell."""

    activation_name = "relu"


class GRUCell(_Cell, today.GRUCell):
    """A gated recurrent unit."""


class MGUCell(_Cell, today.MGUCell):
    """A minimal gated unit."""


class LSTMCell(_Cell, today.LSTMCell):
    """A cell with long short-term memory."""


class Identity(Layer, today.Identity):
    """The layer that returns its input."""
