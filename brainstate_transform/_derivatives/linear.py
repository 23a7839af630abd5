"""Derivatives as linear functions: ``vjp``, ``jvp``, ``linearize`` and ``hvp``.

They run the function at once, as JAX's do, and write its states then.  What `vjp` and `linearize` return runs later,
and uses no state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.tree_util import Partial

from brainstate_graph.extend import locate

from .._engine.user_function import name_of
from .._messages.boundary import boundary
from .differentiated import (
    ALL,
    Differentiated,
    Primals,
    Variables,
    differentiate,
    main_first,
    scalar_valued,
    value_first,
)
from .tangents import refuse_unfit

__all__ = ["hvp", "jvp", "linearize", "vjp"]


@boundary
def vjp(
    fun: Callable[..., Any],
    *primals: Any,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    allow_unused: bool = False,
    **kwargs: Any,
) -> Any:
    """Call `fun`, and return with its value the function that pulls cotangents back.

    Args:
        fun: A function that returns arrays and may read and write states; these are written once, now.
        *primals: Its positional arguments.
        wrt: As for `grad`.
        argnums: Positions of the arguments, as for `grad`; all of them where neither `wrt` nor `argnums` is given.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        allow_unused: As for `grad`.
        **kwargs: Keyword arguments of `fun`, held constant.

    Returns:
        ``(value, pullback)``, then aux. ``pullback(cotangent)`` takes a cotangent built like the value. It returns a
        tuple with one for each primal, as in JAX; with `wrt` or `argnums` it returns what `grad` would. It may be
        called again, mapped, and passed through ``jit``.

    Raises:
        TypeError: A state of `wrt` is not a float.
        ValueError: There is nothing to differentiate, or as for `grad`.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import vjp
        >>> w = State(3.0)
        >>> value, pullback = vjp(lambda x: x * w.value, 2.0, wrt=w)
        >>> float(value), float(pullback(10.0))
        (6.0, 20.0)
    """

    def compute(differentiated: Differentiated) -> Any:
        value, pull, (_, aux, written) = jax.vjp(differentiated, differentiated.primals, has_aux=True)
        return Partial(_Pullback(differentiated.variables), pull), (value, aux, written)

    return differentiate(
        fun, wrt, argnums, compute, value_first(has_aux),
        default=ALL, has_aux=has_aux, allow_int=None, allow_unused=allow_unused,
    )(*primals, **kwargs)  # fmt: skip


# A `Partial` is a pytree: its arrays go through `jit` and `vmap`, and its function is part of the structure.  So that
# one may hold no array, and takes the residuals as its first argument.
class _Pullback:
    """The pullback of `vjp`, without its residuals."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables

    @boundary
    def __call__(self, pull: Callable[..., Any], cotangent: Any, /) -> Any:
        return self._variables.gather(pull(cotangent)[0])


class _Pushforward:
    """The linear function of `linearize`, without its residuals."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables

    @boundary
    def __call__(self, push: Callable[..., Any], /, *tangents: Any) -> Any:
        return push(self._variables.scatter(tangents))


@boundary
def linearize(
    fun: Callable[..., Any],
    *primals: Any,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    allow_unused: bool = False,
    **kwargs: Any,
) -> Any:
    """Call `fun`, and return with its value the linear function that is its derivative there.

    Args:
        fun: A function that returns arrays and may read and write states; these are written once, now.
        *primals: Its positional arguments.
        wrt: As for `grad`.
        argnums: Positions of the arguments, as for `grad`; all of them where neither `wrt` nor `argnums` is given.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        allow_unused: As for `grad`.
        **kwargs: Keyword arguments of `fun`, held constant.

    Returns:
        ``(value, push)``, then aux. ``push(*tangents)`` takes one tangent for each chosen argument, after one built
        like the gradient by states where there is a `wrt`, and returns the tangent of the value. It may be called
        again, mapped, and passed through ``jit``; `fun` is not run again.

    Raises:
        TypeError: A state of `wrt` is not a float.
        ValueError: There is nothing to differentiate, or as for `grad`.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import linearize
        >>> w = State(3.0)
        >>> value, push = linearize(lambda x: x * w.value, 2.0, wrt=w, argnums=0)
        >>> float(value), float(push(1.0, 10.0))
        (6.0, 32.0)
    """

    def compute(differentiated: Differentiated) -> Any:
        value, push, (_, aux, written) = jax.linearize(differentiated, differentiated.primals, has_aux=True)
        return Partial(_Pushforward(differentiated.variables), push), (value, aux, written)

    return differentiate(
        fun, wrt, argnums, compute, value_first(has_aux),
        default=ALL, has_aux=has_aux, allow_int=None, allow_unused=allow_unused,
    )(*primals, **kwargs)  # fmt: skip


@boundary
def jvp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any] | None,
    has_aux: bool = False,
    *,
    wrt: Any = None,
    state_tangents: Any = None,
    allow_unused: bool = False,
    **kwargs: Any,
) -> Any:
    """Call `fun`, and return with its value the derivative along a direction.

    Args:
        fun: A function that returns arrays and may read and write states; these are written once.
        primals: Its positional arguments, as a tuple or list.
        tangents: The direction, one entry for each primal with its structure, shapes and dtypes. Where an entry
            is None, the primal stays constant; with None for all of them, all stay constant.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        wrt: The states to differentiate with respect to, as for `grad`.
        state_tangents: Their direction, in the structure of the gradient with respect to `wrt`.
        allow_unused: As for `grad`.
        **kwargs: Keyword arguments of `fun`, held constant.

    Returns:
        ``(value, tangent)``, then aux.

    Raises:
        TypeError: `primals` is not a tuple or list, or a tangent does not fit its primal.
        ValueError: There is nothing to differentiate, or as for `grad`.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jvp
        >>> w = State(3.0)
        >>> value, tangent = jvp(lambda x: x * w.value, (2.0,), None, wrt=w, state_tangents=10.0)
        >>> float(value), float(tangent)
        (6.0, 20.0)
    """
    moving = _moving(fun, primals, tangents, wrt, state_tangents)

    def compute(differentiated: Differentiated) -> Any:
        along = _direction(differentiated, tangents, state_tangents)
        value, tangent, (_, aux, written) = jax.jvp(differentiated, (differentiated.primals,), (along,), has_aux=True)
        return tangent, (value, aux, written)

    return differentiate(
        fun, wrt, moving, compute, value_first(has_aux),
        default=(), has_aux=has_aux, allow_int=None, allow_unused=allow_unused,
    )(*primals, **kwargs)  # fmt: skip


@boundary
def hvp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any] | None,
    has_aux: bool = False,
    *,
    wrt: Any = None,
    state_tangents: Any = None,
    allow_unused: bool = False,
    **kwargs: Any,
) -> Any:
    """Call `fun`, a function with a scalar value, and return the product of its Hessian with a direction.

    The derivative of the gradient along the direction, forward over reverse (Pearlmutter 1994, "Fast exact
    multiplication by the Hessian"): a few times the cost of `fun`, at any size.

    Args:
        fun: A function that returns a scalar and may read and write states; these are written once.
        primals: As for `jvp`.
        tangents: As for `jvp`.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        wrt: As for `jvp`.
        state_tangents: As for `jvp`.
        allow_unused: As for `grad`.
        **kwargs: As for `jvp`.

    Returns:
        The product, in the structure of the direction: a tuple like `tangents`, the structure of `state_tangents`, or a
        pair of both, states first. A primal that is held constant has None. With has_aux, the pair of this and aux.

    Raises:
        TypeError: The value is not a scalar, or as for `jvp`.
        ValueError: As for `jvp`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import hvp
        >>> hvp(lambda x: jnp.sum(x**3), (jnp.array([1.0, 2.0]),), (jnp.array([1.0, 1.0]),))
        (Array([ 6., 12.], dtype=float32),)
    """
    moving = _moving(fun, primals, tangents, wrt, state_tangents)

    def compute(differentiated: Differentiated) -> Any:
        along = _direction(differentiated, tangents, state_tangents)
        gradient = jax.grad(scalar_valued(differentiated), has_aux=True)
        _, (by_state, by_argument), riding = jax.jvp(gradient, (differentiated.primals,), (along,), has_aux=True)
        variables = differentiated.variables
        if tangents is not None:
            found = dict(zip(variables.positions, by_argument, strict=True))
            by_argument = [found.get(position) for position in range(len(primals))]
        return variables.gather((by_state, by_argument)), riding

    return differentiate(
        fun, wrt, moving, compute, main_first(has_aux), default=(), has_aux=has_aux, allow_unused=allow_unused
    )(*primals, **kwargs)


def _moving(fun: Any, primals: Any, tangents: Any, wrt: Any, state_tangents: Any) -> tuple[int, ...] | None:
    """The positions of the primals that are not held constant, after a look at what the user gave."""
    name = f"`{name_of(fun)}`"
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list, type(None))):
        wrong = "primals" if not isinstance(primals, (tuple, list)) else "tangents"
        raise TypeError(
            f"{wrong} of {name} is a {type(primals if wrong == 'primals' else tangents).__name__}: give a tuple with "
            "one entry for each positional argument, as `(x,)`"
        )
    if tangents is not None and len(tangents) != len(primals):
        raise TypeError(
            f"{name} has {len(primals)} primals and {len(tangents)} tangents: give one tangent each, None to hold one "
            "constant"
        )
    if (wrt is None) != (state_tangents is None):
        given, missing = ("state_tangents", "wrt") if wrt is None else ("wrt", "state_tangents")
        raise TypeError(
            f"{name} needs {missing} beside {given}: `wrt` names the states, and `state_tangents` is their direction"
        )
    return None if tangents is None else tuple(n for n, tangent in enumerate(tangents) if tangent is not None)


def _direction(differentiated: Differentiated, tangents: Sequence[Any] | None, state_tangents: Any) -> Primals:
    """The direction, built like the primals, each part checked against what it moves."""
    variables, (states, arguments) = differentiated.variables, differentiated.primals
    along, moves = states, list[Any]()
    if variables.selection is not None:
        along = variables.scatter_states(state_tangents, "state_tangents")
        for state, value, tangent in zip(states.states, states.values, along.values, strict=True):
            refuse_unfit(lambda s=state: f"state_tangents for {locate(s)}", value, tangent)
    for position, value in zip(variables.positions, arguments, strict=True):
        assert tangents is not None
        refuse_unfit(lambda n=position: f"tangents[{n}]", value, tangents[position])
        moves.append(tangents[position])
    return along, moves
