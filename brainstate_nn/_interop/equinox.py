"""The rules of equinox: those of torch, but for attention, and with statistics behind an index into a state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._attention.attention import MultiHeadAttention
from .._layers.activations import PReLU
from .._layers.batch_norm import BatchNorm
from .._layers.conv import Conv
from .._layers.conv_transpose import ConvTranspose
from .._layers.convolution import Convolution
from .._layers.layer_norm import RMSNorm
from .._layers.linear import Linear
from .._layers.linear_general import LinearGeneral
from .._layers.reparametrised import SpectralNorm, WeightNorm
from .._recurrent.cells import GRUCell, LSTMCell
from .shared_rules import CELL_WEIGHTS, general_linear, scale_of_weight_norm
from .weight_maps import (
    WeightMap,
    WeightRule,
    beside_zeros,
    channels_first,
    channels_last,
    exchanged,
    named,
    reshaped,
    transposed,
)

__all__ = ["EQUINOX"]

# After so many batches `momentum ** counter` is 0, so that equinox takes the mean as it is; and there is room for more.
_MANY_BATCHES = np.int32(2**30)


def _bias(layer: Convolution) -> WeightMap:
    return reshaped("bias", (-1, *[1] * len(layer.kernel_size)), (-1,))


def _conv(layer: Conv) -> Mapping[Any, Any]:
    return {"weight": WeightMap("weight", channels_first, channels_last), "bias": _bias(layer)}


def _conv_transpose(layer: ConvTranspose) -> Mapping[Any, Any]:
    """Equinox moves the kernel over the result as it is."""
    turn = (lambda w: exchanged(w, layer.groups)) if layer.transpose_kernel else (lambda w: w)
    return {
        "weight": WeightMap("weight", lambda w: channels_first(turn(w)), lambda w: turn(channels_last(w))),
        "bias": _bias(layer),
    }


def _batch_norm(layer: BatchNorm) -> Mapping[Any, Any]:
    """Return the rule of statistics: of the mode `ema`, or of `batch`, which divides by ``1 - momentum ** counter``."""

    def to_theirs(mean: np.ndarray, var: np.ndarray) -> Any:
        return mean, var, _MANY_BATCHES

    def to_ours(mean: np.ndarray, var: np.ndarray, counter: np.ndarray) -> Any:
        scale = np.asarray(1.0 - layer.momentum ** int(counter) if counter else 1.0, mean.dtype)
        return mean / scale, var / scale

    batch = ("batch_state_index.0", "batch_state_index.1", "batch_counter")
    ema = ("ema_state_index.0", "ema_state_index.1", "ema_first_time_index")
    return {
        ("running_mean", "running_var"): [
            WeightMap(ema, lambda mean, var: (mean, var, np.False_), lambda mean, var, _: (mean, var)),
            WeightMap(batch, to_theirs, to_ours),
        ]
    }


def _rms_norm(layer: RMSNorm) -> Mapping[Any, Any]:
    shape = layer.num_features if isinstance(layer.num_features, tuple) else (layer.num_features,)
    return {"weight": [named("weight"), beside_zeros(named("weight"), ["bias"], shape)]}


def _prelu(layer: PReLU) -> Mapping[Any, Any]:
    shape = () if layer.num_parameters == 1 else (layer.num_parameters,)
    return {"weight": reshaped("negative_slope", shape, (-1,))}


def _weight_norm(layer: WeightNorm) -> Mapping[Any, Any]:
    return {"scale.weight": scale_of_weight_norm(layer, "equinox's WeightNorm", "g")}


def _spectral_norm(layer: SpectralNorm) -> Mapping[Any, Any]:
    raise ValueError(
        "equinox keeps two singular vectors and divides by their estimate, but this layer improves its own in each call"
    )


EQUINOX: dict[type, WeightRule] = {
    Linear: {"weight": transposed("weight")},
    LinearGeneral: general_linear,
    Conv: _conv,
    ConvTranspose: _conv_transpose,
    BatchNorm: _batch_norm,
    RMSNorm: _rms_norm,
    PReLU: _prelu,
    MultiHeadAttention: {"query": "query_proj", "key": "key_proj", "value": "value_proj", "out": "output_proj"},
    LSTMCell: CELL_WEIGHTS,
    GRUCell: {**CELL_WEIGHTS, "bias_hn": "bias_n"},
    WeightNorm: _weight_norm,
    SpectralNorm: _spectral_norm,
}
