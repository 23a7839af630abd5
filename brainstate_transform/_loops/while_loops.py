"""``while_loop``, ``bounded_while_loop`` and ``fori_loop``: loops over no inputs.

The condition reads what the body writes, so it gets the carry too, and may write nothing itself.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph.extend import describe

from .._checks.layout import element_of
from .._collecting.collected import collected_body, nothing, uncollected
from .._collecting.collector import collectors
from .._engine.core import Core, Run, without_jit
from .._engine.lift import lift
from .._engine.values import NO_STATES, StateValues, Written
from .._jit.eager import compiled_once
from .._messages.boundary import boundary
from .._messages.source import handed, named_like
from .body import python_steps, refuse_writes, run_body, trace_body, traced
from .carry import Carry, Step
from .nested_scan import any_lane, check_base, nested_scan

__all__ = ["bounded_while_loop", "fori_loop", "while_loop"]


# What runs a step an unknown number of times cannot bring out what it gives to collectors.
_ENDLESS = (
    "a loop whose number of steps is not known",
    "write `bounded_while_loop(cond, body, init, max_steps=n)`, or `scan`",
)


@boundary
def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any) -> Any:
    """Run ``val = body_fun(val)`` while ``cond_fun(val)`` holds, as one compiled loop; both may use states.

    The gradient does not flow backwards through it: see `bounded_while_loop`.

    Args:
        cond_fun: The condition, a boolean scalar; it may read states, but not write or draw from a random stream.
        body_fun: The body; what it returns has the structure, shapes and dtypes of `init_val`.
        init_val: The first value, a pytree of arrays.

    Returns:
        The last value.

    Raises:
        TypeError: The body changes the shape or dtype of a state or of the value, or the condition is not a boolean.
        ValueError: The condition writes a state.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import while_loop
        >>> steps = State(0)
        >>> def halve(x):
        ...     steps.value += 1
        ...     return x / 2
        >>> float(while_loop(lambda x: x > 1.0, halve, 10.0)), int(steps.value)
        (0.625, 4)
    """
    compiled = compiled_once((body_fun, cond_fun), "while_loop", lambda: _make(_while, cond_fun, body_fun))
    return (compiled or _make(_while, cond_fun, body_fun))(init_val)


def _while(cond: Core, body: Core, init: Any, _: None) -> tuple[Any, Written]:
    def loop(step: Step, carry: Carry) -> tuple[Carry, None]:
        return jax.lax.while_loop(_reading(cond), handed(lambda carry: step(carry, None)[0], body), carry), None

    return run_body(body, init, None, loop)


@boundary
def bounded_while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any, *, max_steps: int, base: int = 16
) -> Any:
    """Run `while_loop` for `max_steps` steps at most; gradients flow backwards through it.

    It stores about ``base * log(max_steps) / log(base)`` values for the backward pass, and recomputes the others.

    Args:
        cond_fun: As for `while_loop`.
        body_fun: As for `while_loop`.
        init_val: As for `while_loop`.
        max_steps: The number of steps after which it stops in any case.
        base: The steps are run in blocks, the blocks in larger ones; this many each.

    Returns:
        The last value. Under `vmap` each lane stops by its own condition.

    Raises:
        TypeError: As for `while_loop`.
        ValueError: The condition writes a state, or `max_steps` or `base` is out of range.

    Example:
        >>> from brainstate_transform import bounded_while_loop, grad
        >>> def power(x):  # the first power of x beyond 100
        ...     return bounded_while_loop(lambda y: y < 100.0, lambda y: y * x, x, max_steps=20)
        >>> float(power(3.0)), float(grad(power)(3.0))
        (243.0, 405.0)
    """
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 0:
        raise ValueError(f"max_steps={max_steps!r}: give the largest number of steps, a whole number of at least 0")
    check_base(base)

    def make() -> Callable[[Any], Any]:
        return _make(functools.partial(_bounded, max_steps=max_steps, base=base), cond_fun, body_fun, max_steps)

    compiled = compiled_once((body_fun, cond_fun), ("bounded_while_loop", max_steps, base), make)
    return (compiled or make())(init_val)


def _bounded(cond: Core, body: Core, init: Any, xs: Any, max_steps: int, base: int) -> tuple[Any, Written]:
    first = jax.tree.map(element_of, xs)
    step, carry = trace_body(body, init, first)
    holds, _, _ = traced(_reading(cond), carry)  # once, though it is evaluated before each step and each block

    y = jax.eval_shape(step, carry, first)[1] if collectors() else None  # what a step gives to them

    def unless_done(run: Any, holds: Callable[[Carry], Any]) -> Any:
        def block(carry: Carry, xs: Any) -> tuple[Carry, Any]:
            ys = jax.eval_shape(run, carry, xs)[1] if jax.tree.leaves(y) else y
            return jax.lax.cond(holds(carry), run, lambda carry, _: (carry, nothing(ys)), carry, xs)

        return block

    # A value for which the condition is false stays as it is, so that it is false from then on. Under vmap, a condition
    # per lane runs both of its branches: a block is left out when all lanes are done.
    one, anywhere = unless_done(step, holds), lambda carry: any_lane(holds(carry))
    (states, last), ys = nested_scan(one, carry, xs, max_steps, base, wrap=lambda run: unless_done(run, anywhere))
    return (last, ys), states.as_written()


def _make(
    loop: Callable[[Core, Core, Any, Any], tuple[Any, Written]],
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], Any],
    max_steps: int | None = None,
) -> Callable[[Any], Any]:
    """Return the loop over a condition and a body.

    Args:
        loop: Runs it in JAX: ``loop(cond, body, init, xs)`` returns the last value beside what the steps give to
            collectors, and what was written. There are `xs` where something is added to that.
        cond_fun: The condition.
        body_fun: The body.
        max_steps: The number of steps after which it stops, where it runs in Python.
    """
    for fun in (cond_fun, body_fun):
        if not callable(fun):
            raise TypeError(f"a loop takes two functions, the condition and the body, not {fun!r}")

    def rule(body: Core, cond: Core) -> Run:
        def run(_: StateValues, init: Any, xs: Any) -> tuple[Any, Written]:
            if without_jit() and not collectors():
                with contextlib.suppress(jax.errors.ConcretizationTypeError):  # a condition per lane: JAX has to trace
                    return _in_python(cond, body, init, max_steps)
            return loop(cond, body, init, xs)

        return run

    def body(init_val: Any, _: None) -> tuple[Any, None]:
        return body_fun(init_val), None

    lifted = lift(rule, named_like(body, body_fun), cond_fun)  # once, so that the next call finds its program

    collecting = _Collecting(rule, cond_fun, body_fun, body, endless=max_steps is None)

    def whole(init_val: Any) -> Any:
        return (collecting if collectors() else lifted)(init_val, None)[0]

    return named_like(whole, body_fun)


class _Collecting:
    """The loop of `_make` where something is captured: made anew at each call, as what is captured is another thing.

    An object, so that what a program depends on is looked for in the user's functions alone, which the loop names too.
    """

    __slots__ = ("_body", "_body_fun", "_cond_fun", "_endless", "_rule")

    def __init__(self, rule: Callable[..., Run], cond_fun: Any, body_fun: Any, body: Any, endless: bool) -> None:
        self._rule = rule
        self._cond_fun, self._body_fun = cond_fun, body_fun
        self._body = body
        self._endless = endless

    def __call__(self, init: Any, xs: None) -> tuple[Any, Any]:
        if not self._endless:
            return collected_body(self._body, self._run, init, xs)
        fun = uncollected(self._body_fun, *_ENDLESS)
        return self._run(lambda init, _: (fun(init), None), init, xs)

    def _run(self, body: Any, init: Any, xs: Any) -> tuple[Any, Any]:
        holds = uncollected(self._cond_fun, "the condition of a loop", "compute it in the body")
        return lift(self._rule, named_like(body, self._body_fun), holds)(init, xs)


def _reading(cond: Core) -> Callable[[Carry], Any]:
    """Return the condition as a function of the carry."""
    cond.frozen = True

    def holds(carry: Carry) -> Any:
        pred, written = cond(*carry)
        refuse_writes(cond, written, "the condition")
        return _boolean(cond, pred)

    return handed(holds, cond)


def _boolean(cond: Core, pred: Any) -> Any:
    if jax.tree.structure(pred) != jax.tree.structure(0) or jnp.shape(pred) or jnp.result_type(pred) != jnp.bool_:
        raise TypeError(f"the condition `{cond.__qualname__}` must return a boolean scalar, not {describe(pred)}")
    return pred


def _in_python(cond: Core, body: Core, init: Any, max_steps: int | None) -> tuple[Any, Written]:
    def holds(carry: Carry) -> bool:
        pred, written = cond(NO_STATES, carry[1])
        refuse_writes(cond, written, "the condition")
        return bool(_boolean(cond, pred))

    with python_steps(body, init) as (step, carry, written):
        steps = 0
        while steps != max_steps and holds(carry):
            carry, _ = step(carry, None)
            steps += 1
        return (carry[1], None), written()


@boundary
def fori_loop(
    lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any, *, unroll: int | bool | None = None
) -> Any:
    """Run ``val = body_fun(i, val)`` for i from `lower` up to, but without `upper`; the body may use states.

    Args:
        lower: The first index, a whole number that may be traced.
        upper: The index to stop before, likewise. Where both are known when the loop is traced, gradients flow
            backwards through it.
        body_fun: The body; what it returns has the structure, shapes and dtypes of `init_val`.
        init_val: The first value, a pytree of arrays.
        unroll: As in ``jax.lax.fori_loop``.

    Returns:
        The last value.

    Raises:
        TypeError: The body changes the shape or dtype of a state or of the value, or a bound is not a whole number.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import fori_loop
        >>> total = State(0)
        >>> def add(i, val):
        ...     total.value += i
        ...     return val * 2.0
        >>> float(fori_loop(0, 5, add, 1.0)), int(total.value)
        (32.0, 10)
    """
    for name, bound in (("lower", lower), ("upper", upper)):
        if type(bound) is not int and (jnp.shape(bound) or not jnp.issubdtype(jnp.result_type(bound), jnp.integer)):
            raise TypeError(f"fori_loop: {name}={bound!r} must be a whole number")
    known = (np.integer, jax.Array) if collectors() else np.integer
    lower, upper = (int(b) if isinstance(b, known) and not isinstance(b, Tracer) else b for b in (lower, upper))
    if collectors() and isinstance(lower, int) and isinstance(upper, int):
        return _collected(body_fun, lower, upper, init_val, unroll)
    if unroll is None:
        compiled = compiled_once(body_fun, "fori_loop", lambda: _make_fori(body_fun, None))
        return (compiled or _make_fori(body_fun, None))(init_val, lower, upper)

    def make() -> Callable[[Any], Any]:  # to unroll, JAX has to know the bounds
        counted = _make_fori(body_fun, unroll)
        return named_like(lambda init_val: counted(init_val, lower, upper), body_fun)

    bounds = [b for b in (lower, upper) if isinstance(b, int)]
    compiled = compiled_once(body_fun, ("fori_loop", *bounds, unroll, type(unroll)), make) if len(bounds) == 2 else None
    return (compiled or make())(init_val)


def _make_fori(body_fun: Callable[[Any, Any], Any], unroll: Any) -> Callable[[Any, Any, Any], Any]:
    if not callable(body_fun):
        raise TypeError(f"the body of fori_loop must be a function, not {body_fun!r}")

    def body(init_val: Any, i: Any) -> tuple[Any, None]:
        return uncollected(body_fun, *_ENDLESS)(i, init_val), None

    def rule(core: Core) -> Run:
        def run(_: StateValues, init: Any, lower: Any, upper: Any) -> tuple[Any, Written]:
            if without_jit():
                with contextlib.suppress(jax.errors.ConcretizationTypeError):
                    return _count_in_python(core, init, lower, upper)

            def loop(step: Step, carry: Carry) -> tuple[Carry, None]:
                one = handed(lambda i, carry: step(carry, i)[0], core)
                return jax.lax.fori_loop(lower, upper, one, carry, unroll=unroll), None

            (last, _), written = run_body(core, init, jax.eval_shape(jnp.add, lower, upper), loop)
            return last, written

        return run

    lifted = lift(rule, named_like(body, body_fun))
    return named_like(lambda init_val, lower, upper: lifted(init_val, lower, upper), body_fun)


def _collected(body_fun: Any, lower: int, upper: int, init_val: Any, unroll: Any) -> Any:
    """Run the loop as a scan, out of which the steps can bring what they give."""
    count = max(upper - lower, 0)

    # The index is carried, as by JAX itself: an input of the steps would not be weakly typed.
    def body(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
        index, val = carry
        return (index + 1, body_fun(index, val)), None

    def rule(core: Core) -> Run:
        def run(_: StateValues, init: Any, xs: Any) -> tuple[Any, Written]:
            step, carry = trace_body(core, init, jax.tree.map(element_of, xs))
            (states, last), ys = nested_scan(step, carry, xs, count, count, unroll=unroll or 1)
            return (last, ys), states.as_written()

        return run

    def run(f: Any, init: Any, xs: Any) -> tuple[Any, Any]:
        return lift(rule, named_like(f, body_fun))(init, xs)

    return collected_body(named_like(body, body_fun), run, (lower, init_val), None)[0][1]


def _count_in_python(core: Core, init: Any, lower: Any, upper: Any) -> tuple[Any, Written]:
    index = jax.eval_shape(jnp.add, lower, upper)
    with python_steps(core, init) as (step, carry, written):
        for i in range(int(lower), int(upper)):
            carry, _ = step(carry, jnp.asarray(i, None if index.weak_type else index.dtype))
        return carry[1], written()
