"""What is differentiated: states by every selector, arguments by position, and what has no derivative."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, states
from brainstate_transform import grad, jit, value_and_grad
from tests.laws.transforms import Count, Net, Param
from tests.tables import each


class Pair(Node):
    def __init__(self):
        self.a = Param(jnp.array(2.0))
        self.b = Param({"w": jnp.array(3.0), "v": [jnp.array(5.0)]})
        self.c = Count(jnp.array(0.0))

    def loss(self, x=1.0):
        self.c.value = self.c.value + 1.0
        return self.a.value**2 * self.b.value["w"] * self.b.value["v"][0] * x


WANT = {"a": 60.0, "b": {"w": 20.0, "v": [12.0]}}


def close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def plain(w, x):
    return jnp.sum(jnp.sin(w * x))


def test_wrt_in_every_form():
    p = Pair()
    f = lambda: p.loss()
    close(grad(f, p.a)(), WANT["a"])
    close(grad(f, p.b)(), WANT["b"])
    close(grad(f, [p.a, p.b])(), [WANT["a"], WANT["b"]])
    close(grad(f, (p.b, p.a))(), (WANT["b"], WANT["a"]))
    close(grad(f, {"x": p.a, "y": {"z": [p.b]}})(), {"x": WANT["a"], "y": {"z": [WANT["b"]]}})
    by_path = states(p, Param)
    grads = grad(f, by_path)()
    assert list(grads) == list(by_path)
    close(grads["a",], WANT["a"])
    close(grads["b",], WANT["b"])
    for key in by_path:
        assert jax.tree.structure(by_path[key].value) == jax.tree.structure(grads[key])
    assert set(grad(f, p)()) == set(states(p))
    assert p.c.value == 7.0


def test_wrt_a_filter():
    p = Pair()
    for filter in (Param, lambda path, s: isinstance(s, Param), ["a", "p.b"], "[ab]", "**.[ab]"):
        grads = grad(lambda: p.loss(), filter)()
        assert sorted(path[-1] for path in grads) == ["a", "b"]
        close(next(v for k, v in grads.items() if k[-1] == "a"), 60.0)


def test_wrt_a_filter_where_the_model_is_an_argument():
    grads = grad(lambda p: p.loss(), Param)(Pair())
    assert sorted(path[-1] for path in grads) == ["a", "b"]


@each("wrt", [3, "nothing has this tag", {}, [], [1.0], {"a": 2}])
def test_wrt_that_selects_nothing(wrt):
    p = Pair()
    with pytest.raises((TypeError, ValueError), match="wrt"):
        grad(lambda x: p.loss(x), wrt)(1.0)
    assert p.c.value == 0.0


def test_an_unused_state_is_named():
    p, other = Pair(), Net()
    with pytest.raises(ValueError, match=r"does not use.*'o'.*Net\.w") as caught:
        grad(lambda: p.loss(), {"a": p.a, "o": other.w})()
    assert "Leave them out" in str(caught.value)
    assert p.c.value == 0.0


def test_a_state_that_is_used_in_a_nested_transform_only():
    p = Pair()
    close(grad(lambda: jit(lambda: p.loss())(), p.a)(), 60.0)
    close(grad(lambda: value_and_grad(lambda x: p.loss(x))(1.0)[0], p.a)(), 60.0)


def test_argnums_alone_and_with_wrt():
    w = Param(jnp.array(3.0))
    f = lambda x, y: w.value**2 * x * y
    close(grad(f)(2.0, 5.0), 45.0)
    close(grad(f, argnums=1)(2.0, 5.0), 18.0)
    close(grad(f, argnums=(0, 1))(2.0, 5.0), (45.0, 18.0))
    close(grad(f, argnums=(1,))(2.0, 5.0), (18.0,))
    close(grad(f, w, argnums=0)(2.0, 5.0), (60.0, 45.0))
    close(grad(f, [w], argnums=(0, 1))(2.0, 5.0), ([60.0], (45.0, 18.0)))
    close(grad(f, w)(2.0, y=5.0), 60.0)


@each("argnums", [True, "x", (0, "x"), 1.0, (1, 1), (False,)])
def test_bad_argnums(argnums):
    with pytest.raises((ValueError, TypeError), match="argnums"):
        grad(lambda x, y: x, argnums=argnums)(1.0, 2.0)


@each("argnums", [1, -2, (0, 5)])
def test_argnums_out_of_range(argnums):
    with pytest.raises(ValueError, match="called with 1 positional"):
        grad(lambda x: x, argnums=argnums)(1.0)


def test_negative_argnums_count_from_the_end():
    f = lambda x, y: x * y**2
    close(grad(f, argnums=-1)(2.0, 3.0), jax.grad(f, argnums=-1)(2.0, 3.0))
    close(grad(f, argnums=(-1, 0))(2.0, 3.0), jax.grad(f, argnums=(-1, 0))(2.0, 3.0))
    with pytest.raises(ValueError, match=r"names one argument of .* twice"):
        grad(f, argnums=(1, -1))(2.0, 3.0)


def test_and_a_number_for_states():
    with pytest.raises(ValueError, match=r"wrt=\{\} selects no state"):
        grad(lambda x: x, {})(1.0)
    with pytest.raises(TypeError, match=r"for arguments by position write `argnums=1`"):
        grad(lambda x, y: x, 1)(1.0, 2.0)
    with pytest.raises(ValueError, match="nothing to differentiate"):
        grad(lambda x: x, argnums=())(1.0)


def test_the_order_of_results():
    w = Param(jnp.array(3.0))
    plain = lambda x: w.value * x
    assert value_and_grad(plain, w)(2.0) == (6.0, 2.0)
    g = lambda x: (w.value * x, {"k": x})
    assert value_and_grad(g, w, has_aux=True)(2.0) == ((6.0, {"k": 2.0}), 2.0)
    assert grad(plain, w, return_value=True)(2.0) == (2.0, 6.0)
    assert grad(g, w, has_aux=True)(2.0) == (2.0, {"k": 2.0})
    assert grad(g, w, has_aux=True, return_value=True)(2.0) == (2.0, 6.0, {"k": 2.0})


@each("out", [lambda v: v, lambda v: (v,), lambda v: (v, 1, 2), lambda v: {"a": v, "b": v}])
def test_has_aux_wants_a_pair(out):
    w = Param(jnp.array(3.0))

    def f():
        w.value = w.value * 1.0
        return out(w.value)

    before = w.value
    with pytest.raises(TypeError, match="pair"):
        grad(f, w, has_aux=True)()
    assert w.value is before


def test_a_node_in_aux():
    m = Net()

    def f():
        return m(2.0), {"new": Net(m.w.value), "old": m}

    for g, aux in (
        grad(f, m.w, has_aux=True)(),
        (lambda r: (r[1], r[0][1]))(value_and_grad(f, m.w, has_aux=True)()),
    ):
        assert g == 2.0
        assert aux["old"] is m
        assert aux["new"].w.value == 2.0


def test_a_node_as_argument():
    m = Net()
    assert grad(lambda m, x: m(x), argnums=1)(m, 3.0) == 2.0
    assert m.n.value == 1.0


def test_a_node_as_the_argument_to_differentiate():
    with pytest.raises(TypeError, match=r"argument 0 .* holds a Node.* `wrt=model`"):
        grad(lambda m: m(3.0))(Net())
