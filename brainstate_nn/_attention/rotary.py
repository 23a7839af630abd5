"""``RotaryEmbedding``: positions as rotations of queries and keys, which attention applies before it compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph.extend import describe, locate

from .._core.arguments import as_positive, as_size
from .._core.inputs import as_indices, as_input, at_least_float32
from .._core.module import Module
from .rotary_scaling import rotary_frequencies

__all__ = ["RotaryEmbedding"]


class RotaryEmbedding(Module):
    """Turn queries and keys by angles that grow with the position, so that their product depends on the distance alone.

    Feature ``i`` and feature ``i + head_size / 2`` are a pair, as in GPT-NeoX, Llama as Hugging Face stores it, and
    equinox; or neighbours are, as in the paper (Su et al., arXiv:2104.09864). The pair is turned by
    ``position * theta ** (-2 i / head_size)``. Sines and products are computed in at least single precision.

    Args:
        head_size: The number of features of a head, an even number unless `rotary_size` is given.
        rotary_size: How many features of a head are turned, the first ones: an even number, which replaces `head_size`
            above; None for all. (`rotary_dim`, or `partial_rotary_factor` times the size, elsewhere.)
        interleaved: Whether neighbours are the pairs, features ``2 i`` and ``2 i + 1``, as in GPT-J, GLM and Cohere.
        theta: The base of the wavelengths; the longest is ``2 pi theta`` positions, nearly.
        scaling: What gives other frequencies: `LinearRotaryScaling`, `Llama3RotaryScaling`, `YarnRotaryScaling`, or a
            function ``(size, theta) -> frequencies`` of the number of features that are turned, one for each pair, in
            radians per position; None for none. Where it has an `attention_factor`, what is turned is multiplied by
            that, too.

    Raises:
        TypeError: `scaling` is not a function.
        ValueError: A size is odd, `rotary_size` is above `head_size`, `theta` is not positive, or `scaling` does not
            give one number for each pair.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import RotaryEmbedding
        >>> turn = RotaryEmbedding(2)
        >>> x = jnp.array([1.0, 0.0]).reshape(1, 1, 2)
        >>> [round(float(v), 3) for v in turn(x, jnp.array([1])).ravel()]  # cos 1, sin 1
        [0.54, 0.841]
    """

    # Those of a model that is read from an older file, which has not these attributes.
    rotary_size: int | None = None
    interleaved: bool = False
    scaling: Callable[[int, float], Any] | None = None

    def __init__(
        self,
        head_size: int,
        *,
        rotary_size: int | None = None,
        interleaved: bool = False,
        theta: float = 10000.0,
        scaling: Callable[[int, float], Any] | None = None,
    ) -> None:
        self.head_size = as_size("head_size", head_size)
        name, size = ("head_size", head_size) if rotary_size is None else ("rotary_size", rotary_size)
        if as_size(name, size) % 2:
            raise ValueError(f"{name} must be even, because features are rotated in pairs, not {size}")
        if size > head_size:
            raise ValueError(f"rotary_size={rotary_size} must not be above head_size={head_size}")
        # One spelling of one meaning, so that programs are shared.
        self.rotary_size = None if size == self.head_size else as_size(name, size)
        self.interleaved = bool(interleaved)
        self.theta = as_positive("theta", theta)
        if scaling is not None:
            _refuse_misfit(scaling, size, self.theta)
        self.scaling = scaling

    def __call__(self, x: jax.Array, positions: Any = None) -> jax.Array:
        """Turn queries or keys.

        Args:
            x: An array of shape ``(..., length, heads, head_size)``.
            positions: Whole numbers of shape ``(length,)`` or ``(..., length)``; None for 0, 1, 2, ...

        Returns:
            An array of the shape and dtype of `x`.
        """
        x = as_input(x, self, size=self.head_size, rank=3)
        if positions is None:
            positions = jnp.arange(x.shape[-3])
        positions = as_indices(positions, self, "positions")
        full = x.shape[:-2]
        shape = (1,) * (len(full) - 1) + positions.shape if positions.ndim == 1 else positions.shape
        if len(shape) != len(full) or any(a not in (1, b) for a, b in zip(shape, full, strict=True)):
            raise ValueError(
                f"{locate(self)} takes `positions` of shape {full[-1:]} or {full} for this input, not "
                f"{describe(positions)}"
            )
        size = self.rotary_size or self.head_size
        wide = at_least_float32(x if size == self.head_size else x[..., :size])
        dtype = wide.dtype
        frequencies = rotary_frequencies if self.scaling is None else self.scaling
        frequency = jnp.asarray(frequencies(size, self.theta), dtype)
        angle = positions.reshape((*shape, 1, 1)).astype(dtype) * frequency.reshape((1,) * (len(shape) + 1) + (-1,))
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        factor = getattr(self.scaling, "attention_factor", 1.0)
        if factor != 1.0:
            cos, sin = cos * factor, sin * factor
        first, second = (wide[..., ::2], wide[..., 1::2]) if self.interleaved else jnp.split(wide, 2, axis=-1)
        pairs = [first * cos - second * sin, second * cos + first * sin]
        turned = jnp.stack(pairs, -1).reshape(wide.shape) if self.interleaved else jnp.concatenate(pairs, -1)
        turned = turned.astype(x.dtype)
        return turned if size == self.head_size else jnp.concatenate([turned, x[..., size:]], -1)


def _refuse_misfit(scaling: Any, head_size: int, theta: float) -> None:
    """Refuse what gives no frequencies for heads of this size."""
    if not callable(scaling) or isinstance(scaling, type):
        hint = "pass its numbers by name: " if isinstance(scaling, Mapping) else ""
        raise TypeError(
            "scaling must be a function (head_size, theta) -> frequencies, not "
            f"{scaling.__name__ if isinstance(scaling, type) else type(scaling).__name__}: {hint}"
            "write `scaling=Llama3RotaryScaling(8.0, original_length=8192)`"
        )
    found = np.asarray(scaling(head_size, theta))
    if found.shape != (head_size // 2,) or not np.isfinite(found).all():
        raise ValueError(
            f"scaling must give {head_size // 2} finite frequencies, one for each pair of features, not {found}"
        )
