"""Gradients by what is computed inside a model: as in flax, and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import brainstate_nn as nn
from brainstate_graph import StructureError, graphdef
from brainstate_transform import bounded_while_loop, cond, for_loop, grad, jit, vmap, while_loop
from tests.nn.models.test_capture import X
from tests.nn.models.test_capture_in_loops import Parts, T
from tests.tables import each


def each_of(run, *xs):
    return jnp.stack([run(*x) for x in zip(*xs, strict=True)])


# How a model computes, and the same in plain JAX with `d` added to what is named.
WAYS = {
    "a module": (lambda m, x: m.b(m.a(x) ** 2), lambda m, x, d: m.b((m.a(x) + d["a"]) ** 2) + d["b"]),
    "a module twice": (lambda m, x: m.a(m.a(x) ** 2), lambda m, x, d: m.a((m.a(x) + d["a"][0]) ** 2) + d["a"][1]),
    "perturb": (
        lambda m, x: m.a(nn.perturb(m, "in", x * x) ** 2),
        lambda m, x, d: m.a((x * x + d["in"]) ** 2) + d["a"],
    ),
    "perturb a tree": (
        lambda m, x: jnp.multiply(*nn.perturb(m, "in", {"u": x, "v": x * x}).values()),
        lambda m, x, d: (x + d["in"]["u"]) * (x * x + d["in"]["v"]),
    ),
    "for_loop": (
        lambda m, x: for_loop(lambda v: m.b(nn.perturb(m, "in", v) ** 2), x),
        lambda m, x, d: each_of(lambda v, e, f: m.b((v + e) ** 2) + f, x, d["in"], d["b"]),
    ),
    "vmap": (lambda m, x: vmap(m.a)(x) ** 2, lambda m, x, d: (m.a(x) + d["a"]) ** 2),
    "vmap in a loop": (
        lambda m, x: for_loop(lambda t: vmap(lambda v: m.a(v * t) ** 2)(x), T),
        lambda m, x, d: each_of(lambda t, e: (m.a(t * x) + e) ** 2, T, d["a"]),
    ),
    "cond": (
        lambda m, x: cond(x.sum() > 0, m.a, lambda x: m.b(m.b(x)), x) ** 2,
        lambda m, x, d: (m.a(x) + d["a"]) ** 2 + 0 * (d["b"][0] + d["b"][1]),
    ),
    "bounded_while_loop": (
        lambda m, x: bounded_while_loop(lambda n: n[1] < 2, lambda n: (m.a(n[0]) ** 2, n[1] + 1), (x, 0), max_steps=3)[
            0
        ],
        lambda m, x, d: (m.a((m.a(x) + d["a"][0]) ** 2) + d["a"][1]) ** 2 + 0 * d["a"][2],
    ),
}


@each("way", list(WAYS), ids=list(WAYS))
def test_the_gradient_is_that_by_hand(way):
    how, by_hand = WAYS[way]
    net = Parts(how)
    shape, plain = graphdef(net), net(X)

    def loss(x):
        return jnp.sum(jnp.sin(net(x)))

    zeros = jax.tree.map(jnp.zeros_like, nn.capture(net)(X)[1])
    want = jax.grad(lambda d: jnp.sum(jnp.sin(by_hand(net, X, d))))(zeros)
    assert jnp.allclose(nn.perturbed(net)(zeros, X), plain)
    for run in (lambda f: f, jit):
        grads = run(grad(nn.perturbed(net, call=loss)))(zeros, X)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, want)
    assert graphdef(net) is shape


def test_as_flax_perturbs():
    class Theirs(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Dense(3)(x)
            x = self.perturb("hidden", jnp.tanh(x))
            return linen.Dense(1)(x)

    class Ours(nn.Module):
        def __init__(self, params):
            self.layers = [nn.Linear(2, 3), nn.Linear(3, 1)]
            for layer, dense in zip(self.layers, params.values(), strict=True):
                layer.weight.value, layer.bias.value = dense["kernel"], dense["bias"]

        def __call__(self, x):
            return self.layers[1](nn.perturb(self, "hidden", jnp.tanh(self.layers[0](x))))

    variables = Theirs().init(jax.random.key(0), X)
    net = Ours(variables["params"])

    def theirs(perturbations, params):
        return (Theirs().apply({"params": params, "perturbations": perturbations}, X) ** 2).sum()

    by_hidden, by_params = jax.grad(theirs, argnums=(0, 1))(variables["perturbations"], variables["params"])
    step = grad(nn.perturbed(net, call=lambda: (net(X) ** 2).sum()), nn.ParamState, argnums=0)
    grads, perturbations = jit(step)({"hidden": jnp.zeros((2, 3))})
    np.testing.assert_allclose(perturbations["hidden"], by_hidden["hidden"], atol=1e-5)
    np.testing.assert_allclose(grads["layers", 0, "weight"], by_params["Dense_0"]["kernel"], atol=1e-5)


def test_without_anything_to_add_the_value_is_itself():
    net = Parts(lambda m, x: nn.perturb(m, "h", x))
    assert net(X) is X
    assert nn.perturbed(net)({}, X) is X
    half = Parts(lambda m, x: nn.perturb(m, "h", x.astype(jnp.bfloat16)))
    assert nn.perturbed(half)({"h": jnp.zeros((2, 2))}, X).dtype == jnp.bfloat16
    stack = nn.Stack(3, lambda: nn.Linear(2, 2))
    zeros = jax.tree.map(jnp.zeros_like, nn.capture(stack)(X)[1])
    grads = grad(nn.perturbed(stack, call=lambda x: stack(x).sum()))(zeros, X)
    assert jnp.allclose(grads["layers"][2], 1.0)


@each(
    ("how", "given", "words"),
    [
        (lambda m, x: m.a(x), {"aa": 0.0}, r"(?m)there is no value 'aa' to add to: Parts computes a$"),
        (lambda m, x: m.a(x), {"b": 0.0}, r"(?m)there is no value 'b' to add to: Parts computes a$"),
        (lambda m, x: x, {"b": 0.0}, r"(?m)Parts computes nothing$"),
        (lambda m, x: m.a(m.a(x)), {"a": X}, r"'a' is computed 2 times, but 1 perturbations are given"),
        (lambda m, x: m.a(x), {"a": [X, X]}, r"'a' is computed 1 times, but 2 perturbations"),
        (lambda m, x: m.a(x), {"a": X[0]}, r"a is f32\[2,2\], to which f32\[2\] cannot be added"),
        (
            lambda m, x: nn.sow(m, "h", x),
            {"h": X},
            r"sows 'h', and `perturbed` cannot add to it: write `perturb\(self, 'h'",
        ),
        (lambda m, x: nn.perturb(m, "a", x), {}, r"Parts has an attribute 'a', so a value cannot have this name"),
    ],
)
def test_what_does_not_fit_is_refused(how, given, words):
    net = Parts(how)
    shape = graphdef(net)
    for run in (lambda f: f, jit):
        with pytest.raises(ValueError, match=words):
            run(nn.perturbed(net))(given, X)
    assert graphdef(net) is shape


def test_what_is_no_dict_is_refused():
    for given in (X, [X], None):
        with pytest.raises(
            TypeError, match=r"takes a dict of perturbations first, not .*: write `perturbed\(model\)\(\{"
        ):
            nn.perturbed(Parts(lambda m, x: m.a(x)))(given, X)


def test_in_a_loop_without_end_it_is_refused():
    net = Parts(lambda m, x: while_loop(lambda x: x.sum() < 0, lambda x: nn.perturb(m, "h", x), x))
    with pytest.raises(StructureError, match="'h', which is captured, but it cannot leave a loop"):
        nn.perturbed(net)({"h": X}, X)
