"""The pure function that JAX differentiates: variables in, value out; all else rides along as auxiliary output.

Every derivative of this room is a JAX derivative of a `Differentiated`, lifted by `differentiate`.  A file like
``grad.py`` says which one (`jax.grad`, `jax.vjp`, ...) and in which order its caller gets the parts of the result.

What the user's function writes is no variable: it leaves with the auxiliary output, and is written once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Overlay
from brainstate_graph.extend import describe, locate

from .._checks.debug_nan import finite
from .._engine.core import Core, Run
from .._engine.lift import Lifted, lift
from .._engine.placeholders import holds_nodes
from .._engine.select import overlooked
from .._engine.values import StateValues, Written
from .variables import Primals, Variables, check_argnums

__all__ = ["Arrange", "Compute", "Differentiated", "differentiate", "main_first", "scalar_valued", "value_first"]

Riding = tuple[Any, Any, Written]  # value, auxiliary output of the user, and what was written
Compute = Callable[..., tuple[Any, Riding]]  # ``compute(differentiated, *helper_cores)``: the derivative, and the rest
Arrange = Callable[[Any, Any, Any], Any]  # ``arrange(derivative, value, aux)``: what the caller gets


class Differentiated:
    """The pure function of one call: ``differentiated(primals) -> (value, (value, aux, written))``.

    Args:
        core: The user's function.
        wrt: A selector of states, or None.
        argnums: Positions of arguments, `ALL`, or None.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        has_aux: Whether the function returns a pair ``(value, aux)``.
        allow_int: Whether variables may be whole numbers; None if arguments may.
        allow_unused: Whether the function may leave a chosen state alone.

    Attributes:
        core: The user's function.
        variables: What it is differentiated by.
        primals: Their values.

    Raises:
        TypeError: A variable has no derivative.
        ValueError: There is no variable, or no such argument.
    """

    def __init__(
        self,
        core: Core,
        wrt: Any,
        argnums: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        has_aux: bool = False,
        allow_int: bool | None = False,
        allow_unused: bool = False,
    ) -> None:
        self.__name__ = core.__name__
        self.core = core
        self.variables = Variables.of(core, wrt, argnums, args)
        self.primals = self.variables.primals(args)
        self.variables.refuse_discrete(core, self.primals, allow_int)
        self._wrt, self._args, self._kwargs = wrt, args, kwargs
        self._has_aux, self._allow_unused = has_aux, allow_unused

    def __call__(self, primals: Primals) -> tuple[Any, Riding]:
        states, arguments = primals
        args = list(self._args)
        for position, value in zip(self.variables.positions, arguments, strict=True):
            args[position] = value
        overlay = Overlay()
        out, written = self.core.run(states, tuple(args), self._kwargs, overlay)
        self._refuse_unused(overlay)
        value, aux = _value_and_aux(out, self.core) if self._has_aux else (out, None)
        if not isinstance(value, jax.Array) and holds_nodes(value):
            raise TypeError(
                f"`{self.core.__qualname__}` returns a Node in what is differentiated: return arrays, and the Node as "
                "auxiliary output, with has_aux=True"
            )
        return value, (value, aux, written)

    def _refuse_unused(self, overlay: Overlay) -> None:
        selection, core = self.variables.selection, self.core
        if selection is None:
            return
        used = [state for state in overlay.reads if not overlay.created(state) and state not in selection.states]
        missed = overlooked(self._wrt, core, used)
        if missed:
            raise ValueError(
                f"`{core.__qualname__}` reads {', '.join(map(locate, missed))} in a way that cannot be seen beforehand,"
                f" so that the filter wrt={self._wrt!r} could not choose it. Name the states themselves, as in "
                "`wrt=model.states(ParamState)`, or let the function close over the model."
            )
        unused = [
            f"{name} ({locate(state)})"
            for state, name in zip(selection.states, selection.names, strict=True)
            if state not in overlay.reads and state not in overlay.writes
        ]
        if unused and not self._allow_unused:
            raise ValueError(
                f"`{core.__qualname__}` does not use these states, so there is nothing to differentiate: "
                f"{', '.join(unused)}. Leave them out of `wrt`, or write allow_unused=True for zeros."
            )


def scalar_valued(differentiated: Differentiated) -> Callable[..., Any]:
    """Return the same function, which refuses a value that is no scalar in words that name the user's function."""

    def value_of(primals: Primals) -> Any:
        value, riding = differentiated(primals)
        leaves = jax.tree.leaves(value)
        if len(leaves) != 1 or leaves[0] is not value or jnp.ndim(value):
            shown = f"a {type(value).__name__}" if len(leaves) != 1 or leaves[0] is not value else describe(value)
            raise TypeError(
                f"`{differentiated.core.__qualname__}` returns {shown}, and a gradient is of a scalar: return the sum "
                "or mean, return other results as auxiliary output, `(value, aux)` with has_aux=True, or use jacrev "
                "or vector_grad"
            )
        return value, riding

    return value_of


def differentiate(
    fun: Callable[..., Any],
    wrt: Any,
    argnums: Any,
    compute: Compute,
    arrange: Arrange,
    *,
    helpers: tuple[Callable[..., Any], ...] = (),
    default: Any = 0,
    debug_nan: bool = False,
    **options: Any,
) -> Lifted:
    """Lift a derivative.

    Args:
        fun: The user's function.
        wrt: A selector of states, or None.
        argnums: Positions of arguments, or None.
        compute: Gets a `Differentiated` and the cores of the helpers; returns the derivative and what rides along.
        arrange: Puts the derivative, the value and the auxiliary output into the order of the caller.
        helpers: Further functions of the user that `compute` calls.
        default: What `argnums` is where neither it nor `wrt` is given.
        debug_nan: Whether to raise where a NaN or infinite number is in the result.
        **options: Further options of `Differentiated`.

    Raises:
        ValueError: `argnums` is no position of arguments.
    """
    if argnums is not None:
        check_argnums(argnums)
    elif wrt is None:
        argnums = default

    def rule(core: Core, *others: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            differentiated = Differentiated(core, wrt, argnums, args, kwargs, **options)
            derivative, (value, aux, written) = compute(differentiated, *others)
            return arrange(derivative, value, aux), written

        return finite(run, core.__qualname__, "gradient") if debug_nan else run

    return lift(rule, fun, *helpers)


def main_first(has_aux: bool, return_value: bool = False) -> Arrange:
    """The order of `grad`: the derivative; then the value, if it is wanted; then the auxiliary output."""

    def arrange(derivative: Any, value: Any, aux: Any) -> Any:
        extra = ((value,) if return_value else ()) + ((aux,) if has_aux else ())
        return (derivative, *extra) if extra else derivative

    return arrange


def value_first(has_aux: bool) -> Arrange:
    """The order of `vjp`: the value, the derivative, then the auxiliary output."""
    return lambda derivative, value, aux: (value, derivative, aux) if has_aux else (value, derivative)


def _value_and_aux(out: Any, core: Core) -> tuple[Any, Any]:
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"with has_aux=True, `{core.__qualname__}` must return a pair (value, aux), not {out!r}")
    return out[0], out[1]
