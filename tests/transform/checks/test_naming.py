"""`named_call` and `named_scope`: names, and nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import Node
from brainstate_transform import for_loop, grad, jit, named_call, named_scope, vmap
from tests.laws.transforms import Net, Runs


def text(f, *args):
    return jit(f).lower(*args).as_text(debug_info=True)


def inner(x):
    return x * 2.0


def test_names_stand_in_the_program():
    m = Net()
    assert "inner/mul" in text(named_call(inner), 1.0)
    assert "head/mul" in text(named_call(inner, name="head"), 1.0)
    assert "Net/" in text(named_call(m), 1.0)
    assert "outer/inner/mul" in text(named_call(lambda x: named_call(inner)(x), name="outer"), 1.0)
    assert "head/" in text(named_scope("head")(inner), 1.0)

    @named_call(name="given")
    def decorated(x):
        return x * 2.0

    assert "given/mul" in text(decorated, 1.0)
    assert decorated.__name__ == "decorated"

    def scoped(x):
        with named_scope("a"), named_scope("b"):
            return x * 2.0

    assert "a/b/mul" in text(scoped, 1.0)


@pytest.mark.parametrize("without_jit", [False, True])
def test_states_and_nodes_are_as_without(without_jit):
    m = Net()
    with jax.disable_jit(without_jit):
        for wrap in (named_call, named_call(name="x"), named_scope("x")):
            f = wrap(lambda x, m=m: m(x))
            before = float(m.n.value)
            assert f(3.0) == 6.0
            assert jit(f)(3.0) == 6.0
            assert grad(f)(3.0) == 2.0
            assert for_loop(f, jnp.arange(2.0)).tolist() == [0.0, 2.0]
            assert vmap(lambda x, m=m: m.w.value * x)(jnp.arange(2.0)).tolist() == [0.0, 2.0]
            assert m.n.value == before + 5.0
            m.rate = 10.0
            assert jit(f)(3.0) == 60.0
            m.rate = 1.0
    assert named_call(lambda m: m)(m) is m


def test_a_method():
    class Model(Node):
        def __init__(self):
            self.net = Net()

        @named_call
        def forward(self, x):
            return self.net(x)

    model = Model()
    assert jit(model.forward)(3.0) == 6.0
    assert model.net.n.value == 1.0
    assert "forward/" in text(model.forward, 1.0)


@pytest.mark.counts_traces
def test_nothing_is_compiled_anew():
    runs, m = Runs(), Net()

    @named_call
    def f(x):
        runs()
        return m(x)

    g = jit(f)
    for _ in range(3):
        g(1.0)
    assert runs.since() == 1
    f(1.0)
    assert runs.since() == 1  # Python runs where nothing compiles


def test_an_exception_passes():
    def fails():
        raise KeyError("half way")

    with pytest.raises(KeyError, match="half way"):
        named_call(fails)()
    assert "fails" not in text(inner, 1.0)  # the scope is closed


def test_bad_arguments():
    with pytest.raises(TypeError, match="named_call takes a function, not 3"):
        named_call(3)
    for call in (lambda: named_scope(3), lambda: named_call(inner, name=3), lambda: named_scope(inner)):
        with pytest.raises(TypeError, match="named_scope takes a name"):
            call()
