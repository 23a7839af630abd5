"""`jacrev`, `jacfwd` and `hessian`: inputs inside outputs, in the user's form, as in plain JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import FlattedDict, Node, states
from brainstate_nn import RandomState
from brainstate_transform import for_loop, grad, hessian, jacfwd, jacobian, jacrev, jit, vmap
from tests.laws.transforms import Count, Net, Param, Runs, holds_tracer

BOTH = pytest.mark.parametrize(("ours", "theirs"), [(jacrev, jax.jacrev), (jacfwd, jax.jacfwd)], ids=["rev", "fwd"])
ALL = pytest.mark.parametrize("ours", [jacrev, jacfwd, hessian], ids=["jacrev", "jacfwd", "hessian"])
X = jnp.array([0.5, -1.0])
V = {"a": jnp.array([1.0, 2.0, 3.0]), "b": [jnp.array(0.3)]}


class Model(Node):
    def __init__(self):
        self.w = Param(jnp.array([[1.0, 2.0], [0.5, -1.0], [0.1, 0.2]]))
        self.v = Param(V)
        self.n = Count(jnp.array(0))
        self.runs = 0

    def __call__(self, x):
        self.n.value += 1
        return vector(self.w.value, self.v.value, x)

    def energy(self, x):
        return jnp.sum(self(x)["y"] ** 2) * self.v.value["b"][0]


def vector(w, v, x):
    return {"y": jnp.tanh(w @ x) * v["a"], "z": (v["b"][0] * x[0],)}


def energy(w, v, x):
    return jnp.sum(vector(w, v, x)["y"] ** 2) * v["b"][0]


def close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@BOTH
def test_jacobians_by_states_and_arguments(ours, theirs):
    m = Model()
    w, v = m.w.value, m.v.value
    by = lambda *argnums: jax.jit(theirs(vector, argnums))(w, v, X)
    close(ours(m)(X), theirs(vector, 2)(w, v, X))
    close(jit(ours(m, argnums=(0,)))(X), by(2))
    close(jit(ours(m, m.v))(X), theirs(vector, 1)(w, v, X))
    close(jit(ours(m, (m.w, m.v)))(X), by(0, 1))
    pairs = jax.tree.map(lambda d: ([d[0]], d[1]), by(0, 2), is_leaf=lambda d: type(d) is tuple and len(d) == 2)
    close(jit(ours(m, [m.w], 0))(X), pairs)
    assert m.n.value == 5
    by_path = ours(m, states(m, Param))(X)["y"]
    assert type(by_path) is FlattedDict
    assert set(by_path) == {("w",), ("v",)}
    assert by_path["w",].shape == (3, 3, 2)
    assert by_path["v",]["a"].shape == (3, 3)


@BOTH
def test_value_and_aux_in_the_order_of_grad(ours, theirs):
    m = Model()
    want = m(X)
    jac, value = ours(m, m.w, return_value=True)(X)
    close(value, want)
    jac_too, aux = ours(lambda x: (m(x), {"x": x}), m.w, has_aux=True)(X)
    close(jac, jac_too)
    assert aux["x"] is X or (aux["x"] == X).all()
    assert len(ours(lambda x: (m(x), x), m.w, has_aux=True, return_value=True)(X)) == 3
    with pytest.raises(TypeError, match=r"must return a pair \(value, aux\)"):
        ours(m, m.w, has_aux=True)(X)


def test_jacobian_is_jacrev():
    assert jacobian is jacrev


def test_the_hessian_has_the_users_keys_twice():
    m = Model()
    w, v = m.w.value, m.v.value
    want = jax.jit(jax.hessian(energy, (0, 1)))(w, v, X)
    got = jit(hessian(m.energy, {"w": m.w, "v": m.v}))(X)
    named = lambda block: jax.tree.map(lambda t: {"w": t[0], "v": t[1]}, block, is_leaf=lambda t: type(t) is tuple)
    close(got, {"w": named(want[0]), "v": named(want[1])})  # a state that holds a tree has it between the two
    close(hessian(m.energy, m.w)(X), want[0][0])
    close(hessian(m.energy)(X), jax.jit(jax.hessian(energy, 2))(w, v, X))
    assert m.n.value == 3


def test_a_hessian_by_states_and_arguments():
    m = Model()
    want = jax.jit(jax.hessian(energy, (0, 2)))(m.w.value, m.v.value, X)
    got = jit(hessian(m.energy, [m.w], 0))(X)
    close(got, ([([want[0][0]], want[0][1])], ([want[1][0]], want[1][1])))
    both = jit(hessian(m.energy, [m.w], (0,), return_value=True))(X)
    close(both[0][1][0][0][0], want[1][0])
    close(both[1], energy(m.w.value, m.v.value, X))


def test_a_hessian_of_several_outputs():
    m = Model()
    want = jax.hessian(vector, 0)(m.w.value, m.v.value, X)
    close(hessian(m, m.w)(X), want)


@ALL
def test_states_are_written_once_and_draws_are_those_of_a_plain_call(ours):
    rng, runs, m = RandomState(0), Runs(), Net(2.0)

    def f(x):
        runs()
        return m(x) ** 3 * rng.normal()

    got = ours(f)(0.7)
    assert runs.since() == 1
    assert m.n.value == 1.0
    assert rng.value[1] == 1
    noise = RandomState(0).normal()
    np.testing.assert_allclose(got, noise * (6 * 8 * 0.7 if ours is hessian else 3 * 8 * 0.49), rtol=1e-5)
    jit(ours(f))(0.7)
    assert runs.since() == 1
    assert not holds_tracer(m)


@ALL
def test_errors_are_those_of_grad(ours):
    m, other = Model(), Net()
    with pytest.raises(TypeError, match=r"wrt names Count at Model.n, whose value is i32\[\]"):
        ours(m.energy, m)(X)
    with pytest.raises(ValueError, match=r"does not use these states.*Net.w.*allow_unused=True"):
        ours(m.energy, other.w)(X)
    with pytest.raises(ValueError, match="argnums='x'"):
        ours(m.energy, argnums="x")
    with pytest.raises(ValueError, match=r"argnums=3.* called with 1 positional"):
        ours(m.energy, argnums=3)(X)
    with pytest.raises(TypeError, match=r"argument 0 .*i32"):
        ours(lambda x: x * 1.0)(jnp.array(1))
    with pytest.raises(TypeError, match="returns a Node in what is differentiated"):
        ours(lambda x: (m(x), m)[1])(X)
    assert m.n.value == 0
    zeros = ours(m.energy, {"o": other.w}, allow_unused=True)(X)
    assert not jax.tree.leaves(zeros)[0].any()


def test_whole_numbers_where_they_are_allowed():
    f, n = lambda x: x * 1.0, jnp.array(2)
    close(jacrev(f, allow_int=True)(n), jax.jacrev(f, allow_int=True)(n))


@ALL
def test_as_decorators_methods_and_in_each_other(ours):
    m = Model()

    class Other(Model):
        @ours(argnums=1)
        def table(self, x):
            return self.energy(x)

    @ours(wrt=m.w)
    def f(x):
        return m.energy(x)

    @ours
    def g(x):
        return m.energy(x)

    theirs = {jacrev: jax.jacrev, jacfwd: jax.jacfwd, hessian: jax.hessian}[ours]
    w, v = m.w.value, m.v.value
    close(f(X), theirs(energy, 0)(w, v, X))
    close(g(X), theirs(energy, 2)(w, v, X))
    close(Other().table(X), g(X))
    close(jit(vmap(ours(m.energy, m.w)))(X[None]), theirs(energy, 0)(w, v, X)[None])
    close(for_loop(g, X[None]), g(X)[None])
    small = Net(2.0)
    with jax.checking_leaks():
        jit(vmap(ours(lambda x: small(x) ** 3, small.w)))(X)
    with jax.disable_jit():
        close(ours(lambda x: small(x) ** 3)(2.0), ours(lambda x: small.w.value**3 * x**3)(2.0))


def test_nests_of_two_agree_with_jax():
    m = Model()
    w, v = m.w.value, m.v.value
    f = m.energy
    for outer, inner, plain in (
        (jacfwd, jacrev, jax.jacfwd(jax.jacrev(energy, 2), 0)),
        (jacrev, jacfwd, jax.jacrev(jax.jacfwd(energy, 2), 0)),
        (jacrev, grad, jax.jacrev(jax.grad(energy, 2), 0)),
    ):
        close(jit(outer(inner(f), m.w))(X), jax.jit(plain)(w, v, X))
    m, w = Net(2.0), 2.0
    f, plain = lambda x: jnp.sin(m(x)), lambda w, x: jnp.sin(w * x)
    close(jit(jacfwd(hessian(f), m.w))(0.5), jax.jacfwd(jax.hessian(plain, 1), 0)(w, 0.5))
    close(jit(grad(jacrev(f), m.w))(0.5), jax.grad(jax.jacrev(plain, 1), 0)(w, 0.5))
    assert m.n.value == 2.0


def test_holomorphic():
    z = jnp.array([1.0 + 2.0j])
    for ours, theirs in ((jacrev, jax.jacrev), (jacfwd, jax.jacfwd), (hessian, jax.hessian)):
        close(ours(lambda z: z**3, holomorphic=True)(z), theirs(lambda z: z**3, holomorphic=True)(z))
