"""`vector_grad`, and the estimate from forward mode."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_nn import RandomState
from brainstate_transform import fwd_grad, jit, vector_grad, vmap
from tests.laws.transforms import Net, Param, Runs, same


def close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


XS = jnp.array([0.5, -1.0, 2.0])


class TestVectorGrad:
    def test_it_is_the_gradient_of_the_sum_of_all_outputs(self):
        f = lambda x: jnp.stack([x[0] ** 2, x[1] ** 3, x[0] * x[1]])
        close(vector_grad(f)(jnp.array([2.0, 3.0])), jax.grad(lambda x: f(x).sum())(jnp.array([2.0, 3.0])))
        w = Param(jnp.array([1.0, 2.0]))
        f = lambda x: {"a": w.value * x, "b": [jnp.sum(w.value**2)]}
        (of_w, of_x), value = vector_grad(f, w, 0, return_value=True)(3.0)
        close((of_w, of_x), (3.0 + 2.0 * w.value, 3.0))
        close(value, f(3.0))
        grads, value, aux = vector_grad(lambda x: (x * x, "aux"), has_aux=True, return_value=True)(XS)
        close((grads, value), (2.0 * XS, XS * XS))
        assert aux == "aux"

    def test_outputs_that_have_no_derivative(self):
        with pytest.raises(TypeError, match=r"result\['n'\] of .* is i32\[\], which has no derivative"):
            vector_grad(lambda x: {"n": jnp.array(1), "x": x})(1.0)

    def test_as_a_decorator_and_written_once(self):
        m = Net(2.0)

        @vector_grad(wrt=m.w)
        def f(x):
            return m(x)

        close(f(XS), XS.sum())
        close(jit(f)(XS), XS.sum())
        assert m.n.value == 2.0


class TestFwdGrad:
    key = jax.random.key(3)

    def test_it_is_the_mean_of_projections(self):
        w = Param({"a": jnp.array([1.0, 2.0])})
        f = lambda x: jnp.sum(w.value["a"] ** 2) * x
        loss = lambda a, x: jnp.sum(a**2) * x
        exact = jax.grad(loss, (0, 1))(w.value["a"], 3.0)

        def projection(key):  # the directions are drawn leaf by leaf, states first
            first, second = jax.random.split(key)
            v = (jax.random.normal(first, (2,)), jax.random.normal(second))
            slope = jnp.sum(exact[0] * v[0]) + exact[1] * v[1]
            return slope * v[0], slope * v[1]

        want = jax.tree.map(lambda g: g.mean(0), jax.vmap(projection)(jax.random.split(self.key, 5)))
        got = fwd_grad(f, w, 0, key=self.key, samples=5)(3.0)
        np.testing.assert_allclose(got[0]["a"], want[0], rtol=1e-5)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-5)
        one = fwd_grad(f, w, 0, key=self.key)(3.0)
        np.testing.assert_allclose(one[1], projection(jax.random.split(self.key, 1)[0])[1], rtol=1e-5)

    def test_many_directions_come_near_the_gradient(self):
        f = lambda x: jnp.sum(jnp.sin(x))
        got = fwd_grad(f, key=self.key, samples=20_000)(XS)
        np.testing.assert_allclose(got, jnp.cos(XS), atol=0.05)

    def test_a_stream_of_keys_advances_once_for_each_call(self):
        m, rng, runs = Net(2.0), RandomState(0), Runs()

        def f(x):
            runs()
            return m(x)

        g = jit(fwd_grad(f, m.w, key=rng.split_key, samples=3))
        first, second = g(1.0), g(1.0)
        assert runs.since() == 1
        assert first != second
        assert rng.value[1] == 2
        assert m.n.value == 2.0

    def test_the_function_may_draw_from_the_same_stream_and_an_error_takes_all_back(self):
        rng = RandomState(0)
        bad = [True]

        def f(x):
            noise = rng.normal()
            if bad:
                raise KeyError("half way")
            return x * noise

        g = fwd_grad(f, key=rng.split_key, has_aux=False, return_value=True)
        with pytest.raises(KeyError):
            g(1.0)
        assert rng.value[1] == 0
        bad.clear()
        same_stream = RandomState(0)
        same_stream.split_key()
        np.testing.assert_allclose(g(1.0)[1], same_stream.normal(), rtol=1e-6)
        assert rng.value[1] == 2

    def test_slopes_are_clipped(self):
        big = fwd_grad(lambda x: 1e6 * x, key=self.key, clip=1.0)(1.0)
        assert abs(big) < 10.0

    def test_bad_arguments(self):
        for key in (None, 3, jnp.zeros(2)):
            with pytest.raises(TypeError, match=r"key=.*`key=rng.split_key`"):
                fwd_grad(lambda x: x, key=key)
        for samples in (0, True, 1.5):
            with pytest.raises(ValueError, match="samples="):
                fwd_grad(lambda x: x, key=self.key, samples=samples)
        with pytest.raises(ValueError, match="clip="):
            fwd_grad(lambda x: x, key=self.key, clip=0.0)
        with pytest.raises(TypeError, match="only a scalar has a gradient"):
            fwd_grad(lambda x: x, key=self.key)(XS)
        with pytest.raises(TypeError, match=r"argument 0 .* has no derivative"):
            fwd_grad(lambda x: 1.0 * x, key=self.key)(1)
        with pytest.raises(TypeError, match="real numbers, not c64"):
            fwd_grad(lambda x: abs(x), key=self.key)(jnp.array(1j))

    def test_as_a_decorator_under_jit_and_vmap(self):
        m = Net(2.0)

        @fwd_grad(wrt=m.w, key=self.key)
        def f(x):
            return m(x)

        with jax.checking_leaks():
            assert same(jit(f)(3.0), f(3.0))
        np.testing.assert_allclose(vmap(f)(XS), [f(x) for x in XS], rtol=1e-5)
