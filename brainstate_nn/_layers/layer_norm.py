"""``LayerNorm`` and ``RMSNorm``: normalisation over the features of one example.

They need no batch and keep no statistics, so that training and evaluation are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_finite, as_sizes
from .._core.inputs import as_input, at_least_float32, squared_magnitude
from .._core.parameters import Initializer
from .._core.random import Rng
from .normalisation import Normalisation, mask_of_elements, mean_and_var, mean_of

__all__ = ["LayerNorm", "RMSNorm"]


class _OverFeatures(Normalisation):
    """The abstract base of normalisation over the last axes, whose sizes are known."""

    num_features: int | tuple[int, ...]

    def _set_sizes(self, num_features: int | Sequence[int]) -> tuple[int, ...]:
        shape = as_sizes("num_features", num_features)
        # A single size stays a number, as it was given, and as other layers have it.
        self.num_features = shape[0] if len(shape) == 1 else shape
        return shape

    def _features(self, x: Any) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
        """Return the input, checked, the axes of the features, and the shape of the parameters beside it."""
        shape = self.num_features if isinstance(self.num_features, tuple) else (self.num_features,)
        axes = tuple(range(-len(shape), 0))
        for axis, size in zip(axes, shape, strict=True):
            x = as_input(x, self, size=size, axis=axis)
        return x, axes, (1,) * (x.ndim - len(shape)) + shape


class LayerNorm(_OverFeatures):
    """Normalise the features of each example (Ba, Kiros and Hinton, arXiv:1607.06450).

    Args:
        num_features: The number of features, along the last axis, or the sizes of several last axes.
        epsilon: Added to the variance; 1e-5 as in torch, where flax has 1e-6.
        use_bias: Whether to add `bias` afterwards.
        use_scale: Whether to multiply by `weight` afterwards.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; ones by default.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype of the result; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_features,)``, or of the shape of several axes, or None.
        bias: ParamState of the same shape, or None.

    Raises:
        ValueError: A size is not positive, or `epsilon` is not.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import LayerNorm
        >>> LayerNorm(4)(jnp.arange(8.0).reshape(2, 4)).shape
        (2, 4)
        >>> LayerNorm((3, 4))(jnp.ones((2, 3, 4))).shape
        (2, 3, 4)
    """

    def __init__(
        self,
        num_features: int | Sequence[int],
        *,
        epsilon: float = 1e-5,
        use_bias: bool = True,
        use_scale: bool = True,
        w_init: Initializer = jax.nn.initializers.ones,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rng: Rng = None,
    ) -> None:
        shape = self._set_sizes(num_features)
        inits = w_init if use_scale else None, b_init if use_bias else None
        self._make(shape, epsilon, *inits, dtype, param_dtype, rng)

    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(..., num_features)``.
            mask: True for the elements that count for the statistics, of a shape that fits `x`; None for all.

        Returns:
            An array of the same shape.
        """
        x, axes, shape = self._features(x)
        mean, var, _ = mean_and_var(at_least_float32(x), axes, mask_of_elements(mask, x, self))
        return self._apply(x, mean, var, shape)


class RMSNorm(_OverFeatures):
    """Divide the features of each example by the root of the mean of their squares (arXiv:1910.07467).

    Args:
        num_features: The number of features, along the last axis, or the sizes of several last axes.
        epsilon: Added to the mean of the squares; 1e-6 as in flax, where torch has the resolution of the dtype.
        use_scale: Whether to multiply by `weight` afterwards.
        scale_offset: What is added to `weight` before it multiplies: 1 in Gemma, whose weights begin, and decay, at 0.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; None for the constant
            ``1 - scale_offset``.
        dtype: The dtype of the result; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        rng: The stream that gives the key, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_features,)``, or of the shape of several axes, or None.

    Raises:
        ValueError: A size is not positive, or `epsilon` is not; or there is an offset without a scale.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import RMSNorm
        >>> [round(float(v), 3) for v in RMSNorm(2)(jnp.array([3.0, 4.0]))]
        [0.849, 1.131]
    """

    # That of a model that is read from an older file, which has not this attribute.
    scale_offset: float = 0.0

    def __init__(
        self,
        num_features: int | Sequence[int],
        *,
        epsilon: float = 1e-6,
        use_scale: bool = True,
        scale_offset: float = 0.0,
        w_init: Initializer | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rng: Rng = None,
    ) -> None:
        shape = self._set_sizes(num_features)
        self.scale_offset = as_finite("scale_offset", scale_offset)
        if self.scale_offset and not use_scale:
            raise ValueError(f"scale_offset={scale_offset} needs `weight`, which use_scale=False leaves out")
        if w_init is None:
            w_init = jax.nn.initializers.constant(1.0 - self.scale_offset)
        self._make(shape, epsilon, w_init if use_scale else None, None, dtype, param_dtype, rng)

    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(..., num_features)``.
            mask: True for the elements that count for the mean, of a shape that fits `x`; None for all.

        Returns:
            An array of the same shape.
        """
        x, axes, shape = self._features(x)
        squares, _ = mean_of(squared_magnitude(at_least_float32(x)), axes, mask_of_elements(mask, x, self))
        return self._apply(x, None, squares, shape, self.scale_offset)
