"""Layers made of others: ``Sequential``, ``MLP``, ``Lambda`` for a function, and ``Identity`` for none.

`Stack` runs alike layers as one loop instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, overload

import jax
import jax.numpy as jnp

from brainstate_graph import Node
from brainstate_graph.extend import locate

from .._core.arguments import as_fraction, as_size, is_whole
from .._core.module import Module, signature_of
from .._core.parameters import Initializer, lecun_normal
from .._core.products import DotGeneral
from .._core.random import Draws, Rng, draws_of_part
from .dropout import Dropout
from .linear import Linear

__all__ = ["MLP", "Identity", "Lambda", "Sequential"]

Layer = Callable[..., Any]


class Sequential(Module):
    """Call layers one after another, each with the result of the one before.

    A keyword argument of a call goes to every layer that has an argument of this name, as `training` does to dropout
    and normalisation. Of a key, as `key` or `rngs`, each layer gets its own, made by its number, so that no two drop
    the same elements.

    Args:
        *layers: Modules and plain functions.

    Attributes:
        layers: The list of layers.

    Raises:
        TypeError: A layer cannot be called.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_nn import Dropout, Linear, Sequential
        >>> net = Sequential(Linear(2, 8), jax.nn.relu, Dropout(0.5), Linear(8, 1))
        >>> net(jnp.ones((5, 2)), training=False).shape, len(net), type(net[:2]).__name__
        ((5, 1), 4, 'Sequential')
    """

    def __init__(self, *layers: Layer) -> None:
        self.layers: list[Layer] = []
        self.extend(layers)

    def __call__(self, x: Any, **kwargs: Any) -> Any:
        """Return `x` after all layers; without layers, `x` itself.

        Args:
            x: What the first layer takes.
            **kwargs: For the layers that have arguments of these names.

        Raises:
            TypeError: No layer has such an argument.
        """
        for name in kwargs:
            if not _takes(self, name):
                raise TypeError(f"{locate(self)} got `{name}`, an argument that none of its layers takes")
        for index, layer in enumerate(self.layers):
            own = {name: value for name, value in kwargs.items() if _takes(layer, name)}
            x = layer(x, **draws_of_part(own, index))
        return x

    def append(self, layer: Layer) -> None:
        """Add a layer at the end."""
        self.layers.append(_callable(layer, len(self.layers)))

    def extend(self, layers: Iterable[Layer]) -> None:
        """Add layers at the end; all of them or, where one cannot be called, none."""
        # All are checked before the first one is added.
        self.layers.extend([_callable(layer, i) for i, layer in enumerate(layers, len(self.layers))])

    def insert(self, index: int, layer: Layer) -> None:
        """Add a layer before that of this number."""
        self.layers.insert(index, _callable(layer, index))

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer | Sequential:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __setitem__(self, index: int, layer: Layer) -> None:
        self.layers[index] = _callable(layer, index)

    def __delitem__(self, index: int | slice) -> None:
        del self.layers[index]


def _callable(layer: Layer, index: int) -> Layer:
    if isinstance(layer, type) and issubclass(layer, Node):
        raise TypeError(
            f"layer {index} of Sequential is the class {layer.__name__}, not a layer: write `{layer.__name__}(...)`"
        )
    if not callable(layer):
        raise TypeError(
            f"layer {index} of Sequential is a {type(layer).__name__}, which cannot be called: "
            "write `Sequential(first, second)`, with modules or functions"
        )
    return layer


def _takes(layer: Layer, name: str) -> bool:
    """Tell whether a layer has an argument of this name, or takes any; a Sequential has those of its layers."""
    if isinstance(layer, Sequential):
        return any(_takes(inner, name) for inner in layer.layers)
    try:
        parameters = signature_of(layer).parameters
    # Some functions that are written in C have no signature; they get no keyword.
    except (ValueError, TypeError):
        return False
    found = parameters.get(name)
    if found is not None and found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY):
        # The first argument is what the layer before returned.
        return next(iter(parameters)) != name
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values())


class Lambda(Module):
    """A function as a layer, with arguments that follow the input.

    A `Sequential` takes functions as they are; this one holds further arguments, and has a place in the graph.

    Args:
        fun: The function, called as ``fun(x, *args, **kwargs)``.
        *args: Further arguments. States and modules among them are parts of the graph; all others but arrays are
            static.
        **kwargs: The same by name.

    Raises:
        TypeError: `fun` cannot be called.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Lambda, Linear, Sequential
        >>> net = Sequential(Lambda(jnp.moveaxis, 1, -1), Linear(3, 4))
        >>> net(jnp.ones((5, 3, 7))).shape
        (5, 7, 4)
    """

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if not callable(fun):
            raise TypeError(
                f"fun must be a function, not {type(fun).__name__}: write `Lambda(jnp.reshape, (2, 3))`, with the "
                "function first"
            )
        self.fun = fun
        self.args = args
        self.kwargs = kwargs

    def __call__(self, x: Any) -> Any:
        """Return ``fun(x, *args, **kwargs)``."""
        return self.fun(x, *self.args, **self.kwargs)


class Identity(Module):
    """The layer that returns its input, to put in the place of another layer.

    Args:
        *args: Not used, so that the class may be put in the place of another.
        **kwargs: Not used.

    Example:
        >>> from brainstate_nn import Dropout, Identity
        >>> rate = 0.0
        >>> drop = (Dropout if rate else Identity)(rate)
        >>> drop(3.0)
        3.0
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, x: Any, *, training: bool | None = None, key: Draws = None, rngs: Draws = None) -> Any:
        """Return `x`; other layers use `training`, `key` and `rngs`."""
        return x


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
        w_init: The initialiser of the weights, a function ``(key, shape, dtype) -> array``; LeCun normal by default.
        b_init: The initialiser of the biases; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the products, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and the result has; None for `dtype`.
        dot_general: The function that computes the products, such as a quantiser's; None for `jax.lax.dot_general`.
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
        preferred_element_type: Any = None,
        dot_general: DotGeneral | None = None,
        rng: Rng = None,
    ) -> None:
        if not is_whole(depth) or depth.__index__() < 0:
            raise ValueError(f"depth must be the number of hidden layers, 0 or more, not {depth!r}")
        for name, fun in (("activation", activation), ("final_activation", final_activation or jax.nn.identity)):
            if not callable(fun):
                raise TypeError(f"{name} must be a function of an array, not {fun!r}: write `{name}=jax.nn.relu`")
        self.in_size = as_size("in_size", in_size)
        self.out_size = as_size("out_size", out_size)
        self.width = as_size("width", width)
        self.depth = int(depth)
        ends = [self.in_size, *[self.width] * self.depth, self.out_size]
        rate = as_fraction("dropout", dropout, "the probability to drop an element")
        self.layers = [
            Linear(
                a, b, use_bias=use_bias, w_init=w_init, b_init=b_init, dtype=dtype, param_dtype=param_dtype,
                precision=precision, preferred_element_type=preferred_element_type, dot_general=dot_general, rng=rng,
            )
            for a, b in pairwise(ends)
        ]  # fmt: skip
        self.activation = activation
        self.final_activation = final_activation
        self.dropout = Dropout(rate, rng=rng) if rate else None

    def __call__(
        self,
        x: jax.Array,
        *,
        training: bool | None = None,
        key: Draws = None,
        rngs: Draws = None,
        out_sharding: Any = None,
    ) -> jax.Array:
        """Apply the layers.

        Args:
            x: An array of shape ``(..., in_size)``.
            training: Overrides the attribute `training` of the dropout for this call.
            key: What the dropout draws from, instead of its stream: a key, a stream, or streams.
            rngs: The same.
            out_sharding: The sharding of the result, a NamedSharding or PartitionSpec, where JAX cannot tell it.

        Returns:
            An array of shape ``(..., out_size)``.
        """
        *hidden, last = self.layers
        for index, layer in enumerate(hidden):
            x = self.activation(layer(x))
            if self.dropout is not None:
                x = self.dropout(x, training=training, **draws_of_part({"key": key, "rngs": rngs}, index))
        x = last(x, out_sharding=out_sharding)
        return x if self.final_activation is None else self.final_activation(x)
