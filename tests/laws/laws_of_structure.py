"""What a function does to the structure of its graph is carried out, or refused by name; an error undoes it."""

from __future__ import annotations

import unittest.mock

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import GraphError, Node, State, StateArgumentError, StructureError, states
from brainstate_transform import jit
from tests.laws.law import against_plain, law, one
from tests.laws.transforms import DERIVATIVES, FROZEN, LOOPS, Count, Net, Param, Stack, Tied, holds_tracer, same


@law(without=[*DERIVATIVES, "vmap", *LOOPS])  # see there for nodes in aux, and for lanes and steps
def returns_nodes(wrap):
    """A node made inside comes back alive; one that the caller holds comes back as itself, also inside another."""
    m = Net()

    def f(x):
        m(x)
        new = Net(m.w.value + x)
        new.n = m.n
        return {"old": m, "new": new, "again": m}

    wrapped = wrap(f)
    for n in (1.0, 2.0):
        out = wrapped(one)
        assert out["old"] is out["again"] is m
        assert type(out["new"]) is Net
        assert out["new"].n is m.n
        assert (out["new"].w.value, m.n.value) == (3.0, n)
        assert not holds_tracer(out["new"])
    assert out["new"](jnp.float32(2.0)) == 6.0


@law(without=FROZEN)
def carries_nodes_and_containers(wrap):
    """Nodes, dicts and lists that are left on a model come out alive."""

    def f(m, x):
        if not hasattr(m, "more"):
            m.more = {"deep": [Net(x), Tied(5.0)], "shared": m.w}
            m.layers = [Net(7.0)]
        else:
            m.layers.append(Net(x))
        return m(x) + m.more["deep"][1](x) + m.layers[-1](x)

    against_plain(wrap, Net(), f)


@law(without=FROZEN)
def sets_attributes_at_each_call(wrap):
    """Attributes that are set inside are set after each call: programs are used again."""
    m, oracle = Net(), Net()

    def f(m, x):
        m.rate = 2.0 if m.rate == 1.0 else 1.0
        m.calls = getattr(m, "calls", 0) + 1
        if m.calls == 2:
            del m.calls
        return m(x)

    g = wrap(lambda x: f(m, x))
    for _ in range(5):
        assert same(g(one), f(oracle, one))
        assert (m.rate, getattr(m, "calls", None)) == (oracle.rate, getattr(oracle, "calls", None))


@law(without=FROZEN)
def undoes_changes_of_structure(wrap):
    """An attribute that is set twice, a state that is replaced and one that is deleted are as before after an error."""
    m = Net()
    w, n = m.w, m.n

    def f(x):
        m.rate = 3.0
        m.rate = 5.0
        m.extra, m.w = State(x), Param(x)
        del m.n
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        wrap(f)(one)
    assert (m.w, m.n, m.rate) == (w, n, 1.0)
    assert not hasattr(m, "extra")


@law()
def puts_lists_back_after_an_error(wrap):
    """A list or dict holds what it held, where an error came: in the function, or of JAX when it has ended."""
    changes = {
        "made": lambda m, x: (m.seen.append(State(x)), m.table.update(new=Net(3.0))),
        "taken": lambda m, x: (m.seen.pop(), m.table.clear()),
        "moved": lambda m, x: (m.seen.reverse(), m.table.update(old=m.n)),
        "plain": lambda m, x: (m.seen.insert(0, Node()), m.seen[2].append(3)),
    }

    def half_way(y):
        raise RuntimeError("half way")

    for fail, changed in ((half_way, changes), (lambda y: object(), ["made"])):
        m = Net()
        m.seen, m.table = [[m.n], m.w], {"old": m.w}
        before = [*m.seen], [*m.seen[0]], {**m.table}

        def f(x, m=m, fail=fail, changed=changed):
            for name in changed:
                changes[name](m, x)
            return fail(m(x))

        # Threads that other tests have left are none that change these lists.
        alone = unittest.mock.patch("threading.active_count", return_value=1)
        with alone, pytest.raises((RuntimeError, TypeError, ValueError, DeprecationWarning)):  # the others are of JAX
            wrap(f)(one)
        assert (m.seen, m.seen[0], m.table) == before
        assert m.n.value == 0.0


@law(without=["vmap"])  # where nothing is mapped, nothing is traced
def refuses_traced_attributes(wrap):
    """A traced value in an attribute is refused by name, and nothing is written."""
    m = Net()

    def f(x):
        m.w.value = m.w.value + x
        m.last = (x * 2.0, "deep")
        return m(x)

    with pytest.raises((GraphError, StructureError), match=r"sets Net\.last to"):
        wrap(f)(one)
    assert not hasattr(m, "last")
    assert m.w.value == 2.0


@law(without=["checkpoint"])  # where JAX looks for leaks, it looks before the `jit` around it takes the value out
def refuses_traced_items(wrap):
    """A traced value in a list or dict is refused by name, and taken out."""
    m = Net()
    m.seen, m.table = [], {}
    for fill in (
        lambda x: m.seen.append({"deep": x * 2.0, 7: "another kind of key"}),
        lambda x: m.table.update(last=x * 2.0),
    ):

        def f(x, fill=fill):
            m.w.value = m.w.value + x
            fill(x)
            return m(x)

        said = r"puts a traced value into .*(seen|table), which would outlive .*`State\(value\)`"
        with pytest.raises(GraphError, match=said):
            jit(lambda x, f=f: wrap(f)(x))(one)
        assert (m.seen, m.table, m.w.value) == ([], {}, 2.0)


@law(only=FROZEN)
def refuses_changes_that_it_cannot_carry(wrap):
    """Where a function runs at each step, any change of its graph is refused by name, and undone."""
    changes = {
        r"sets Net\.extra to": lambda m, x: setattr(m, "extra", State(x)),
        r"sets Net\.rate to 3\.0": lambda m, x: setattr(m, "rate", 3.0),
        r"makes .*Net\.layers\.0": lambda m, x: m.layers.append(Net(1.0)),
        r"sets Net\.n to nothing": lambda m, x: delattr(m, "n"),
    }
    for name, change in changes.items():
        m = Net()
        m.layers = []

        def f(x, m=m, change=change):
            m.w.value = m.w.value + x
            change(m, x)
            return x

        said = rf"`.*` {name}.*; a loop, branch, jaxpr or custom rule cannot .* before"
        with pytest.raises(StructureError, match=said):
            wrap(f)(one)
        assert (m.w.value, m.layers, hasattr(m, "extra"), m.rate, m.n.value) == (2.0, [], False, 1.0, 0.0)


@law()
def keeps_what_states_are(wrap):
    """States stay the same objects, the numbers around them are seen to the sign of zero, and layers may go again."""
    m = Stack(2.0)
    before = states(m).values()
    f = wrap(lambda x: m(x))
    for rate in (1.0, -0.0, 0.0, 1.0):
        m.layers[0].rate = rate
        result = f(one)
        assert result == 2.0 * rate
        assert np.signbit(result) == np.signbit(rate)
    assert all(a is b for a, b in zip(before, states(m).values(), strict=True))
    m.layers.append(Net(5.0))
    assert f(one) == 10.0
    m.layers.pop()
    assert f(one) == 2.0
    old, m.layers[0].n = m.layers[0].n, Count(jnp.array(10.0))
    assert f(one) == 2.0
    assert (old.value, m.layers[0].n.value) == (6.0, 11.0)


@law()
def refuses_states_anywhere_in_a_result(wrap):
    """A State in a result is named with the way out of it, and nothing is written."""
    m = Net()
    for result in (lambda x: m.w, lambda x: {"a": [x, m.w]}):

        def f(x, result=result):
            m.n.value = m.n.value + 1.0
            return result(x)

        with pytest.raises(StateArgumentError, match=r"result.*Param") as caught:
            wrap(f)(one)
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, ValueError)
    assert m.n.value == 0.0
