"""Functions under JAX that live on and read a State: raw constructs, and libraries over it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx

from brainstate_graph import State

Get = Callable[[], Any]
Use = Callable[[Any], Any]
X = jnp.float32(2.0)


@dataclasses.dataclass(slots=True)
class Slots:
    w: State[Any]


def known_or_stray(kind: str) -> tuple[State[Any], Get]:
    held = Slots(State(jnp.float32(1.0)))
    w = held.w
    return w, (lambda: w) if kind == "known" else (lambda: held.w)


# -- constructs: each returns a function that computes ``w * x``, and keeps its inner functions from use to use --------


def of_scan(get: Get) -> Use:
    def body(c: Any, x: Any) -> Any:
        return c, get().value * x

    return lambda x: jax.lax.scan(body, 0.0, x[None])[1][0]


def of_cond(get: Get) -> Use:
    def true(x: Any) -> Any:
        return get().value * x

    def false(x: Any) -> Any:
        return -get().value * x

    return lambda x: jax.lax.cond(x > -100.0, true, false, x)


def of_switch(get: Get) -> Use:
    branches = [lambda x: -x, lambda x: get().value * x, lambda x: x]
    return lambda x: jax.lax.switch(jnp.where(x > -100.0, 1, 0), branches, x)


def of_while(get: Get) -> Use:
    def test(c: Any) -> Any:
        return c[0] < 1

    def body(c: Any) -> Any:
        return c[0] + 1, get().value * c[1]

    return lambda x: jax.lax.while_loop(test, body, (0, x))[1]


def of_fori(get: Get) -> Use:
    def body(_: Any, x: Any) -> Any:
        return get().value * x

    return lambda x: jax.lax.fori_loop(0, 1, body, x)


def of_map(get: Get) -> Use:
    def one(x: Any) -> Any:
        return get().value * x

    return lambda x: jax.lax.map(one, x[None])[0]


def of_checkpoint(get: Get) -> Use:
    return jax.checkpoint(lambda x: get().value * x)


def of_jit(get: Get) -> Use:
    return jax.jit(lambda x: get().value * x)


def of_custom_jvp(get: Get) -> Use:
    fun = jax.custom_jvp(lambda x: get().value * x)
    fun.defjvp(lambda primals, tangents: (get().value * primals[0], get().value * tangents[0]))
    return fun


def of_custom_vjp(get: Get) -> Use:
    fun = jax.custom_vjp(lambda x: get().value * x)
    fun.defvjp(lambda x: (get().value * x, get().value), lambda w, ct: (w * ct,))
    return fun


def of_equinox(get: Get) -> Use:
    return eqx.filter_jit(lambda x: get().value * x)


def of_diffrax(get: Get) -> Use:
    def field(_: Any, y: Any, __: Any) -> Any:
        return (get().value - 1.0) * y

    term = diffrax.ODETerm(field)
    return lambda x: diffrax.diffeqsolve(term, diffrax.Euler(), 0.0, 1.0, 1.0, x).ys[-1]


def of_optimistix(get: Get) -> Use:
    def fun(y: Any, x: Any) -> Any:
        return y - get().value * x

    return lambda x: optx.root_find(fun, optx.Newton(1e-3, 1e-3), 0.0 * x, args=x).value


CONSTRUCTS = {
    "scan": of_scan, "cond": of_cond, "switch": of_switch, "while_loop": of_while, "fori_loop": of_fori, "map": of_map,
    "checkpoint": of_checkpoint, "jit": of_jit, "custom_jvp": of_custom_jvp, "custom_vjp": of_custom_vjp,
    "equinox": of_equinox, "diffrax": of_diffrax, "optimistix": of_optimistix,
}  # fmt: skip
