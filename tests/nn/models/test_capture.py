from __future__ import annotations

import gc
import threading

import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef
from brainstate_transform import (
    checkpoint,
    grad,
    jit,
    vmap,
)
from tests.tables import each


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(2, 3)
        self.blocks = [nn.Sequential(nn.Linear(3, 3), nn.tanh), nn.Linear(3, 3)]
        self.unused = nn.Linear(1, 1)
        self.again = self.blocks[1]

    def __call__(self, x):
        x = self.first(x)
        for block in [*self.blocks, self.again]:
            x = block(x)
        return x


X = jnp.array([[1.0, -2.0], [0.5, 3.0]])


def by_hand(net, x):
    a = net.first(x)
    b = net.blocks[0].layers[0](a)
    c = net.blocks[1](jnp.tanh(b))
    d = net.blocks[1](c)
    return d, {"again": [c, d], "blocks.0": jnp.tanh(b), "blocks.0.layers.0": b, "first": a}


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    return all(jnp.allclose(a, b, atol=1e-6) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@each("how", [lambda f: f, jit, vmap, checkpoint, lambda f: jit(vmap(f))])
def test_what_modules_return(how):
    net = Net()
    shape, kinds = graphdef(net), [type(module) for module in net.modules()]
    with jax.checking_leaks():
        got = how(nn.capture(net))(X)
    assert same(got, by_hand(net, X))
    assert graphdef(net) is shape
    assert [type(module) for module in net.modules()] == kinds


@each(
    ("where", "paths"),
    [
        ("first", ["first"]),
        ("blocks.*", ["again", "blocks.0"]),
        (nn.Sequential, ["blocks.0"]),
        (lambda path, module: getattr(module, "in_size", 0) == 2, ["first"]),
        ("unused", []),
    ],
)
def test_where(where, paths):
    assert list(nn.capture(Net(), where)(X)[1]) == paths


def test_inside_a_gradient():
    """The gradient through a captured result, and captured results beside a gradient."""
    net = Net()

    def loss(x):
        out, inner = nn.capture(net, "blocks.0")(x)
        return (inner["blocks.0"] ** 2).sum() + out.sum(), inner

    def plain(x):
        out, inner = by_hand(net, x)
        return (inner["blocks.0"] ** 2).sum() + out.sum(), {"blocks.0": inner["blocks.0"]}

    run = [jit(lambda x, f=f: grad(f, nn.ParamState, has_aux=True, allow_unused=True)(x)) for f in (loss, plain)]
    (grads, inner), want = (f(X) for f in run)
    assert same((dict(grads.items()), inner), (dict(want[0].items()), want[1]))


def test_another_entry():
    net = Net()
    loss, inner = nn.capture(net, "first", call=lambda x, y: ((net(x) - y) ** 2).mean())(X, 1.0)
    assert loss.shape == ()
    assert list(inner) == ["first"]


def test_through_compiled_and_mapped_parts():
    class Outer(nn.Module):
        def __init__(self):
            self.net = Net()
            self.fast = jit(self.net)

        def __call__(self, x):
            return self.fast(x) + checkpoint(self.net)(x)

    outer = Outer()
    outer(X)  # compiled without anything to capture
    for call in (nn.capture(outer, "net.first"), jit(nn.capture(outer, "net.first"))):
        for _ in range(2):
            inner = call(X)[1]["net.first"]
            assert same(inner, [outer.net.first(X)] * 2)


def test_an_error_leaves_nothing_behind():
    net = Net()
    shape = graphdef(net)
    with pytest.raises(ValueError, match=r"Linear at Net\.first expects 2 features"):
        nn.capture(net)(jnp.ones((2, 5)))
    assert graphdef(net) is shape
    assert type(net.first) is nn.Linear


def test_a_model_within_its_own_capture():
    net = Net()
    with pytest.raises(RuntimeError, match=r"the calls of Linear at Net\.first are being captured already"):
        nn.capture(net, "first", call=nn.capture(net, "first"))(X)
    assert type(net.first) is nn.Linear


def test_other_threads_are_not_captured():
    net, started, done = Net(), threading.Event(), threading.Event()

    def slow(x):
        started.set()
        done.wait(10)
        return net(x)

    results = []
    thread = threading.Thread(target=lambda: results.append(nn.capture(net, "first", call=slow)(X)))
    thread.start()
    started.wait(10)
    net(X)
    done.set()
    thread.join()
    assert same(results[0][1]["first"], net.first(X))  # one call, not two


def test_who_lists_his_subclasses_hears_nothing():
    class Registered(nn.Module):
        kinds = ()

        def __init_subclass__(cls, *, tag, **kwargs):
            super().__init_subclass__(**kwargs)
            Registered.kinds += (tag,)

    class Leaf(Registered, tag="leaf"):
        def __call__(self, x):
            return x

    net = nn.Sequential(Leaf())
    assert list(nn.capture(net)(X)[1]) == ["layers.0"]
    assert Registered.kinds == ("leaf",)


def test_what_is_compiled_for_a_capture_is_found_again():
    traces = []

    class Counting(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)
            self.fast = jit(self.run)

        def run(self, x):
            traces.append(1)
            return self.layer(x)

        def __call__(self, x):
            return self.fast(x)

    net = Counting()
    for _ in range(3):
        nn.capture(net)(X)
        gc.collect()
        net(X)
    assert len(traces) == 2


def test_nothing_to_capture():
    with pytest.raises(ValueError, match=r"'frist' chooses no module below Net, which holds again, blocks\.0, .*first"):
        nn.capture(Net(), "frist")
