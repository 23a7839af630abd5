from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from brainstate_transform._checks.layout import Layout, element_of
from tests.tables import each

MESH = AbstractMesh((2, 2), ("x", "y"), axis_types=(AxisType.Explicit,) * 2)


def layout(spec):
    return Layout.of(jax.ShapeDtypeStruct((4, 4), jnp.float32, sharding=NamedSharding(MESH, spec)))


@each(
    "one, other, both",
    [
        (P(), P(), P()),
        (P(), P("x"), P("x")),
        (P("x"), P("x"), P("x")),
        (P("x"), P(None, "y"), P("x", "y")),
        (P(("x", "y")), P(), P(("x", "y"))),
        (P("x"), P("y"), None),
        (P("x"), P(("x", "y")), None),
        (P("x"), P(None, "x"), None),  # one axis cannot split two dimensions
    ],
)
def test_two_layouts_are_brought_together(one, other, both):
    for a, b in ((one, other), (other, one)):
        found = layout(a).joined(layout(b))
        if both is None:
            assert found is None
            continue
        assert found.spec == layout(both).spec
        assert Layout.of(jax.ShapeDtypeStruct((4, 4), jnp.float32, sharding=found.sharding)).spec == found.spec


def test_off_a_mesh():
    off = Layout.of(jax.typeof(jnp.ones((4, 4))))
    assert off.joined(off) == off
    assert off.joined(layout(P("x"))).spec == ("x", None)
    assert Layout.of(jax.ShapeDtypeStruct((4,), jnp.float32)).spec == (None,)
    x = jnp.ones((4, 4))
    assert off.given_to(x) is x


@each(
    "xs",
    [
        jnp.ones((3, 2)),
        jnp.arange(3),
        jnp.full(3, 1.0),
        jax.random.split(jax.random.key(0), 3),
        jnp.asarray([1.0, 2.0]),
    ],
)
@each("spec", [None, P()])
def test_an_element_is_what_jax_gives_to_a_body(xs, spec):
    if spec is not None:
        xs = jax.device_put(xs, NamedSharding(jax.make_mesh((1,), ("x",)), spec))
    given = []
    jax.lax.map(lambda x: given.append(jax.typeof(x)), xs)
    asked = []
    jax.jit(lambda x: asked.append(jax.typeof(x))).trace(element_of(xs))
    assert asked == given[:1]
