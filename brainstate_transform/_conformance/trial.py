"""A transform on trial: small models, their twins, and comparisons that say what was expected and found.

*Twin*: a copy of a model with arrays of its own, on which the same function runs in plain Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import Node, State, clone, states

__all__ = [
    "Broken",
    "Chain",
    "Layer",
    "Trial",
    "agree",
    "expect",
    "expect_refusal",
    "expect_states",
    "scalar",
    "step",
    "twin",
]  # fmt: skip


class Broken(Exception):
    """A law does not hold."""


class Layer(Node):
    """A weight, a counter that each call advances if it may, and a hyper-parameter."""

    def __init__(self, weight: float, writes: bool) -> None:
        self.w = State(jnp.float32(weight))
        self.n = State(jnp.float32(0.0))
        self.rate = 1.0
        self.writes = writes

    def __call__(self, x: Any) -> Any:
        if self.writes:
            self.n.value = self.n.value + 1.0
        return self.w.value * x * self.rate + self.n.value


class Chain(Node):
    """Layers one after the other."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = list(layers)

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


class Trial:
    """A transform on trial.

    Attributes:
        wrap: Turns a function of a scalar into one that runs it once under the transform.
        writes: Whether the function may write states.
    """

    def __init__(self, wrap: Callable[..., Callable[..., Any]], writes: bool) -> None:
        self.wrap = wrap
        self.writes = writes

    def layer(self, weight: float = 2.0) -> Layer:
        return Layer(weight, self.writes)

    def of(self, model: Any) -> Callable[..., Any]:
        """Return the transform of calling a model."""
        return self.wrap(lambda x: model(x))


def scalar(value: float = 1.0) -> Any:
    return jnp.float32(value)


def same(found: Any, wanted: Any) -> bool:
    if jax.tree.structure(found) != jax.tree.structure(wanted):
        return False
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    return all(_same_leaf(a, b) for a, b in pairs)


def _same_leaf(a: Any, b: Any) -> bool:
    if jnp.shape(a) != jnp.shape(b) or jax.dtypes.result_type(a) != jax.dtypes.result_type(b):
        return False
    if jnp.issubdtype(jax.dtypes.result_type(a), jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return bool(np.allclose(np.asarray(a, np.complex64), np.asarray(b, np.complex64), rtol=1e-5))


def expect(what: str, found: Any, wanted: Any) -> None:
    if not same(found, wanted):
        raise Broken(f"{what}: expected {wanted}, found {found}")


def twin(model: Node) -> Any:
    """Copy a model and its arrays: one of the two may be donated."""
    copy = clone(model)
    for state in states(copy).values():
        state.value = jax.tree.map(lambda v: jnp.copy(v) if isinstance(v, jax.Array) else v, state.value)
    return copy


def expect_states(when: str, model: Node, oracle: Node) -> None:
    wanted = states(oracle)
    if (found := list(states(model))) != list(wanted):
        raise Broken(f"states {when}: expected {list(wanted)}, found {found}")
    for path, state in states(model).items():
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(state.value)):
            raise Broken(f"{'.'.join(map(str, path))} {when}: expected an array, found the tracer {state.value}")
        expect(f"{'.'.join(map(str, path))} {when}", state.value, wanted[path].value)


def agree(wrap: Callable[..., Any], model: Any, f: Callable[..., Any], xs: Sequence[float] = (1.0, 3.0, 3.0)) -> None:
    """Run ``f(model, x)`` under a transform and plainly on a copy; results and states must agree at each call."""
    oracle = twin(model)
    wrapped = wrap(lambda x: f(model, x))
    for call, x in enumerate(map(jnp.float32, xs), start=1):
        expect(f"result of call {call}", wrapped(x), f(oracle, x))
        expect_states(f"after call {call}", model, oracle)


def step(model: Layer, x: Any) -> Any:
    """Write, read it back, and write again, if the model may."""
    if model.writes:
        model.w.value = model.w.value + x
    return model(x)


def expect_refusal(what: str, run: Callable[[], Any], *errors: type[BaseException]) -> None:
    wanted = " or ".join(error.__name__ for error in errors)
    try:
        found = run()
    except errors:
        return
    except Exception as error:
        raise Broken(f"{what}: expected {wanted}, found {type(error).__name__}: {error}") from None
    raise Broken(f"{what}: expected {wanted}, found the result {found}")
