"""`grad` and `value_and_grad`: what is differentiated, in which structure, with which errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State, clone, states, treefy_merge, treefy_split
from brainstate_transform import grad, jit, value_and_grad
from tests.transform.tables import Count, Net, Param, Stack, Tied, same


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
    for filter in (Param, lambda path, s: isinstance(s, Param), [Param, "tag"]):
        grads = grad(lambda: p.loss(), filter)()
        assert sorted(path[-1] for path in grads) == ["a", "b"]
        close(next(v for k, v in grads.items() if k[-1] == "a"), 60.0)


def test_wrt_a_filter_where_the_model_is_an_argument():
    grads = grad(lambda p: p.loss(), Param)(Pair())
    assert sorted(path[-1] for path in grads) == ["a", "b"]


@pytest.mark.parametrize("wrt", [3, "nothing has this tag", {}, [], [1.0], {"a": 2}])
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


@pytest.mark.parametrize("argnums", [-1, True, "x", (0, -1), 1.0])
def test_bad_argnums(argnums):
    with pytest.raises((ValueError, TypeError), match="argnums"):
        grad(lambda x, y: x, argnums=argnums)(1.0, 2.0)


def test_argnums_out_of_range():
    with pytest.raises(ValueError, match="called with 1 positional"):
        grad(lambda x: x, argnums=1)(1.0)


def test_the_order_of_results():
    w = Param(jnp.array(3.0))
    plain = lambda x: w.value * x
    assert value_and_grad(plain, w)(2.0) == (6.0, 2.0)
    g = lambda x: (w.value * x, {"k": x})
    assert value_and_grad(g, w, has_aux=True)(2.0) == ((6.0, {"k": 2.0}), 2.0)
    assert grad(plain, w, return_value=True)(2.0) == (2.0, 6.0)
    assert grad(g, w, has_aux=True)(2.0) == (2.0, {"k": 2.0})
    assert grad(g, w, has_aux=True, return_value=True)(2.0) == (2.0, 6.0, {"k": 2.0})


@pytest.mark.parametrize("out", [lambda v: v, lambda v: (v,), lambda v: (v, 1, 2), lambda v: {"a": v, "b": v}])
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


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_])
def test_an_integer_state(dtype):
    s = Param(jnp.array(1, dtype))
    with pytest.raises(TypeError, match="allow_int"):
        grad(lambda: s.value * 1.0, s)()
    g = grad(lambda: s.value * 1.0, s, allow_int=True)()
    assert g.dtype == jax.dtypes.float0


def test_holomorphic():
    s = Param(jnp.array(1.0 + 1.0j))
    np.testing.assert_allclose(grad(lambda: s.value**2, s, holomorphic=True)(), 2.0 + 2.0j)


def test_not_a_scalar():
    s = Param(jnp.ones(2))
    before = s.value

    def f():
        s.value = s.value + 1.0
        return s.value

    with pytest.raises(TypeError, match="scalar"):
        grad(f, s)()
    assert s.value is before


def test_second_order():
    w = Param(jnp.array(2.0))
    f = lambda x: w.value**3 * x**2
    close(grad(grad(f))(3.0), 16.0)
    close(grad(grad(f, w), w)(1.0), 12.0)
    close(grad(grad(f, w))(1.0), 24.0)
    close(grad(lambda x: grad(f)(x), w)(3.0), 72.0)
    close(grad(grad(grad(f, w), w), w)(1.0), 6.0)


def test_writes_happen_once_and_carry_no_gradient_of_the_new_value():
    w = Param(jnp.array(2.0))

    def f():
        w.value = w.value * 3.0
        return w.value**2

    assert grad(f, w)() == 2.0 * 2.0 * 9.0
    assert w.value == 6.0


def test_the_gradient_of_a_tied_weight_is_the_sum():
    t, untied = Tied(3.0), Stack(3.0, 3.0)
    tied = grad(lambda: t(2.0), t.a.w)()
    apart = grad(lambda: untied(2.0), [layer.w for layer in untied.layers])()
    assert tied == sum(apart) == 12.0
    by_path = grad(lambda: t(2.0), states(t, Param))()
    assert [float(v) for v in by_path.values()] == [12.0]
    assert grad(lambda: t(2.0), [t.a.w, t.b.w])() == [12.0, 12.0]


def test_gradients_through_clone_split_and_merge():
    m = Net(3.0)
    plain = jax.grad(lambda w: w**2 * 5.0)(3.0)

    def by_clone():
        return clone(m)(5.0) * m.w.value

    def by_merge():
        return treefy_merge(*treefy_split(m))(5.0) * m.w.value

    for f in (by_clone, by_merge):
        assert grad(f, m.w)() == plain
        assert jit(grad(f, m.w))() == plain


def test_merged_states_are_constants_unless_selected():
    m = Net(3.0)
    copy = clone(m)
    assert grad(lambda: copy(1.0) * m(1.0), m.w)() == 3.0


def test_gradients_of_pytree_arguments():
    w = Param(jnp.array(2.0))
    got = grad(lambda p: w.value * p["a"] * p["b"][0])({"a": 3.0, "b": [5.0]})
    close(got, {"a": 10.0, "b": [6.0]})


def test_as_decorators():
    w = Param(jnp.array(2.0))

    @grad(wrt=w)
    def f(x):
        return w.value * x

    @value_and_grad(wrt=w, has_aux=True)
    def g(x):
        return w.value * x, x

    assert f(3.0) == 3.0
    assert g(3.0) == ((6.0, 3.0), 3.0)


def test_as_a_method():
    class Model(Net):
        @grad(argnums=1)
        def slope(self, x):
            return self(x)

    m = Model(4.0)
    assert m.slope(2.0) == 4.0
    assert m.n.value == 1.0


def test_a_training_loop_over_a_mapping():
    m = Net(0.0)
    params = states(m, Param)

    @jit
    def train(x, y):
        grads = grad(lambda: (m(x) - y) ** 2, params)()
        for k in params:
            params[k].value -= 0.05 * grads[k]

    for _ in range(50):
        train(jnp.float32(2.0), jnp.float32(3.0))
    np.testing.assert_allclose(m.w.value, 1.5, rtol=1e-3)


def test_the_selected_states_are_looked_up_at_each_call():
    m = Net(2.0)
    f = grad(lambda: m(1.0) ** 2, m)
    assert f()["w",] == 4.0
    m.w = Param(jnp.array(5.0))
    assert f()["w",] == 10.0
    assert same(m.n.value, jnp.array(2.0))


def test_a_state_of_wrt_that_is_a_python_number():
    s = State(3.0)
    assert grad(lambda: s.value**2, s)() == 6.0
