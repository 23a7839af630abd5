"""Rules that torch and equinox share: linear maps are matrices ``(out, in)``, and so are the weights of cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._layers.conv import Conv
from .._layers.linear import Linear
from .._layers.linear_general import LinearGeneral
from .._layers.reparametrised import WeightNorm
from .weight_maps import WeightMap, matrix, reshaped, transposed

__all__ = ["CELL_WEIGHTS", "general_linear", "scale_of_weight_norm"]

CELL_WEIGHTS = {name: transposed(name) for name in ("weight_ih", "weight_hh")}


def general_linear(layer: LinearGeneral) -> Mapping[Any, Any]:
    """Return the rule of a map of several axes, which is a plain linear layer there."""
    return {
        "weight": matrix("weight", layer.in_size, layer.out_size),
        "bias": reshaped("bias", (-1,), layer.out_size),
    }


def scale_of_weight_norm(layer: WeightNorm, what: str, *names: str) -> list[WeightMap]:
    """Return how the scale is spelled: one length for each output, as a weight with that axis alone.

    Args:
        layer: The layer.
        what: What the framework calls it, for messages.
        *names: The names of the scale there, of which the first is written.

    Raises:
        ValueError: The framework has no such layer.
    """
    inner = layer.layer
    if not isinstance(inner, (Linear, Conv)) or layer.names != ("weight",) or layer.axis != -1 or layer.scale is None:
        raise ValueError(f"{what} needs `weight` of a Linear or Conv, a scale, and axis=-1")
    axes = 0 if isinstance(inner, Linear) else len(inner.kernel_size)
    return [reshaped(name, (-1, 1, *[1] * axes), (-1,)) for name in names]
