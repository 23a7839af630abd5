"""A layer of ours against one of flax.nnx with the same parameters: results and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from brainstate_graph import treefy_merge, treefy_split
from brainstate_nn import Module, ParamState

THEIRS = {"weight": "kernel", "bias": "bias"}


def _loss(y: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(y))


def give_parameters(ours: Module, theirs: nnx.Module, names: dict[str, str] = THEIRS) -> None:
    for mine, other in names.items():
        if getattr(ours, mine) is not None:
            setattr(theirs, other, nnx.Param(getattr(ours, mine).value))


def assert_same(ours: Module, theirs: Callable[..., Any], x: Any, names: dict[str, str] = THEIRS, rtol=1e-5) -> None:
    """Results, gradients of all parameters, and gradient of the input."""
    give_parameters(ours, theirs, names)
    shape, params, rest = treefy_split(ours, ParamState, ...)
    their_shape, their_params, their_rest = nnx.split(theirs, nnx.Param, ...)

    def run(params, x):
        y = treefy_merge(shape, params, rest)(x)
        return _loss(y), y

    def run_theirs(params, x):
        y = nnx.merge(their_shape, params, their_rest, copy=True)(x)
        return _loss(y), y

    (_, y), (grads, dx) = _with_gradients(run)(params, x)
    (_, their_y), (their_grads, their_dx) = _with_gradients(run_theirs)(their_params, x)
    their_grads = nnx.to_pure_dict(their_grads)
    assert y.dtype == their_y.dtype
    np.testing.assert_allclose(y, their_y, rtol=rtol, atol=1e-5)
    np.testing.assert_allclose(dx, their_dx, rtol=rtol, atol=1e-5)
    assert len(grads) == len(their_grads)
    for mine in grads:
        np.testing.assert_allclose(grads[mine].value, their_grads[names[mine]], rtol=10 * rtol, atol=1e-4)


def _with_gradients(run: Callable[..., Any]) -> Callable[..., Any]:
    # one program, since compiling is what the tests wait for
    return jax.jit(jax.value_and_grad(run, (0, 1), has_aux=True))


def sample(*shape: int, seed: int = 0, dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def by_text(values: Iterable[Any]) -> dict[str, Any]:
    """Values by how they print, as the names of cases."""
    return {str(value): value for value in values}
