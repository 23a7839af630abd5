"""The transforms that run the function which reads a place in compiled form."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import brainstate_nn as nn
import brainstate_transform as bt
from tests.laws.places.place import FUNCTION, Scene

__all__ = ["GIVEN", "MADE", "Given", "Made", "fresh"]


class Given(NamedTuple):
    """How a transform takes a function that is given to it at each call.

    Attributes:
        arguments: Those of the function.
        returned: What it returns.
        call: Runs it once, for an argument.
        counts: Whether it is compiled once, however often it is given.
    """

    arguments: str
    returned: str
    call: Callable[[Callable[..., Any], Any], Any]
    counts: bool = True

    def way(self) -> str:
        """Write the function that the transform takes, and beside it the one that is run as it is."""
        carried = "" if "x" in self.arguments else "\n    x = c[1]"  # what a place calls a model with
        return f"{FUNCTION}\ndef body({self.arguments}):\n    ran(){carried}\n    return {self.returned}\n"


# Each runs a function once.  Outside of a trace they run it in compiled form, and are called with the same one at each
# call, and with a new one at each call.
GIVEN = {
    "for_loop": Given("x", "READ * x", lambda f, x: bt.for_loop(f, x[None])[0]),
    "checkpointed_for_loop": Given("x", "READ * x", lambda f, x: bt.checkpointed_for_loop(f, x[None])[0]),
    "map": Given("x", "READ * x", lambda f, x: bt.map(f, x[None])[0]),
    "scan": Given("c, x", "c, READ * x", lambda f, x: bt.scan(f, None, x[None])[1][0]),
    "checkpointed_scan": Given("c, x", "c, READ * x", lambda f, x: bt.checkpointed_scan(f, None, x[None])[1][0]),
    "cond": Given("x", "READ * x", lambda f, x: bt.cond(x == x, f, lambda x: -x, x)),
    "switch": Given("x", "READ * x", lambda f, x: bt.switch(1, [lambda x: -x, f], x)),
    "switch_with_a_function_of_jax": Given("x", "READ * x", lambda f, x: bt.switch(1, [jnp.negative, f], x)),
    "ifelse": Given("x", "READ * x", lambda f, x: bt.ifelse([x != x, x == x], [lambda x: -x, f], x)),
    "while_loop": Given("c", "(c[0] + 1, READ * x)", lambda f, x: bt.while_loop(lambda c: c[0] < 1, f, (0, x))[1]),
    "while_loop_condition": Given(
        "c", "c[0] < READ", lambda f, x: bt.while_loop(f, lambda c: (c[0] + 1.0, c[1]), (x - 9.0, x))[0]
    ),
    "bounded_while_loop": Given(
        "c", "(c[0] + 1, READ * x)",
        lambda f, x: bt.bounded_while_loop(lambda c: c[0] < 1, f, (0, x), max_steps=2)[1],
    ),
    "fori_loop": Given("i, x", "READ * x", lambda f, x: bt.fori_loop(0, 1, f, x)),
    # What these make is made anew each time.
    "checkpoint": Given("x", "READ * x", lambda f, x: bt.checkpoint(f)(x), False),
    "vmap": Given("x", "READ * x", lambda f, x: bt.vmap(f)(x[None])[0], False),
    "jvp": Given("x", "READ * x", lambda f, x: bt.jvp(f, (x,), (x,))[0], False),
    "custom_vjp": Given("x", "READ * x", lambda f, x: _custom_vjp(f)(x), False),
}  # fmt: skip


def fresh(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return what Python makes when it comes by a lambda again: another function of the same code."""
    made = types.FunctionType(fun.__code__, fun.__globals__, "<lambda>", fun.__defaults__, fun.__closure__)
    made.__qualname__ = "<lambda>"
    made.__kwdefaults__ = fun.__kwdefaults__
    return made


def _custom_vjp(fun: Callable[..., Any]) -> Callable[..., Any]:
    made = bt.custom_vjp(fun)
    made.defvjp(lambda x: (fun(x), None), lambda residuals, ct: (ct,))
    return made


class Made(NamedTuple):
    """How a transform is made of the function of a scene, once.

    Attributes:
        make: Makes what is called.
        way: The function.
        counts: Whether it is compiled.
    """

    make: Callable[[Scene], Callable[[Any], Any]]
    way: str = FUNCTION
    counts: bool = True


def _lanes(scene: Scene) -> Callable[[Any], Any]:
    compiled = bt.jit(bt.vmap(scene.f))
    return lambda x: compiled(x[None])[0]


def _stack(scene: Scene) -> Callable[[Any], Any]:
    return nn.Stack(1, scene.names["Layer"])


def _rnn(scene: Scene) -> Callable[[Any], Any]:
    rnn = nn.RNN(scene.names["Cell"]())
    return lambda x: rnn(x[None, None])[0, 0]


def _loop(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: bt.for_loop(fun, x[None])[0]


def _branches(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: bt.cond(x == x, fun, jnp.negative, x)


def _derivative(fun: Callable[..., Any]) -> Callable[..., Any]:
    return bt.grad(lambda x: jax.lax.stop_gradient(fun(x)) * x, argnums=0)  # which is `fun`


LAYER = f"""{FUNCTION}
class Layer(nn.Module):
    def __call__(self, x):
        ran()
        return READ * x
"""
CELL = f"""{FUNCTION}
class Cell(nn.RecurrentCell):
    def initial_carry(self, batch_shape=()):
        return jnp.zeros(batch_shape)
    def step(self, carry, x):
        ran()
        return carry, READ * x
"""
MADE = {
    "jit": Made(lambda scene: bt.jit(scene.f)),
    "stateful": Made(lambda scene: bt.StatefulFunction(scene.f)),
    "jit_with_donation": Made(lambda scene: bt.jit(scene.f, donate_states=True)),
    "jit_of_jit": Made(lambda scene: bt.jit(bt.jit(scene.f))),
    "jit_of_checkpoint": Made(lambda scene: bt.jit(bt.checkpoint(scene.f))),
    "jit_of_derivative": Made(lambda scene: bt.jit(_derivative(scene.f))),
    "jit_of_lanes": Made(_lanes),
    "jit_of_loop": Made(lambda scene: bt.jit(_loop(scene.f))),
    "jit_of_branches": Made(lambda scene: bt.jit(_branches(scene.f))),
    "stateful_of_loop": Made(lambda scene: bt.StatefulFunction(_loop(scene.f))),
    "lift": Made(lambda scene: bt.lift(jax.jit, scene.f, inputs="touched")),
    "checkpoint": Made(lambda scene: bt.checkpoint(scene.f)),
    "derivative": Made(lambda scene: _derivative(scene.f), counts=False),
    "custom_vjp": Made(lambda scene: _custom_vjp(scene.f), counts=False),
    "Stack": Made(_stack, LAYER),
    "RNN": Made(_rnn, CELL),
}
