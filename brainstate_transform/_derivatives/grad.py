"""Gradients: of scalars, of sums of outputs, and an estimate from forward mode.

`grad` and `value_and_grad` are ``jax.grad`` of a scalar, in two orders of the result.  `vector_grad` is for functions
that work elementwise, `fwd_grad` where a backward pass would take too much memory.  Other products with a Jacobian are
in ``linear.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Overlay
from brainstate_graph.extend import describe

from .._engine.core import Core
from .._engine.user_function import decorator
from .._engine.values import StateValues, written_in
from .differentiated import Compute, Differentiated, differentiate, main_first, scalar_valued

__all__ = ["fwd_grad", "grad", "value_and_grad", "vector_grad"]


def _reverse(**options: Any) -> Compute:
    def compute(differentiated: Differentiated) -> Any:
        gradient, riding = jax.grad(scalar_valued(differentiated), has_aux=True, **options)(differentiated.primals)
        return differentiated.variables.gather(gradient), riding

    return compute


def grad(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    allow_unused: bool = False,
    return_value: bool = False,
    debug_nan: bool = False,
) -> Any:
    """Make a function that computes the gradient of `fun` with respect to states, arguments, or both.

    Args:
        fun: A function that returns a scalar and may read and write states; without it, a decorator is returned.
        wrt: The states, by any selector: a State, a mapping or container of States such as
            ``model.states(ParamState)``, a Node for all its states, or a filter on the states that `fun` touches.
        argnums: Positions of the arguments, negative ones from the end; 0 where neither `wrt` nor `argnums` is given.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        holomorphic: As in ``jax.grad``.
        allow_int: As in ``jax.grad``; for states too.
        allow_unused: Whether states of `wrt` that `fun` does not use get zeros instead of an error.
        return_value: Also return the value, after the gradient: ``(grads, value)``.
        debug_nan: Raise a `NonFiniteError` where a NaN or infinite number is in the gradients, the value or a written
            state; it names the operation and the line.

    Returns:
        A function with the arguments of `fun` that returns the gradients, keyed as `wrt` is (by path for a Node or
        a filter); ``(state_grads, argument_grads)`` for both; then the value; then aux.

    Raises:
        TypeError: A chosen state or argument is not a float, or the value is not a scalar.
        ValueError: A state of `wrt` is not used by `fun`, or `wrt` selects none.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import grad
        >>> w = State(3.0)
        >>> float(grad(lambda x: x * w.value**2, w)(2.0))
        12.0
    """
    if fun is None:
        return decorator(grad, locals())
    return differentiate(
        fun, wrt, argnums, _reverse(holomorphic=holomorphic, allow_int=allow_int), main_first(has_aux, return_value),
        debug_nan=debug_nan, has_aux=has_aux, allow_int=allow_int, allow_unused=allow_unused,
    )  # fmt: skip


def value_and_grad(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    allow_unused: bool = False,
    debug_nan: bool = False,
) -> Any:
    """Make a function that computes the value of `fun` and its gradient, in the order of JAX.

    Args:
        fun: As for `grad`.
        wrt: As for `grad`.
        argnums: As for `grad`.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        holomorphic: As in ``jax.grad``.
        allow_int: As in ``jax.grad``; for states too.
        allow_unused: As for `grad`.
        debug_nan: As for `grad`.

    Returns:
        A function that returns ``(value, grads)``, or ``((value, aux), grads)``.

    Raises:
        TypeError: As for `grad`.
        ValueError: As for `grad`.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import value_and_grad
        >>> w = State(3.0)
        >>> value, gradient = value_and_grad(lambda: w.value**2, w)()
        >>> float(value), float(gradient)
        (9.0, 6.0)
    """
    if fun is None:
        return decorator(value_and_grad, locals())

    def arrange(gradient: Any, value: Any, aux: Any) -> Any:
        return ((value, aux) if has_aux else value), gradient

    return differentiate(
        fun, wrt, argnums, _reverse(holomorphic=holomorphic, allow_int=allow_int), arrange,
        debug_nan=debug_nan, has_aux=has_aux, allow_int=allow_int, allow_unused=allow_unused,
    )  # fmt: skip


def vector_grad(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    allow_int: bool = False,
    allow_unused: bool = False,
    return_value: bool = False,
    debug_nan: bool = False,
) -> Any:
    """Make a function that computes the gradient of the sum of all outputs of `fun`: its vjp with ones.

    Where each output depends on the entry of the input at the same place only, as in an elementwise function, that is
    the derivative at each place.

    Args:
        fun: A function that returns float arrays, of any shape and in any structure; without it, a decorator is
            returned.
        wrt: As for `grad`.
        argnums: As for `grad`.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        allow_int: As for `grad`.
        allow_unused: As for `grad`.
        return_value: Also return the value, after the gradient.
        debug_nan: As for `grad`.

    Returns:
        A function whose result has the order and structure of that of `grad`.

    Raises:
        TypeError: An output is not a float, or as for `grad`.
        ValueError: As for `grad`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import vector_grad
        >>> vector_grad(lambda x: x**3)(jnp.arange(3.0))
        Array([ 0.,  3., 12.], dtype=float32)
    """
    if fun is None:
        return decorator(vector_grad, locals())

    def compute(differentiated: Differentiated) -> Any:
        value, pull, riding = jax.vjp(differentiated, differentiated.primals, has_aux=True)
        # JAX takes the vjp of a whole number, and complains of its cotangent only.
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                raise TypeError(
                    f"result{jax.tree_util.keystr(path)} of `{differentiated.core.__qualname__}` is {describe(leaf)}, "
                    "which has no derivative: return it as auxiliary output, with has_aux=True"
                )
        return differentiated.variables.gather(pull(jax.tree.map(jnp.ones_like, value))[0]), riding

    return differentiate(
        fun, wrt, argnums, compute, main_first(has_aux, return_value),
        debug_nan=debug_nan, has_aux=has_aux, allow_int=allow_int, allow_unused=allow_unused,
    )  # fmt: skip


def fwd_grad(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    key: Any = None,
    samples: int = 1,
    clip: float | None = None,
    has_aux: bool = False,
    allow_unused: bool = False,
    return_value: bool = False,
) -> Any:
    """Make a function that estimates the gradient of `fun` without a backward pass.

    The estimate is the mean of ``(J v) v`` over directions `v` with standard normal entries; its expectation is the
    gradient (Baydin et al. 2022, "Gradients without backpropagation"). Memory does not grow with the length of the
    computation; the variance grows with the number of entries.

    Args:
        fun: A function that returns a scalar; without it, a decorator is returned.
        wrt: As for `grad`.
        argnums: As for `grad`.
        key: A typed random key, for the same directions in each call, or a function without arguments that returns
            one, called once in each call, such as ``rng.split_key`` of a random stream.
        samples: The number of directions.
        clip: The largest size of a directional derivative; larger ones are clipped.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        allow_unused: As for `grad`.
        return_value: Also return the value, after the gradient.

    Returns:
        A function whose result has the order and structure of that of `grad`.

    Raises:
        TypeError: There is no key, or as for `grad`.
        ValueError: `samples` or `clip` is not positive, or as for `grad`.

    Example:
        >>> import jax
        >>> from brainstate_transform import fwd_grad
        >>> g = fwd_grad(lambda x: 3.0 * x, key=jax.random.key(0), samples=1000)(1.0)
        >>> bool(abs(g - 3.0) < 0.5)
        True
    """
    if fun is None:
        return decorator(fwd_grad, locals())
    if not callable(key) and not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"key={key!r}: fwd_grad draws directions. Give a function that returns a key, `key=rng.split_key`, or a "
            "typed key, `key=jax.random.key(0)`; to differentiate along a direction of your own use jvp."
        )
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples={samples!r}: give the number of directions, at least 1")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip={clip!r}: give the largest size of a directional derivative, above 0")

    def compute(differentiated: Differentiated, *draw: Core) -> Any:
        # One overlay around both: of what the drawing of the key and the function write, all or none is kept.
        with Overlay() as overlay:
            drawn: Any = key
            if draw:
                drawn, written = draw[0](StateValues.of((), ()))
                written.write()
            # One draw from the stream for all directions: it advances by the same amount for any number of samples.
            keys = jax.random.split(drawn, samples)
            estimate = functools.partial(_along, differentiated, clip)
            if samples == 1:
                gradient, (value, aux, written) = estimate(keys[0])
            else:
                each, (value, aux, written) = jax.vmap(estimate, out_axes=(0, None))(keys)
                gradient = jax.tree.map(lambda g: jnp.mean(g, 0), each)
            written.write()
            return differentiated.variables.gather(gradient), (value, aux, written_in(overlay))

    return differentiate(
        fun, wrt, argnums, compute, main_first(has_aux, return_value),
        helpers=(key,) if callable(key) else (), has_aux=has_aux, allow_unused=allow_unused,
    )  # fmt: skip


def _along(differentiated: Differentiated, clip: float | None, key: Any) -> Any:
    """Estimate the gradient from one random direction."""
    leaves, treedef = jax.tree.flatten(differentiated.primals)
    for leaf in leaves:
        if jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
            raise TypeError(
                f"fwd_grad of `{differentiated.core.__qualname__}` is with respect to real numbers, not "
                f"{describe(leaf)}"
            )
    keys = jax.random.split(key, len(leaves))
    direction = treedef.unflatten(
        [jax.random.normal(k, jnp.shape(x), jnp.result_type(x)) for k, x in zip(keys, leaves, strict=True)]
    )
    _, slope, riding = jax.jvp(scalar_valued(differentiated), (differentiated.primals,), (direction,), has_aux=True)
    if clip is not None:
        slope = jnp.clip(slope, -clip, clip)
    return jax.tree.map(lambda v: slope * v, direction), riding
