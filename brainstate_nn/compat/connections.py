"""Connections of brainstate as layers: over `Linear` where all are connected, over `SparseLinear` where few are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as today

from . import init
from .layers import Linear
from .module import Layer, Module, as_one_size

__all__ = [
    "AllToAll", "EventFixedNumConn", "EventFixedProb", "EventLinear", "FixedNumConn", "OneToOne", "SparseLinear",
]  # fmt: skip


class AllToAll(Linear):
    """A linear map without bias, where none is given; without `include_self`, not to the neuron of the same number."""

    def __init__(
        self,
        in_size: Any,
        out_size: Any,
        w_init: Any = init.KaimingNormal(),  # noqa: B008 - never changed
        b_init: Any = None,
        include_self: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(in_size, out_size, w_init, b_init, None if include_self else _others, name)
        self.include_self = include_self


def _others(shape: tuple[int, ...]) -> jax.Array:
    return 1.0 - jnp.eye(shape[0], shape[1])


class OneToOne(Module):
    """A product of each element with a weight of its own."""

    def __init__(
        self,
        in_size: Any,
        w_init: Any = init.Normal(),  # noqa: B008 - never changed
        b_init: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.in_size = self.out_size = in_size
        self.weight = today.ParamState(init.param(w_init, in_size, allow_none=False))
        self.bias = None if b_init is None else today.ParamState(init.param(b_init, in_size))

    def update(self, x: jax.Array) -> jax.Array:
        """Apply the layer."""
        y = x * self.weight.value
        return y if self.bias is None else y + self.bias.value


class EventLinear(Module):
    """A product of spikes with a matrix, or with one weight for all; a number that is not 0 is a spike.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import compat
        >>> compat.EventLinear(3, 1, weight=jnp.array([[1.0], [2.0], [4.0]]))(jnp.array([True, False, True]))
        Array([5.], dtype=float32)
    """

    def __init__(
        self,
        in_size: Any,
        out_size: Any,
        weight: Any,
        float_as_event: bool = True,
        block_size: int = 64,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.in_size, self.out_size = in_size, out_size
        self.float_as_event = float_as_event
        shape = (as_one_size(in_size), as_one_size(out_size))
        self.weight = today.ParamState(init.param(weight, shape, allow_none=False))

    def update(self, spk: Any) -> jax.Array:
        """Apply the layer."""
        weight = jnp.asarray(self.weight.value)
        x = _spikes(spk, weight.dtype) if self.float_as_event else jnp.asarray(spk, weight.dtype)
        if weight.ndim < 2:
            return jnp.broadcast_to(jnp.sum(x, -1, keepdims=True) * weight, (*x.shape[:-1], as_one_size(self.out_size)))
        return jnp.matmul(x, weight)


def _spikes(x: Any, dtype: Any) -> jax.Array:
    """Return 1 for what is not 0, with the derivative of a number."""
    x = jnp.asarray(x)
    value = x.astype(dtype)
    return value + jax.lax.stop_gradient((x != 0).astype(dtype) - value)


class SparseLinear(Layer, today.SparseLinear):
    """The map of a sparse matrix, of those libraries that `SparseLinear` takes, and of others that have `todense`."""

    def __init__(self, spar_mat: Any, b_init: Any = None, in_size: Any = None, name: str | None = None) -> None:
        start = init.as_initializer(0.0 if b_init is None else b_init)
        n_pre, n_post = spar_mat.shape
        super().__init__(n_pre, n_post, spar_mat, use_bias=b_init is not None, b_init=start)


class FixedNumConn(Layer, today.SparseLinear):
    """Each sending neuron is connected to the same number of receiving ones, by a draw of NumPy.

    Args:
        in_size: The number of sending neurons.
        out_size: The number of receiving neurons.
        conn_num: How many connections each has; a float is the share of `out_size`.
        conn_weight: The weights: a number for all, an initialiser, or an array of shape ``(in_size, conn_num)``.
        efferent_target: "post"; anything else is refused, as it is in brainstate.
        afferent_ratio: The share of the sending neurons that have connections.
        allow_multi_conn: Whether a neuron may be drawn twice, whose weights then add up.
        seed: A seed; None for the stream of NumPy, which `random.seed` begins.
        name: Not kept.
        conn_init: Of no effect.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import compat
        >>> layer = compat.FixedNumConn(5, 20, 3, 0.5, seed=0)
        >>> float(layer(jnp.ones(5)).sum()), layer.weight.value.shape
        (7.5, ())
    """

    def __init__(
        self,
        in_size: Any,
        out_size: Any,
        conn_num: float,
        conn_weight: Any,
        efferent_target: str = "post",
        afferent_ratio: float = 1.0,
        allow_multi_conn: bool = True,
        seed: int | None = None,
        name: str | None = None,
        conn_init: str = "vmap",
    ) -> None:
        if efferent_target != "post":
            raise ValueError(f"efferent_target must be 'post', not {efferent_target!r}")
        if not 0.0 <= afferent_ratio <= 1.0 or (isinstance(conn_num, float) and not 0.0 <= conn_num <= 1.0):
            raise ValueError(f"afferent_ratio={afferent_ratio} and a float conn_num={conn_num} must be between 0 and 1")
        n_pre, n_post = as_one_size(in_size), as_one_size(out_size)
        self.conn_num = int(n_post * conn_num) if isinstance(conn_num, float) else conn_num
        draws: Any = np.random if seed is None else np.random.RandomState(seed)
        if allow_multi_conn:
            post = draws.randint(0, n_post, size=(n_pre, self.conn_num))
        else:
            post = np.stack([draws.permutation(n_post)[: self.conn_num] for _ in range(n_pre)])
        pre = np.broadcast_to(np.arange(n_pre)[:, None], post.shape)
        if afferent_ratio < 1.0:
            chosen = draws.random_sample(n_pre) < afferent_ratio
            pre, post = pre[chosen], post[chosen]
        weights = init.param(conn_weight, post.shape, allow_none=False)
        shared = jnp.ndim(weights) == 0
        pairs = (pre.reshape(-1), post.reshape(-1))
        if shared:
            super().__init__(n_pre, n_post, pairs, shared_weight=True, w_init=init.as_initializer(weights))
        else:
            super().__init__(n_pre, n_post, (*pairs, np.asarray(weights).reshape(-1)))


class EventFixedNumConn(FixedNumConn):
    """The same for spikes: a number that is not 0 is one."""

    def __call__(self, x: Any) -> jax.Array:
        return super().__call__(_spikes(x, self.weight.value.dtype))


EventFixedProb = EventFixedNumConn
