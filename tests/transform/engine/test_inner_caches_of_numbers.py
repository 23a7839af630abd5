"""What JAX keeps of a function inside of ours does not outlive a Python number that the function reads.

JAX keeps the trace of an inner function by its identity; so a number in it, which makes our function be traced anew,
must make JAX trace the inner one anew as well.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
import brainstate_transform as bt
from tests.transform.engine.constructs import CONSTRUCTS

# A place that is changed at each call is told; that it is, is no matter of these tests.
pytestmark = pytest.mark.filterwarnings("ignore:.* was traced three times")
X = jnp.float32(2.0)
rate = 1.0


class Number(NamedTuple):
    value: Any


class Scale(nn.Module):
    def __init__(self) -> None:
        self.rate = 1.0

    def __call__(self) -> Number:
        return Number(self.rate)


def _global() -> tuple[Callable[[], Any], Callable[[float], None]]:
    return lambda: Number(rate), lambda value: globals().__setitem__("rate", value)


def _attribute() -> tuple[Callable[[], Any], Callable[[float], None]]:
    config = types.SimpleNamespace(rate=1.0)
    return lambda: Number(config.rate), lambda value: setattr(config, "rate", value)


def _variable() -> tuple[Callable[[], Any], Callable[[float], None]]:
    here = 1.0

    def put(value: float) -> None:
        nonlocal here
        here = value

    return lambda: Number(here), put


def _module() -> tuple[Callable[[], Any], Callable[[float], None]]:
    scale = Scale()
    return scale, lambda value: setattr(scale, "rate", value)


PLACES = {"global": _global, "attribute": _attribute, "variable": _variable, "module": _module}
TRANSFORMS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "jit": bt.jit,
    "jit_vmap": lambda f: bt.jit(lambda x: bt.vmap(f)(x[None])[0]),
    "stateful": bt.StatefulFunction,
    "for_loop": lambda f: bt.jit(lambda x: bt.for_loop(f, x[None])[0]),
    "eager_for_loop": lambda f: lambda x: bt.for_loop(f, x[None])[0],
}


PRODUCT = itertools.product([name for name in CONSTRUCTS if name not in ("diffrax", "optimistix")], TRANSFORMS)


@pytest.mark.parametrize(
    ("construct", "transform"),
    [pytest.param(c, t, marks=() if t == "jit" or c == "scan" else pytest.mark.exhaustive) for c, t in PRODUCT],
)
def test_a_number_that_changes_is_seen_in_what_jax_keeps(construct, transform):
    wrong = []
    for place, make in PLACES.items():
        get, put = make()
        put(1.0)
        use = CONSTRUCTS[construct](get)
        first, second = (TRANSFORMS[transform](lambda x, use=use, more=more: use(x) + more) for more in (0.0, 1.0))
        for value in (1.0, 3.0, 4.0, 1.0):
            put(value)
            found = [float(first(X)), float(second(X)) - 1.0]
            if found != pytest.approx([2.0 * value] * 2, rel=1e-3):
                wrong.append((place, value, found))
    assert not wrong
