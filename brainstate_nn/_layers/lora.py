"""``LoRA``: a trained correction of low rank beside a layer that stays as it is.

``add_lora`` puts one over linear layers of a model, and ``merge_lora`` makes plain layers of them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Filter, RefMap, clone, nodes, to_predicate
from brainstate_graph.extend import describe, locate
from brainstate_transform import each_lane, in_lanes, lane_axes

from .._core.arguments import as_dtype, as_positive, as_precision, as_size, as_sizes
from .._core.inputs import at_least_float32, promote
from .._core.module import Module
from .._core.parameters import Initializer, make_parameter
from .._core.paths import dotted_name
from .._core.products import DotGeneral, as_element_type, as_function, contract, matmul
from .._core.random import Rng
from .._core.sharded import with_spec
from .._core.states import ParamState
from .._models.surgery import rewrite
from .linear import Linear
from .linear_general import LinearGeneral, as_axes, with_contracted

__all__ = ["LoRA", "LoRAParam", "add_lora", "merge_lora"]

_he_uniform: Initializer = jax.nn.initializers.he_uniform()


class LoRAParam(ParamState):
    """A parameter of a low-rank correction.

    It is a ParamState too: the filter `ParamState` chooses both, `LoRAParam` the corrections alone, and
    ``All(ParamState, Not(LoRAParam))`` what they correct.

    Example:
        >>> from brainstate_nn import Linear, LoRA, LoRAParam
        >>> list(LoRA(4, 2, 3, base=Linear(4, 3)).states(LoRAParam))
        [('lora_a',), ('lora_b',)]
    """

    __slots__ = ()


class LoRA(Module):
    """The result of a layer plus ``scale * (x @ lora_a @ lora_b)`` (Hu et al., arXiv:2106.09685).

    `lora_b` starts at zero, so that at first the layer does what its base does. Nothing is frozen: what is trained is
    what the optimiser is given, ``Optimizer(model.states(LoRAParam), tx)``.

    Args:
        in_size: The number of input features; several sizes as for `LinearGeneral`.
        rank: The number of features between the two matrices.
        out_size: The number of output features; several sizes as for `LinearGeneral`.
        base: The layer that is corrected, a module or function; None for none.
        axis: The axes of the input features.
        alpha: The numerator of ``scale = alpha / rank``; None for a scale of 1.
        a_init: The initialiser of `lora_a`, a function ``(key, shape, dtype) -> array``; He uniform by default.
        b_init: The initialiser of `lora_b`; zeros by default.
        dtype: The dtype to compute the correction in; None for the one that JAX's promotion gives. With a base, the
            result has the dtype of the base's.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the products, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and the result has; None for `dtype`.
        dot_general: The function that computes the products, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        lora_a: LoRAParam of shape ``(*in_size, rank)``.
        lora_b: LoRAParam of shape ``(rank, *out_size)``.
        base: The layer that is corrected, or None.

    Raises:
        ValueError: A size is not positive, or the base is a linear layer of other sizes.
        TypeError: The base cannot be called.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear, LoRA
        >>> linear = Linear(4, 3)
        >>> layer = LoRA(4, 2, 3, base=linear, alpha=4.0)
        >>> bool((layer(jnp.ones(4)) == linear(jnp.ones(4))).all())
        True
        >>> type(layer.merge()).__name__
        'Linear'
    """

    lora_a: ParamState
    lora_b: ParamState

    def __init__(
        self,
        in_size: int | Sequence[int],
        rank: int,
        out_size: int | Sequence[int],
        *,
        base: Callable[..., Any] | None = None,
        axis: int | Sequence[int] = -1,
        alpha: float | None = None,
        a_init: Initializer = _he_uniform,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        dot_general: DotGeneral | None = None,
        rng: Rng = None,
    ) -> None:
        self.in_size = as_sizes("in_size", in_size)
        self.rank = as_size("rank", rank)
        self.out_size = as_sizes("out_size", out_size)
        self.axis = as_axes(axis, self.in_size)
        _check_base(base, (self.in_size, self.out_size, self.axis))
        self.scale = 1.0 if alpha is None else as_positive("alpha", alpha) / self.rank
        self.dtype = as_dtype(dtype)
        self.precision = as_precision(precision)
        self.preferred_element_type = as_element_type(preferred_element_type)
        self.dot_general = as_function("dot_general", dot_general)
        contracted = range(len(self.in_size))

        def start() -> None:
            shapes = (*self.in_size, self.rank), (self.rank, *self.out_size)
            self.lora_a = make_parameter("a_init", a_init, shapes[0], param_dtype, rng, LoRAParam, contracted)
            self.lora_b = make_parameter("b_init", b_init, shapes[1], param_dtype, rng, LoRAParam, (0,))

        # The weight of an ensemble, or of the layers of a Stack, is corrected in each lane.
        in_lanes(start, [base.weight] if isinstance(base, (Linear, LinearGeneral)) else [])
        self.base = base

    def __call__(self, x: jax.Array, *, out_sharding: Any = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array with the sizes `in_size` along `axis`.
            out_sharding: The sharding of the result, where JAX cannot tell it; the base is given it too.

        Returns:
            An array with the other axes of `x`, in their order, and then those of `out_size`.
        """
        x, contracted = with_contracted(self, x, self.in_size, self.axis)
        given, a, b = promote(x, self.lora_a.value, self.lora_b.value, dtype=self.dtype)
        numbers = ((contracted, tuple(range(len(contracted)))), ((), ()))
        given = contract(self, given, a, numbers, _without_features(out_sharding, x.ndim - len(contracted)))
        y = self.scale * matmul(self, given.astype(b.dtype), b, out_sharding)
        if self.base is None:
            return y
        by_base = self.base(x) if out_sharding is None else self.base(x, out_sharding=out_sharding)
        if jnp.shape(by_base) != y.shape:
            raise ValueError(
                f"{locate(self)} cannot add {describe(y)} to the result of its base, {describe(by_base)}: give `base` "
                "the same sizes"
            )
        return by_base + y.astype(by_base.dtype)

    def merge(self) -> Linear | LinearGeneral:
        """Return a layer like the base with the correction in its weight: the same function, by one product.

        The base stays as it is.

        Raises:
            TypeError: The base is neither a Linear nor a LinearGeneral.
        """
        if not isinstance(self.base, (Linear, LinearGeneral)):
            raise TypeError(
                f"{locate(self)} cannot be merged: its `base` must be a Linear or LinearGeneral, not "
                f"{type(self.base).__name__}"
            )
        merged = clone(self.base)
        parts = merged.weight, self.lora_a, self.lora_b
        corrected = each_lane(self._corrected, *map(lane_axes, parts))
        merged.weight.value = corrected(*(part.value for part in parts))
        return merged

    def _corrected(self, weight: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        # It is computed once and for all, so at full precision, and in single precision at least.
        wide = at_least_float32(weight)
        correction = jnp.tensordot(a.astype(wide.dtype), b.astype(wide.dtype), 1, precision="highest")
        return (wide + self.scale * correction).astype(weight.dtype)


def add_lora(
    model: Module,
    rank: int,
    where: Filter = ...,
    *,
    alpha: float | None = None,
    a_init: Initializer = _he_uniform,
    b_init: Initializer = jax.nn.initializers.zeros,
    param_dtype: Any = None,
    rng: Rng = None,
) -> list[str]:
    """Put a LoRA over linear layers of a model, in place: all that are chosen or, after an error, none.

    A layer that the model holds in several places gets one LoRA, in all of them. One that is under a LoRA already is
    left alone. A `dot_general`, such as a quantiser's, stays that of the layer: the correction is computed without it.

    Args:
        model: A module, or a container of them.
        rank: The rank of all corrections.
        where: Which of the Linear and LinearGeneral layers: all, or a class, a path or glob as
            ``"layers.*.attention.*"``, a function of the path, a tuple, and the layer, or another filter.
        alpha: The numerator of ``scale = alpha / rank``; None for a scale of 1.
        a_init: The initialiser of `lora_a`, a function ``(key, shape, dtype) -> array``; He uniform by default.
        b_init: The initialiser of `lora_b`; zeros by default.
        param_dtype: The dtype of the new parameters; None for that of the weight that each corrects.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Returns:
        The dotted paths of the new layers.

    Raises:
        ValueError: `where` chooses no linear layer below the model.

    Example:
        >>> import optax
        >>> from brainstate_nn import LoRAParam, Linear, Optimizer, Sequential, add_lora
        >>> model = Sequential(Linear(4, 8), Linear(8, 1))
        >>> add_lora(model, 2, "layers.0")
        ['layers.0']
        >>> list(Optimizer(model.states(LoRAParam), optax.adam(1e-3)).params)
        ['layers.0.lora_a', 'layers.0.lora_b']
    """
    chosen = to_predicate(where)
    found = nodes(model)
    # By identity: a layer under two paths is one layer, and gets one correction.
    corrected = RefMap([(layer.base, None) for layer in found.values() if isinstance(layer, LoRA)])
    linear = {
        path: layer
        for path, layer in found.items()
        if path and isinstance(layer, (Linear, LinearGeneral)) and layer not in corrected
    }
    taken = RefMap([(layer, None) for path, layer in linear.items() if chosen(path, layer)])
    if not linear:
        raise ValueError(
            f"{type(model).__name__} holds no linear layer for a LoRA; for a single layer write `LoRA(..., base=layer)`"
        )
    if not taken:
        names = ", ".join(map(dotted_name, linear))
        raise ValueError(f"where chooses none of the linear layers of {type(model).__name__}, which are {names}")

    def corrected_layer(layer: Any) -> LoRA:
        return LoRA(
            layer.in_size, rank, layer.out_size, base=layer, axis=getattr(layer, "axis", -1), alpha=alpha,
            a_init=a_init, b_init=b_init, dtype=layer.dtype, precision=layer.precision, rng=rng,
            preferred_element_type=getattr(layer, "preferred_element_type", None),
            param_dtype=layer.weight.value.dtype if param_dtype is None else param_dtype,
        )  # fmt: skip

    return list(rewrite(model, lambda _, item: item in taken, corrected_layer))


def merge_lora(model: Module) -> list[str]:
    """Replace every LoRA over a linear layer by the merged layer, in place: the way back from `add_lora`.

    Args:
        model: A module, or a container of them.

    Returns:
        The dotted paths of the merged layers.

    Raises:
        ValueError: There is no LoRA below the model.
        TypeError: One is over something else than a Linear or LinearGeneral.

    Example:
        >>> from brainstate_nn import Linear, LoRAParam, Sequential, add_lora, merge_lora
        >>> model = Sequential(Linear(4, 8), Linear(8, 1))
        >>> add_lora(model, 2) == merge_lora(model), len(model.states(LoRAParam))
        (True, 0)
    """
    if not any(path for path in nodes(model, LoRA)):
        raise ValueError(f"{type(model).__name__} holds no LoRA; to merge a single layer write `layer.merge()`")
    return list(rewrite(model, LoRA, LoRA.merge))


def _check_base(base: Any, own: tuple[tuple[int, ...], ...]) -> None:
    if base is not None and not callable(base):
        raise TypeError(f"base must be a layer or a function, or None, not {type(base).__name__}")
    # Of other bases the sizes are not known; the call compares the results.
    if isinstance(base, (Linear, LinearGeneral)):
        theirs = as_sizes("in_size", base.in_size), as_sizes("out_size", base.out_size), getattr(base, "axis", (-1,))
        if own != theirs:
            raise ValueError(
                "in_size, out_size and axis must be those of the base, which are "
                f"{', '.join(map(str, theirs))}, not {', '.join(map(str, own))}"
            )


def _without_features(sharding: Any, kept: int) -> Any:
    """Return the sharding of what is between the matrices: that of the result in the first `kept` axes."""
    if sharding is None:
        return None
    return with_spec(sharding, jax.sharding.PartitionSpec(*getattr(sharding, "spec", sharding)[:kept]))
