"""Compiling, differentiating and mapping functions that use states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from brainstate_nn.compat.transform import GradientTransform, checkpoint, grad, hessian, jacrev, jit, vmap, vmap2
from brainstate_nn.compat.util.filter import OfType

import brainstate_nn.compat as brainstate


@jit(static_argnums=1)
def power(x, n):
    return x**n


@functools.partial(jit, static_argnames="n")
def root(x, n):
    return x ** (1 / n)


assert float(power(2.0, 3)) == 8.0
assert abs(float(root(8.0, n=3)) - 2.0) < 1e-6
with jax.disable_jit():
    assert float(power(3.0, 2)) == 9.0

scale = brainstate.ParamState(jnp.array([1.0, 2.0]))
seen = brainstate.State(jnp.zeros(()))


def loss(x, y=0.0):
    out = scale.value * x
    seen.value = seen.value + 1.0
    return jnp.sum(out**2) + y, out


value_of = lambda s, x: jnp.sum((s * x) ** 2)
x = jnp.array([3.0, -1.0])
state_grads, arg_grads = grad(loss, grad_states=scale, argnums=0, has_aux=True)(x)[0]
np.testing.assert_allclose(state_grads, jax.grad(value_of)(scale.value, x), rtol=1e-6)
np.testing.assert_allclose(arg_grads, jax.grad(value_of, 1)(scale.value, x), rtol=1e-6)
grads, value, aux = grad(loss, grad_states={"s": scale}, has_aux=True, return_value=True)(x)
assert sorted(grads) == ["s"]
assert float(value) == 13.0
assert aux.shape == (2,)
assert float(seen.value) == 2.0

cubes = lambda x: x**3 * scale.value
np.testing.assert_allclose(jacrev(cubes, argnums=0)(x), np.diag(3 * x**2 * scale.value), rtol=1e-6)
np.testing.assert_allclose(brainstate.transform.jacfwd(cubes)(x), np.diag(3 * x**2 * scale.value), rtol=1e-6)
np.testing.assert_allclose(hessian(lambda x: jnp.sum(x**3))(x), np.diag(6 * x), rtol=1e-6)
np.testing.assert_allclose(brainstate.transform.vector_grad(lambda x: x**2)(x), 2 * x, rtol=1e-6)
np.testing.assert_allclose(grad(checkpoint(lambda x: jnp.sum(jnp.sin(x))))(x), np.cos(x), rtol=1e-6)


def scaled(fun, *, argnums, has_aux, by):
    inner = jax.grad(fun, argnums=argnums, has_aux=has_aux)

    def wrapped(*args, **kwargs):
        found, aux = inner(*args, **kwargs)
        return jax.tree.map(lambda g: by * g, found), aux

    return wrapped


half = GradientTransform(lambda x: jnp.sum((scale.value * x) ** 2), scaled, scale, transform_params={"by": 0.5})
np.testing.assert_allclose(half(x), 0.5 * jax.grad(value_of)(scale.value, x), rtol=1e-6)

np.testing.assert_allclose(vmap(lambda a, b: a @ b, in_axes=(0, None))(jnp.eye(2), x), x)
total = brainstate.ShortTermState(jnp.zeros(3))


def add(x):
    total.value = total.value + x
    return total.value


lanes = {0: OfType(brainstate.ShortTermState)}
added = vmap2(add, in_axes=0, state_in_axes=lanes, state_out_axes=lanes)
np.testing.assert_allclose([added(jnp.arange(3.0)), added(jnp.ones(3))], [[0, 1, 2], [1, 2, 3]])
np.testing.assert_allclose(total.value, [1, 2, 3])
noise = vmap(lambda m: m + brainstate.random.normal(0.0, 1.0))(jnp.zeros(4))
assert len(set(noise.tolist())) == 4
