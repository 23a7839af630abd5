"""The rules of torch: matrices ``(out, in)``, channels first, heads side by side, two biases in a cell.

The layouts are those that torch documents for `Linear`, `Conv2d`, `ConvTranspose2d`, `MultiheadAttention`, `LSTM`,
`GRU` and `parametrizations.weight_norm`; those of a LoRA are those of Hugging Face's PEFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._attention.attention import MultiHeadAttention
from .._layers.batch_norm import BatchNorm
from .._layers.containers import Sequential
from .._layers.conv import Conv
from .._layers.conv_transpose import ConvTranspose
from .._layers.linear import Linear
from .._layers.linear_general import LinearGeneral
from .._layers.lora import LoRA
from .._layers.reparametrised import SpectralNorm, WeightNorm
from .._recurrent.cells import GRUCell, LSTMCell, RNNCell
from .._recurrent.rnn import RNN, Bidirectional
from .shared_rules import CELL_WEIGHTS, general_linear, scale_of_weight_norm
from .weight_maps import (
    WeightMap,
    WeightRule,
    channels_first,
    channels_last,
    exchanged,
    matrix,
    reshaped,
    together,
    transposed,
)

__all__ = ["TORCH"]


def _conv_transpose(layer: ConvTranspose) -> Mapping[Any, Any]:
    if layer.transpose_kernel:
        return {"weight": _CHANNELS_FIRST}
    return {
        "weight": WeightMap(
            "weight",
            lambda w: channels_first(exchanged(w, layer.groups)),
            lambda w: exchanged(channels_last(w), layer.groups),
        )
    }


def _attention(layer: MultiHeadAttention) -> Mapping[Any, Any]:
    """Return the names of `torch.nn.MultiheadAttention` where that has such a layer, else those of four linear ones."""
    parts = ("query", "key", "value")
    # A projection that was replaced, as by a LoRA, has names of its own.
    linear = all(type(getattr(layer, part)) is LinearGeneral for part in parts)
    same_size = layer.in_size == layer.out_size == layer.num_heads * layer.head_size
    if not linear or not same_size or layer.num_kv_heads != layer.num_heads or layer.query_norm is not None:
        return {}
    heads = (layer.num_heads, layer.head_size)
    widths = (layer.in_size, layer.kv_size, layer.kv_size)
    if layer.kv_size == layer.in_size:
        first = _joined("in_proj_weight", matrix("", [layer.in_size], heads))
    else:
        first = together(*(matrix(f"{part[0]}_proj_weight", [n], heads) for part, n in zip(parts, widths, strict=True)))
    return {
        tuple(f"{part}.weight" for part in parts): [
            first,
            together(*(matrix(f"{part}.weight", [n], heads) for part, n in zip(parts, widths, strict=True))),
        ],
        tuple(f"{part}.bias" for part in parts): [
            _joined("in_proj_bias", reshaped("", (-1,), heads)),
            together(*(reshaped(f"{part}.bias", (-1,), heads) for part in parts)),
        ],
        "out": "out_proj",
    }


def _joined(name: str, each: WeightMap) -> WeightMap:
    """Three weights as one, a block of rows each."""
    return WeightMap(
        name,
        lambda *ours: np.concatenate(list(map(each.to_theirs, ours))),
        lambda theirs: tuple(map(each.to_ours, np.split(theirs, 3))),
    )


def _negative_zeros(like: np.ndarray) -> np.ndarray:
    # Added to any number, -0.0 leaves it as it is, even another -0.0; 0.0 would not.
    return np.full_like(like, -0.0)


def _cell(layer: LSTMCell | GRUCell | RNNCell) -> Mapping[Any, Any]:
    both = ("bias_ih", "bias_hh")
    if not isinstance(layer, GRUCell):
        return {**CELL_WEIGHTS, "bias": WeightMap(both, lambda b: (b, _negative_zeros(b)), np.add)}
    size = layer.hidden_size

    def to_theirs(b: np.ndarray, b_hn: np.ndarray) -> Any:
        return b, np.concatenate([_negative_zeros(b[size:]), b_hn])

    def to_ours(b_ih: np.ndarray, b_hh: np.ndarray) -> Any:
        return b_ih + np.concatenate([b_hh[: 2 * size], _negative_zeros(b_hh[2 * size :])]), b_hh[2 * size :]

    return {**CELL_WEIGHTS, ("bias", "bias_hn"): WeightMap(both, to_theirs, to_ours)}


def _over_time(runner: RNN, below: str = "cell.", suffix: str = "_l0") -> Mapping[Any, Any]:
    """The names of `torch.nn.LSTM` and its kin, of one layer."""
    if not isinstance(runner.cell, (LSTMCell, GRUCell, RNNCell)):
        return {}

    def under(names: Any) -> Any:
        return f"{below}{names}" if isinstance(names, str) else tuple(map(under, names))

    def ended(names: Any) -> Any:
        return f"{names}{suffix}" if isinstance(names, str) else tuple(map(ended, names))

    return {
        under(ours): spelling._replace(names=ended(spelling.names)) for ours, spelling in _cell(runner.cell).items()
    }


def _both_ways(layer: Bidirectional) -> Mapping[Any, Any]:
    return {
        **_over_time(layer.forward, "forward.cell."),
        **_over_time(layer.backward, "backward.cell.", "_l0_reverse"),
    }


def _lora(layer: LoRA) -> Mapping[Any, Any]:
    rank = (layer.rank,)
    return {
        "base": "base_layer",
        "lora_a": [matrix(f"lora_A.{name}weight", layer.in_size, rank) for name in ("", "default.")],
        "lora_b": [matrix(f"lora_B.{name}weight", rank, layer.out_size) for name in ("", "default.")],
    }


def _weight_norm(layer: WeightNorm) -> Mapping[Any, Any]:
    scale = scale_of_weight_norm(layer, "torch's weight_norm", "parametrizations.weight.original0", "weight_g")
    directions = ("parametrizations.weight.original1", "weight_v")
    return {
        "layer": "",
        "layer.weight": [_CHANNELS_FIRST._replace(names=name) for name in directions],
        "scale.weight": scale,
    }


def _spectral_norm(layer: SpectralNorm) -> Mapping[Any, Any]:
    raise ValueError(
        "torch keeps two singular vectors and divides by their estimate, but this layer improves its own in each call"
    )


_CHANNELS_FIRST = WeightMap("weight", channels_first, channels_last)
_COUNTED = WeightMap(
    ("running_mean", "num_batches_tracked"), lambda mean: (mean, np.zeros((), np.int64)), lambda mean, _: mean
)

TORCH: dict[type, WeightRule] = {
    Linear: {"weight": transposed("weight")},
    LinearGeneral: general_linear,
    Conv: {"weight": _CHANNELS_FIRST},
    ConvTranspose: _conv_transpose,
    BatchNorm: {"running_mean": [_COUNTED, "running_mean"]},
    MultiHeadAttention: _attention,
    LSTMCell: _cell,
    GRUCell: _cell,
    RNNCell: _cell,
    RNN: _over_time,
    Bidirectional: _both_ways,
    Sequential: {"layers": ""},
    LoRA: _lora,
    WeightNorm: _weight_norm,
    SpectralNorm: _spectral_norm,
}
