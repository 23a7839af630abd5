"""`grad` and `value_and_grad`: what is differentiated, in which structure, with which errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State, clone, states, treefy_merge, treefy_split
from brainstate_nn import RandomState
from brainstate_transform import NonFiniteError, cond, for_loop, grad, jit, scan, value_and_grad, vector_grad, vmap
from tests.laws.transforms import Count, Net, Param, Stack, Tied, same
from tests.transform.derivatives.test_chosen import Pair


def close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_])
def test_an_integer_state(dtype):
    net = Net()
    net.s = Param({"a": jnp.array(1, dtype)})
    f = lambda: net.s.value["a"] * 1.0
    with pytest.raises(TypeError, match=r"wrt names Param at Net.s, whose value\['a'\] is .* `wrt=model.states"):
        grad(f, net.s)()
    g = grad(f, net.s, allow_int=True)()
    assert g["a"].dtype == jax.dtypes.float0


def test_a_module_with_a_random_stream_or_a_counter_says_what_to_write():
    net = Net()
    net.rng = RandomState(0)
    with pytest.raises(TypeError, match=r"RandomState at Net.rng, whose value\[0\].* `wrt=model.states\(ParamState\)`"):
        grad(lambda: net(net.rng.normal()), net)()
    assert net.rng.value[1] == 0
    g = grad(lambda: net(net.rng.normal()), states(net, Param))()
    np.testing.assert_allclose(list(g.values()), [RandomState(0).normal()], rtol=1e-6)
    assert net.rng.value[1] == 1
    everything = grad(lambda: net(net.rng.normal()), net, allow_int=True)()
    assert [leaf.dtype == jax.dtypes.float0 for leaf in everything["rng",]] == [True, True]


def test_an_integer_argument():
    with pytest.raises(TypeError, match=r"argument 1 of .*\['k'\] is i32.* Pass a float, or write allow_int=True"):
        grad(lambda x, y: x * y["k"], argnums=1)(1.0, {"k": jnp.array(1)})
    with pytest.raises(TypeError, match=r"argument 0 of .* is 3, which has no derivative"):
        grad(lambda x: x * 2.0)(3)


def test_unused_states_may_be_allowed():
    p, other = Pair(), Net()
    got = grad(lambda: p.loss(), {"a": p.a, "o": other.w}, allow_unused=True)()
    close(got, {"a": 60.0, "o": 0.0})


class Hidden:
    """A class is not looked into, so that what it holds cannot be seen beforehand."""

    net: Net


def test_a_filter_that_would_leave_out_a_state_that_is_read():
    Hidden.net, p = Net(), Pair()
    f = lambda: p.loss() * vars(Hidden)["".join(("n", "et"))](1.0)
    for wrt in (Param, [Count, Param], lambda path, s: isinstance(s, Param), {"x": Param, "y": p.c}):
        with pytest.raises(
            ValueError, match=r"reads .*Param at Net.w in a way that cannot be seen beforehand"
        ) as caught:
            grad(f, wrt)()
        assert "Name the states themselves" in str(caught.value)
    assert p.c.value == 0.0
    close(grad(f, {"p": states(p, Param), "h": Hidden.net.w})()["h"], 60.0)
    assert set(grad(f, p)()) == set(states(p))  # no filter: nothing was left out


def test_holomorphic():
    s = Param(jnp.array(1.0 + 1.0j))
    np.testing.assert_allclose(grad(lambda: s.value**2, s, holomorphic=True)(), 2.0 + 2.0j)


def test_not_a_scalar():
    s = Param(jnp.ones(2))
    before = s.value

    def f():
        s.value = s.value + 1.0
        return s.value

    with pytest.raises(TypeError, match=r"f` returns f32\[2\], but only a scalar has a gradient"):
        grad(f, s)()
    with pytest.raises(TypeError, match=r"returns a tuple, but only a scalar has a gradient.*has_aux=True"):
        grad(lambda: (s.value.sum(), 1.0), s)()
    with pytest.raises(TypeError, match="returns a Node in what is differentiated"):
        grad(lambda: (s.value.sum(), Net())[1], s)()
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
    with pytest.raises(ValueError, match=r"wrt names Param at Tied\.[ab]\.w twice, as wrt\[0\] and as wrt\[1\]"):
        grad(lambda: t(2.0), [t.a.w, t.b.w])()


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


def test_as_a_method_of_an_object_that_is_no_node():
    w = Param(jnp.array(2.0))

    class Plain:
        @grad(argnums=1)
        def slope(self, x):
            return w.value * x

        @grad(argnums=-1)
        def last(self, x):
            return w.value * x

        @grad
        def first(self, x):
            return w.value * x

        @grad(argnums=2)
        def third(self, x):
            return w.value * x

    p = Plain()
    assert p.slope(3.0) == p.last(3.0) == 2.0
    with pytest.raises(TypeError, match=r"argument 0 of .*first` is `self`, the object of the bound method"):
        p.first(3.0)
    with pytest.raises(ValueError, match=r"argnums=2.* was called with 2 positional"):
        p.third(3.0)


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


def test_an_attribute_changed_between_eager_calls_is_seen():
    m = Net(2.0)
    g = grad(lambda x: m(x), m.w)
    assert g(3.0) == 3.0
    m.rate = 10.0
    assert g(3.0) == 30.0


def test_aux_keeps_all_and_a_tied_state_counts_once():
    t = Tied(3.0)
    g, aux = grad(lambda: (t(2.0), (1, 2, 3)), states(t, Param), has_aux=True)()
    assert aux == (1, 2, 3)
    assert len(g) == 1


def test_an_error_at_the_first_call_leaves_nothing_behind():
    m = Net(2.0)
    bad = [True]

    def f(x):
        y = m(x)
        if bad:
            bad.pop()
            raise KeyError("first")
        return y

    g = grad(f, m.w)
    with pytest.raises(KeyError):
        g(3.0)
    assert m.n.value == 0.0
    assert g(3.0) == 3.0
    assert m.n.value == 1.0


def test_the_function_is_known_by_its_name():
    def loss(x):
        """What it says."""
        return x

    for make in (grad, value_and_grad, vector_grad):
        assert make(loss).__wrapped__ is loss
        assert make(loss).__name__ == "loss"
        assert make(loss).__doc__ == "What it says."


def plain(w, x):
    return jnp.sum(jnp.sin(w * x))


XS = jnp.array([0.5, -1.0, 2.0])


@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_products_with_other_transforms_agree_with_jax(wrap):
    m = Net(0.7)
    f = lambda x: jnp.sin(m.w.value * x)
    over = lambda x: (vmap(f)(x).sum(), for_loop(f, x).sum(), scan(lambda c, x: (c + f(x), None), 0.0, x)[0])
    want = jax.grad(plain, (0, 1))(0.7, XS)
    for part in range(3):
        close(wrap(grad(lambda x, part=part: over(x)[part], m.w, 0))(XS), want)
    branch = lambda x: cond(x.sum() > 0, lambda x: vmap(f)(x).sum(), lambda x: x.sum(), x)
    close(wrap(grad(branch, m.w, 0))(XS), want)
    each = jax.vmap(jax.grad(plain, (0, 1)), in_axes=(None, 0))(0.7, XS)
    close(wrap(vmap(grad(f, m.w, 0)))(XS), each)  # one gradient per example, of a shared parameter
    close(wrap(lambda xs: for_loop(grad(f, m.w, 0), xs))(XS), each)
    second = jax.grad(lambda w, x: jax.grad(plain, 1)(w, x).sum(), (0, 1))(0.7, XS)
    close(wrap(grad(lambda x: grad(lambda x: vmap(f)(x).sum())(x).sum(), m.w, 0))(XS), second)


@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
@pytest.mark.parametrize("derivative", [grad, value_and_grad, vector_grad], ids=lambda d: d.__name__)
def test_debug_nan_names_the_cause(derivative, wrap):
    m = Net()

    def loss(x):
        m.n.value += 1.0
        return m(jnp.sqrt(x))

    f = wrap(derivative(loss, debug_nan=True))
    want = derivative(loss)(jnp.float32(4.0))
    m.n.value = jnp.zeros(())
    for got, expected in zip(jax.tree.leaves(f(jnp.float32(4.0))), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(got, expected)
    assert m.n.value == 2.0
    with pytest.raises(NonFiniteError, match=r"gradient: infinite numbers in the result of `.*loss`.*division by zero"):
        f(jnp.float32(0.0))
    assert m.n.value == 2.0
