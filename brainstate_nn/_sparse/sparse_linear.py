"""``SparseLinear``: the linear map of those connections alone that there are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core.arguments import as_dtype, as_param_dtype, as_size
from .._core.inputs import along_axis, as_input, promote
from .._core.module import Module
from .._core.parameters import Initializer, make_parameter
from .._core.random import Rng
from .._core.states import LongTermState, ParamState
from .connections import Pairs
from .product import sparse_product

__all__ = ["SparseLinear"]


class SparseLinear(Module):
    """The map ``x @ matrix + bias`` with a matrix of a few connections, each of which has a weight.

    Without batch axes it is event-driven: the time of a call is that of the neurons that send anything but zero.
    Gradients are those of the matrix, also for neurons that are silent.

    Args:
        in_size: The number of sending neurons.
        out_size: The number of receiving neurons.
        connections: The indices ``(pre, post)`` of the sending and the receiving neurons; ``(pre, post, weights)`` with
            the first weights; or a matrix of shape ``(in_size, out_size)``, of NumPy, JAX, SciPy or
            `jax.experimental.sparse`, of booleans or of the first weights. Connections that are listed twice add up.
        shared_weight: Whether all connections have one weight, and not one each.
        use_bias: Whether to add `bias`.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``. None for the weights of
            `connections`, or else for normal weights whose variance is one over the mean number of connections to a
            neuron.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape ``(connections,)``, in the order of `pre` and `post`, or ``()`` where it is shared.
        bias: ParamState of shape ``(out_size,)``, or None.
        pre: LongTermState with the sending neurons, in rising order.
        post: LongTermState with the receiving neurons, in rising order for each sending one.
        ends: LongTermState that says how many connections come from each neuron and those before it.

    Raises:
        ValueError: A size is not positive, an index is out of range, or first weights are given twice.
        TypeError: `connections` is nothing of the above.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import RandomState, SparseLinear, fixed_number
        >>> layer = SparseLinear(100, 50, fixed_number(100, 50, 3, rng=RandomState(0)))
        >>> layer(jnp.zeros(100).at[7].set(1.0)).shape, layer.weight.value.shape
        ((50,), (300,))
        >>> SparseLinear(2, 2, jnp.array([[0.0, 5.0], [0.0, 0.0]]))(jnp.array([1.0, 1.0]))
        Array([0., 5.], dtype=float32)
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        connections: Any,
        *,
        shared_weight: bool = False,
        use_bias: bool = False,
        w_init: Initializer | None = None,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rng: Rng = None,
    ) -> None:
        self.in_size = as_size("in_size", in_size)
        self.out_size = as_size("out_size", out_size)
        self.dtype = as_dtype(dtype)
        pre, post, weights = _as_connections(connections, self.in_size, self.out_size)
        if weights is not None:
            if shared_weight or w_init is not None:
                given = "shared_weight=True" if shared_weight else "w_init"
                raise ValueError(
                    f"connections has weights, and {given} sets them too: write `connections=(pre, post)`, or for a "
                    "matrix `connections=matrix != 0`"
                )
            values = jnp.asarray(weights, as_param_dtype(param_dtype))
            w_init = lambda key, shape, dtype: values  # noqa: E731
        elif w_init is None:
            w_init = jax.nn.initializers.normal(max(len(pre) / self.out_size, 1.0) ** -0.5)
        shape = () if shared_weight else (len(pre),)
        self.weight = make_parameter("w_init", w_init, shape, param_dtype, rng)
        self.bias: ParamState | None = None
        if use_bias:
            self.bias = make_parameter("b_init", b_init, (self.out_size,), param_dtype, rng)
        # States, and not attributes: a checkpoint has to bring back which connections the weights belong to.
        self.pre, self.post = LongTermState(jnp.asarray(pre)), LongTermState(jnp.asarray(post))
        ends = np.cumsum(np.bincount(pre, minlength=self.in_size))
        self.ends = LongTermState(jnp.asarray(ends, jnp.int32))

    @property
    def connections(self) -> Pairs:
        """The indices of the sending neurons, in rising order, and those of the receiving ones."""
        return np.asarray(self.pre.value), np.asarray(self.post.value)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array of shape ``(..., in_size)``, as of spikes.

        Returns:
            An array of shape ``(..., out_size)``.
        """
        x = as_input(x, self, size=self.in_size)
        bias = None if self.bias is None else self.bias.value
        x, weight, bias = promote(x, self.weight.value, bias, dtype=self.dtype)
        y = sparse_product(x, weight, self.pre.value, self.post.value, self.ends.value, self.out_size)
        return y if bias is None else y + along_axis(bias, y.ndim)


def _as_connections(given: Any, in_size: int, out_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return connections by rising `pre`, with their weights where they are given."""
    try:
        pre, post, weights = _parts(given, in_size, out_size)
    except jax.errors.TracerArrayConversionError:
        raise TypeError("connections must be known outside of jit and other transforms: pass arrays of NumPy") from None
    for name, side, size in (("pre", pre, in_size), ("post", post, out_size)):
        if side.ndim != 1 or (side.size and not np.issubdtype(side.dtype, np.integer)):
            raise TypeError(f"connections must be two vectors of indices, but `{name}` is {side.dtype}{[*side.shape]}")
        if side.size and not 0 <= side.min() <= side.max() < size:
            wrong = side[(side < 0) | (side >= size)][0]
            raise ValueError(f"connections has {wrong} in `{name}`, where indices go from 0 to {size - 1}")
    if len({len(part) for part in (pre, post, weights) if part is not None}) > 1:
        lengths = ", ".join(str(len(part)) for part in (pre, post, weights) if part is not None)
        raise ValueError(f"connections must be vectors of one length, not of {lengths}")
    order = np.lexsort((post, pre))
    pre, post = pre[order].astype(np.int32), post[order].astype(np.int32)
    return pre, post, None if weights is None else weights[order]


def _parts(given: Any, in_size: int, out_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if isinstance(given, (tuple, list)) and len(given) in (2, 3):
        pre, post, *weights = map(np.asarray, given)
        return pre, post, weights[0] if weights else None
    if np.shape(given) != (in_size, out_size):
        found = f"of shape {np.shape(given)}" if np.shape(given) else f"a {type(given).__name__}"
        raise TypeError(
            f"connections must be a pair of vectors of indices, or a matrix of shape {(in_size, out_size)}, not "
            f"{found}: write `connections=fixed_probability(in_size, out_size, 0.1)`"
        )
    return _of_matrix(given)


def _of_matrix(given: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if hasattr(given, "tocoo"):  # SciPy
        given = given.tocoo()
        return given.row, given.col, None if given.dtype == bool else given.data
    if hasattr(given, "to_bcoo"):  # CSR of jax.experimental.sparse
        given = given.to_bcoo()
    if getattr(given, "n_batch", None) == getattr(given, "n_dense", None) == 0:
        # Not as a dense matrix, which may be too large. Behind its elements it has others with indices of none.
        indices, data = np.asarray(given.indices), np.asarray(given.data)
        inside = (indices < given.shape).all(1)
        return *indices[inside].T, None if data.dtype == bool else data[inside]
    matrix = np.asarray(given.todense() if hasattr(given, "todense") else given)
    pre, post = np.nonzero(matrix)
    return pre, post, None if matrix.dtype == bool else matrix[pre, post]
