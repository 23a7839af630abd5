"""`shard_map` on a mesh of one device; what needs more of them is in `tests/processes/devices`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from brainstate_graph import TraceContextError
from brainstate_transform import for_loop, grad, jit, shard_map, vmap
from tests.laws.transforms import Count, Net, Param, Runs
from tests.tables import each

MESH = jax.make_mesh((1, 1), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
xs = jnp.arange(4.0)


def on_x(f, **options):
    return shard_map(f, **{"mesh": MESH, "in_specs": P("x"), "out_specs": P("x"), **options})


@pytest.mark.counts_traces
def test_outside_of_a_trace_it_is_traced_once():
    runs, m = Runs(), Net(2.0)

    def f(x):
        runs()
        m.n.value = m.n.value + 1.0
        return m.w.value * x

    def plain(n, w, x):
        runs()
        return w * x, n + 1.0

    in_jax = jax.jit(jax.shard_map(plain, mesh=MESH, in_specs=(P(), P(), P("x")), out_specs=(P("x"), P())))
    n = m.n.value
    for _ in range(3):
        n = in_jax(n, m.w.value, xs)[1]
    once = runs.since()  # and once more for the new sharding of what was written
    mapped = on_x(f)
    for n in range(1, 4):
        np.testing.assert_allclose(mapped(xs), 2.0 * xs)
        assert m.n.value == n
    assert runs.since() == once <= 2
    m.rate = 3.0  # what the program is made from
    mapped(xs)
    assert runs.since() == 1
    jit(mapped)(xs)
    assert runs.since() == 1
    for_loop(lambda x: mapped(xs * x), xs)
    assert runs.since() == 1
    vmap(mapped)(jnp.ones((2, 4)))
    assert runs.since() == 1


def test_as_decorator_and_method():
    class Model(Net):
        @shard_map(mesh=MESH, in_specs={"x": P("x")}, out_specs=P("x"))
        def rows(self, x, *, scale):
            return scale * self(x)

    m = Model(2.0)
    np.testing.assert_allclose(m.rows(xs, scale=3.0), 6.0 * xs)
    assert m.n.value == 1.0


def test_the_mesh_of_the_context():
    f = shard_map(lambda x: x * 2.0, in_specs=P("x"), out_specs=P("x"))
    with jax.set_mesh(MESH):
        np.testing.assert_allclose(f(xs), 2.0 * xs)
    with pytest.raises(ValueError, match=r"there is no mesh to map `.*` over: give `mesh=`, or use `jax.set_mesh`"):
        f(xs)


def test_raw_jit_around_a_write_is_refused():
    m = Net(2.0)
    with pytest.raises(TraceContextError, match=r"Net\.n"):
        jax.jit(on_x(m))(xs)
    assert m.n.value == 0.0
    np.testing.assert_allclose(jax.jit(on_x(lambda x: m.w.value * x))(xs), 2.0 * xs)


def test_without_jit():
    m = Net(2.0)

    def f(x):
        return m(x), jax.lax.pmean(m(x).sum(), "x")

    with jax.disable_jit():
        out = on_x(f, out_specs=(P("x"), P()))(xs)
    np.testing.assert_allclose(out[0], 2.0 * xs)
    assert m.n.value == 2.0


BAD = {
    "mesh": ({"mesh": 3}, TypeError, "mesh must be a jax.sharding.Mesh, not 3"),
    "rngs": ({"rngs": "no"}, ValueError, "rngs='no'"),
    "no spec": ({"in_specs": (P(), 0)}, TypeError, "in_specs holds 0: give a PartitionSpec for each"),
    "none": ({"out_specs": None}, TypeError, "out_specs holds None: give a PartitionSpec"),
    "length": ({"in_specs": (P(), P())}, ValueError, "has 2 entries, but `.*f` was called with 1 positional"),
    "axis": (
        {"in_specs": P("z")},
        ValueError,
        "argument 'x'.* of `.*f` has the spec .*, but `shard_map` maps only over",
    ),
    "rank": ({"in_specs": P("x", "y")}, ValueError, r"argument 'x'.*shape \[4\]: the spec .* is for 2 axes or more"),
    "prefix": ({"in_specs": ({"a": P()},)}, ValueError, "in_specs=.* does not fit the arguments of `.*f`"),
    "name": ({"in_specs": {"z": P()}}, ValueError, r"in_specs names \['z'\], but the parameters of `.*f` are \['x'\]"),
    "out prefix": ({"out_specs": (P("x"), P())}, ValueError, "out_specs=.* does not fit the result of `.*f`"),
    "out rank": ({"out_specs": P("x", "y")}, ValueError, r"result of `.*f` has shape \[4\]: the spec"),
    "axis_names": ({"axis_names": {"z"}}, ValueError, r"axis_names=\['z'\] are not axes of the mesh"),
    "no place": ({"in_states": Param}, TypeError, r"in_states has no PartitionSpec for Param at Net\.w: write `{Part"),
    "state axis": ({"in_states": {P("z"): Param}}, ValueError, "in_states has the spec .*'z'.*maps only over"),
    "state rank": ({"in_states": {P("x"): Param}}, ValueError, r"Param at Net\.w has shape \[\]: the spec"),
    "no state": ({"out_states": {P(): "nothing"}}, ValueError, "out_states='nothing' selects no state"),
    "out state": ({"out_states": {P("x"): Count}}, ValueError, r"Count at Net\.n has shape \[\]: the spec"),
}


@each(("options", "error", "text"), BAD.values(), ids=BAD)
def test_bad_arguments_are_named_and_nothing_is_written(options, error, text):
    m = Net(2.0)

    def f(x):
        return m(x)

    with pytest.raises(error, match=text):
        on_x(f, **options)(xs)
    assert m.n.value == 0.0


def test_gradients():
    m = Net(2.0)
    total = on_x(lambda x: jax.lax.psum(m(x).sum(), "x"), out_specs=P())
    for g in (grad(total, wrt=m.w), jit(grad(total, wrt=m.w)), grad(jit(total), wrt=m.w)):
        np.testing.assert_allclose(g(xs), xs.sum())
    assert m.n.value == 3.0
