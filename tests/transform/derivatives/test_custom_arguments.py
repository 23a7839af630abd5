"""What functions with a rule of their own take: keywords, nodes, methods, and states that come from anywhere."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from brainstate_graph import Node
from brainstate_transform import (
    custom_jvp,
    custom_vjp,
    grad,
    jit,
    value_and_grad,
)
from tests.laws.transforms import Param, same
from tests.transform.derivatives.test_custom import KINDS, Spike


class Weight(Node):
    def __init__(self, w):
        self.w = Param(jnp.array(w))

    def __call__(self, x):
        return self.w.value * x


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
    with pytest.raises(TypeError, match=r"argument 0 of .*f` is in nondiff_argnums, but is traced"):
        jit(lambda x: made(x, x, 1.0))(1.0)
    wrong = custom_vjp(f, (5,))
    wrong.defvjp(f, f)
    with pytest.raises(ValueError, match=r"nondiff_argnums=\(5,\).* called with 3 arguments"):
        wrong(jnp.sin, 1.0, 2.0)


def test_keyword_only_arguments_are_refused():
    f = custom_jvp(lambda x, *, y: x * y)
    f.defjvps(lambda t, out, x: t)
    with pytest.raises(TypeError, match="'y' must not be keyword-only"):
        f(1.0, y=2.0)


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
    with pytest.raises(TypeError, match=r"Param at Model.w, but its rule"):
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
    with pytest.raises(TypeError, match=r"Spike.scale, but its rule"):
        grad(wrap(made), m.scale)(3.0)
