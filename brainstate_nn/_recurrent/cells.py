"""``RNNCell``, ``GRUCell``, ``MGUCell`` and ``LSTMCell``: recurrent cells, with the gates side by side in one matrix.

One product of the input and one of the hidden features serve all gates. The gates are in torch's order, so that a
checkpoint of torch needs only transposes and the sum of its two biases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._core.arguments import as_dtype, as_precision, as_size
from .._core.inputs import along_axis, promote, wide_dtype
from .._core.parameters import Initializer, lecun_normal, make_parameter
from .._core.products import DotGeneral, as_element_type, as_function, matmul, with_bias
from .._core.random import Rng
from .._core.states import HiddenState, ParamState
from .._layers.activations import sigmoid, tanh
from .cell import RecurrentCell

__all__ = ["GRUCell", "LSTMCell", "MGUCell", "RNNCell"]

Activation = Callable[[jax.Array], jax.Array]


def _orthogonal_gates(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Make an orthogonal matrix for each gate, side by side; drawn in float32 at least, as `qr` needs it."""
    size, columns = shape
    draw, wide = jax.nn.initializers.orthogonal(), wide_dtype(dtype)
    # Each gate by itself: an orthogonal matrix of all gates together would not keep lengths in any of them.
    blocks = [draw(k, (size, size), wide) for k in jax.random.split(key, columns // size)]
    return jnp.concatenate(blocks, axis=1).astype(dtype)


class _Cell(RecurrentCell):
    """The abstract base of the cells: the parameters, and the sums that go into the gates; a subclass defines `step`.

    Attributes:
        gates: How many blocks of columns the matrices have.
        biases: The names of the biases, and for how many gates each is.
    """

    gates = 1
    biases: Mapping[str, int] = {"bias": 1}
    weight_ih: ParamState
    weight_hh: ParamState
    bias: ParamState | None
    h: HiddenState

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        *,
        activation: Activation = tanh,
        use_bias: bool = True,
        w_init: Initializer = lecun_normal,
        recurrent_init: Initializer = _orthogonal_gates,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        dot_general: DotGeneral | None = None,
        rng: Rng = None,
    ) -> None:
        self.in_size = as_size("in_size", in_size)
        self.hidden_size = as_size("hidden_size", hidden_size)
        if not callable(activation):
            raise TypeError(f"activation must be a function of an array, such as jnp.tanh, not {activation!r}")
        self.activation = activation
        self.dtype = as_dtype(dtype)
        self.precision = as_precision(precision)
        self.preferred_element_type = as_element_type(preferred_element_type)
        self.dot_general = as_function("dot_general", dot_general)
        columns = self.gates * self.hidden_size
        self.weight_ih = make_parameter("w_init", w_init, (self.in_size, columns), param_dtype, rng)
        self.weight_hh = make_parameter("recurrent_init", recurrent_init, (self.hidden_size, columns), param_dtype, rng)
        for name, gates in self.biases.items():
            shape = (gates * self.hidden_size,)
            setattr(self, name, make_parameter("b_init", b_init, shape, param_dtype, rng) if use_bias else None)

    def initial_carry(self, batch_shape: Sequence[int] = ()) -> Any:
        """Return zeros, one array of shape ``(*batch_shape, hidden_size)`` for each part of the carry.

        Args:
            batch_shape: The batch axes of the inputs.

        Returns:
            Arrays of `dtype`, or of the dtype of the parameters where that is None; a step keeps their dtype.
        """
        dtype = self.weight_hh.value.dtype if self.dtype is None else self.dtype
        parts = [jnp.zeros((*batch_shape, self.hidden_size), dtype) for _ in self.hidden_names]
        return tuple(parts) if len(parts) > 1 else parts[0]

    def _gate_sums(self, carry: Any, x: Any) -> list[Any]:
        """Return what `x` and `bias` add to the gates, the parts of the carry in the same dtype, and `weight_hh`."""
        x, *parts = self._as_step_inputs(carry, x, (self.in_size,), *[(self.hidden_size,)] * len(self.hidden_names))
        bias = None if self.bias is None else self.bias.value
        x, weight, bias, *rest = promote(x, self.weight_ih.value, bias, *parts, self.weight_hh.value, dtype=self.dtype)
        gates = with_bias(matmul(self, x, weight), bias)
        wide = getattr(self, "preferred_element_type", None)
        wide = weight.dtype if wide is None else wide
        return [gates.astype(wide), *(part.astype(wide) for part in rest[:-1]), rest[-1]]

    def _times(self, h: jax.Array, weight: jax.Array) -> jax.Array:
        """Return the product of hidden features, or of a part of them, with a matrix, in the dtype of the features."""
        return matmul(self, h.astype(weight.dtype), weight).astype(h.dtype)


class RNNCell(_Cell):
    """The simple recurrent cell (Elman, 1990): ``h' = tanh(x @ weight_ih + h @ weight_hh + bias)``.

    Args:
        in_size: The number of input features.
        hidden_size: The number of hidden features, which are the output.
        activation: The function of the sum; tanh by default.
        use_bias: Whether to add `bias`.
        w_init: The initialiser of `weight_ih`, a function ``(key, shape, dtype) -> array``; LeCun normal by default.
        recurrent_init: The initialiser of `weight_hh`; an orthogonal matrix by default.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the products, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and gates computed in; None for `dtype`.
        dot_general: The function that computes the products, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight_ih: ParamState of shape ``(in_size, hidden_size)``.
        weight_hh: ParamState of shape ``(hidden_size, hidden_size)``.
        bias: ParamState of shape ``(hidden_size,)``, or None. It is the sum of torch's `bias_ih` and `bias_hh`.
        h: The carry, a HiddenState of shape ``(*batch, hidden_size)`` that `init_state` makes.

    Raises:
        ValueError: A size is not positive, or an initialiser returns another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import RNNCell
        >>> cell, x = RNNCell(2, 3), jnp.ones((5, 2))
        >>> h, y = cell.step(cell.initial_carry((5,)), x)
        >>> cell.init_state(5)
        >>> bool((cell(x) == y).all()), bool((cell.h.value == h).all())
        (True, True)
    """

    def step(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute one step.

        Args:
            carry: The hidden features, of shape ``(*batch, hidden_size)``.
            x: An array of shape ``(*batch, in_size)``.

        Returns:
            The new carry, and the output: the same in the dtype of the computation.
        """
        gates, h, weight = self._gate_sums(carry, x)
        h = self.activation(gates + self._times(h, weight))
        return h.astype(carry.dtype), h


class GRUCell(_Cell):
    """The gated recurrent unit (Cho et al., 2014), as in cuDNN and torch: the reset gate after the product.

    With ``r, z = sigmoid(x @ W + h @ U + b)``, the gates `reset` and `update`, it computes
    ``n = tanh(x @ W_n + b_n + r * (h @ U_n + bias_hn))`` and ``h' = (1 - z) * n + z * h``.

    Args:
        in_size: The number of input features.
        hidden_size: The number of hidden features, which are the output.
        activation: The function of the sum in `n`; tanh by default.
        use_bias: Whether to add `bias` and `bias_hn`.
        w_init: The initialiser of `weight_ih`, a function ``(key, shape, dtype) -> array``; LeCun normal by default.
        recurrent_init: The initialiser of `weight_hh`; an orthogonal matrix for each gate by default.
        b_init: The initialiser of `bias` and `bias_hn`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the products, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and gates computed in; None for `dtype`.
        dot_general: The function that computes the products, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight_ih: ParamState of shape ``(in_size, 3 * hidden_size)``: the columns of `r`, then `z`, then `n`.
        weight_hh: ParamState of shape ``(hidden_size, 3 * hidden_size)``, in the same order.
        bias: ParamState of shape ``(3 * hidden_size,)``, or None: torch's `bias_ih`, plus `bias_hh` for `r` and `z`.
        bias_hn: ParamState of shape ``(hidden_size,)``, or None: torch's `bias_hh` for `n`.
        h: The carry, a HiddenState of shape ``(*batch, hidden_size)`` that `init_state` makes.

    Raises:
        ValueError: A size is not positive, or an initialiser returns another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import GRUCell
        >>> cell = GRUCell(2, 3)
        >>> cell.init_state(5)
        >>> cell(jnp.ones((5, 2))).shape, cell.weight_hh.value.shape
        ((5, 3), (3, 9))
    """

    gates = 3
    biases: Mapping[str, int] = {"bias": 3, "bias_hn": 1}
    bias_hn: ParamState | None

    def step(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute one step.

        Args:
            carry: The hidden features, of shape ``(*batch, hidden_size)``.
            x: An array of shape ``(*batch, in_size)``.

        Returns:
            The new carry, and the output: the same in the dtype of the computation.
        """
        gates, h, weight = self._gate_sums(carry, x)
        (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(gates, 3, -1), jnp.split(self._times(h, weight), 3, -1)
        # A bias of its own, for it stands inside the product with the reset gate.
        if self.bias_hn is not None:
            h_n = h_n + along_axis(self.bias_hn.value.astype(h_n.dtype), h_n.ndim)
        z = sigmoid(x_z + h_z)
        h = (1 - z) * self.activation(x_n + sigmoid(x_r + h_r) * h_n) + z * h
        return h.astype(carry.dtype), h


class MGUCell(_Cell):
    """The minimal gated unit (Zhou et al., 2016, arXiv:1603.09420): a single gate.

    With ``f = sigmoid(x @ W_f + h @ U_f + b_f)`` it computes ``n = tanh(x @ W_n + (f * h) @ U_n + b_n)`` and
    ``h' = (1 - f) * h + f * n``.

    Args:
        in_size: The number of input features.
        hidden_size: The number of hidden features, which are the output.
        activation: The function of the sum in `n`; tanh by default.
        use_bias: Whether to add `bias`.
        w_init: The initialiser of `weight_ih`, a function ``(key, shape, dtype) -> array``; LeCun normal by default.
        recurrent_init: The initialiser of `weight_hh`; an orthogonal matrix for each half by default.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the products, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and gates computed in; None for `dtype`.
        dot_general: The function that computes the products, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight_ih: ParamState of shape ``(in_size, 2 * hidden_size)``: the columns of `f`, then `n`.
        weight_hh: ParamState of shape ``(hidden_size, 2 * hidden_size)``, in the same order.
        bias: ParamState of shape ``(2 * hidden_size,)``, or None.
        h: The carry, a HiddenState of shape ``(*batch, hidden_size)`` that `init_state` makes.

    Raises:
        ValueError: A size is not positive, or an initialiser returns another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import MGUCell
        >>> cell = MGUCell(2, 3)
        >>> h, y = cell.step(cell.initial_carry((5,)), jnp.ones((5, 2)))
        >>> y.shape
        (5, 3)
    """

    gates = 2
    biases: Mapping[str, int] = {"bias": 2}

    def step(self, carry: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute one step.

        Args:
            carry: The hidden features, of shape ``(*batch, hidden_size)``.
            x: An array of shape ``(*batch, in_size)``.

        Returns:
            The new carry, and the output: the same in the dtype of the computation.
        """
        gates, h, weight = self._gate_sums(carry, x)
        (x_f, x_n), (weight_f, weight_n) = jnp.split(gates, 2, -1), jnp.split(weight, 2, -1)
        f = sigmoid(x_f + self._times(h, weight_f))
        h = (1 - f) * h + f * self.activation(x_n + self._times(f * h, weight_n))
        return h.astype(carry.dtype), h


class LSTMCell(_Cell):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000).

    With ``i, f, o = sigmoid(x @ W + h @ U + b)`` and ``g = tanh(x @ W_g + h @ U_g + b_g)`` it computes
    ``c' = f * c + i * g`` and ``h' = o * tanh(c')``. All biases start at zero; for a forget gate that starts open, give
    a `b_init` with ones in the second quarter.

    Args:
        in_size: The number of input features.
        hidden_size: The number of hidden features, which are the output.
        activation: The function of the sum in `g`, and of `c'`; tanh by default.
        use_bias: Whether to add `bias`.
        w_init: The initialiser of `weight_ih`, a function ``(key, shape, dtype) -> array``; LeCun normal by default.
        recurrent_init: The initialiser of `weight_hh`; an orthogonal matrix for each gate by default.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the products, as `jnp.dot` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and gates computed in; None for `dtype`.
        dot_general: The function that computes the products, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight_ih: ParamState of shape ``(in_size, 4 * hidden_size)``: the columns of `i`, `f`, `g`, `o`.
        weight_hh: ParamState of shape ``(hidden_size, 4 * hidden_size)``, in the same order.
        bias: ParamState of shape ``(4 * hidden_size,)``, or None: the sum of torch's `bias_ih` and `bias_hh`.
        h: The first part of the carry, a HiddenState of shape ``(*batch, hidden_size)`` that `init_state` makes.
        c: The second part, of the same shape.

    Raises:
        ValueError: A size is not positive, or an initialiser returns another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import LSTMCell
        >>> cell = LSTMCell(2, 3)
        >>> (h, c), y = cell.step(cell.initial_carry((5,)), jnp.ones((5, 2)))
        >>> y.shape, c.shape
        ((5, 3), (5, 3))
    """

    hidden_names: tuple[str, ...] = ("h", "c")
    gates = 4
    biases: Mapping[str, int] = {"bias": 4}
    c: HiddenState

    def step(self, carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """Compute one step.

        Args:
            carry: The pair ``(h, c)``, each of shape ``(*batch, hidden_size)``.
            x: An array of shape ``(*batch, in_size)``.

        Returns:
            The new carry, and the output: its `h` in the dtype of the computation.
        """
        gates, h, c, weight = self._gate_sums(carry, x)
        i, f, g, o = jnp.split(gates + self._times(h, weight), 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * self.activation(g)
        h = sigmoid(o) * self.activation(c)
        return (h.astype(carry[0].dtype), c.astype(carry[1].dtype)), h
