"""Arguments and states that give their buffers away."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State, states
from brainstate_transform import grad, jit
from tests.laws.transforms import Net, Runs
from tests.tables import each

one = jnp.float32(1.0)


@pytest.mark.parametrize("options", [{}, {"donate_states": True}], ids=["plain", "donating"])
def test_negative_donated_positions_are_those_of_the_user(options):
    m = Net()
    f = jit(lambda x, y: (m(x), y + 1.0), donate_argnums=-1, **options)
    x, y, w = jnp.ones(3), jnp.ones(3), m.w.value
    f(x, y)
    assert (x.is_deleted(), y.is_deleted(), w.is_deleted()) == (False, True, False)
    assert m.w.value is w


@each("options", [{"donate_argnums": 1}, {"donate_argnames": "y"}, {"donate_argnums": -1}, {"donate_argnums": (1,)}])
@each("by_name", [False, True])
def test_donated_arguments(options, by_name):
    w = State(jnp.ones(4))
    f = jit(lambda x, y: (x + w.value, y + 1.0), **options)
    x, y = jnp.ones(4), jnp.ones(4)
    f(x, y=y) if by_name else f(x, y)
    assert (x.is_deleted(), y.is_deleted(), w.value.is_deleted()) == (False, True, False)


def test_donated_states():
    class Two(Node):
        def __init__(self):
            self.w, self.h = State(jnp.ones(4)), State(jnp.ones(4))

    m = Two()

    @jit(donate_states=True)
    def f(x):
        m.h.value = m.h.value + m.w.value * x
        return x

    for n in (2.0, 3.0, 4.0):
        w, h = m.w.value, m.h.value
        f(one)
        assert h.is_deleted()
        assert not w.is_deleted()
        assert m.w.value is w
        np.testing.assert_allclose(m.h.value, np.full(4, n))


def test_donated_states_that_share_a_buffer():
    shared = jnp.ones(4)
    a, b = State(shared, name="first"), State(shared, name="second")

    @jit(donate_states=True)
    def f():
        a.value, b.value = a.value + 1.0, b.value + 2.0

    with pytest.raises(ValueError, match=r"same array.*Copy it"):
        f()
    assert not shared.is_deleted()
    b.value = jnp.array(shared)
    f()
    np.testing.assert_allclose(b.value, 3.0 * np.ones(4))


def test_donated_states_with_equal_python_numbers():
    a, b = State(0), State(0)

    @jit(donate_states=True)
    def f():
        a.value, b.value = a.value + 1, b.value + 2

    f()
    f()
    assert (a.value, b.value) == (2, 4)


def test_donated_states_when_the_call_fails_to_trace():
    w = State(jnp.ones(4))

    @jit(donate_states=True)
    def f(x):
        w.value = w.value + 1.0
        return jnp.ones(2) @ jnp.ones(x)

    with pytest.raises(TypeError):
        jit(lambda: f(one))()
    assert not w.value.is_deleted()


def test_donated_states_within_an_outer_jit():
    w = State(jnp.ones(4))

    @jit(donate_states=True)
    def inner():
        w.value = w.value + 1.0

    @jit
    def outer():
        inner()
        inner()
        return w.value

    np.testing.assert_allclose(outer(), 3.0 * np.ones(4))
    np.testing.assert_allclose(w.value, 3.0 * np.ones(4))


# -- modules at donated places ----------------------------------------------------------------------------------------


class Model(Node):
    """What is written, what is only read, and a part with a state of its own."""

    def __init__(self):
        self.h, self.w, self.n = State(jnp.zeros(4)), State(jnp.ones(4)), State(jnp.float32(0.0))
        self.part = [Net()]

    def __call__(self, x):
        self.h.value = self.h.value + self.w.value * x
        return self.part[0](x)


def call(m, x):
    return m(x)


def donated(m):
    """The names of the states whose values are given away by a call, and the result of the call."""
    named = {".".join(map(str, path)): state.value for path, state in states(m).items()}
    return lambda: {name for name, value in named.items() if value.is_deleted()}


WRITTEN = {"h", "part.0.n"}
PLACES = {
    # how the module is donated: the options, the function, how it is called
    "by number": ({"donate_argnums": 0}, call, lambda f, m: f(m, one)),
    "by numbers": ({"donate_argnums": (0,)}, call, lambda f, m: f(m, one)),
    "from the end": ({"donate_argnums": -2}, call, lambda f, m: f(m, one)),
    "by name": ({"donate_argnames": "m"}, call, lambda f, m: f(m, one)),
    "by names, as keyword": ({"donate_argnames": ("m",)}, call, lambda f, m: f(m=m, x=one)),
    "keyword alone": ({"donate_argnames": "m"}, lambda x, *, m: m(x), lambda f, m: f(one, m=m)),
    "in a dict": ({"donate_argnums": 0}, lambda d, x: d["m"](x), lambda f, m: f({"m": m, "y": jnp.ones(3)}, one)),
    "in a list": ({"donate_argnums": 1}, lambda x, ms: ms[0](x), lambda f, m: f(one, [m])),
    "beside a static argument": (
        {"donate_argnums": 1, "static_argnums": 0}, lambda k, m, x: m(x), lambda f, m: f("k", m, one),
    ),
    "beside donate_states": ({"donate_argnums": 0, "donate_states": State}, call, lambda f, m: f(m, one)),
    "beside all states": ({"donate_argnums": 0, "donate_states": True}, call, lambda f, m: f(m, one)),
    "audited": ({"donate_argnums": 0, "audit": True}, call, lambda f, m: f(m, one)),
    "compiled ahead": ({"donate_argnums": 0}, call, lambda f, m: f.compile(m, one)(m, one)),
}  # fmt: skip


@each("options, fun, use", PLACES.values(), ids=PLACES)
def test_a_module_at_a_donated_place_gives_what_is_written(options, fun, use):
    m, oracle, f = Model(), Model(), jit(fun, **options)
    for _ in range(3):
        gone = donated(m)
        np.testing.assert_allclose(use(f, m), oracle(one))
        assert gone() == WRITTEN
        np.testing.assert_allclose(m.h.value, oracle.h.value)
        np.testing.assert_allclose(m.part[0].n.value, oracle.part[0].n.value)


def test_a_method_donates_its_object():
    class Own(Model):
        @jit(donate_argnums=0)
        def step(self, x):
            return self(x)

    m = Own()
    gone = donated(m)
    m.step(one)
    assert gone() == WRITTEN


def test_only_the_module_at_the_place_is_donated():
    """Also of one function that is called in several ways, and where a model is in both places."""
    f = jit(lambda a, b, x: sum(m(x) for m in (a, b) if isinstance(m, Node)), donate_argnums=0)
    a, b = Model(), Model()
    for first, second, wanted in (
        (a, b, (WRITTEN, set())), (b, a, (set(), WRITTEN)), (jnp.ones(3), b, (set(), set())), (a, a, (WRITTEN, set())),
        (a, jnp.ones(3), (WRITTEN, set())), (b, b, (set(), WRITTEN)), (a, b, (WRITTEN, set())),
    ):  # fmt: skip
        of_a, of_b = donated(a), donated(b)
        f(first, second, one)
        assert (of_a(), of_b()) == wanted


def test_a_module_that_is_not_donated_beside_arrays_that_are():
    m = Model()
    f = jit(lambda x, m: (x + 1.0, m(one)), donate_argnums=0)
    x = jnp.ones(3)
    gone = donated(m)
    f(x, m)
    assert x.is_deleted()
    assert gone() == set()


def test_a_donated_module_in_a_trace_keeps_its_buffers():
    m = Model()
    f, gone = jit(call, donate_argnums=0), donated(m)
    grad(lambda x: f(m, x))(one)
    assert gone() == set()
    f(m, one)
    assert gone() == set()  # what was before the derivative is nobody's by now
    gone = donated(m)
    f(m, one)
    assert gone() == WRITTEN


def test_what_shares_with_a_donated_module_is_refused():
    m = Model()
    m.w.value = m.h.value
    with pytest.raises(ValueError, match=r"same array.*Copy it"):
        jit(call, donate_argnums=0)(m, one)
    assert not m.h.value.is_deleted()


def test_it_is_traced_once():
    runs = Runs()
    f = jit(lambda m, x: (runs(), m(x))[1], donate_argnums=0)
    m = Model()
    for _ in range(3):
        f(m, one)
    assert runs.count == 1
    assert f.explain().traces == 1
