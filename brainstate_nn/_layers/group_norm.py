"""``GroupNorm`` and ``InstanceNorm``: normalisation of each example over its spatial axes.

GroupNorm takes the features in groups, InstanceNorm each by itself. Neither depends on the batch.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_size
from .._core.inputs import as_input, at_least_float32
from .._core.parameters import Initializer
from .._core.random import Rng
from .normalisation import Normalisation, mask_of_elements, mean_and_var

__all__ = ["GroupNorm", "InstanceNorm"]


class _OverSpace(Normalisation):
    """The abstract base of normalisation over space: the first axis is the batch, the last one the features."""

    num_features: int

    def _in_groups(self, x: jax.Array, mask: jax.Array | None, groups: int) -> jax.Array:
        mask = mask_of_elements(mask, x, self)
        grouped = x.reshape((*x.shape[:-1], groups, self.num_features // groups))
        if mask is not None:
            last = grouped.shape[-2:] if mask.shape[-1] == self.num_features else (1, 1)
            mask = mask.reshape((*mask.shape[:-1], *last))
        # Over space, and over the features of a group.
        axes = (*range(1, x.ndim - 1), -1)
        mean, var, _ = mean_and_var(at_least_float32(grouped), axes, mask)
        shape = (1,) * (x.ndim - 1) + grouped.shape[-2:]
        return self._apply(grouped, mean, var, shape).reshape(x.shape)


class GroupNorm(_OverSpace):
    """Normalise the features of each example in groups, over all axes but the first (Wu and He, arXiv:1803.08494).

    Args:
        num_groups: The number of groups, of consecutive features; None where `group_size` tells it.
        num_features: The number of features, along the last axis.
        group_size: The number of features in a group, in place of `num_groups`.
        epsilon: Added to the variance; 1e-5 as in torch, where flax has 1e-6.
        use_bias: Whether to add `bias` afterwards.
        use_scale: Whether to multiply by `weight` afterwards.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; ones by default.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype of the result; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_features,)``, or None.
        bias: ParamState of shape ``(num_features,)``, or None.

    Raises:
        ValueError: A number or `epsilon` is not positive, the groups do not divide the features, or not exactly one of
            `num_groups` and `group_size` is given.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import GroupNorm
        >>> GroupNorm(2, 6)(jnp.ones((1, 8, 8, 6))).shape
        (1, 8, 8, 6)
        >>> GroupNorm(None, 6, group_size=3).num_groups
        2
    """

    def __init__(
        self,
        num_groups: int | None,
        num_features: int,
        *,
        group_size: int | None = None,
        epsilon: float = 1e-5,
        use_bias: bool = True,
        use_scale: bool = True,
        w_init: Initializer = jax.nn.initializers.ones,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rng: Rng = None,
    ) -> None:
        if group_size is not None and num_groups is not None:
            raise ValueError(
                f"num_groups={num_groups} excludes group_size={group_size}: give one of them, as in "
                f"`GroupNorm(None, {num_features}, group_size={group_size})`"
            )
        name, number = ("num_groups", num_groups) if group_size is None else ("group_size", group_size)
        size, features = as_size(name, number), as_size("num_features", num_features)
        if features % size:
            raise ValueError(f"{name}={number} must divide num_features={num_features} without a remainder")
        self.num_groups = size if group_size is None else features // size
        self.num_features = features
        inits = w_init if use_scale else None, b_init if use_bias else None
        self._make((self.num_features,), epsilon, *inits, dtype, param_dtype, rng)

    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(batch, ..., num_features)``.
            mask: True for the elements that count for the statistics, of a shape that fits `x`, or fits it without
                the last axis; None for all.

        Returns:
            An array of the same shape.
        """
        return self._in_groups(as_input(x, self, size=self.num_features, rank=2), mask, self.num_groups)


class InstanceNorm(_OverSpace):
    """Normalise each feature of each example, over all axes between the first and the last (arXiv:1607.08022).

    Scale and offset are there by default, as in flax; torch leaves them out.

    Args:
        num_features: The number of features, along the last axis.
        epsilon: Added to the variance; 1e-5 as in torch, where flax has 1e-6.
        use_bias: Whether to add `bias` afterwards.
        use_scale: Whether to multiply by `weight` afterwards.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; ones by default.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype of the result; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_features,)``, or None.
        bias: ParamState of shape ``(num_features,)``, or None.

    Raises:
        ValueError: The number of features or `epsilon` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import InstanceNorm
        >>> InstanceNorm(6)(jnp.ones((1, 8, 8, 6))).shape
        (1, 8, 8, 6)
    """

    def __init__(
        self,
        num_features: int,
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
        self.num_features = as_size("num_features", num_features)
        inits = w_init if use_scale else None, b_init if use_bias else None
        self._make((self.num_features,), epsilon, *inits, dtype, param_dtype, rng)

    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(batch, *spatial, num_features)``.
            mask: True for the elements that count for the statistics, of a shape that fits `x`, or fits it without
                the last axis; None for all.

        Returns:
            An array of the same shape.
        """
        x = as_input(x, self, size=self.num_features, rank=3)
        return self._in_groups(x, mask, self.num_features)
