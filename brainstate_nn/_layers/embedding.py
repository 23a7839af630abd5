"""``Embedding``: a table of vectors, looked up by number; the same table makes the logits of an output layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from .._core.arguments import as_dtype, as_precision, as_size, is_whole
from .._core.inputs import along_axis, as_indices, as_input, promote
from .._core.module import Module
from .._core.parameters import Initializer, make_parameter
from .._core.products import DotGeneral, as_element_type, as_function, contract
from .._core.random import Rng
from .._core.sharded import mask_like

__all__ = ["Embedding"]

# The vectors have length 1 on average, so that `attend` to a query of unit variance gives logits of unit variance.
_unit_length: Initializer = jax.nn.initializers.variance_scaling(1.0, "fan_out", "normal")


class Embedding(Module):
    """A table of vectors: a call looks vectors up by their numbers.

    A number outside of the table gives a vector of nan. (Indexing an array in JAX gives the last row for a number that
    is too large, and counts a negative one from the end.)

    Args:
        num_embeddings: The number of vectors.
        features: The size of each.
        padding_idx: The number of a row for padding: it gives zeros, whatever the table holds, and has no gradient;
            None for no such row.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``. The default is normal with
            standard deviation ``1 / sqrt(features)``, as in flax (1 in torch, 0.02 in GPT-2).
        dtype: The dtype of the result; None for that of the parameter.
        param_dtype: The dtype of the parameter; float32 by default.
        precision: The precision of the product in `attend`, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that `attend` adds up in and returns; None for `dtype`.
        dot_general: The function that computes the product, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the key, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(num_embeddings, features)``.

    Raises:
        ValueError: A size is not positive, or `padding_idx` is not the number of a row.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Embedding
        >>> table = Embedding(100, 8, padding_idx=0)
        >>> tokens = table(jnp.array([[5, 7, 0]]))
        >>> tokens.shape, float(jnp.abs(tokens[0, 2]).sum()), table.attend(tokens).shape
        ((1, 3, 8), 0.0, (1, 3, 100))
    """

    def __init__(
        self,
        num_embeddings: int,
        features: int,
        *,
        padding_idx: int | None = None,
        w_init: Initializer = _unit_length,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        dot_general: DotGeneral | None = None,
        rng: Rng = None,
    ) -> None:
        self.num_embeddings = as_size("num_embeddings", num_embeddings)
        self.features = as_size("features", features)
        self.padding_idx = None if padding_idx is None else _as_padding_idx(padding_idx, self.num_embeddings)
        self.dtype = as_dtype(dtype)
        self.precision = as_precision(precision)
        self.preferred_element_type = as_element_type(preferred_element_type)
        self.dot_general = as_function("dot_general", dot_general)
        self.weight = make_parameter("w_init", w_init, (self.num_embeddings, self.features), param_dtype, rng)

    def __call__(self, x: jax.Array, *, out_sharding: Any = None) -> jax.Array:
        """Look vectors up.

        Args:
            x: Whole numbers of any shape.
            out_sharding: The sharding of the result, a NamedSharding or PartitionSpec; None for that of `x`, and of
                the features of the table.

        Returns:
            An array of shape ``(*x.shape, features)``.
        """
        x = as_indices(x, self)
        weight = self.weight.value
        if out_sharding is None:
            out_sharding = _sharding_of_rows(x, weight)
        # JAX would clip a row that is too large, and count a negative one from the end.
        rows = weight.at[x].get(mode="fill", wrap_negative_indices=False, out_sharding=out_sharding)
        (rows,) = promote(rows, dtype=self.dtype)
        if self.padding_idx is None:
            return rows
        # By `where` and not by a row of zeros, so that the row has no gradient whatever the table holds.
        return jnp.where(mask_like((x == self.padding_idx)[..., None], rows), jnp.zeros_like(rows), rows)

    def attend(self, query: jax.Array, *, out_sharding: Any = None) -> jax.Array:
        """Return the products with all vectors: the logits of an output layer that shares the table.

        Args:
            query: An array of shape ``(..., features)``.
            out_sharding: The sharding of the result, where JAX cannot tell it.

        Returns:
            An array of shape ``(..., num_embeddings)``, which is 0 for `padding_idx`.
        """
        query = as_input(query, self, "query", size=self.features)
        query, weight = promote(query, self.weight.value, dtype=self.dtype)
        numbers = (((query.ndim - 1,), (1,)), ((), ()))
        logits = contract(self, query, weight, numbers, out_sharding)
        if self.padding_idx is None:
            return logits
        padding = along_axis(jnp.arange(self.num_embeddings) == self.padding_idx, logits.ndim)
        return jnp.where(mask_like(padding, logits), jnp.zeros_like(logits), logits)


def _as_padding_idx(value: Any, count: int) -> int:
    if not is_whole(value) or not 0 <= value.__index__() < count:
        raise ValueError(f"padding_idx must be the number of a row, from 0 to {count - 1}, or None, not {value!r}")
    return int(value.__index__())


def _sharding_of_rows(x: jax.Array, weight: jax.Array) -> NamedSharding | None:
    """Return the sharding of what is looked up, which JAX asks for where the numbers are spread over devices."""
    ours, theirs = jax.typeof(x).sharding, jax.typeof(weight).sharding
    if not any(ours.spec) and not any(theirs.spec):
        return None
    return NamedSharding((ours if any(ours.spec) else theirs).mesh, PartitionSpec(*ours.spec, theirs.spec[1]))
