"""``custom_vjp`` and ``custom_jvp``: derivatives by the user's own rule, for functions that use states.

*Derivative rule*: what computes the derivative in place of JAX, as ``defvjp`` or ``defjvp`` takes it.  It is no rule of
`lift`; that one, which makes these functions what they are, is `_Custom._rule`.

Without `wrt` such a function is as in JAX, and may read states that it is not differentiated by.  With it the rule
gets and returns parts for states too.
"""

from __future__ import annotations

import abc
import functools
import inspect
import operator
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph.extend import note_possible_reads, note_reads, read_values

from .._engine.core import Core, Run
from .._engine.lift import lift
from .._engine.lifted import Lifted
from .._engine.placeholders import unseal
from .._engine.retry import RETRIES, Unpassed, never_settled
from .._engine.user_function import code_of, decorator
from .._engine.values import StateValues, Written
from .._messages.boundary import boundary
from .._messages.source import handed, name_of
from .custom_call import CustomCall, NoStates, pair_of
from .tangents import filled, has_derivative, instantiated, refuse_other_shapes, zeros_like

__all__ = ["CustomJVP", "CustomVJP", "custom_jvp", "custom_vjp"]


class _Custom(abc.ABC):
    """A function with a derivative rule; what both kinds of rules have in common.

    Args:
        fun: The user's function.
        nondiff_argnums: Positions of arguments that JAX does not get.
        wrt: The states that the rule declares, as a selector, or None.
    """

    _definition = ""  # the call by which the user gives the rule, for messages

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int], wrt: Any) -> None:
        if not callable(fun):
            raise TypeError(f"expected a function to define a derivative for, not {fun!r}")
        self.__wrapped__ = fun
        functools.update_wrapper(self, fun, updated=())
        self.__qualname__ = name_of(fun)
        self.functions: tuple[Callable[..., Any], ...] = (fun,)  # where a transform around it looks for states
        self._wrt = wrt
        self._symbolic = False
        self._lifted: Lifted | None = None
        try:
            self._nondiff = tuple(map(operator.index, nondiff_argnums))
        except TypeError:
            raise TypeError(f"nondiff_argnums={nondiff_argnums!r}: give a tuple of positions of arguments") from None

    @abc.abstractmethod
    def _pure(self, call: CustomCall) -> Callable[..., Any]:
        """Make JAX's function with a custom derivative: ``(values of states, *args) -> (result, written)``."""

    def _define(self, *rules: Callable[..., Any], symbolic_zeros: bool) -> None:
        for rule in rules:
            if not callable(rule):
                raise TypeError(f"{self._definition} of `{self.__qualname__}` takes functions, not {rule!r}")
        self.functions = (self.__wrapped__, *rules)
        self._symbolic = symbolic_zeros
        self._lifted = lift(self._rule, self)

    def _rule(self, core: Core) -> Run:
        def run(_: StateValues, *args: Any) -> tuple[Any, Written]:
            # JAX takes the states as arguments before it traces, and the trace may meet others.
            for _try in range(RETRIES):
                call = CustomCall(core, self._wrt, self._nondiff, args)
                try:
                    out, written = self._pure(call)(read_values(call.states, False), *call.without_nondiff(args))
                except Unpassed as met:
                    met.alone()
                    core.count_in(met.states)
                    continue
                call.ended = True
                note_reads((*call.declared, *call.used))
                note_possible_reads(call.states)  # JAX gets all of them, and a rule that it runs later may read any
                return out, written
            raise never_settled(core.__qualname__, ())

        return run

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._lifted is None:
            raise AttributeError(f"`{self.__qualname__}` has no derivative rule yet: call its {self._definition}")
        return self._lifted(*self._by_position(args, kwargs))

    def _by_position(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        try:
            signature = inspect.signature(self.__wrapped__)
        except (TypeError, ValueError):  # builtins have none
            if not kwargs:
                return args
            raise
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(
                f"`{self.__qualname__}` has a derivative rule, which gets the arguments by position: "
                f"{', '.join(map(repr, bound.kwargs))} must not be keyword-only"
            )
        return bound.args

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.__qualname__!r}>"


class CustomVJP(_Custom):
    """A function with its own reverse derivative; made by `custom_vjp`.

    Example:
        >>> from brainstate_transform import custom_vjp, grad
        >>> f = custom_vjp(lambda x: x * x)
        >>> f.defvjp(lambda x: (x * x, x), lambda x, ct: (100.0 * ct * x,))
        >>> float(grad(f)(3.0))
        300.0
    """

    _definition = "defvjp(fwd, bwd)"

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any], symbolic_zeros: bool = False) -> None:
        """Define the rule.

        Args:
            fwd: Called with the arguments, in place of the function, where that is differentiated. It returns
                ``(result, residuals)``, and writes the states that the function writes.
            bwd: ``bwd(*nondiff, residuals, cotangent)`` returns a tuple with the cotangent of each other argument,
                None for zero. With `wrt`, cotangents come and go in pairs, those of states first, built as gradients
                are: ``bwd(residuals, (state_cts, ct)) -> (state_cts, argument_cts)``. The former are by the values
                that the function leaves, zero for a state that it does not write; the latter by those that it finds.
                It runs later and may use no state: what it needs is among the residuals.
            symbolic_zeros: As in ``jax.custom_vjp``.

        Raises:
            TypeError: One of them is not a function.
        """
        self._define(fwd, bwd, symbolic_zeros=symbolic_zeros)

    def _pure(self, call: CustomCall) -> Callable[..., Any]:
        fun, fwd, bwd = self.functions
        avals: list[Any] = []  # of the states and the arguments, for the backward rule

        def pure(values: Any, *rest: Any) -> Any:
            return call.run(fun, values, call.with_nondiff(rest), rule=False)

        def forward(values: Any, *rest: Any) -> Any:
            # JAX gives each array as a pair of its value and whether it is being differentiated by.
            perturbed = [any(p.perturbed and has_derivative(p.value) for p in jax.tree.leaves(v)) for v in values]
            values, plain = jax.tree.map(lambda p: p.value, (values, rest))
            avals[:] = jax.tree.map(jax.typeof, (values, plain))
            args = call.with_nondiff(rest if self._symbolic else plain)
            found, written = call.run(fwd, values, args, rule=True)
            out, residuals = pair_of(found, fwd, "(result, residuals)")
            by = dict(zip(call.states, perturbed, strict=True))
            call.refuse_undeclared(by, out, written, "cotangent", "custom_vjp(fun, wrt=...)")
            return (out, written), residuals

        def backward(residuals: Any, cotangents: Any) -> Any:
            ct, written = cotangents if self._symbolic else instantiated(cotangents)
            like = dict(zip(call.states, avals[0], strict=True))
            if call.selection is not None:
                new = dict(written.items())
                ct = (call.selection.gather([new[s] if s in new else zeros_like(like[s]) for s in call.declared]), ct)
            # It runs when the derivative is taken, by then another trace and other values of the states.
            overlay = NoStates(bwd)
            overlay.user = code_of(bwd)
            with overlay:
                found = bwd(*unseal((*call.nondiff, residuals, ct), ()))
            overlay.refuse_writes()
            by_state = None
            if call.selection is not None:
                by_state, found = pair_of(found, bwd, "(state_cotangents, argument_cotangents)")
            of_states = _of_states(call, by_state, like, bwd, "cotangent")
            if not isinstance(found, (tuple, list)) or len(found) != len(avals[1]):
                raise TypeError(
                    f"`{name_of(bwd)}` must return a tuple with one cotangent for each of {len(avals[1])} arguments, "
                    f"None for zero, not {found!r}"
                )
            for position, (one, aval) in enumerate(zip(found, avals[1], strict=True)):
                refuse_other_shapes(f"argument {position}", aval, one, bwd)
            return [of_states.get(state) for state in call.states], *found

        # With symbolic zeros JAX says by which arguments it differentiates; users who do not want them get arrays.
        custom = jax.custom_vjp(handed(pure, fun))
        custom.defvjp(handed(forward, fwd), handed(backward, bwd), symbolic_zeros=True)
        return custom


class CustomJVP(_Custom):
    """A function with its own forward derivative; made by `custom_jvp`.

    Example:
        >>> from brainstate_transform import custom_jvp, grad
        >>> f = custom_jvp(lambda x: x * x)
        >>> _ = f.defjvp(lambda primals, tangents: (primals[0] ** 2, 100.0 * primals[0] * tangents[0]))
        >>> float(grad(f)(3.0))
        300.0
    """

    _definition = "defjvp(rule)"

    def defjvp(self, jvp: Callable[..., Any], symbolic_zeros: bool = False) -> Callable[..., Any]:
        """Define the rule; also a decorator.

        Args:
            jvp: ``jvp(*nondiff, primals, tangents)`` returns ``(result, tangent)``, and writes the states that the
                function writes. With `wrt`, tangents come and go in pairs, those of states first, built as gradients
                are: ``jvp(primals, (state_tangents, tangents)) -> (result, (state_tangents, tangent))``. The latter
                are of the values that the rule leaves, ignored for a state that it does not write, and None for zero.
            symbolic_zeros: As in ``jax.custom_jvp``.

        Returns:
            The rule.

        Raises:
            TypeError: It is not a function.
        """
        self._define(jvp, symbolic_zeros=symbolic_zeros)
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Define one rule for each argument, as in ``jax.custom_jvp``: ``(tangent, result, *primals) -> tangent``.

        Args:
            *jvps: The rules; None for an argument that the result does not depend on.

        Raises:
            TypeError: The function has a `wrt` or nondiff_argnums, for which `defjvp` is needed.
        """
        if self._wrt is not None or self._nondiff:
            raise TypeError(f"`{self.__qualname__}` has wrt or nondiff_argnums: define one rule for all, by defjvp")
        fun = self.__wrapped__

        def jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
            if len(jvps) != len(primals):
                raise TypeError(f"`{self.__qualname__}` has {len(jvps)} rules, and got {len(primals)} arguments")
            out = fun(*primals)
            parts = [rule(t, out, *primals) for rule, t in zip(jvps, tangents, strict=True) if rule is not None]
            return out, jax.tree.map(lambda x, *each: sum(each, jnp.zeros_like(x)), out, *parts)

        self._define(jvp, *(rule for rule in jvps if rule is not None), symbolic_zeros=False)

    def _pure(self, call: CustomCall) -> Callable[..., Any]:
        fun, rule = self.functions[:2]

        def pure(values: Any, *rest: Any) -> Any:
            return call.run(fun, values, call.with_nondiff(rest), rule=False)

        def derivative(primals: Any, tangents: Any) -> Any:
            values, rest, along = primals[0], primals[1:], tangents[1:]
            by = dict(zip(call.states, map(has_derivative, tangents[0]), strict=True))
            like = dict(zip(call.states, tangents[0], strict=True))
            if call.selection is not None:
                along = (call.selection.gather([like[state] for state in call.declared]), along)
            along = along if self._symbolic else instantiated(along)
            found, written = call.run(rule, values, (*call.nondiff, rest, along), rule=True)
            out, tangent = pair_of(found, rule, "(result, tangent)")
            call.refuse_undeclared(by, out, written, "tangent", "custom_jvp(fun, wrt=...)")
            by_state = None
            if call.selection is not None:
                by_state, tangent = pair_of(tangent, rule, "(result, (state_tangents, tangent))")
            new = {state: jax.tree.map(jax.typeof, value) for state, value in written.items()}
            refuse_other_shapes("the tangent of the result", jax.tree.map(jax.typeof, out), tangent, rule)
            of_states = _of_states(call, by_state, new, rule, "tangent")
            moved = [filled(of_states.get(state), aval) for state, aval in new.items()]
            return (out, written), (tangent, StateValues.of(new, moved).as_written())

        custom = jax.custom_jvp(handed(pure, fun))
        custom.defjvp(handed(derivative, rule), symbolic_zeros=True)
        return custom


def _of_states(call: CustomCall, tree: Any, like: Any, rule: Callable[..., Any], what: str) -> dict[Any, Any]:
    """What a derivative rule returns for the states that it declares, each checked."""
    if call.selection is None or tree is None:
        return {}
    try:
        parts = call.selection.scatter(tree)
    except ValueError as error:
        raise TypeError(f"`{name_of(rule)}` returns state {what}s that are not built like `wrt`: {error}") from None
    of_states = dict(zip(call.declared, parts, strict=True))
    for state, name in zip(call.declared, call.selection.names, strict=True):
        if state in like:
            refuse_other_shapes(f"the {what} of {name}", like[state], of_states[state], rule)
    return of_states


def custom_vjp(fun: Callable[..., Any] | None = None, nondiff_argnums: Sequence[int] = (), *, wrt: Any = None) -> Any:
    """Give a function that may use states its own reverse derivative.

    Args:
        fun: A function of arrays, which may read and write states; without it, a decorator is returned.
        nondiff_argnums: Positions of arguments that are not differentiated, as in ``jax.custom_vjp``: they may be
            anything, and the backward rule gets them first.
        wrt: The states whose derivatives the rule returns, by any selector. Differentiating `fun` with respect to any
            other float state that it uses is an error that names the state. Whole numbers and random streams need
            no declaration.

    Returns:
        A `CustomVJP`; call its ``defvjp(fwd, bwd)`` before you use it.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import custom_vjp, grad
        >>> w = State(2.0)
        >>> @custom_vjp(wrt=w)
        ... def f(x):
        ...     return jnp.round(w.value * x)
        >>> def backward(residuals, cotangents):
        ...     (w, x), (_, ct) = residuals, cotangents
        ...     return ct * x, (ct * w,)
        >>> f.defvjp(lambda x: (f(x), (w.value, x)), backward)
        >>> [float(g) for g in grad(f, w, 0)(3.5)]
        [3.5, 2.0]
    """
    if fun is None:
        return decorator(custom_vjp, locals())
    return CustomVJP(fun, nondiff_argnums, wrt)


def custom_jvp(fun: Callable[..., Any] | None = None, nondiff_argnums: Sequence[int] = (), *, wrt: Any = None) -> Any:
    """Give a function that may use states its own forward derivative, which JAX also runs in reverse.

    Args:
        fun: A function of arrays, which may read and write states; without it, a decorator is returned.
        nondiff_argnums: As for `custom_vjp`; the rule gets them first.
        wrt: As for `custom_vjp`.

    Returns:
        A `CustomJVP`; call its ``defjvp(rule)`` before you use it.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import custom_jvp, grad
        >>> w = State(2.0)
        >>> @custom_jvp(wrt=w)
        ... def f(x):
        ...     return jnp.round(w.value * x)
        >>> @f.defjvp
        ... def rule(primals, tangents):
        ...     (x,), (dw, (dx,)) = primals, tangents
        ...     return f(x), (None, dw * x + w.value * dx)
        >>> [float(g) for g in grad(f, w, 0)(3.5)]
        [3.5, 2.0]
    """
    if fun is None:
        return decorator(custom_jvp, locals())
    return CustomJVP(fun, nondiff_argnums, wrt)
