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

__all__ = ["COMPILED", "TRANSFORMS", "Compiled", "fresh"]


class Compiled(NamedTuple):
    """How a transform takes a function.

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
        return f"{FUNCTION}\ndef body({self.arguments}):\n    ran()\n    return {self.returned}\n"


# Each runs a function once.  What compiles a function that it is given, outside of a trace, is called with the same
# one at each call, and with a new one at each call.
TRANSFORMS = {
    "for_loop": Compiled("x", "READ * x", lambda f, x: bt.for_loop(f, x[None])[0]),
    "checkpointed_for_loop": Compiled("x", "READ * x", lambda f, x: bt.checkpointed_for_loop(f, x[None])[0]),
    "map": Compiled("x", "READ * x", lambda f, x: bt.map(f, x[None])[0]),
    "scan": Compiled("c, x", "c, READ * x", lambda f, x: bt.scan(f, None, x[None])[1][0]),
    "cond": Compiled("x", "READ * x", lambda f, x: bt.cond(x == x, f, lambda x: -x, x)),
    "switch": Compiled("x", "READ * x", lambda f, x: bt.switch(1, [lambda x: -x, f], x)),
    "switch_with_a_function_of_jax": Compiled("x", "READ * x", lambda f, x: bt.switch(1, [jnp.negative, f], x)),
    "ifelse": Compiled("x", "READ * x", lambda f, x: bt.ifelse([x != x, x == x], [lambda x: -x, f], x)),
    "while_loop": Compiled(
        "c", "(c[0] + 1, READ * c[1])", lambda f, x: bt.while_loop(lambda c: c[0] < 1, f, (0, x))[1]
    ),
    "while_loop_condition": Compiled(
        "c", "c[1] < READ", lambda f, x: bt.while_loop(f, lambda c: (c[0], c[1] + 1.0), (x, x - 1.0))[1]
    ),
    "bounded_while_loop": Compiled(
        "c", "(c[0] + 1, READ * c[1])",
        lambda f, x: bt.bounded_while_loop(lambda c: c[0] < 1, f, (0, x), max_steps=2)[1],
    ),
    "fori_loop": Compiled("i, x", "READ * x", lambda f, x: bt.fori_loop(0, 1, f, x)),
    "checkpoint": Compiled("x", "READ * x", lambda f, x: bt.checkpoint(f)(x), False),  # made anew each time
}  # fmt: skip


def fresh(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return what Python makes when it comes by a lambda again: another function of the same code."""
    made = types.FunctionType(fun.__code__, fun.__globals__, "<lambda>", fun.__defaults__, fun.__closure__)
    made.__qualname__ = "<lambda>"
    made.__kwdefaults__ = fun.__kwdefaults__
    return made


def _lanes(scene: Scene) -> Callable[[Any], Any]:
    compiled = bt.jit(bt.vmap(scene.f))
    return lambda x: compiled(x[None])[0]


def _stack(scene: Scene) -> Callable[[Any], Any]:
    return nn.Stack(1, scene.names["Layer"])


def _rnn(scene: Scene) -> Callable[[Any], Any]:
    rnn = nn.RNN(scene.names["Cell"]())
    return lambda x: rnn(x[None, None])[0, 0]


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
# What is compiled once and called often: how it is made of a scene, and the function in it.
COMPILED: dict[str, tuple[Callable[[Scene], Callable[[Any], Any]], str]] = {
    "jit": (lambda scene: bt.jit(scene.f), FUNCTION),
    "stateful": (lambda scene: bt.StatefulFunction(scene.f), FUNCTION),
    "jit_of_checkpoint": (lambda scene: bt.jit(bt.checkpoint(scene.f)), FUNCTION),
    "jit_of_derivative": (lambda scene: bt.jit(bt.grad(lambda x, f=scene.f: f(x) * x / 2.0, argnums=0)), FUNCTION),
    "jit_of_lanes": (_lanes, FUNCTION),
    "jit_of_jit": (lambda scene: bt.jit(bt.jit(scene.f)), FUNCTION),
    "jit_with_donation": (lambda scene: bt.jit(scene.f, donate_states=True), FUNCTION),
    "checkpoint": (lambda scene: bt.checkpoint(scene.f), FUNCTION),
    "lift": (lambda scene: bt.lift(jax.jit, scene.f, inputs="touched"), FUNCTION),
    "Stack": (_stack, LAYER),
    "RNN": (_rnn, CELL),
}
