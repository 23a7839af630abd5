"""The rules of flax, in linen and in nnx: our layouts, other names, and in linen a kernel for each gate of a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._attention.attention import MultiHeadAttention
from .._layers.activations import PReLU
from .._layers.batch_norm import BatchNorm
from .._layers.convolution import Convolution
from .._layers.einsum import Einsum
from .._layers.embedding import Embedding
from .._layers.linear import Linear
from .._layers.linear_general import LinearGeneral
from .._layers.lora import LoRA
from .._layers.normalisation import Normalisation
from .._layers.reparametrised import SpectralNorm, WeightNorm
from .._recurrent.cells import GRUCell, LSTMCell, MGUCell, RNNCell
from .._recurrent.rnn import Bidirectional
from .weight_maps import WeightMap, WeightRule, beside_zeros, named, parted, reshaped

__all__ = ["LINEN", "NNX"]

_KERNEL = {"weight": "kernel"}


def _prelu(layer: PReLU) -> Mapping[Any, Any]:
    if layer.num_parameters > 1:
        raise ValueError("flax's PReLU has one slope, but this one has a slope for each feature")
    return {"weight": reshaped("negative_slope", (), (1,))}


def _lora(layer: LoRA) -> Mapping[Any, Any]:
    if layer.scale != 1.0:
        raise ValueError(
            f"nnx's LoRA has no scale, but this one has the scale {layer.scale}: call `merge_lora(model)` first"
        )
    return {"base": "base_module"}


def _wrapper(layer: WeightNorm | SpectralNorm, own: Mapping[Any, Any]) -> Mapping[Any, Any]:
    if layer.names != ("weight",) or not isinstance(layer.layer, (Linear, LinearGeneral, Convolution)):
        raise ValueError("flax normalises only the `kernel` of a linear layer or convolution")
    return {"layer": "layer_instance", **own}


def _weight_norm(name: str) -> Callable[[WeightNorm], Mapping[Any, Any]]:
    return lambda layer: _wrapper(layer, {"scale.weight": name})


def _spectral_norm(*names: str) -> Callable[[SpectralNorm], Mapping[Any, Any]]:
    # sigma, the second one, is what the last call found, and is computed anew in each
    turn = WeightMap(names, lambda u: (u[None], np.ones((), u.dtype)), lambda u, _: u.reshape(-1))
    return lambda layer: _wrapper(layer, {"u.weight": turn})


# ------------------------------------------------------------------------------------------------- recurrent cells


def _gate_by_gate(gates: Mapping[str, tuple[str, ...]], bias: str = "h") -> Callable[[Any], Mapping[Any, Any]]:
    """Return the rule of a cell with a kernel for each gate.

    Args:
        gates: The layers of theirs for the columns of `weight_ih` and of `weight_hh`, by `i` and `h`.
        bias: Which of these layers have the biases.
    """
    kernels = {f"weight_{side}h": parted([f"{name}.kernel" for name in names]) for side, names in gates.items()}
    return _with_bias(kernels, f"weight_{bias}h", parted([f"{name}.bias" for name in gates[bias]]))


def _with_bias(weights: Mapping[str, WeightMap], beside: str, bias: WeightMap) -> Callable[[Any], Mapping[Any, Any]]:
    """Return the rule of a cell, whose bias theirs always has."""

    def rule(cell: Any) -> Mapping[Any, Any]:
        if cell.bias is not None:
            return {**weights, "bias": bias}
        names = (bias.names,) if isinstance(bias.names, str) else bias.names
        size = cell.gates * cell.hidden_size // len(names)
        return {**weights, beside: beside_zeros(weights[beside], names, (size,))}

    return rule


def _either(*rules: Callable[[Any], Mapping[Any, Any]]) -> Callable[[Any], Mapping[Any, Any]]:
    """Return the rule of a layer that has two spellings, of which the first is written."""

    def rule(cell: Any) -> Mapping[Any, Any]:
        first, *others = (each(cell) for each in rules)
        return {name: [spelling, *(other[name] for other in others)] for name, spelling in first.items()}

    return rule


_DENSE = {f"weight_{side}h": named(f"dense_{side}.kernel") for side in "ih"}
_simple = _with_bias(_DENSE, "weight_ih", named("dense_i.bias"))
_gru_of_linen = _gate_by_gate({"i": ("ir", "iz", "in"), "h": ("hr", "hz", "hn")}, bias="i")


def _inner_bias_of_linen(cell: GRUCell) -> Mapping[Any, Any]:
    found = dict(_gru_of_linen(cell))
    if cell.bias is None:
        kernels = found["weight_hh"]
        return {**found, "weight_hh": beside_zeros(kernels, ["hn.bias"], (cell.hidden_size,))}
    return {**found, "bias_hn": "hn.bias"}


def _no_inner_bias(cell: GRUCell) -> Mapping[Any, Any]:
    def to_theirs(bias: np.ndarray, bias_hn: np.ndarray) -> np.ndarray:
        if np.any(bias_hn != 0):
            raise ValueError("nnx's GRUCell has no bias in the product with the reset gate, but `bias_hn` is not zero")
        return bias

    def to_ours(bias: np.ndarray) -> Any:
        return bias, np.zeros(cell.hidden_size, bias.dtype)

    found = dict(_simple(cell))
    if "bias" in found:
        del found["bias"]
        found["bias", "bias_hn"] = WeightMap("dense_i.bias", to_theirs, to_ours)
    return found


def _mgu(cell: MGUCell) -> Mapping[Any, Any]:
    raise ValueError("linen's MGUCell multiplies by the gate after the product, and its gate keeps the old state")


# ----------------------------------------------------------------------------------------------------------- tables

_BOTH: dict[type, WeightRule] = {
    Linear: _KERNEL,
    LinearGeneral: _KERNEL,
    Einsum: _KERNEL,
    Convolution: _KERNEL,
    Embedding: {"weight": "embedding"},
    Normalisation: {"weight": "scale"},
    BatchNorm: {"weight": "scale", "running_mean": "mean", "running_var": "var"},
    PReLU: _prelu,
    MultiHeadAttention: {"query_norm": "query_ln", "key_norm": "key_ln"},
    Bidirectional: {"forward": "forward_rnn", "backward": "backward_rnn"},
}

LINEN: dict[type, WeightRule] = {
    **_BOTH,
    RNNCell: _gate_by_gate({"i": ("i",), "h": ("h",)}, bias="i"),
    LSTMCell: _gate_by_gate({"i": ("ii", "if", "ig", "io"), "h": ("hi", "hf", "hg", "ho")}),
    GRUCell: _inner_bias_of_linen,
    MGUCell: _mgu,
    WeightNorm: _weight_norm("layer_instance/kernel/scale"),
    SpectralNorm: _spectral_norm("layer_instance/kernel/u", "layer_instance/kernel/sigma"),
}

NNX: dict[type, WeightRule] = {
    **_BOTH,
    RNNCell: _simple,
    LSTMCell: _either(
        _with_bias(_DENSE, "weight_hh", named("dense_h.bias")),
        _gate_by_gate({"i": ("ii", "if_", "ig", "io"), "h": ("hi", "hf", "hg", "ho")}),
    ),
    GRUCell: _no_inner_bias,
    LoRA: _lora,
    WeightNorm: _weight_norm("scales.kernel"),
    SpectralNorm: _spectral_norm("batch_stats.kernel.u", "batch_stats.kernel.sigma"),
}
