"""Differentiate with respect to chosen states or arguments; all else rides along as auxiliary output."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from brainstate_graph import Overlay
from brainstate_graph.extend import locate

from ._core import Core, Run
from ._lift import Lifted, lift
from ._seal import Held
from ._select import Selection, select
from ._values import StateValues, Written

__all__ = ["grad", "value_and_grad"]


def _check_argnums(argnums: Any) -> None:
    numbers = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
        raise ValueError(f"argnums={argnums!r}: give the position of an argument, counted from 0, or a tuple of them")


def _split_aux(out: Any, has_aux: bool, fun: Any) -> tuple[Any, Any]:
    if not has_aux:
        return out, None
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        name = getattr(fun, "__qualname__", fun)
        raise TypeError(f"with has_aux=True, `{name}` must return a pair (value, aux), not {out!r}")
    return out[0], out[1]


def _differentiated(
    fun: Callable[..., Any], wrt: Any, argnums: Any, has_aux: bool, options: dict[str, Any], arrange: Callable[..., Any]
) -> Lifted:
    """Lift ``jax.value_and_grad``; `arrange` puts value, gradients and aux into the order of the caller."""
    if argnums is not None:
        _check_argnums(argnums)
    elif wrt is None:
        argnums = 0

    def rule(core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            chosen = None if wrt is None else select(wrt, core, "wrt")
            numbers = () if argnums is None else (argnums,) if isinstance(argnums, int) else tuple(argnums)
            if any(n >= len(args) for n in numbers):
                raise ValueError(
                    f"argnums={argnums!r}, but `{core.__qualname__}` was called with {len(args)} positional arguments"
                )
            for n in numbers:
                if any(isinstance(x, Held) for x in jax.tree.leaves(args[n], is_leaf=lambda x: isinstance(x, Held))):
                    raise TypeError(
                        f"argument {n} of `{core.__qualname__}` is or holds a Node, which is not differentiated by "
                        "position: name its states, `wrt=model` or `wrt=model.states(ParamState)`"
                    )
            states = StateValues.read(chosen.states if chosen else ())

            def loss(values: Sequence[Any], picked: tuple[Any, ...]) -> tuple[Any, tuple[Any, Written]]:
                given = list(args)
                for number, value in zip(numbers, picked, strict=True):
                    given[number] = value
                overlay = Overlay()
                out, written = core.run(StateValues(states.which, values), tuple(given), kwargs, overlay)
                if chosen is not None:
                    _refuse_unused(chosen, overlay, core)
                value, aux = _split_aux(out, has_aux, core.fun)
                return value, (aux, written)

            picked = tuple(args[n] for n in numbers)
            (value, (aux, written)), (by_state, by_arg) = jax.value_and_grad(
                loss, argnums=(0, 1), has_aux=True, **options
            )(states.values, picked)
            grads_of_args = by_arg[0] if isinstance(argnums, int) else by_arg
            grads = grads_of_args if chosen is None else chosen.gather(list(by_state))
            if chosen is not None and argnums is not None:
                grads = (grads, grads_of_args)
            return arrange(value, grads, aux), written

        return run

    return lift(rule, fun)


def _refuse_unused(chosen: Selection, overlay: Overlay, core: Core) -> None:
    unused = [
        f"{name} ({locate(state)})"
        for state, name in zip(chosen.states, chosen.names, strict=True)
        if state not in overlay.reads and state not in overlay.writes
    ]
    if unused:
        raise ValueError(
            f"`{core.__qualname__}` does not use these states, so there is nothing to differentiate: "
            f"{', '.join(unused)}. Leave them out of `wrt`."
        )


def grad(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    return_value: bool = False,
) -> Any:
    """Make a function that computes the gradient of `fun` with respect to states, arguments, or both.

    Args:
        fun: A function that returns a scalar and may read and write states; without it, a decorator is returned.
        wrt: The states: a State, a mapping or nested container of States such as ``model.states(ParamState)``, a Node,
            or a filter on the states that `fun` touches.
        argnums: Positions of the arguments; 0 where neither `wrt` nor `argnums` is given.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        holomorphic: As in ``jax.grad``.
        allow_int: As in ``jax.grad``.
        return_value: Also return the value, after the gradient: ``(grads, value)``.

    Returns:
        A function with the arguments of `fun` that returns the gradients, keyed as `wrt` is (by path for a Node or
        a filter); ``(state_grads, argument_grads)`` where both are asked for; then the value; then aux.

    Raises:
        ValueError: A state of `wrt` is not used by `fun`, or `wrt` selects none.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import grad
        >>> w = State(3.0)
        >>> float(grad(lambda x: x * w.value**2, w)(2.0))
        12.0
    """
    if fun is None:
        return functools.partial(
            grad, wrt=wrt, argnums=argnums, has_aux=has_aux, holomorphic=holomorphic, allow_int=allow_int,
            return_value=return_value,
        )  # fmt: skip

    def arrange(value: Any, grads: Any, aux: Any) -> Any:
        extra = ((value,) if return_value else ()) + ((aux,) if has_aux else ())
        return (grads, *extra) if extra else grads

    return _differentiated(fun, wrt, argnums, has_aux, {"holomorphic": holomorphic, "allow_int": allow_int}, arrange)


def value_and_grad(
    fun: Callable[..., Any] | None = None,
    wrt: Any = None,
    argnums: int | Sequence[int] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Any:
    """Make a function that computes the value of `fun` and its gradient, in the order of JAX.

    Args:
        fun: As for `grad`.
        wrt: As for `grad`.
        argnums: As for `grad`.
        has_aux: Whether `fun` returns a pair ``(value, aux)``.
        holomorphic: As in ``jax.grad``.
        allow_int: As in ``jax.grad``.

    Returns:
        A function that returns ``(value, grads)``, or ``((value, aux), grads)``.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import value_and_grad
        >>> w = State(3.0)
        >>> value, gradient = value_and_grad(lambda: w.value**2, w)()
        >>> float(value), float(gradient)
        (9.0, 6.0)
    """
    if fun is None:
        return functools.partial(
            value_and_grad, wrt=wrt, argnums=argnums, has_aux=has_aux, holomorphic=holomorphic, allow_int=allow_int
        )

    def arrange(value: Any, grads: Any, aux: Any) -> Any:
        return ((value, aux) if has_aux else value), grads

    return _differentiated(fun, wrt, argnums, has_aux, {"holomorphic": holomorphic, "allow_int": allow_int}, arrange)
