"""Jacobians and Hessians: the structure of the inputs inside that of the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .._engine.core import Core, Run
from .._engine.lift import Lifted, lift
from .._engine.user_function import decorator
from .._engine.values import StateValues, Written
from .chosen import Chosen, check_argnums

__all__ = ["hessian", "jacfwd", "jacobian", "jacrev"]


def _matrices(
    transform: Callable[..., Any], fun: Any, wrt: Any, argnums: Any, return_value: bool, has_aux: bool, twice: bool,
    options: dict[str, Any], checks: dict[str, Any],
) -> Lifted:  # fmt: skip
    """Lift a JAX transform that has inputs inside outputs, or with `twice` inputs inside inputs inside outputs."""
    if argnums is not None:
        check_argnums(argnums)
    elif wrt is None:
        argnums = 0

    def rule(core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            chosen = Chosen(core, wrt, argnums, args, kwargs, has_aux=has_aux, **checks)
            blocks, (value, aux, written) = transform(chosen, has_aux=True, **options)(chosen.inputs)
            layout, outputs = chosen.layout, jax.tree.structure(value)
            if twice:
                each = outputs.flatten_up_to(blocks)
                blocks = outputs.unflatten([layout.gather_each(chosen.inputs, inner) for inner in each])
            result = layout.gather_each(value, blocks)
            extra = ((value,) if return_value else ()) + ((aux,) if has_aux else ())
            return ((result, *extra) if extra else result), written

        return run

    return lift(rule, fun)


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
        A function with the arguments of `fun` that returns, at each leaf of the value, what `grad` would return
        there: the form of `wrt`, that of `argnums`, or a pair of both. Each block has the shape of the output leaf,
        then that of the input leaf. Then the value; then aux. States are written once.

    Raises:
        TypeError: Something that is to be differentiated is no float.
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
    return _matrices(
        jax.jacrev, fun, wrt, argnums, return_value, has_aux, False,
        {"holomorphic": holomorphic, "allow_int": allow_int}, {"allow_int": allow_int, "allow_unused": allow_unused},
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
    return _matrices(
        jax.jacfwd, fun, wrt, argnums, return_value, has_aux, False, {"holomorphic": holomorphic},
        {"allow_unused": allow_unused},
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
        A function that returns, at each leaf of the value, what `grad` would return, and at each leaf of this the
        same again: ``h[p][q]`` is the second derivative by the states at paths `p` and `q` (a state that holds a tree
        has it in between). With `wrt` and `argnums`
        both levels are pairs, so ``h[0][p][1]`` is by the state at `p` and the argument. Then the value; then aux.
        For a product with a vector, `hvp` is cheaper.

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
    return _matrices(
        jax.hessian, fun, wrt, argnums, return_value, has_aux, True, {"holomorphic": holomorphic},
        {"allow_unused": allow_unused},
    )  # fmt: skip
