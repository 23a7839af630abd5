"""``Policy``: the dtypes of a model in mixed precision, for its parameters, the computation, and the result.

It is a value that is applied to a model once, and no mode of the process: what a layer computes in is its attribute
`dtype`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from brainstate_graph import GraphError, nodes, states
from brainstate_graph.extend import fields_of, write_values

from .._core.module import Module
from .._core.states import ParamState

__all__ = ["Policy"]

T = TypeVar("T")

_PARTS = {"params": "param_dtype", "compute": "compute_dtype", "output": "output_dtype"}
_SHORT = {"f64": "float64", "f32": "float32", "full": "float32", "f16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Policy:
    """The three dtypes of a model in mixed precision (Micikevicius et al., arXiv:1710.03740).

    Layers of normalisation gather their statistics in float32 whatever they compute in. No setting of JAX changes.

    Args:
        param_dtype: The dtype of the parameters, and so of their gradients and of what an optimiser keeps.
        compute_dtype: The dtype that layers compute in; None for the one of the parameters.
        output_dtype: The dtype of `cast_to_output`; None for the one of the parameters.

    Raises:
        TypeError: One of them is not a float dtype.
        ValueError: One of them is float64, and `jax_enable_x64` is off.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear, Policy
        >>> policy = Policy(compute_dtype="bfloat16")
        >>> layer = policy.apply(Linear(2, 3))
        >>> y = layer(jnp.ones((1, 2)))
        >>> layer.weight.value.dtype, y.dtype, policy.cast_to_output(y).dtype
        (dtype('float32'), dtype(bfloat16), dtype('float32'))
    """

    param_dtype: Any = "float32"
    compute_dtype: Any = None
    output_dtype: Any = None

    def __post_init__(self) -> None:
        for name in _PARTS.values():
            given = getattr(self, name)
            # each field in one spelling, so that equal policies are equal; a frozen class lets nobody set one otherwise
            object.__setattr__(self, name, _as_float(name, self.param_dtype if given is None else given))

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read a policy as ``"params=float32,compute=bfloat16,output=float32"``, or one dtype for all three.

        Args:
            text: Parts that are not named have the dtype of the parameters. ``f32``, ``f16`` and ``bf16`` are short
                for dtypes.

        Raises:
            ValueError: It is something else.

        Example:
            >>> from brainstate_nn import Policy
            >>> Policy.parse("params=f32,compute=bf16,output=f32") == Policy(compute_dtype="bfloat16")
            True
        """
        if "=" not in text:
            return cls(text)
        given: dict[str, str] = {}
        for part in text.split(","):
            name, _, dtype = (word.strip() for word in part.partition("="))
            if name not in _PARTS or not dtype or _PARTS[name] in given:
                raise ValueError(
                    f"{part.strip()!r} is not a part of a policy: write "
                    "`params=float32,compute=bfloat16,output=float32`"
                )
            given[_PARTS[name]] = dtype
        return cls(**given)

    def apply(self, model: T) -> T:
        """Give a model these dtypes: parameters are cast, and the layers that have a `dtype` compute in that of here.

        Call it before an Optimizer or EMA is made, for they keep the dtype of the parameters. What a layer of your own
        holds in an attribute `dtype` is set as well.

        Args:
            model: A module, or a container of them.

        Returns:
            The model itself.

        Raises:
            GraphError: It has neither parameters nor layers with a `dtype`.
        """
        layers = [node for node in nodes(model, Module).values() if "dtype" in fields_of(node)]
        params = [state for state in states(model, ParamState).values() if _has_floats(state.value)]
        if not layers and not params:
            raise GraphError(f"{type(model).__name__} has no parameters and no layers with a `dtype`")
        write_values(params, [self.cast_to_param(state.value) for state in params])
        for layer in layers:
            # An assignment of the same would be no change of structure, and yet a look at it.
            if layer.dtype != self.compute_dtype:
                layer.dtype = self.compute_dtype
        return model

    def cast_to_param(self, tree: T) -> T:
        """Cast the floats of a pytree to `param_dtype`; all else stays."""
        return _cast(tree, self.param_dtype)

    def cast_to_compute(self, tree: T) -> T:
        """Cast the floats of a pytree to `compute_dtype`; all else stays."""
        return _cast(tree, self.compute_dtype)

    def cast_to_output(self, tree: T) -> T:
        """Cast the floats of a pytree to `output_dtype`; all else stays."""
        return _cast(tree, self.output_dtype)


def _as_float(name: str, dtype: Any) -> Any:
    try:
        found = jnp.dtype(_SHORT.get(dtype, dtype) if isinstance(dtype, str) else dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise TypeError(f"{name} must be a float dtype such as jnp.bfloat16, not {dtype!r}")
    # JAX would take float32 in silence.
    if jax.dtypes.canonicalize_dtype(found) != found:
        raise ValueError(f"{name} is {found}, which JAX has off: write `jax.config.update('jax_enable_x64', True)`")
    return found


def _is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)


def _has_floats(value: Any) -> bool:
    return any(map(_is_float, jax.tree.leaves(value)))


def _cast(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(dtype) if _is_float(x) else x, tree)
