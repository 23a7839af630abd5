"""Jacobians and Hessians: the structure of the variables inside that of the outputs.

Whole matrices, for when each entry is wanted.  A product with a vector costs less: `vjp`, `jvp` and `hvp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .._engine.user_function import decorator
from .differentiated import Compute, Differentiated, differentiate, main_first

__all__ = ["hessian", "jacfwd", "jacobian", "jacrev"]


def _matrices(transform: Callable[..., Any], **options: Any) -> Compute:
    """Compute one block for each output and variable, by a JAX transform that returns variables inside outputs."""

    def compute(differentiated: Differentiated) -> Any:
        blocks, riding = transform(differentiated, has_aux=True, **options)(differentiated.primals)
        return differentiated.variables.gather_each(riding[0], blocks), riding

    return compute


def _second(**options: Any) -> Compute:
    """Compute one block for each output and pair of variables: variables inside variables inside outputs."""

    def compute(differentiated: Differentiated) -> Any:
        variables, primals = differentiated.variables, differentiated.primals
        blocks, riding = jax.hessian(differentiated, has_aux=True, **options)(primals)
        outputs = jax.tree.structure(riding[0])
        # From the inside out: what is built like the variables there has no longer their structure afterwards.
        inner = [variables.gather_each(primals, part) for part in outputs.flatten_up_to(blocks)]
        return variables.gather_each(riding[0], outputs.unflatten(inner)), riding

    return compute


def jacrev(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    allow_unused: bool = False,
    return_value: bool = False,
) -> Any:
    """Make a function that computes the Jacobian of `fun`, row by row: for fewer outputs than inputs.

    Args:
        fun: A function that returns arrays, in any structure, and may read and write states; without it, a decorator
            is returned.
        wrt: As for `grad`.
        argnums: As for `grad`.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        holomorphic: As in ``jax.jacrev``.
        allow_int: As for `grad`.
        allow_unused: As for `grad`.
        return_value: Also return the value, after the Jacobian.

    Returns:
        A function with the arguments of `fun` that returns, at each leaf of the value, what `grad` would return there:
        the structure of `wrt`, that of `argnums`, or a pair of both. Each block has the shape of the output leaf, then
        that of the input leaf. Then the value; then aux. States are written once.

    Raises:
        TypeError: A chosen state or argument is not a float.
        ValueError: A state of `wrt` is not used by `fun`, or `wrt` selects none.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jacrev
        >>> w = State(jnp.array([1.0, 2.0]))
        >>> jacrev(lambda x: x * w.value**2, w)(3.0)
        Array([[ 6.,  0.],
               [ 0., 12.]], dtype=float32)
    """
    if fun is None:
        return decorator(jacrev, locals())
    compute = _matrices(jax.jacrev, holomorphic=holomorphic, allow_int=allow_int)
    return differentiate(
        fun, wrt, argnums, compute, main_first(has_aux, return_value),
        has_aux=has_aux, allow_int=allow_int, allow_unused=allow_unused,
    )  # fmt: skip


jacobian = jacrev


def jacfwd(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_unused: bool = False,
    return_value: bool = False,
) -> Any:
    """Make a function that computes the Jacobian of `fun`, column by column: for fewer inputs than outputs.

    Args:
        fun: As for `jacrev`.
        wrt: As for `grad`.
        argnums: As for `grad`.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        holomorphic: As in ``jax.jacfwd``.
        allow_unused: As for `grad`.
        return_value: Also return the value, after the Jacobian.

    Returns:
        A function whose result is built like that of `jacrev`.

    Raises:
        TypeError: As for `jacrev`.
        ValueError: As for `jacrev`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import jacfwd
        >>> jacfwd(lambda x: {"square": x * x})(jnp.array([1.0, 2.0]))["square"]
        Array([[2., 0.],
               [0., 4.]], dtype=float32)
    """
    if fun is None:
        return decorator(jacfwd, locals())
    return differentiate(
        fun, wrt, argnums, _matrices(jax.jacfwd, holomorphic=holomorphic), main_first(has_aux, return_value),
        has_aux=has_aux, allow_unused=allow_unused,
    )  # fmt: skip


def hessian(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_unused: bool = False,
    return_value: bool = False,
) -> Any:
    """Make a function that computes the second derivatives of `fun`, all of them.

    Args:
        fun: As for `jacrev`; mostly it returns a scalar.
        wrt: As for `grad`.
        argnums: As for `grad`.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        holomorphic: As in ``jax.hessian``.
        allow_unused: As for `grad`.
        return_value: Also return the value, after the Hessian.

    Returns:
        A function that returns a nest of two gradients at each leaf of the value: ``h[p][q]`` is the second derivative
        with respect to the states at the paths `p` and `q`. A state that holds a tree has its tree in between.
        With `wrt` and `argnums` both levels are pairs: ``h[0][p][1]`` is by the state at `p` and the argument. Then
        the value; then aux. For a product with a vector, `hvp` is cheaper.

    Raises:
        TypeError: As for `jacrev`.
        ValueError: As for `jacrev`.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import hessian
        >>> a, b = State(2.0), State(3.0)
        >>> h = hessian(lambda: a.value**2 * b.value, {"a": a, "b": b})()
        >>> float(h["a"]["a"]), float(h["a"]["b"]), float(h["b"]["b"])
        (6.0, 4.0, 0.0)
    """
    if fun is None:
        return decorator(hessian, locals())
    return differentiate(
        fun, wrt, argnums, _second(holomorphic=holomorphic), main_first(has_aux, return_value),
        has_aux=has_aux, allow_unused=allow_unused,
    )  # fmt: skip
