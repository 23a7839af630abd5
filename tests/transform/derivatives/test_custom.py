"""`custom_vjp` and `custom_jvp`: the user's rule is followed, states are kept, and nothing is silently zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State, StateArgumentError, TraceContextError
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
    value_and_grad,
    vjp,
    vmap,
)
from tests.laws.transforms import Param, Runs, same
from tests.tables import each


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


@KINDS
@each(
    "wrap",
    [lambda f: f, jit, checkpoint, lambda f: lambda x: for_loop(f, jnp.reshape(x, (1,))).sum()],
    ids=["eager", "jit", "checkpoint", "for_loop"],
)
def test_a_derivative_by_a_state_that_the_rule_does_not_speak_of_is_refused(kind, wrap):
    m = Spike()
    f = undeclared(m)[kind]
    assert same(grad(wrap(f))(jnp.float32(3.0)), jnp.array(2.0))  # by the argument alone it is all right
    with pytest.raises(TypeError, match=r"uses Param at Spike.scale, by which .* declare it, `custom_.*wrt="):
        grad(wrap(f), m.scale)(jnp.float32(3.0))

    def through():  # another function of the parameter
        m.scale.value = m.scale.value * 2.0
        return wrap(f)(jnp.float32(3.0))

    with pytest.raises(TypeError, match="declare it"):
        grad(through, m.scale)()
    assert m.scale.value == 2.0


@KINDS
def test_an_undeclared_state_that_is_no_parameter_of_the_gradient_is_a_constant(kind):
    m = Spike()
    other = Param(jnp.array(5.0))
    f = undeclared(m)[kind]
    assert grad(lambda: f(other.value), other)() == 2.0
    assert grad(lambda x: for_loop(lambda x: f(x) * other.value, x).sum(), other)(jnp.ones(2)) == 4.0


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


@KINDS
@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_gradients_through_a_state_that_is_written(kind, wrap):
    total = State(jnp.array(1.0))
    f = accumulating(total, kind, total)

    def loss(xs):
        ys = for_loop(f, xs)
        return ys.sum() + 7.0 * total.value

    def plain(total, xs):
        for x in xs:
            total = total * 3.0 + x
        return (xs * xs).sum() + 7.0 * total

    xs = jnp.array([1.0, 2.0, 3.0])
    want = jax.grad(plain, (0, 1))(1.0, xs)
    assert same(wrap(grad(loss, total, 0))(xs), want)
    assert total.value == 1.0 * 27 + 9 + 6 + 3


@KINDS
def test_a_derivative_of_a_written_state_that_the_rule_does_not_speak_of_is_refused(kind):
    total = State(jnp.array(1.0), name="total")
    f = accumulating(total, kind, None)
    assert f(2.0) == 4.0
    assert total.value == 5.0
    with pytest.raises(TypeError, match=r"differentiated and writes State 'total'.* declare it"):
        grad(lambda x: f(x) + total.value)(2.0)
    assert total.value == 5.0
    assert grad(lambda x: f(jax.lax.stop_gradient(x)) * x)(2.0) == 4.0  # nothing to differentiate in it


@KINDS
def test_nondiff_argnums_and_keywords(kind):
    def f(op, x, y=2.0):
        return op(x) * y

    if kind == "vjp":
        made = custom_vjp(f, nondiff_argnums=(0,))
        made.defvjp(lambda op, x, y: (f(op, x, y), (x, y)), lambda op, res, ct: (ct * 100.0, ct * op(res[0])))
    else:
        made = custom_jvp(f, nondiff_argnums=[-3])
        made.defjvp(lambda op, primals, t: (f(op, *primals), t[0] * 100.0 + t[1] * op(primals[0])))
    assert made(jnp.sin, 0.5, y=4.0) == 4.0 * jnp.sin(0.5)
    got = grad(lambda x, y: made(jnp.sin, x=x, y=y), argnums=(0, 1))(0.5, 2.0)
    assert same(got, (jnp.array(100.0), jnp.sin(0.5)))
    assert grad(lambda x: made(jnp.sin, x))(0.5) == 100.0
    with pytest.raises(TypeError, match=r"argument 0 of .*f` is in nondiff_argnums, and traced"):
        jit(lambda x: made(x, x, 1.0))(1.0)
    wrong = custom_vjp(f, (5,))
    wrong.defvjp(f, f)
    with pytest.raises(ValueError, match=r"nondiff_argnums=\(5,\).* called with 3 arguments"):
        wrong(jnp.sin, 1.0, 2.0)


def test_keyword_only_arguments_are_refused():
    f = custom_jvp(lambda x, *, y: x * y)
    f.defjvps(lambda t, out, x: t)
    with pytest.raises(TypeError, match="'y' must not be for keywords alone"):
        f(1.0, y=2.0)


class Weight(Node):
    def __init__(self, w):
        self.w = Param(jnp.array(w))

    def __call__(self, x):
        return self.w.value * x


@KINDS
def test_a_node_as_argument(kind):
    if kind == "vjp":
        f = custom_vjp(lambda m, x: m(x), (0,), wrt=Param)
        f.defvjp(
            lambda m, x: (m(x), x),
            lambda m, x, cts: (dict.fromkeys(cts[0], cts[1] * x), (cts[1] * 10.0,)),
        )
    else:
        f = custom_jvp(lambda m, x: m(x), wrt=Param)
        f.defjvp(lambda p, t: (p[0](p[1]), (None, 10.0 * t[1][1] + sum(t[0].values()) * p[1])))
    first, second = Weight(2.0), Weight(3.0)
    step = jit(lambda m, x: value_and_grad(f, argnums=1)(m, x))
    assert step(first, 5.0) == (10.0, 10.0)
    assert step(second, 5.0) == (15.0, 10.0)
    by_state, by_arg = jit(grad(f, Param, 1))(second, 5.0)
    assert by_arg == 10.0
    assert list(by_state.values()) == [5.0]
    assert grad(jit(f), argnums=1)(first, 5.0) == grad(jit(f), argnums=1)(second, 5.0) == 10.0
    assert list(grad(jit(f), Param)(second, 4.0).values()) == [4.0]


@KINDS
def test_as_a_method(kind):
    class Model(Node):
        def __init__(self, w):
            self.w = Param(jnp.array(w))
            self.k = 10.0

        if kind == "vjp":

            @custom_vjp(nondiff_argnums=(0,))
            def act(self, x):
                return self.w.value * x

            def forward(self, x):
                return self.w.value * x, None

            def backward(self, residuals, ct):
                return (ct * self.k,)

            act.defvjp(forward, backward)
        else:

            @custom_jvp(nondiff_argnums=(0,))
            def act(self, x):
                return self.w.value * x

            @act.defjvp
            def rule(self, primals, tangents):
                return self.w.value * primals[0], tangents[0] * self.k

    m = Model(2.0)
    step = jit(lambda x: value_and_grad(m.act)(x))
    assert m.act(3.0) == 6.0
    assert step(3.0) == (6.0, 10.0)
    m.k = 20.0  # a hyper-parameter that the rule alone reads
    assert step(3.0) == (6.0, 20.0)
    assert type(Model.act).__name__ == f"Custom{kind.upper()}"
    with pytest.raises(TypeError, match=r"Param at Model.w, by which"):
        grad(lambda: m.act(3.0), m.w)()


@KINDS
@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_a_state_that_cannot_be_seen_beforehand(kind, wrap):
    m = Spike()
    holder = type("Holder", (), {"scale": m.scale})  # a class is not looked into
    find = lambda: holder.scale

    def f(x):
        return find().value * x

    if kind == "vjp":
        made = custom_vjp(f)
        made.defvjp(lambda x: (f(x), find().value), lambda s, ct: (ct * s,))
    else:
        made = custom_jvp(f)
        made.defjvp(lambda p, t: (f(*p), find().value * t[0]))
    assert grad(wrap(made))(3.0) == 2.0
    with pytest.raises(TypeError, match=r"Spike.scale, by which"):
        grad(wrap(made), m.scale)(3.0)


def test_the_backward_rule_may_not_use_states():
    w = Param(jnp.array(2.0))
    f = custom_vjp(lambda x: x * w.value)
    f.defvjp(lambda x: (x * w.value, None), lambda res, ct: (ct * w.value,))
    with pytest.raises(TypeError, match=r"backward rule .*lambda.* uses Param.* among the residuals"):
        grad(f)(1.0)

    def writes(res, ct):
        w.value = ct
        return (ct,)

    f.defvjp(lambda x: (x * w.value, None), writes)
    with pytest.raises(TypeError, match=r"backward rule .*writes` uses Param"):
        grad(f)(1.0)
    assert w.value == 2.0


@each(
    ("wrt", "bwd", "message"),
    [
        (None, lambda r, ct: ct, r"must return a tuple with one cotangent for each of 1 arguments"),
        (None, lambda r, ct: (ct, ct), r"one cotangent for each of 1 arguments"),
        (None, lambda r, ct: (jnp.ones(3),), r"for argument 0, something of shape \(3,\), where the shape \(2,\)"),
        (None, lambda r, ct: ({"a": ct},), r"for argument 0.* (another structure|needed)"),
        ("w", lambda r, ct: (ct[1],), r"must return a pair \(state_cotangents, argument_cotangents\)"),
        ("w", lambda r, ct: (jnp.ones(3), (ct[1],)), r"for the cotangent of wrt, something of shape \(3,\)"),
        ("{w}", lambda r, ct: (jnp.ones(()), (ct[1],)), r"state cotangents that are not built like `wrt`"),
    ],
)
def test_bad_cotangents(wrt, bwd, message):
    w = Param(jnp.array(2.0))
    f = custom_vjp(lambda x: x * w.value, wrt={"w": w, "{w}": {"w": w}}.get(wrt))
    f.defvjp(lambda x: (x * w.value, None), bwd)
    with pytest.raises(TypeError, match=message):
        grad(lambda x: f(x).sum())(jnp.ones(2))


@each(
    ("rule", "message"),
    [
        (lambda p, t: p[0], r"must return a pair \(result, tangent\)"),
        (lambda p, t: (p[0] * 2.0, (None, jnp.ones(3))), r"for the tangent of the result, something of shape \(3,\)"),
        (
            lambda p, t: (p[0] * 2.0, jnp.ones(2)),
            r"must return a pair \(result, \(state_tangents, tangent\)\)|not built",
        ),
    ],
)
def test_bad_tangents(rule, message):
    w = Param(jnp.array(2.0))
    f = custom_jvp(lambda x: x * w.value, wrt={"w": w})
    f.defjvp(rule)
    with pytest.raises(TypeError, match=message):
        grad(lambda x: f(x).sum())(jnp.ones(2))


def test_the_function_and_its_rule_must_write_the_same_states():
    n = Calls(jnp.array(0))

    def f(x):
        n.value += 1
        return x * 2.0

    made = custom_vjp(f)
    made.defvjp(lambda x: (x * 2.0, None), lambda res, ct: (ct,))
    with pytest.raises(TypeError, match=r"f` writes Calls, and .*<lambda>` writes no state: .* the same states"):
        grad(jit(made))(1.0)
    assert n.value == 0


def test_what_is_no_rule():
    f = custom_vjp(lambda x: x)
    with pytest.raises(AttributeError, match=r"no rule .* call its defvjp\(fwd, bwd\)"):
        f(1.0)
    with pytest.raises(TypeError, match="takes functions"):
        f.defvjp(lambda x: x, None)
    with pytest.raises(TypeError, match="expected a function"):
        custom_jvp(3)
    with pytest.raises(TypeError, match="nondiff_argnums='x'"):
        custom_vjp(lambda x: x, "x")
    g = custom_jvp(lambda x: x, wrt=Param)
    g.defjvp(lambda p, t: (p[0], t[0]))
    with pytest.raises(ValueError, match="selects no state"):
        g(1.0)
    h = custom_jvp(lambda x: x)
    h.defjvps(lambda t, out, x: t)
    with pytest.raises(StateArgumentError, match="argument 'x' of"):
        h(State(1.0))


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
