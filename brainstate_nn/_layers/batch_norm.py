"""``BatchNorm``: normalisation of each feature over the batch, with running statistics for evaluation.

It is the one normalisation that behaves differently in training and evaluation, and that writes states when it is
called.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph.extend import assign_values

from .._core.arguments import as_axis, as_fraction, as_size
from .._core.inputs import along_axis, as_input, at_least_float32
from .._core.parameters import Initializer
from .._core.random import Rng
from .._core.sharded import resharded_like
from .._core.states import BatchState
from .normalisation import Normalisation, mask_of_elements, mean_and_var

__all__ = ["BatchNorm"]


class BatchNorm(Normalisation):
    """Normalise each feature over all other axes (Ioffe and Szegedy, arXiv:1502.03167), for inputs of any rank.

    In training, the statistics are those of the batch, and the running ones move towards them; the variance is the
    biased one in both places. Otherwise the running ones are used. A batch of which nothing counts moves nothing.

    Args:
        num_features: The number of features.
        axis: The axis of the features.
        momentum: The weight of the old value in the running statistics (torch's `momentum` is one minus this).
        epsilon: Added to the variance.
        use_bias: Whether to add `bias` afterwards.
        use_scale: Whether to multiply by `weight` afterwards.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; ones by default.
        b_init: The initialiser of `bias`; zeros by default.
        axis_name: A mapped axis, or several, over which to gather the statistics too, for data in parallel.
        dtype: The dtype of the result; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_features,)``, or None.
        bias: ParamState of shape ``(num_features,)``, or None.
        running_mean: BatchState of shape ``(num_features,)``, in at least single precision.
        running_var: BatchState of shape ``(num_features,)``, in at least single precision.

    Raises:
        ValueError: The number of features or `epsilon` is not positive, or `momentum` not between 0 and 1.

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
        axis_name: str | tuple[str, ...] | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rng: Rng = None,
    ) -> None:
        self.num_features = as_size("num_features", num_features)
        self.axis = as_axis("axis", axis)
        self.momentum = as_fraction("momentum", momentum, "the weight of the old value")
        self.axis_name = axis_name
        shape = (self.num_features,)
        inits = w_init if use_scale else None, b_init if use_bias else None
        self._make(shape, epsilon, *inits, dtype, param_dtype, rng)
        # In half precision a step of 0.01 towards the batch would be lost in rounding.
        mean = at_least_float32(jnp.zeros(shape, param_dtype))
        self.running_mean = BatchState(mean)
        self.running_var = BatchState(jnp.ones(shape, mean.real.dtype))

    def __call__(self, x: jax.Array, *, training: bool | None = None, mask: jax.Array | None = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array with `num_features` along `axis`.
            training: Overrides the attribute `training` for this call.
            mask: True for the elements that count for the statistics, of a shape that fits `x`, or fits it without
                `axis`; None for all.

        Returns:
            An array of the same shape.
        """
        x = as_input(x, self, size=self.num_features, axis=self.axis)
        mask = mask_of_elements(mask, x, self, self.axis)
        if self.training if training is None else training:
            mean, var = self._batch_statistics(at_least_float32(x), mask)
        else:
            mean, var = (along_axis(s.value, x.ndim, self.axis) for s in (self.running_mean, self.running_var))
        return self._apply(x, mean, var, mean.shape)

    def _batch_statistics(self, x: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Return mean and variance of a batch, and move the running ones towards them."""
        others = tuple(i for i in range(x.ndim) if i != self.axis % x.ndim)
        mean, var, count = mean_and_var(x, others, mask, self.axis_name)
        running, moved_on = (self.running_mean, self.running_var), list[jax.Array]()
        for state, new in zip(running, (mean, var), strict=True):
            old = state.value
            # Nobody means a gradient through the running statistics of a training run, and a scan over steps would keep
            # all that it needs for one.
            new = resharded_like(jax.lax.stop_gradient(new).astype(old.dtype).reshape(-1), old)
            moved = self.momentum * old + (1.0 - self.momentum) * new
            if mask is not None:
                nonempty = jnp.broadcast_to(count, mean.shape).reshape(-1) > 0
                # Features of which nothing counts keep their statistics.
                moved = jnp.where(resharded_like(nonempty, old), moved, old)
            moved_on.append(moved)
        # An empty batch has no statistics, and moves nothing.
        if x.size:
            assign_values(running, moved_on)
        return mean, var
