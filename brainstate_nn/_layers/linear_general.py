"""``LinearGeneral``: an affine map on several axes at once, such as from features to heads and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph.extend import describe, locate

from .._core.arguments import as_axis, as_dtype, as_precision, as_sizes
from .._core.inputs import as_input, promote
from .._core.module import Module
from .._core.parameters import Initializer, lecun_normal, make_parameter
from .._core.products import DotGeneral, as_element_type, as_function, contract, with_bias
from .._core.random import Rng
from .._core.states import ParamState

__all__ = ["LinearGeneral", "as_axes", "with_contracted"]


class LinearGeneral(Module):
    """The affine map that contracts some axes of its input, and puts others in their place at the end.

    The projections of attention are two of them: features to heads, ``LinearGeneral(16, (2, 8))``, and heads to
    features, ``LinearGeneral((2, 8), 16, axis=(-2, -1))``.

    Args:
        in_size: The sizes of the axes that are contracted, one or several.
        out_size: The sizes of the new axes, one or several.
        axis: The axes of the input that have the sizes `in_size`, in the same order; the last one by default.
        use_bias: Whether to add `bias`.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; LeCun normal by default. It
            makes a matrix, all inputs by all outputs, which is then reshaped. So its fan-in is the number of all
            inputs.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the product, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and the result has; None for `dtype`.
        dot_general: The function that computes the product, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(*in_size, *out_size)``.
        bias: ParamState of shape ``out_size``, or None.

    Raises:
        ValueError: A size is not positive, there is not one axis for each of `in_size`, or an initialiser returns
            another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import LinearGeneral
        >>> split, join = LinearGeneral(16, (2, 8)), LinearGeneral((2, 8), 16, axis=(-2, -1))
        >>> heads = split(jnp.ones((5, 7, 16)))
        >>> heads.shape, join(heads).shape
        ((5, 7, 2, 8), (5, 7, 16))
    """

    def __init__(
        self,
        in_size: int | Sequence[int],
        out_size: int | Sequence[int],
        *,
        axis: int | Sequence[int] = -1,
        use_bias: bool = True,
        w_init: Initializer = lecun_normal,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        dot_general: DotGeneral | None = None,
        rng: Rng = None,
    ) -> None:
        self.in_size = as_sizes("in_size", in_size)
        self.out_size = as_sizes("out_size", out_size)
        self.axis = as_axes(axis, self.in_size)
        self.dtype = as_dtype(dtype)
        self.precision = as_precision(precision)
        self.preferred_element_type = as_element_type(preferred_element_type)
        self.dot_general = as_function("dot_general", dot_general)
        shape, contracted = self.in_size + self.out_size, range(len(self.in_size))
        self.weight = make_parameter("w_init", w_init, shape, param_dtype, rng, contracted=contracted)
        self.bias: ParamState | None = None
        if use_bias:
            self.bias = make_parameter("b_init", b_init, self.out_size, param_dtype, rng)

    def __call__(self, x: jax.Array, *, out_sharding: Any = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array with the sizes `in_size` along `axis`.
            out_sharding: The sharding of the result, a NamedSharding or PartitionSpec, where JAX cannot tell it.

        Returns:
            An array with the other axes of `x`, in their order, and then those of `out_size`.
        """
        x, contracted = with_contracted(self, x, self.in_size, self.axis)
        bias = None if self.bias is None else self.bias.value
        x, weight, bias = promote(x, self.weight.value, bias, dtype=self.dtype)
        # The contracted axes are the first ones of the weight, in the order of `in_size`; there are no batch axes.
        numbers = ((contracted, tuple(range(len(contracted)))), ((), ()))
        return with_bias(contract(self, x, weight, numbers, out_sharding), bias)


def as_axes(axis: int | Sequence[int], in_size: tuple[int, ...]) -> tuple[int, ...]:
    """Return one axis for each size, or raise."""
    axes = tuple(as_axis("axis", a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(axes) != len(in_size) or len(set(axes)) != len(axes):
        raise ValueError(
            f"axis must name one axis for each of in_size, which is {in_size}, not {axis!r}: write "
            f"`axis={tuple(range(-len(in_size), 0))}` for the last ones"
        )
    return axes


def with_contracted(
    layer: Module, x: Any, in_size: tuple[int, ...], axis: tuple[int, ...]
) -> tuple[jax.Array, tuple[int, ...]]:
    """Return the input of a call as an array, and the axes to contract, counted from the first one; or raise.

    Args:
        layer: The layer, for messages.
        x: What was given.
        in_size: The sizes that these axes must have.
        axis: The axes as the user named them.
    """
    for size, one in zip(in_size, axis, strict=True):
        x = as_input(x, layer, size=size, axis=one)
    axes = tuple(one % x.ndim for one in axis)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{locate(layer)} names one axis of `x` twice in axis={axis}: `x` is {describe(x)}")
    return x, axes
