"""Custom rules: which states they speak of, what they may do, and what they are refused for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import State, StateArgumentError
from brainstate_transform import checkpoint, custom_jvp, custom_vjp, for_loop, grad, jit
from tests.laws.transforms import Param, Runs, same
from tests.tables import each
from tests.transform.derivatives.test_custom import Spike, accumulating, undeclared


class Calls(State):
    """A counter of whole numbers."""


RUNS = Runs()


KINDS = pytest.mark.parametrize("kind", ["vjp", "jvp"])


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
    with pytest.raises(
        TypeError, match=r"with respect to Param at Spike.scale, but its rule .* declare it, `custom_.*wrt="
    ):
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
        (None, lambda r, ct: (jnp.ones(3),), r"for argument 0, an array of shape \(3,\), but the shape \(2,\)"),
        (None, lambda r, ct: ({"a": ct},), r"for argument 0.* (another structure|needed)"),
        ("w", lambda r, ct: (ct[1],), r"must return a pair \(state_cotangents, argument_cotangents\)"),
        ("w", lambda r, ct: (jnp.ones(3), (ct[1],)), r"for the cotangent of wrt, an array of shape \(3,\)"),
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
        (lambda p, t: (p[0] * 2.0, (None, jnp.ones(3))), r"for the tangent of the result, an array of shape \(3,\)"),
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
    with pytest.raises(AttributeError, match=r"no derivative rule .* call its defvjp\(fwd, bwd\)"):
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
