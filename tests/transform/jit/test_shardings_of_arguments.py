"""Shardings of arguments and results, as in ``jax.jit``; with four devices in tests/processes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from brainstate_graph import states
from brainstate_transform import jit
from tests.laws.transforms import Net, Stack, same, values
from tests.tables import each

one = jnp.float32(1.0)


HERE = SingleDeviceSharding(jax.devices()[0])


@each(
    "shardings",
    [
        {"in_shardings": HERE}, {"in_shardings": (HERE, None)}, {"in_shardings": [HERE, {"b": HERE}]},
        {"in_shardings": (HERE, {"b": None})}, {"in_shardings": None}, {"out_shardings": HERE},
        {"out_shardings": (HERE, None)}, {"in_shardings": HERE, "out_shardings": HERE},
    ],
    ids=["one", "tuple", "tree", "tree of None", "None", "one out", "tuple out", "both"],
)  # fmt: skip
@each("donate", [False, True])
def test_shardings_as_jax_takes_them(shardings, donate):
    m = Net()
    f = jit(lambda x, y: (m(x), y["b"]), **shardings, donate_states=donate)
    raw = jax.jit(lambda x, y: (x * 2.0, y["b"]), **shardings)
    for n in (1.0, 2.0):
        assert same(f(one, {"b": one}), raw(one, {"b": one}))
        assert m.n.value == n


def test_shardings_beside_static_arguments_and_nodes():
    m = Net()
    f = jit(lambda k, net, x: net(x) * k, static_argnums=0, in_shardings=(None, HERE))
    g = jit(lambda k, net, x: net(x) * k, static_argnums=0, in_shardings=HERE)
    assert f(3, m, one) == g(3, m, one) == 6.0
    assert m.n.value == 2.0


def test_one_sharding_for_any_number_of_arguments():
    f = jit(lambda *xs: sum(xs), in_shardings=HERE)
    assert [float(f(*[one] * n)) for n in (1, 2, 3, 2)] == [1.0, 2.0, 3.0, 2.0]


def test_bad_shardings_are_refused():
    m = Stack(1.0)
    with pytest.raises(ValueError, match=r"in_shardings has 2 entries, but `.*<lambda>` was called with 1 positional"):
        jit(lambda x: m(x), in_shardings=(HERE, HERE))(one)
    for name in ("in_shardings", "out_shardings"):
        with pytest.raises(Exception, match=r"(?i)sharding"):
            jit(lambda x: m(x), **{name: "here"})
    assert values(m) == values(Stack(1.0))
    assert states(m)
