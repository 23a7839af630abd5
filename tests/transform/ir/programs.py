"""Random programs, and an interpreter that runs a jaxpr one primitive at a time: the oracle for the passes of `ir`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import io_callback
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

LOG: list[tuple[str, Any]] = []  # what the programs have told the outside, in order


# -- the interpreter ---------------------------------------------------------------------------------------------------


def interpret(program: Any, *args: Any) -> list[Any]:
    """Evaluate without compiling anything: loops and branches in Python, each primitive by itself."""
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    consts = list(getattr(program, "consts", ()))
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return np.asarray(atom.val).astype(atom.aval.dtype) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(a) for a in eqn.invars]
        run = _WITH_BODIES.get(eqn.primitive.name)
        out = run(eqn, inputs) if run else _alone(eqn, inputs)
        env.update(zip(eqn.outvars, out, strict=True))
    return [read(a) for a in jaxpr.outvars]


def _alone(eqn: Any, inputs: list[Any]) -> Sequence[Any]:
    params = eqn.primitive.get_bind_params(eqn.params)
    params = params[1] if isinstance(params, tuple) else params
    out = eqn.primitive.bind(*inputs, **params)
    return out if eqn.primitive.multiple_results else [out]


def _call(name: str) -> Callable[..., Sequence[Any]]:
    return lambda eqn, inputs: interpret(eqn.params[name], *inputs)


def _cond(eqn: Any, inputs: list[Any]) -> Sequence[Any]:
    branches = eqn.params["branches"]
    return interpret(branches[int(np.clip(int(inputs[0]), 0, len(branches) - 1))], *inputs[1:])


def _while(eqn: Any, inputs: list[Any]) -> Sequence[Any]:
    p = eqn.params
    nc, nb = p["cond_nconsts"], p["body_nconsts"]
    of_cond, of_body, carry = inputs[:nc], inputs[nc : nc + nb], inputs[nc + nb :]
    while bool(interpret(p["cond_jaxpr"], *of_cond, *carry)[0]):
        carry = list(interpret(p["body_jaxpr"], *of_body, *carry))
    return carry


def _scan(eqn: Any, inputs: list[Any]) -> Sequence[Any]:
    p, body = eqn.params, eqn.params["jaxpr"]
    ndim = [v.aval.ndim for v in body.jaxpr.invars]
    xs = [x for x, n in zip(inputs, ndim, strict=True) if np.ndim(x) > n]
    n_carry = sum(v.aval.ndim == w.aval.ndim for v, w in zip(eqn.outvars, body.jaxpr.outvars, strict=True))
    consts = inputs[: len(inputs) - len(xs) - n_carry]
    carry, ys = inputs[len(consts) : len(consts) + n_carry], []
    steps = range(p["length"])
    for i in reversed(steps) if p["reverse"] else steps:
        out = interpret(body, *consts, *carry, *[x[i] for x in xs])
        carry = out[:n_carry]
        ys.append(out[n_carry:])
    ys = ys[::-1] if p["reverse"] else ys
    if not ys:
        return [*carry, *(jnp.zeros(v.aval.shape, v.aval.dtype) for v in eqn.outvars[n_carry:])]
    return [*carry, *(jnp.stack(column) for column in zip(*ys, strict=True))]


_WITH_BODIES: dict[str, Callable[..., Sequence[Any]]] = {
    "jit": _call("jaxpr"), "checkpoint": _call("jaxpr"), "remat2": _call("jaxpr"), "closed_call": _call("call_jaxpr"),
    "custom_jvp_call": _call("call_jaxpr"), "custom_vjp_call": _call("call_jaxpr"),
    "cond": _cond, "while": _while, "scan": _scan,
}  # fmt: skip


def bits(values: Sequence[Any]) -> list[Any]:
    """What two results must have in common: type, weak type and every bit; a nan is a nan."""
    arrays = [np.asarray(jax.random.key_data(v) if jnp.issubdtype(jnp.asarray(v).dtype, jax.dtypes.prng_key) else v)
              for v in values]  # fmt: skip
    arrays = [np.where(np.isnan(a), np.nan, a).astype(a.dtype) if a.dtype.kind == "f" else a for a in arrays]
    return [(a.dtype, a.shape, a.tobytes()) for a in arrays]


def outcome(program: Any, *args: Any) -> tuple[list[Any], list[Any]]:
    """The results of a program, and what it told the outside."""
    LOG.clear()
    results = bits(interpret(program, *args))
    jax.effects_barrier()
    return results, list(LOG)


def equations(program: Any) -> Iterator[Any]:
    """All equations, those of the bodies among them."""
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for body in value if isinstance(value, tuple) else (value,):
                if isinstance(body, (Jaxpr, ClosedJaxpr)):
                    yield from equations(body)


def size(program: Any) -> int:
    return sum(1 for _ in equations(program))


def names(program: Any) -> list[str]:
    return [e.primitive.name for e in equations(program)]


def types(program: Any) -> tuple[list[Any], list[Any]]:
    """The types of inputs and results, as declared and as JAX finds them when it evaluates the program."""
    declared = [v.aval for v in program.jaxpr.outvars]
    given = [v.aval for v in program.jaxpr.invars]
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in given]
    again = jax.make_jaxpr(jaxpr_as_fun(program))(*shapes)
    return given + declared, [v.aval for v in again.jaxpr.outvars]


def same(new: Any, old: Any, *args: Any) -> None:
    """The same bits and types, and no larger."""
    assert types(new) == types(old)
    assert outcome(new, *args) == outcome(old, *args)
    assert size(new) <= size(old)


# -- random programs ---------------------------------------------------------------------------------------------------
# Values stay whole numbers between -8 and 8 (and what is put in: -0.0, nan, infinities), so that every sum and product
# is exact and every order of evaluation gives the same bits.


def _tell(tag: str) -> Callable[..., None]:
    return lambda x: LOG.append((tag, repr(np.asarray(x).tolist())))


@jax.custom_jvp
def odd_jvp(x: Any) -> Any:
    return x * 1.0 - 0.0


odd_jvp.defjvp(lambda p, t: (odd_jvp(*p), 3.0 * t[0]))


@jax.custom_vjp
def odd_vjp(x: Any) -> Any:
    return jnp.minimum(x, x) * 1.0


odd_vjp.defvjp(lambda x: (odd_vjp(x), x), lambda x, g: (2.0 * g + 0.0 * jnp.clip(x, -1.0, 1.0),))


def small(x: Any) -> Any:
    return jnp.clip(x, -8, 8)


UNARY: list[Callable[[Any], Any]] = [
    lambda x: x * 1.0, lambda x: 1.0 * x, lambda x: x + 0.0, lambda x: x + (-0.0), lambda x: x - 0.0, lambda x: 0.0 - x,
    lambda x: 0.0 * x, lambda x: x - x, lambda x: x / 1.0, lambda x: -x, lambda x: jnp.negative(-x), jnp.copy,
    lambda x: x.reshape(1, 3).reshape(3), lambda x: x.astype(jnp.float32), lambda x: lax.rev(x, (0,)),
    lambda x: jnp.where(True, x, 2.0 * x), lambda x: jnp.zeros(3) + x, lambda x: jnp.ones(3) * x,
    lambda x: small(x * jnp.array([1.0, 2.0, 3.0])), lambda x: small(x + jnp.arange(3.0)), lambda x: small(x.sum() + x),
    odd_jvp, odd_vjp, lax.stop_gradient, lambda x: lax.optimization_barrier(x), lambda x: x**1,
    lambda x: small(x + jnp.float32(2.0) * 3.0 - jnp.float32(5.0)), lambda x: (x[:, None] @ jnp.ones((1, 1)))[:, 0],
    lambda x: jnp.where(jnp.isnan(x) | (x == x), x, x), lambda x: small(x * np.float32(-2.0)),
]  # fmt: skip
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda x, y: small(x + y), lambda x, y: small(x - y), lambda x, y: small(x * y), jnp.maximum, jnp.minimum,
    lambda x, y: jnp.where(x > y, x, y), lambda x, y: jnp.where(x == y, y, y), lambda x, y: small(y * x) - small(x * y),
]  # fmt: skip
WHOLE: list[Callable[[Any], Any]] = [
    lambda n: n + 0, lambda n: n * 0, lambda n: n - n, lambda n: n * 1, lambda n: n ^ n, lambda n: n & 0,
    lambda n: n | 0, lambda n: (n == n).astype(jnp.int32) + n, lambda n: n & -1, lambda n: n | -1, lambda n: ~(~n),
    lambda n: n * 7 + 3, lambda n: n // 1, lambda n: 0 * n[0] + n, lambda n: (n < n).astype(jnp.int32),
    lambda n: n + jnp.arange(3),
]  # fmt: skip
BODIES = ("jit", "remat", "scan", "reverse", "while", "cond", "switch", "vmap")
EFFECTS = ("debug", "io", "print")

ops = st.one_of(
    st.tuples(st.just("unary"), st.integers(0, len(UNARY) - 1), st.integers(0, 9)),
    st.tuples(st.just("binary"), st.integers(0, len(BINARY) - 1), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("whole"), st.integers(0, len(WHOLE) - 1), st.integers(0, 9)),
    st.tuples(st.just("again"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("random"), st.integers(0, 2)),
    st.tuples(st.just("effect"), st.sampled_from(EFFECTS), st.integers(0, 9)),
)
inner = st.lists(ops, min_size=1, max_size=4)
nested = st.tuples(st.sampled_from(BODIES), inner, st.integers(0, 9), st.booleans())
within = st.lists(st.one_of(ops, nested), min_size=1, max_size=3)
deeper = st.tuples(st.sampled_from(BODIES), within, st.integers(0, 9), st.booleans())
recipes = st.lists(st.one_of(ops, ops, nested, deeper), min_size=1, max_size=6)
# Each operation once on the inputs, which no number of random programs promises.
EVERY = [
    *(("unary", i, 0) for i in range(len(UNARY))),
    *(("binary", i, 0, 1) for i in range(len(BINARY))),
    *(("whole", i, 0) for i in range(len(WHOLE))),
]
picks = st.lists(st.integers(0, 9), min_size=1, max_size=4)
special = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 3.0, -5.0, 8.0, float("inf"), float("-inf"), float("nan")])
finite = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 3.0, -5.0])


def floats(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return st.lists(numbers, min_size=3, max_size=3).map(lambda v: jnp.array(v, jnp.float32))


def function(recipe: Sequence[Any], picks: Sequence[int], effects: bool = True) -> Callable[[Any, Any], Any]:
    """A function of three floats and three whole numbers, as the recipe says; `picks` tells what it returns."""

    def fun(x: Any, n: Any) -> Any:
        pool, whole = _run(recipe, [x], [n], effects)
        return [([*pool, *whole])[i % (len(pool) + len(whole))] for i in picks]

    return fun


def _run(recipe: Sequence[Any], pool: list[Any], whole: list[Any], effects: bool) -> tuple[list[Any], list[Any]]:
    pool, whole = list(pool), list(whole)
    for kind, *rest in recipe:
        if kind == "unary":
            pool.append(UNARY[rest[0]](pool[rest[1] % len(pool)]))
        elif kind == "binary":
            pool.append(BINARY[rest[0]](pool[rest[1] % len(pool)], pool[rest[2] % len(pool)]))
        elif kind == "whole":
            whole.append(WHOLE[rest[0]](whole[rest[1] % len(whole)]))
        elif kind == "again":  # the same twice
            x, y = pool[rest[0] % len(pool)], pool[rest[1] % len(pool)]
            pool += [small(x + y), small(x + y)]
        elif kind == "random":
            key = jax.random.fold_in(jax.random.key(rest[0]), 1)
            pool.append(jax.random.randint(key, (3,), -8, 8).astype(jnp.float32))
        elif kind == "effect":
            if effects:
                _effect(rest[0], pool[rest[1] % len(pool)])
        else:
            pool.append(_nested(kind, rest[0], pool[rest[1] % len(pool)], whole[-1], rest[2], effects))
    return pool, whole


def _effect(kind: str, x: Any) -> None:
    if kind == "debug":
        jax.debug.callback(_tell("debug"), x)
    elif kind == "io":
        io_callback(_tell("io"), None, x, ordered=False)
    else:
        jax.debug.callback(_tell("constant"), jnp.float32(2.0) * 3.0)


def _nested(kind: str, recipe: Sequence[Any], x: Any, n: Any, first: bool, effects: bool) -> Any:
    def body(v: Any, m: Any = n) -> Any:
        pool, whole = _run(recipe, [v, x], [m], effects)
        return pool[-1], pool[len(pool) // 2], whole[-1]

    if kind == "jit":
        out = jax.jit(body)(x, n)
    elif kind == "remat":
        out = jax.checkpoint(body)(x, n)
    elif kind in ("scan", "reverse"):

        def step(carry: Any, y: Any) -> Any:
            a, b, m = body(carry[0], carry[1])
            return (a, m, carry[2]), (b + y, m)

        carry, ys = lax.scan(step, (x, n, x), jnp.arange(3.0), reverse=kind == "reverse")
        out = carry[0], small(ys[0].sum(0)), carry[1]
    elif kind == "while":

        def go(carry: Any) -> Any:
            i, a, _, unused = carry
            new, other, _ = body(a)
            return i + 1, new, other, small(unused + new)

        if effects:
            _, *out = lax.while_loop(lambda c: c[0] < 3, go, (0, x, x, x))
        else:  # a loop that can be differentiated
            out = lax.fori_loop(0, 3, lambda i, c: go((i, *c))[1:], (x, x, x))
    elif kind == "cond":
        out = lax.cond(x[0] > 0, lambda v: body(v), lambda v: (v, v, n), x)
    elif kind == "switch":
        out = lax.switch(n[0] % 3, [lambda v: body(v), lambda v: (v * 1.0, v, n), lambda v: (x, v, n + 0)], x)
    else:
        out = jax.vmap(lambda v: lax.cond(v > 0, lambda w: (w * 1.0, w), lambda w: (jnp.negative(-w), 0.0 + w), v))(x)
    return out[0] if first else out[1]
