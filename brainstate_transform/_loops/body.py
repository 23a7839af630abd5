"""The body of a loop: traced once, to find out which states it writes, and then called as often as JAX likes.

*Body* is the user's function in the form ``(user_carry, x) -> (user_carry, y)``.  All loops have this one.

A state that the body only reads is closed over.  One that it writes has to be carried, and only a trace tells which
those are.  `run_body` carries all that the body reaches, and JAX takes out of the carry what a step leaves as it was:
then the loop's own trace is the only one.  Where that does not do, as with a number that becomes an array, the body is
traced before (`Core.written_by`); that trace is kept, so that looking ahead does not run the user's function twice.
`trace_body` makes a step of it; `python_steps` makes one where JAX does not compile, and nothing need be known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp

from brainstate_graph import Overlay
from brainstate_graph.extend import describe, locate, read_values

from .._engine.core import Core
from .._engine.values import NO_STATES, StateValues, Written, written_in
from .carry import Carry, Step, adapted, meets_other_floats, sharded_aval, varying_as
from .reaching import Beyond, Reaching, reached_by

__all__ = ["python_steps", "refuse_writes", "run_body", "trace_body", "traced"]


def run_body(
    core: Core, init: Any, x: Any, loop: Callable[[Step, Carry], tuple[Carry, Any]], once: bool = True
) -> tuple[tuple[Any, Any], Written]:
    """Run a loop, so that the user's function runs once.

    Args:
        core: The body.
        init: The first carry of the user.
        x: The input of one step, or its shapes.
        loop: Runs the loop in JAX: ``loop(step, carry)`` returns the last carry and what the steps give.
        once: Whether JAX traces the step once in it.

    Returns:
        The last carry of the user and what the steps give, and what was written.

    Raises:
        TypeError: The body changes the shape or dtype of a state or of the carry.
    """
    carry = reached_by([core]), init
    if once and not _may_change_type(carry):
        body = Reaching(core)

        def step(carry: Carry, x: Any) -> tuple[Carry, Any]:
            out, states = body(carry[0], carry[1], x)
            user_carry, y = _pair(core, out)
            after = varying_as((states, user_carry), carry)
            if not _same_types(carry, after):
                raise Beyond
            return after, y

        with contextlib.suppress(Beyond):
            (states, last), ys = loop(step, carry)
            return (last, ys), Reaching.written([body], states)
    (states, last), ys = loop(*trace_body(core, init, x))
    return (last, ys), states.as_written()


def _may_change_type(carry: Carry) -> bool:
    """Tell whether a number is carried that may become an array; a Python integer is mostly a counter, which does not.

    It is a guess: where it is wrong, the user's function runs once more.
    """
    states, user_carry = (list(map(jax.typeof, jax.tree.leaves(part))) for part in carry)
    return any(aval.weak_type for aval in states) or any(
        aval.weak_type and jnp.issubdtype(aval.dtype, jnp.inexact) for aval in user_carry
    )


def _same_types(carry: Carry, after: Carry) -> bool:
    left, right = jax.tree.flatten(carry), jax.tree.flatten(after)
    return left[1] == right[1] and list(map(jax.typeof, left[0])) == list(map(jax.typeof, right[0]))


def trace_body(core: Core, init: Any, x: Any = None) -> tuple[Step, Carry]:
    """Trace the body for arguments like these.

    Args:
        core: The body.
        init: The first carry of the user.
        x: The input of one step, or its shapes.

    Returns:
        The step, which does not run the user's function again, and the carry to start from.

    Raises:
        TypeError: The body changes the shape or dtype of a state or of the carry.
    """
    states = core.written_by(init, x)

    def step(carry: Carry, x: Any) -> tuple[Carry, Any]:
        out, states = core.staged(*carry, x)
        user_carry, y = _pair(core, out)
        return varying_as((states, user_carry), carry), y

    looked = core.looked
    carry, after = (states, init), (StateValues.of(states.states, looked.values), _pair(core, looked.out)[0])
    start = adapted(core, carry, after, lambda number: meets_other_floats(number, looked.jaxpr))
    # Each number is promoted once at most, and mostly none is: then the first trace is the only one.
    while start is not carry:
        carry = start
        _, (after, _), jaxpr = traced(step, carry, x)
        start = adapted(core, carry, after, lambda number, jaxpr=jaxpr: meets_other_floats(number, jaxpr))
    return _without_weak_types(step, carry, x), carry


def _without_weak_types(fun: Callable[..., Any], *like: Any) -> Callable[..., Any]:
    """Return a function that replays one trace for arguments that differ in weak types only.

    A number may be weakly typed at first and not after a step. JAX would trace the step for both, and so run the user's
    function again.

    Args:
        fun: The function; it was called with such arguments before.
        *like: Arguments, or their shapes.
    """
    weak = _weak(like)
    replays: list[Callable[..., Any]] = []

    def call(*args: Any) -> Any:
        if _weak(args) == weak:
            return fun(*args)
        if not replays:
            replays.append(traced(fun, *like)[0])
        return replays[0](*args)

    return call


def _weak(args: Any) -> list[bool]:
    return [(x if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x)).weak_type for x in jax.tree.leaves(args)]


def traced(fun: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], Any, Any]:
    """Trace a function for arguments like these.

    Args:
        fun: The function.
        *args: Arguments, or their shapes.

    Returns:
        The function that replays the trace, the shapes of its result, and the jaxpr.
    """
    jaxpr, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    structure, avals = jax.tree.structure(shapes), list(map(sharded_aval, jaxpr.in_avals))

    def replay(*args: Any) -> Any:
        leaves = jax.tree.leaves(args)
        if [sharded_aval(jax.typeof(leaf)) for leaf in leaves] != avals:
            return fun(*args)
        return jax.tree.unflatten(structure, jax.extend.core.jaxpr_as_fun(jaxpr)(*leaves))

    return replay, shapes, jaxpr.jaxpr


@contextlib.contextmanager
def python_steps(core: Core, init: Any) -> Generator[tuple[Step, Carry, Callable[[], Written]]]:
    """Run the body step by step in Python, as JAX does where it does not compile.

    Args:
        core: The body.
        init: The first carry of the user.

    Yields:
        The step, the carry to start from, and a function that returns what was written. An error drops that.
    """
    with Overlay() as overlay:

        def step(carry: Carry, x: Any) -> tuple[Carry, Any]:
            out, written = core(NO_STATES, carry[1], x)
            user_carry, y = _pair(core, out)
            states = [state for state, _ in written.items()]
            before = StateValues.of(states, read_values(states))
            adapted(core, (before, carry[1]), (StateValues.of(states, written.values), user_carry))
            written.write()
            return (NO_STATES, jax.tree.map(jnp.asarray, user_carry)), y

        yield step, (NO_STATES, jax.tree.map(jnp.asarray, init)), lambda: written_in(overlay)


def refuse_writes(core: Core, written: Written, what: str) -> None:
    """Refuse a function that may only read states.

    Raises:
        ValueError: It wrote some; the message begins with `what`.
    """
    if written.items():
        names = ", ".join(locate(state) for state, _ in written.items())
        raise ValueError(f"{what} `{core.__qualname__}` writes {names}, but it may only read states")


def _pair(core: Core, out: Any) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"the loop body `{core.__qualname__}` must return a pair (carry, y), not {describe(out)}")
    return out
