"""`eval_shape` and `StateFinder`: a function runs on shapes, and nothing changes."""

from __future__ import annotations

import functools
import sys

import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, State, StateArgumentError, states
from brainstate_transform import StateFinder, eval_shape, for_loop, grad, jit, vmap
from tests.laws.transforms import Count, Net, Param, Runs, Stack, Tied, holds_tracer


class Lazy(Node):
    """Makes its states when it is called first."""

    def __init__(self):
        self.layers = []

    def __call__(self, x):
        if not hasattr(self, "w"):
            self.w = State(jnp.ones(x.shape))
            self.layers.append(Net(3.0))
        return self.layers[0](x * self.w.value)


def shape(*dims, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


@pytest.mark.parametrize("context", [jax.checking_leaks, jax.disable_jit], ids=["leaks", "no jit"])
def test_shapes_as_in_jax_and_nothing_changes(context):
    m, stream = Net(), nn.RandomState(0)
    before = (m.n.value, stream.value)

    def f(x, y=1):
        return {"a": m(x) * stream.uniform((3,)), "b": jnp.arange(2) + y}

    with context():
        for x in (2.0, jnp.ones(3), shape(3)):
            want = {"a": shape(3), "b": shape(2, dtype=jnp.int32)}
            assert eval_shape(f, x) == want
            assert eval_shape(f, x, y=2) == want
        assert jit(lambda x: jnp.zeros(eval_shape(f, x)["a"].shape))(1.0).shape == (3,)
    assert m.n.value is before[0]
    assert stream.value is before[1]


def test_the_states_that_are_used():
    m, unused = Net(), State(jnp.ones(2))

    def f(x):
        m.w.value = jnp.stack([m.w.value, x])
        return m.w.value

    found, out = eval_shape(lambda x: (f(x), unused)[0], 1.0, return_state_shapes=True)
    assert out == shape(2)
    assert found == {m.w: shape(2)}
    found, _ = eval_shape(m, 1.0, return_state_shapes=True)
    assert found == {m.n: shape(), m.w: shape()}
    assert m.w.value == 2.0


def test_nodes_in_and_out():
    m = Net()
    out, same = eval_shape(lambda m, x: (m(x), m), m, x=2.0)
    assert out == shape()
    assert same is m
    linear = eval_shape(lambda: nn.Linear(3, 4))
    assert isinstance(linear, nn.Linear)
    assert {k: v.value for k, v in states(linear).items()} == {("bias",): shape(4), ("weight",): shape(3, 4)}
    assert eval_shape(linear, jnp.ones((2, 3))) == shape(2, 4)
    assert eval_shape(lambda model, x: model(x), linear, jnp.ones((2, 3))) == shape(2, 4)
    tied = eval_shape(lambda: Tied())
    assert tied.a.w is tied.b.w
    with pytest.raises(StateArgumentError, match="argument 's'"):
        eval_shape(lambda s: s, State(1.0))
    with pytest.raises(StateArgumentError, match="is a State"):
        eval_shape(lambda: State(1.0))


def test_what_is_made_inside_does_not_stay():
    lazy = Lazy()
    assert eval_shape(lazy, jnp.ones(2)) == shape(2)
    assert not hasattr(lazy, "w")
    assert lazy.layers == []
    assert jit(lazy)(jnp.ones(2)).tolist() == [3.0, 3.0]
    assert eval_shape(lazy, jnp.ones(2)) == shape(2)


def test_an_exception_leaves_all_as_it_was():
    m, lazy, stream = Net(), Lazy(), nn.RandomState(0)
    before = stream.value

    def fails():
        m.n.value = jnp.array(9.0)
        m.rate = 3.0
        lazy(jnp.ones(2))
        stream.uniform()
        raise KeyError("half way")

    for call in (lambda: eval_shape(fails), lambda: StateFinder(fails)(), jit(lambda: eval_shape(fails))):
        with pytest.raises(KeyError, match="half way"):
            call()
        assert (m.n.value, m.rate, lazy.layers, hasattr(lazy, "w")) == (0.0, 1.0, [], False)
        assert stream.value is before
        assert not holds_tracer(m)


@pytest.mark.counts_traces
def test_python_runs_once():
    runs, m = Runs(), Net()

    def f(x):
        runs()
        return m(x)

    eval_shape(f, 1.0)
    assert runs.since() == 1
    eval_shape(lambda x: eval_shape(f, x), 1.0)
    assert runs.since() == 1
    eval_shape(lambda x: for_loop(grad(f), x), jnp.ones(3))
    assert runs.since() == 1


# -- StateFinder -----------------------------------------------------------------------------------------------------


def test_keys_are_paths():
    net, stream = Stack(1.0, 2.0), nn.RandomState(0)
    b = State(jnp.zeros(()))

    def f(x):
        b.value = net(x) + stream.uniform()

    assert StateFinder(f)(1.0) == {
        "net.layers.0.n": net.layers[0].n, "net.layers.0.w": net.layers[0].w, "net.layers.1.n": net.layers[1].n,
        "net.layers.1.w": net.layers[1].w, "stream": stream, "b": b,
    }  # fmt: skip
    assert StateFinder(net)(1.0)["function.layers.0.w"] is net.layers[0].w
    assert StateFinder(lambda m, x: m(x))(net.layers[0], 1.0) == {
        "argument 0.n": net.layers[0].n, "argument 0.w": net.layers[0].w,
    }  # fmt: skip
    found = StateFinder(f, Param)(1.0)
    grads = grad(lambda x: net(x), found)(1.0)
    assert grads == {"net.layers.0.w": 2.0, "net.layers.1.w": 1.0}


def test_usage_and_containers():
    m, only = Net(), State(jnp.array(1.0))

    def f(x):
        only.value = m(x)

    assert list(StateFinder(f, usage="read")(1.0)) == ["m.w"]
    assert list(StateFinder(f, usage="write")(1.0)) == ["m.n", "only"]
    assert StateFinder(f, usage="both", return_type="tuple")(1.0) == {"read": (m.w,), "write": (m.n, only)}
    assert StateFinder(f, return_type="list")(1.0) == [m.n, m.w, only]
    assert StateFinder(f, Count, return_type="list")(1.0) == [m.n]
    assert StateFinder(f, "m.w")(1.0) == {"m.w": m.w}
    assert StateFinder(f, m, return_type="tuple")(1.0) == (m.n, m.w)
    assert StateFinder(f, lambda path, s: path == ("w",), return_type="tuple")(1.0) == (m.w,)
    with pytest.raises(ValueError, match=r"filter=.* selects no state that `.*f` touches"):
        StateFinder(f, nn.ParamState)(1.0)


def test_keys_of_the_user():
    m = Net()
    assert StateFinder(m, key_fn=lambda i, s: i)(1.0) == {0: m.n, 1: m.w}
    assert StateFinder(m, key_fn=lambda i, s: "same")(1.0) == {"same": m.n, "same_2": m.w}
    assert StateFinder(m, key_fn=lambda i, s: [i])(1.0) == {"[0]": m.n, "[1]": m.w}
    assert list(StateFinder(m, key_fn=lambda i, s: None)(1.0)) == ["function.n", "function.w"]


def test_a_changed_flag_is_seen():
    m = Net()
    m.on = False
    flag = {"on": False}

    def f(x):
        return m(x) if flag["on"] or m.on else x

    find = StateFinder(f)
    assert find(1.0) == {}
    flag["on"] = True
    assert list(find(1.0)) == ["m.n", "m.w"]
    flag["on"] = False
    assert find(1.0) == {}
    m.on = True
    assert list(find(1.0)) == ["m.n", "m.w"]


def test_states_that_cannot_be_seen_beforehand():
    hidden = {"s": Param(jnp.ones(()), name="far"), "t": Count(jnp.ones(()))}
    sys.modules["finder-strays"] = hidden
    try:

        def f():
            held = sys.modules["finder-strays"]
            held["t"].value = held["s"].value

        assert StateFinder(f)() == {"far": hidden["s"], "state_1": hidden["t"]}
        assert eval_shape(f, return_state_shapes=True)[0] == {hidden["s"]: shape(), hidden["t"]: shape()}
        assert hidden["t"].value == 1.0
    finally:
        del sys.modules["finder-strays"]


def test_inside_other_transforms():
    m = Net()
    count = lambda x: len(StateFinder(lambda x: m(x))(x)) * x
    in_a_loop = functools.partial(functools.partial, for_loop)
    for under, x in ((jit, 1.0), (grad, 1.0), (vmap, jnp.ones(2)), (in_a_loop, jnp.ones(2))):
        with jax.checking_leaks():
            assert jnp.all(under(count)(x) == 2.0)
    assert m.n.value == 0.0


def test_bad_options():
    for options in ({"usage": "used"}, {"return_type": "set"}):
        (name,) = options
        with pytest.raises(ValueError, match=f"StateFinder does not know {name}="):
            StateFinder(len, **options)
    with pytest.raises(TypeError, match="key_fn of StateFinder"):
        StateFinder(len, key_fn=3)
    with pytest.raises(TypeError, match="expected a function"):
        StateFinder(3)
