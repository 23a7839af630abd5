"""The laws of errors: wherever one comes from, every state and attribute is as it was before the call."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

from brainstate_graph import State

from .._jit.jit import jit
from .trial import Broken, Trial, expect, expect_refusal, expect_states, scalar, step, twin

__all__ = [
    "Boom", "raising", "undoes", "undoes_errors_between_transforms", "undoes_errors_of_jax", "undoes_exceptions",
    "undoes_failures_at_run_time", "undoes_interrupts", "undoes_refused_results",
]  # fmt: skip

# An operation that JAX knows by its type alone: it can be traced, and neither compiled nor differentiated.
_only_traced = Primitive("only_traced")
_only_traced.def_abstract_eval(lambda x: x)


class Boom(Exception): ...


class _Interrupt(KeyboardInterrupt): ...


def _as_it_is(f: Callable[..., Any]) -> Callable[..., Any]:
    return f


def undoes(
    t: Trial,
    fail: Callable[[Any], Any],
    *errors: type[BaseException],
    inside: Callable[..., Any] = _as_it_is,
    around: Callable[..., Any] = _as_it_is,
) -> None:
    """Run into an error after states were written and attributes set; then all must be as it was.

    Args:
        t: The trial.
        fail: Makes the error, or a result that makes it, from a traced value.
        *errors: What may come out.
        inside: A transform around the part that writes, below the error.
        around: What runs under another transform around the one on trial; it may make the error itself.
    """
    model = t.layer()
    oracle, fails = twin(model), True
    before = {state: state.value for state in (model.w, model.n)}

    def write(x: Any) -> Any:
        if fails:
            model.rate = 7.0
            model.more = State(x)
        return step(model, x)

    def f(x: Any) -> Any:
        y = inside(write)(x)
        return fail(y) if fails else y

    wrapped = t.wrap(f)
    expect_refusal("an error", lambda: jax.block_until_ready(around(wrapped)(scalar())), *errors)
    if model.rate != 1.0 or hasattr(model, "more"):
        raise Broken(f"the attributes set before the error: expected those of before, found {model}")
    expect_states("after the error", model, oracle)
    if any(state.value is not value for state, value in before.items()):
        raise Broken("the states after the error: expected the same arrays, found others")
    fails = False
    expect("the call after the error", wrapped(scalar()), step(oracle, scalar()))
    expect_states("after the call after the error", model, oracle)


def raising(kind: type[BaseException]) -> Callable[[Any], Any]:
    def fail(_: Any) -> Any:
        raise kind("half way")

    return fail


def undoes_exceptions(t: Trial) -> None:
    """An exception half way comes through, and leaves every state and attribute as it was."""
    undoes(t, raising(Boom), Boom)


def undoes_interrupts(t: Trial) -> None:
    """A KeyboardInterrupt half way does too."""
    undoes(t, raising(_Interrupt), _Interrupt)


def undoes_refused_results(t: Trial) -> None:
    """A result that JAX refuses leaves every state and attribute as it was."""
    undoes(t, lambda y: {"y": y, "bad": object()}, Exception)


def undoes_errors_of_jax(t: Trial) -> None:
    """An error of JAX behind the function, where an operation cannot be compiled, leaves all as it was."""
    undoes(t, lambda y: _only_traced.bind(y), Exception)


@contextlib.contextmanager
def _quietly() -> Generator[None]:
    """Keep JAX from logging an error that is meant to happen."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def undoes_failures_at_run_time(t: Trial) -> None:
    """An error while the compiled program runs leaves all as it was."""

    def fails(_: Any) -> Any:
        raise Boom("at run time")

    like = jax.ShapeDtypeStruct((), jnp.float32)
    with _quietly():
        undoes(t, lambda y: jax.pure_callback(fails, like, y, vmap_method="sequential"), Exception)


def undoes_errors_between_transforms(t: Trial) -> None:
    """An error after an inner transform has ended, and before the outer one does, leaves all as it was."""
    undoes(t, raising(Boom), Exception, inside=jit)

    def fails_outside(f: Callable[..., Any]) -> Callable[..., Any]:
        return jit(lambda x: raising(Boom)(f(x)))

    undoes(t, lambda y: y, Exception, around=fails_outside)
