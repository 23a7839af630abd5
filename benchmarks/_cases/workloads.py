"""The functions whose transforms are measured: written once over states for all libraries, and once purely for JAX.

One kind of function multiplies its argument by every *param* and adds the product to every *hidden* state; half of the
states are of either kind.  The other is a network: its weights are the params, its running means the hidden states.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import brainstate_transform
from brainstate_graph import Node, State

__all__ = ["LANES", "NETWORK", "NUMBERS", "OURS", "Library", "Workload", "bank_values", "numbers", "of_pure"]

LANES = 4


class Library(NamedTuple):
    """A system whose functions close over states.

    Attributes:
        transforms: The module with its transforms.
        bank: Makes an object with the lists `params` and `hidden` from two lists of arrays.
    """

    transforms: Any
    bank: Callable[[list[jax.Array], list[jax.Array]], Any]


class Param(State[Any]):
    __slots__ = ()


class Bank(Node):
    def __init__(self, params: list[jax.Array], hidden: list[jax.Array]) -> None:
        self.params = [Param(value) for value in params]
        self.hidden = [State(value) for value in hidden]


OURS = Library(brainstate_transform, Bank)


def user(bank: Any) -> Callable[[Any], Any]:
    """Return a fresh function of a library's bank."""

    def f(x: Any) -> Any:
        y = x
        for state in bank.params:
            y = y * state.value
        for state in bank.hidden:
            state.value = state.value + y
        return y

    return f


def pure() -> Callable[[Any, Any, Any], Any]:
    """Return a fresh pure function of the same arithmetic."""

    def f(params: Any, hidden: Any, x: Any) -> Any:
        y = x
        for value in params:
            y = y * value
        return y, tuple(value + y for value in hidden)

    return f


def bank_values(count: int, lanes: bool) -> tuple[list[jax.Array], list[jax.Array]]:
    half = count // 2
    params = [jnp.array(1.0 + i / count, jnp.float32) / (1.0 + (count - i) / count) for i in range(count - half)]
    return params, [jnp.zeros(LANES) if lanes else jnp.zeros(()) for _ in range(half)]


LAYERS, WIDTH = 50, 8


def network() -> Callable[[Any, Any, Any], Any]:
    """Return a fresh pure function of a network: a weight, a bias and a running mean in each of its layers."""

    def f(params: Any, hidden: Any, x: Any) -> Any:
        y, means = jnp.full(WIDTH, x), []
        for weight, bias, mean in zip(params[::2], params[1::2], hidden, strict=True):
            y = jnp.tanh(y @ weight + bias)
            means.append(0.9 * mean + 0.1 * jnp.mean(y))
        return jnp.sum(y), tuple(means)

    return f


def network_values(lanes: bool) -> tuple[list[jax.Array], list[jax.Array]]:
    keys = jax.random.split(jax.random.key(0), LAYERS)
    weights = [jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5 for key in keys]
    params = [value for weight in weights for value in (weight, jnp.zeros(WIDTH))]
    return params, [jnp.zeros(LANES) if lanes else jnp.zeros(()) for _ in weights]


class Workload(NamedTuple):
    """What the function does that is traced.

    Attributes:
        name: Its name in the rows.
        pure: Makes a fresh pure function.
        values: Makes the values of params and hidden states, these with or without lanes.
        user: Makes a fresh function of a library's bank.
    """

    name: str
    pure: Callable[[], Callable[[Any, Any, Any], Any]]
    values: Callable[[bool], tuple[list[jax.Array], list[jax.Array]]]
    user: Callable[[Any], Callable[[Any], Any]]


def numbers(count: int) -> Workload:
    """Return a workload with hardly any arithmetic: what a state costs, and nothing else."""
    return Workload(f"{count:,} numbers", pure, functools.partial(bank_values, count), user)


NUMBERS = numbers(50)


def of_pure(
    name: str, make: Callable[[], Any], values: Callable[[], tuple[list[jax.Array], list[jax.Array]]]
) -> Workload:
    """Return the workload of a pure function, which the users of a library call with the values of their states.

    Args:
        name: Its name.
        make: Makes a fresh pure function.
        values: Makes the values of its params and hidden states.
    """
    return Workload(name, make, lambda lanes: values(), functools.partial(_user_of, make))


def _user_of(make: Callable[[], Any], bank: Any) -> Callable[[Any], Any]:
    apply = make()

    def f(x: Any) -> Any:
        y, new = apply([s.value for s in bank.params], [s.value for s in bank.hidden], x)
        for state, value in zip(bank.hidden, new, strict=True):
            state.value = value
        return y

    return f


NETWORK = Workload(f"{LAYERS} layers", network, network_values, functools.partial(_user_of, network))
