"""`custom_vjp` and `custom_jvp`: the user's rule is followed, states are kept, and nothing is silently zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State, TraceContextError
from brainstate_nn import RandomState
from brainstate_transform import (
    checkpoint,
    cond,
    custom_jvp,
    custom_vjp,
    for_loop,
    grad,
    hessian,
    jit,
    jvp,
    scan,
    vjp,
    vmap,
)
from tests.laws.transforms import Param, Runs, same


class Calls(State):
    """A counter of whole numbers."""


class Spike(Node):
    """A step function of its input with a made-up slope, which counts its calls and draws a number in each."""

    def __init__(self):
        self.scale = Param(jnp.array(2.0))
        self.calls = Calls(jnp.array(0))
        self.rng = RandomState(0)

    def _step(self, x):
        RUNS()
        self.calls.value += 1
        noise = self.rng.normal()
        return jnp.where(x > 0, self.scale.value, 0.0) + 0.0 * noise, noise

    def _forward(self, x):
        return self._step(x), (x, self.scale.value)

    def _backward(self, residuals, cotangents):
        (x, scale), (of_scale, (ct, _)) = residuals, cotangents
        assert jnp.shape(of_scale) == ()
        return ct * (x > 0), (ct * scale * 10.0,)

    def _push(self, primals, tangents):
        (x,), (ds, (dx,)) = primals, tangents
        out = self._step(x)
        return out, (None, (ds * (x > 0) + dx * self.scale.value * 10.0, jnp.zeros(())))


RUNS = Runs()


def ruled(m, kind):
    """The step function of a model, with its rule."""
    if kind == "vjp":
        f = custom_vjp(m._step, wrt=m.scale)
        f.defvjp(m._forward, m._backward)
    else:
        f = custom_jvp(m._step, wrt=m.scale)
        f.defjvp(m._push)
    return f


def oracle(kind):
    """The same in plain JAX: (scale, x) -> where(x > 0, scale, 0), with slope 10 scale."""
    step = lambda scale, x: jnp.where(x > 0, scale, 0.0)
    if kind == "vjp":
        f = jax.custom_vjp(step)
        f.defvjp(lambda s, x: (step(s, x), (s, x)), lambda r, ct: (ct * (r[1] > 0), ct * r[0] * 10.0))
    else:
        f = jax.custom_jvp(step)
        f.defjvp(lambda p, t: (step(*p), t[0] * (p[1] > 0) + t[1] * p[0] * 10.0))
    return f


KINDS = pytest.mark.parametrize("kind", ["vjp", "jvp"])


def drawn(times, seed=0):
    rng = RandomState(seed)
    return [rng.normal() for _ in range(times)]


@KINDS
@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_the_rule_is_followed_by_states_and_arguments(kind, wrap):
    m, plain = Spike(), oracle(kind)
    f = ruled(m, kind)
    loss = lambda x: f(x)[0] ** 2
    want = jax.grad(lambda s, x: plain(s, x) ** 2, (0, 1))(2.0, 3.0)
    assert same(wrap(grad(loss, m.scale, 0))(3.0), want)
    assert same(grad(wrap(loss), m.scale, 0)(3.0), want)
    assert same(wrap(grad(loss))(3.0), want[1])
    assert m.calls.value == 3
    assert int(m.rng.value[1]) == 3


@KINDS
def test_what_is_written_is_kept_once_whether_differentiated_or_not(kind):
    m = Spike()
    f = ruled(m, kind)
    noise = [f(1.0)[1], jit(f)(1.0)[1], grad(lambda x: f(x), has_aux=True)(1.0)[1]]
    noise += [jit(lambda x: grad(f, has_aux=True)(x)[1])(1.0), grad(checkpoint(lambda x: f(x)), has_aux=True)(1.0)[1]]
    np.testing.assert_allclose(noise, drawn(5), rtol=1e-6)
    assert m.calls.value == 5
    assert m.calls.value.dtype == jnp.int32


@KINDS
def test_in_loops_and_branches(kind):
    m, plain = Spike(), oracle(kind)
    f = ruled(m, kind)
    xs = jnp.array([1.0, -1.0, 2.0])

    def by_loop(xs):
        return for_loop(lambda x: f(x)[0], xs).sum()

    def by_scan(xs):
        return scan(lambda c, x: (c + f(x)[0], None), 0.0, xs)[0]

    def by_cond(xs):
        return cond(xs[0] > 0, lambda xs: f(xs[0])[0] + f(xs[1])[0] + f(xs[2])[0], lambda xs: xs.sum(), xs)

    want = jax.grad(lambda s, xs: jax.vmap(lambda x: plain(s, x))(xs).sum(), (0, 1))(2.0, xs)
    for number, loss in enumerate((by_loop, by_scan, by_cond), start=1):
        assert same(grad(loss, m.scale, 0)(xs), want), loss.__name__
        assert m.calls.value == 3 * number
        assert int(m.rng.value[1]) == 3 * number
        assert same(jit(grad(loss, m.scale, 0))(xs), want), loss.__name__
        m.calls.value = m.calls.value - 3
        m.rng.value = (m.rng.value[0], m.rng.value[1] - 3)


@KINDS
def test_under_vmap_each_lane_draws_differently(kind):
    m, plain = Spike(), oracle(kind)
    f = ruled(m, kind)
    xs = jnp.array([1.0, -1.0, 2.0])
    value, noise = vmap(f)(xs)
    assert same(value, jax.vmap(lambda x: plain(2.0, x))(xs))
    assert len(set(noise.tolist())) == 3
    grads, noise = vmap(grad(f, m.scale, 0, has_aux=True))(xs)
    assert same(grads, jax.vmap(jax.grad(plain, (0, 1)), in_axes=(None, 0))(2.0, xs))
    assert len(set(noise.tolist())) == 3
    assert same(grad(lambda xs: vmap(f)(xs)[0].sum(), m.scale)(xs), grads[0].sum())
    assert m.calls.value == 3
    assert int(m.rng.value[1]) == 3


@KINDS
def test_a_state_with_one_value_per_lane(kind):
    total = State(jnp.arange(3.0))
    f = accumulating(total, kind, total)
    xs = jnp.array([1.0, 2.0, 3.0])
    got = jit(lambda xs: grad(lambda xs: vmap(f, in_states=total)(xs).sum() + total.value.sum(), total, 0)(xs))(xs)
    assert same(got, (jnp.full(3, 3.0), 2.0 * xs + 1.0))
    assert same(total.value, 3.0 * jnp.arange(3.0) + xs)


@KINDS
def test_user_code_runs_once_in_each_trace(kind):
    m = Spike()
    f = ruled(m, kind)
    RUNS.since()
    f(1.0)
    assert RUNS.since() == 1
    grad(lambda x: f(x)[0])(1.0)
    assert RUNS.since() == 1
    step = jit(grad(lambda x: f(x)[0]))
    step(1.0)
    assert RUNS.since() == 1
    step(2.0)
    assert RUNS.since() == 0
    grad(jit(lambda x: f(x)[0]))(1.0)
    assert RUNS.since() == 2  # JAX traces the function, then its rule
    grad(lambda x: jit(lambda x: grad(lambda x: f(x)[0])(x))(x))(1.0)
    assert RUNS.since() <= 3


@KINDS
def test_no_tracer_leaks(kind):
    with jax.checking_leaks():
        m = Spike()
        f = ruled(m, kind)
        loss = lambda x: f(x)[0]
        jit(grad(loss, m.scale, 0))(1.0)
        grad(jit(loss), m.scale)(1.0)
        jit(lambda xs: for_loop(grad(loss), xs))(jnp.ones(2))
        vmap(grad(loss))(jnp.ones(2))


@KINDS
def test_without_jit(kind):
    m, plain = Spike(), oracle(kind)
    with jax.disable_jit():
        f = ruled(m, kind)
        assert same(grad(lambda x: f(x)[0], m.scale, 0)(3.0), jax.grad(plain, (0, 1))(2.0, 3.0))
        assert same(jit(lambda x: f(x)[0])(3.0), jnp.array(2.0))
        f = undeclared(m)[kind]
        with pytest.raises(TypeError, match="declare it"):
            grad(f, m.scale)(3.0)
    assert m.calls.value == 2


def undeclared(m):
    first = custom_vjp(lambda x: m.scale.value * x)
    first.defvjp(lambda x: (m.scale.value * x, m.scale.value), lambda scale, ct: (ct * scale,))
    second = custom_jvp(lambda x: m.scale.value * x)
    second.defjvp(lambda primals, tangents: (m.scale.value * primals[0], m.scale.value * tangents[0]))
    return {"vjp": first, "jvp": second}


def accumulating(total, kind, wrt):
    def f(x):
        total.value = total.value * 3.0 + x
        return x * x

    if kind == "vjp":
        made = custom_vjp(f, wrt=wrt)

        def backward(x, cts):
            of_total, ct = cts if wrt is not None else (0.0, cts)
            by_arg = (ct * 2.0 * x + of_total,)
            return by_arg if wrt is None else (of_total * 3.0, by_arg)

        made.defvjp(lambda x: (f(x), x), backward)
    else:
        made = custom_jvp(f, wrt=wrt)

        def push(primals, tangents):
            (x,) = primals
            dtotal, (dx,) = tangents if wrt is not None else (0.0, tangents)
            along = 2.0 * x * dx
            return f(x), along if wrt is None else (3.0 * dtotal + dx, along)

        made.defjvp(push)
    return made


def test_defjvps():
    f = custom_jvp(lambda x, y, z: x * y * z)
    f.defjvps(lambda t, out, x, y, z: t * y * z, None, lambda t, out, x, y, z: t * 100.0)
    assert same(grad(f, argnums=(0, 1, 2))(2.0, 3.0, 4.0), (jnp.array(12.0), jnp.array(0.0), jnp.array(100.0)))
    with pytest.raises(TypeError, match="by defjvp"):
        custom_jvp(lambda x: x, wrt=Param).defjvps(None)


@KINDS
def test_symbolic_zeros(kind):
    seen = []
    f = lambda x, y: (x * y, x)
    if kind == "vjp":
        made = custom_vjp(f)

        def forward(x, y):
            seen.extend([x.perturbed, y.perturbed])
            return f(x.value, y.value), y.value

        def backward(y, ct):
            seen.append(type(ct[1]).__name__)
            return ct[0] * y, None

        made.defvjp(forward, backward, symbolic_zeros=True)
    else:
        made = custom_jvp(f)

        def push(primals, tangents):
            seen.append(type(tangents[1]).__name__)
            return f(*primals), (tangents[0] * primals[1], tangents[0])

        made.defjvp(push, symbolic_zeros=True)
    assert grad(lambda x: made(x, 3.0)[0])(2.0) == 3.0
    assert seen == ([True, False, "SymbolicZero"] if kind == "vjp" else ["SymbolicZero"])


@KINDS
def test_higher_order(kind):
    w = Param(jnp.array(2.0))
    f = lambda x: w.value * x**3
    if kind == "vjp":
        made = custom_vjp(f, wrt=w)
        made.defvjp(
            lambda x: (made(x), (w.value, x)), lambda r, cts: (cts[1] * r[1] ** 3, (cts[1] * 3.0 * r[0] * r[1] ** 2,))
        )
    else:
        made = custom_jvp(f, wrt=w)
        made.defjvp(lambda p, t: (made(*p), (None, t[0] * p[0] ** 3 + t[1][0] * 3.0 * w.value * p[0] ** 2)))
    assert grad(grad(made))(2.0) == 24.0
    assert grad(grad(made, w), argnums=0)(2.0) == 12.0
    assert grad(lambda x: grad(made)(x), w)(2.0) == 12.0
    if kind == "jvp":  # JAX pushes nothing forward through a reverse rule
        assert hessian(made)(2.0) == 24.0
        assert jvp(made, (2.0,), (1.0,)) == (16.0, 24.0)
        assert jvp(made, (2.0,), None, wrt=w, state_tangents=1.0) == (16.0, 8.0)


def test_a_pullback_that_is_called_later_uses_what_was_saved():
    w = Param(jnp.array(2.0))
    f = custom_vjp(lambda x: x * w.value, wrt=w)
    f.defvjp(lambda x: (x * w.value, (x, w.value)), lambda r, cts: (cts[1] * r[0], (cts[1] * r[1],)))
    _, pullback = vjp(f, 3.0, wrt=w, argnums=0)
    w.value = jnp.array(100.0)
    assert pullback(1.0) == (3.0, 2.0)


@KINDS
def test_an_error_half_way_leaves_all_as_it_was(kind):
    n = Calls(jnp.array(0))

    def f(x):
        n.value += 1
        raise KeyError("half way")

    made = custom_vjp(f) if kind == "vjp" else custom_jvp(f)
    made.defvjp(f, f) if kind == "vjp" else made.defjvp(lambda p, t: f(*p))
    for wrap in (lambda g: g, jit, grad, vmap, checkpoint):
        with pytest.raises(KeyError, match="half way"):
            wrap(made)(jnp.ones(2) if wrap is vmap else 1.0)
    assert n.value == 0


@KINDS
def test_raw_jax_between_ours_and_a_write_is_refused(kind):
    total = State(jnp.array(1.0))
    f = accumulating(total, kind, total)
    for raw in (jax.jit, lambda f: lambda x: jax.value_and_grad(f)(x)[0]):
        with pytest.raises(TraceContextError):
            jit(lambda x, raw=raw: raw(lambda x: f(x))(x) + total.value)(2.0)
    assert total.value == 1.0


@pytest.mark.parametrize("kind", ["vjp", "jvp"])
@pytest.mark.parametrize("options", [{}, {"donate_states": True}], ids=["plain", "donating"])
def test_a_rule_in_a_program_reads_what_the_function_does_not(kind, options):
    many = [State(jnp.float32(i)) for i in range(20)]
    if kind == "vjp":
        f = custom_vjp(lambda x: x * many[1].value)
        f.defvjp(lambda x: (f(x), many[5].value), lambda slope, ct: (ct * slope,))
    else:
        f = custom_jvp(lambda x: x * many[1].value)
        f.defjvp(lambda primals, tangents: (f(*primals), tangents[0] * many[5].value))
    assert grad(f)(2.0) == 5.0
    assert grad(jit(f, **options))(2.0) == 5.0
    assert jax.grad(jit(f, **options))(2.0) == 5.0
    assert grad(jit(lambda x: for_loop(f, jnp.reshape(x, (1,)))[0], **options))(2.0) == 5.0
