"""Normalisation: over the batch, and over the features of one example."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ._module import Module
from ._parameters import Initializer, along_axis, as_dtype, as_input, common_dtype, make_parameter, positive
from ._random import Rng
from ._states import BatchState, ParamState

__all__ = ["BatchNorm", "LayerNorm"]


def _statistics_dtype(x: jax.Array) -> Any:
    """At least single precision: the sum of many half-precision numbers does not converge."""
    return jnp.promote_types(jnp.float32, x.dtype)


def _normalise(
    x: jax.Array, mean: jax.Array, var: jax.Array, epsilon: float, scale: jax.Array | None, offset: jax.Array | None
) -> jax.Array:
    """Scale and shift in the dtype of `x`, which is that of the statistics."""
    factor = jax.lax.rsqrt(var.astype(x.dtype) + epsilon)
    if scale is not None:
        factor = factor * scale.astype(x.dtype)
    y = (x - mean.astype(x.dtype)) * factor
    return y if offset is None else y + offset.astype(x.dtype)


class BatchNorm(Module):
    """Normalise each feature over all other axes (Ioffe and Szegedy, arXiv:1502.03167), for inputs of any rank.

    In training, the statistics are those of the batch, and the running ones move towards them; the variance is the
    biased one in both places. Otherwise the running ones are used.

    Args:
        num_features: The number of features.
        axis: The axis of the features.
        momentum: The weight of the old value in the running statistics (torch's `momentum` is one minus this).
        epsilon: Added to the variance.
        use_bias: Whether to add `bias` afterwards.
        use_scale: Whether to multiply by `weight` afterwards.
        w_init: The initialiser of `weight`, any callable ``(key, shape, dtype) -> array``; not kept.
        b_init: The initialiser of `bias`.
        axis_name: A mapped axis over which to average the statistics, for data in parallel.
        dtype: The dtype of the result; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_features,)``, or None.
        bias: ParamState of shape ``(num_features,)``, or None.
        running_mean: BatchState of shape ``(num_features,)``, float32.
        running_var: BatchState of shape ``(num_features,)``, float32.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import BatchNorm
        >>> norm = BatchNorm(1, momentum=0.5)
        >>> norm(jnp.array([[1.0], [3.0]])).tolist()
        [[-0.9999949932098389], [0.9999949932098389]]
        >>> norm.running_mean.value.tolist(), norm.running_var.value.tolist()
        ([1.0], [1.0])
    """

    def __init__(
        self,
        num_features: int,
        *,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        use_bias: bool = True,
        use_scale: bool = True,
        w_init: Initializer = jax.nn.initializers.ones,
        b_init: Initializer = jax.nn.initializers.zeros,
        axis_name: str | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rng: Rng = None,
    ) -> None:
        self.num_features = positive("num_features", num_features)
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum is the weight of the old value, between 0 and 1, not {momentum!r}")
        self.axis = axis
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.axis_name = axis_name
        self.dtype = as_dtype(dtype)
        shape = (self.num_features,)
        self.weight: ParamState | None = None
        self.bias: ParamState | None = None
        if use_scale:
            self.weight = make_parameter("w_init", w_init, shape, param_dtype, rng)
        if use_bias:
            self.bias = make_parameter("b_init", b_init, shape, param_dtype, rng)
        self.running_mean = BatchState(jnp.zeros(shape, jnp.float32))
        self.running_var = BatchState(jnp.ones(shape, jnp.float32))

    def __call__(self, x: jax.Array, *, training: bool | None = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array with `num_features` along `axis`.
            training: Overrides the attribute `training` for this call.

        Returns:
            An array of the same shape.
        """
        x = as_input(x, self, size=self.num_features, axis=self.axis)
        weight, bias = self.weight and self.weight.value, self.bias and self.bias.value
        dtype = common_dtype(x, weight, bias) if self.dtype is None else self.dtype
        x = x.astype(_statistics_dtype(x))
        if self.training if training is None else training:
            mean, var = self._gather(x)
        else:
            mean, var = self.running_mean.value, self.running_var.value
        mean, var = along_axis(mean, x.ndim, self.axis), along_axis(var, x.ndim, self.axis)
        weight, bias = (None if v is None else along_axis(v, x.ndim, self.axis) for v in (weight, bias))
        return _normalise(x, mean, var, self.epsilon, weight, bias).astype(dtype)

    def _gather(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return mean and variance of a batch, and move the running ones towards them."""
        others = tuple(i for i in range(x.ndim) if i != self.axis % x.ndim)
        mean = jnp.mean(x, others)
        if self.axis_name is not None:
            mean = jax.lax.pmean(mean, self.axis_name)
        var = jnp.mean(jnp.square(x - along_axis(mean, x.ndim, self.axis)), others)
        if self.axis_name is not None:
            var = jax.lax.pmean(var, self.axis_name)
        for state, new in ((self.running_mean, mean), (self.running_var, var)):
            old = state.value
            # A gradient through the memory of a training run is never meant, and would be kept for the whole scan.
            new = jax.lax.stop_gradient(new).astype(old.dtype)
            state.value = self.momentum * old + (1.0 - self.momentum) * new
        return mean, var


class LayerNorm(Module):
    """Normalise the features of each example (Ba, Kiros and Hinton, arXiv:1607.06450).

    Args:
        num_features: The number of features, along the last axis.
        epsilon: Added to the variance; 1e-5 as in torch, where flax has 1e-6.
        use_bias: Whether to add `bias` afterwards.
        use_scale: Whether to multiply by `weight` afterwards.
        w_init: The initialiser of `weight`, any callable ``(key, shape, dtype) -> array``; not kept.
        b_init: The initialiser of `bias`.
        dtype: The dtype of the result; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_features,)``, or None.
        bias: ParamState of shape ``(num_features,)``, or None.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import LayerNorm
        >>> LayerNorm(4)(jnp.arange(8.0).reshape(2, 4)).shape
        (2, 4)
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
        self.num_features = positive("num_features", num_features)
        self.epsilon = float(epsilon)
        self.dtype = as_dtype(dtype)
        shape = (self.num_features,)
        self.weight: ParamState | None = None
        self.bias: ParamState | None = None
        if use_scale:
            self.weight = make_parameter("w_init", w_init, shape, param_dtype, rng)
        if use_bias:
            self.bias = make_parameter("b_init", b_init, shape, param_dtype, rng)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(..., num_features)``.

        Returns:
            An array of the same shape.
        """
        x = as_input(x, self, size=self.num_features)
        weight, bias = self.weight and self.weight.value, self.bias and self.bias.value
        dtype = common_dtype(x, weight, bias) if self.dtype is None else self.dtype
        x = x.astype(_statistics_dtype(x))
        mean = jnp.mean(x, -1, keepdims=True)
        var = jnp.mean(jnp.square(x - mean), -1, keepdims=True)
        weight, bias = (None if v is None else along_axis(v, x.ndim) for v in (weight, bias))
        return _normalise(x, mean, var, self.epsilon, weight, bias).astype(dtype)
