"""Where the laws of the transforms of this package are kept that `check_transform` does not ship.

A law is a function of a transform ``wrap``, see `transforms.py`, that raises where it is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp

from tests.laws.transforms import TRANSFORMS, holds_tracer, same, twin, values

one = jnp.float32(1.0)  # an argument; not for a state, whose buffer may be donated
BY_RULE = ("custom_vjp", "custom_jvp")  # refuse derivatives of a write that their rule does not speak of

LAWS: dict[str, Callable[[Any], None]] = {}
EXCEPT: dict[str, frozenset[str]] = {}  # by law, the transforms that do not keep it by their nature


def law(without: Iterable[str] = (), only: Iterable[str] | None = None) -> Callable[[Any], Any]:
    """Enter a function as a law, for all transforms or for some."""

    def enter(check: Callable[[Any], None]) -> Callable[[Any], None]:
        LAWS[check.__name__] = check
        others = TRANSFORMS.keys() - set(TRANSFORMS if only is None else only)
        assert others | set(without) <= TRANSFORMS.keys()
        EXCEPT[check.__name__] = frozenset(without) | others
        return check

    return enter


def against_plain(wrap, model, f, xs=(1.0, 3.0, 3.0)):
    """Run `f(model, x)` under the transform and plainly on a copy; results and states must agree at each call."""
    oracle = twin(model)
    wrapped = wrap(lambda x: f(model, x))
    for x in map(jnp.float32, xs):
        assert same(wrapped(x), f(oracle, x))
        assert same(values(model), values(oracle))
        assert not holds_tracer(model)
