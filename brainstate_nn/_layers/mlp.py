"""``MLP``: linear layers with activations between them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from .._core.module import Module
from .._core.parameters import Initializer, fraction, lecun_normal, positive
from .._core.random import Rng
from .dropout import Dropout
from .linear import Linear

__all__ = ["MLP"]


class MLP(Module):
    """Linear layers one after another, with an activation and, if wanted, dropout after each but the last.

    Args:
        in_size: The number of input features.
        out_size: The number of output features.
        width: The number of features of the hidden layers.
        depth: The number of hidden layers; 0 for a single linear layer from input to output.
        activation: What follows each hidden layer; a module, such as `PReLU`, is shared by all.
        final_activation: What follows the last layer; None for nothing.
        dropout: The probability to drop an element after each activation.
        use_bias: Whether the layers add a bias.
        w_init: The initialiser of the weights, any callable ``(key, shape, dtype) -> array``; not kept.
        b_init: The initialiser of the biases.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters.
        precision: The precision of the products, as `jnp.dot` takes it; None for JAX's default.
        rng: The stream that gives the keys, or streams with `params` and `dropout`; None for the default one.

    Attributes:
        layers: The list of ``depth + 1`` Linear layers.
        dropout: The Dropout, or None.

    Raises:
        ValueError: A size is not positive, the depth is negative, or the rate is not between 0 and 1.
        TypeError: An activation cannot be called.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import MLP, tanh
        >>> net = MLP(2, 1, width=32, depth=2, activation=tanh)
        >>> net(jnp.ones((5, 2))).shape, len(net.layers)
        ((5, 1), 3)
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        width: int,
        depth: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        final_activation: Callable[[jax.Array], jax.Array] | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        w_init: Initializer = lecun_normal,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        rng: Rng = None,
    ) -> None:
        if isinstance(depth, bool) or not hasattr(depth, "__index__") or depth.__index__() < 0:
            raise ValueError(f"depth must be the number of hidden layers, 0 or more, not {depth!r}")
        for name, fun in (("activation", activation), ("final_activation", final_activation or jax.nn.identity)):
            if not callable(fun):
                raise TypeError(f"{name} must be a function of an array, not {fun!r}: write `{name}=jax.nn.relu`")
        self.in_size = positive("in_size", in_size)
        self.out_size = positive("out_size", out_size)
        self.width = positive("width", width)
        self.depth = int(depth)
        ends = [self.in_size, *[self.width] * self.depth, self.out_size]
        rate = fraction("dropout", dropout, "the probability to drop an element")
        self.layers = [
            Linear(
                a, b, use_bias=use_bias, w_init=w_init, b_init=b_init, dtype=dtype, param_dtype=param_dtype,
                precision=precision, rng=rng,
            )
            for a, b in pairwise(ends)
        ]  # fmt: skip
        self.activation = activation
        self.final_activation = final_activation
        self.dropout = Dropout(rate, rng=rng) if rate else None

    def __call__(
        self, x: jax.Array, *, training: bool | None = None, key: jax.Array | None = None, out_sharding: Any = None
    ) -> jax.Array:
        """Apply the layers.

        Args:
            x: An array of shape ``(..., in_size)``.
            training: Overrides the attribute `training` of the dropout for this call.
            key: A typed key for the dropout, instead of its stream.
            out_sharding: The sharding of the result, a NamedSharding or PartitionSpec, where JAX cannot tell it.

        Returns:
            An array of shape ``(..., out_size)``.
        """
        *hidden, last = self.layers
        for number, layer in enumerate(hidden):
            x = self.activation(layer(x))
            if self.dropout is not None:
                own = None if key is None else jax.random.fold_in(key, number)
                x = self.dropout(x, training=training, key=own)
        x = last(x, out_sharding=out_sharding)
        return x if self.final_activation is None else self.final_activation(x)
