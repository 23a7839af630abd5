"""What a function with a derivative rule reads is what it and its rule really read, not all that they could reach.

The rule of each function here reads one state, `a`; the function itself reads none, and `w` could be reached by both.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import Node, Overlay, State
from brainstate_transform import (
    checkpoint,
    cond,
    custom_jvp,
    custom_vjp,
    for_loop,
    grad,
    jit,
    scan,
    value_and_grad,
    vjp,
    vmap,
)
from tests.laws.transforms import Param
from tests.tables import each, pairs

KINDS = ("jvp", "vjp")
HALF = jnp.float32(0.5)


class Model(Node):
    def __init__(self):
        self.a, self.w = State(jnp.float32(2.0)), Param(HALF)


def ruled(m, kind, inner=lambda f, x: jnp.sin(x) * 3.0):
    """A function whose slope is `a`, and whose rule computes the result by `inner`; the model can be seen in both."""
    f = {"jvp": custom_jvp, "vjp": custom_vjp}[kind](lambda x: (m, jnp.sin(x) * 3.0)[1])
    if kind == "jvp":
        f.defjvp(lambda p, t: (inner(f, p[0]), t[0] * m.a.value))
    else:
        f.defvjp(lambda x: (inner(f, x), m.a.value), lambda slope, ct: (ct * slope,))
    return f


def first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


# How the rule computes the result: with what has a rule of its own, each time in another trace.
INNER = {
    "by itself": lambda f, x: jnp.sin(x) * 3.0,
    "by the function": lambda f, x: f(x),
    "by another one": lambda f, x: OTHER(x),
    "compiled": lambda f, x: jit(f)(x),
    "in a loop": lambda f, x: for_loop(f, x[None])[0],
    "in lanes": lambda f, x: vmap(f)(x[None])[0],
    "recomputed": lambda f, x: checkpoint(f)(x),
    "in a branch": lambda f, x: cond(x > -9.0, f, f, x),
    "in raw jit": lambda f, x: jax.jit(f)(x),
}

# Where the function is called. What has been traced once is found again by JAX, which then runs no rule.
PLACES = {
    "alone": lambda f: f,
    "jit": jit,
    "for_loop": lambda f: lambda x: for_loop(f, x[None])[0],
    "scan": lambda f: lambda x: scan(lambda c, x: (c, f(x)), 0.0, x[None])[1][0],
    "jit of a loop": lambda f: jit(lambda x: for_loop(f, x[None])[0]),
    "vmap": lambda f: lambda x: vmap(f)(x[None])[0],
    "checkpoint": checkpoint,
    "cond": lambda f: lambda x: cond(x > -9.0, f, f, x),
    "raw scan": lambda f: lambda x: jax.lax.scan(lambda c, x: (c, f(x)), 0.0, x[None])[1][0],
    "raw jit": jax.jit,
    "jit of jit": lambda f: jit(jit(f)),
}

# How it is differentiated by states: the gradient, where the value is ``g()``.
WAYS = {
    "grad": lambda g, wrt: grad(g, wrt)(),
    "jit of grad": lambda g, wrt: jit(grad(g, wrt))(),
    "value_and_grad": lambda g, wrt: value_and_grad(g, wrt)()[1],
    "vjp": lambda g, wrt: vjp(g, wrt=wrt)[1](1.0),
    "grad in a loop": lambda g, wrt: for_loop(lambda _: grad(g, wrt)(), jnp.zeros(1))[0],
}


OTHER = ruled(Model(), "jvp")


@pairs(whole=("by the function",), inner=INNER, place=PLACES)
@each("kind", KINDS)
def test_a_rule_that_calls_functions_with_rules(inner, place, kind):
    m = Model()
    call = place(ruled(m, kind, inner))
    for _ in range(2):
        value, slope = value_and_grad(lambda: call(m.w.value), m.w)()
        assert value == pytest.approx(float(jnp.sin(0.5) * 3.0), rel=1e-5)
        assert slope == 2.0


@pairs(place=PLACES, way=WAYS)
@each("kind", KINDS)
def test_what_could_be_reached_and_is_not_read(place, way, kind):
    """A state of `wrt` that nothing reads is refused, at the first call and when JAX knows all; others are not."""
    m = Model()
    call = place(ruled(m, kind, INNER["by the function"]))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"does not use these states.* \(Param at Model\.w\)\. Leave them out"):
            way(lambda: call(HALF), m.w)
        assert way(lambda: call(m.w.value), m.w) == 2.0
    assert grad(lambda: call(HALF), m.w, allow_unused=True)() == 0.0


@pairs(place=PLACES, way=WAYS)
@each("kind", KINDS)
def test_what_the_rule_alone_reads_must_be_declared(place, way, kind):
    m = Model()
    call = place(ruled(m, kind))
    for _ in range(2):
        with pytest.raises(TypeError, match=r"is being differentiated with respect to State at Model\.a, but its"):
            way(lambda: call(HALF), m.a)


@each("kind", KINDS)
def test_a_declared_state_that_nothing_reads_counts_as_used(kind):
    """A rule may have a derivative by a state whose value it does not need."""
    m = Model()
    if kind == "jvp":
        f = custom_jvp(lambda x: (m, x)[1], wrt=m.w)
        f.defjvp(lambda p, t: (p[0], (None, 5.0 * t[0] + t[1][0])))
    else:
        f = custom_vjp(lambda x: (m, x)[1], wrt=m.w)
        f.defvjp(lambda x: (x, None), lambda _, ct: (5.0 * ct[1], (ct[1],)))
    for place in PLACES.values():
        assert grad(lambda place=place: place(f)(HALF), m.w)() == 5.0


@each("kind", KINDS)
def test_reads_in_the_enclosing_trace(kind):
    """What JAX may hand to a rule later is a possible read, and the rule's are real where it runs."""
    m = Model()
    f = ruled(m, kind)
    for call, real in ((lambda: f(HALF), ()), (lambda: grad(f)(HALF), (m.a,)), (lambda: vjp(f, HALF), (m.a,))):
        with Overlay() as overlay:
            call()
        assert [state for state in overlay.reads if overlay.uses(state)] == list(real)
        assert set(overlay.reads) == {m.a, m.w}


@each("kind", KINDS)
def test_a_program_is_passed_what_only_a_rule_reads(kind):
    """Also where the rule was run for another program, and JAX knows the derivative already."""
    many = [State(jnp.float32(i)) for i in range(40)]
    f = {"jvp": custom_jvp, "vjp": custom_vjp}[kind](lambda x: (many, x)[1])
    if kind == "jvp":
        f.defjvp(lambda p, t: (p[0], t[0] * many[5].value))
    else:
        f.defvjp(lambda x: (x, many[5].value), lambda slope, ct: (ct * slope,))
    inner = jit(f)
    for step in (jit(lambda x: grad(inner)(x)), jit(lambda x: 2.0 * grad(inner)(x) - grad(inner)(x))):
        assert step(HALF) == 5.0
        many[5].value = jnp.float32(7.0)
        assert step(HALF) == 7.0
        many[5].value = jnp.float32(5.0)
