"""`shard_map`, and loops over a sharded batch; `test_shard_map.py` runs this file in a process with four devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import (
    BatchAxisError,
    bounded_while_loop,
    checkpointed_for_loop,
    cond,
    for_loop,
    fori_loop,
    grad,
    jit,
    map,
    scan,
    shard_map,
    value_and_grad,
    vmap,
    while_loop,
)
from tests.laws.transforms import Net, Param

MESH = jax.make_mesh((2, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
BOTH = P(("x", "y"))
xs = jnp.arange(8.0)


def sharded(f, **options):
    return shard_map(f, **{"mesh": MESH, "in_specs": BOTH, "out_specs": BOTH, **options})


def test_there_are_four_devices():
    assert len(jax.devices()) == 4


@pytest.mark.parametrize("spec", [BOTH, P("x"), P("y"), P()], ids=str)
def test_against_plain_jax(spec):
    w = State(jnp.array(2.0))
    h = State(jnp.arange(8.0))
    before = h.value

    def f(x):
        h.value = h.value + w.value
        return x * h.value.shape[0]

    def plain(h, x):
        return x * h.shape[0], h + 2.0

    want = jax.shard_map(plain, mesh=MESH, in_specs=(spec, BOTH), out_specs=(BOTH, spec))(before, xs)
    for mapped in (sharded(f, in_states={spec: h}), jit(sharded(f, in_states={h: spec}))):
        h.value = before
        np.testing.assert_allclose(mapped(xs), want[0])
        np.testing.assert_allclose(h.value, want[1])
        assert h.value.sharding.is_equivalent_to(NamedSharding(MESH, spec), 1)


def test_a_state_may_change_its_spec():
    h = State(xs)

    def f():
        h.value = jax.lax.all_gather(h.value, "x", tiled=True)

    sharded(f, in_specs=(), out_specs=P(), in_states={P("x"): h}, out_states={P(): h}, check_vma=False)()
    np.testing.assert_allclose(h.value, xs)
    assert h.value.sharding.is_fully_replicated
    s = State(jnp.zeros(()))
    sharded(lambda x: setattr(s, "value", x), out_specs=P(), out_states={BOTH: s})(xs)
    np.testing.assert_allclose(s.value, xs)


def test_a_pytree_of_specs_and_keywords():
    def f(p, scale):
        return {"a": p["a"] * scale, "n": jnp.full((1,), p["b"].shape[0])}

    specs = {"in_specs": ({"a": P("x"), "b": P("y")},), "out_specs": {"a": P("x"), "n": P()}}
    out = sharded(f, **specs)({"a": xs, "b": xs}, scale=3.0)
    np.testing.assert_allclose(out["a"], 3.0 * xs)
    assert out["n"].tolist() == [4]


def test_a_collective_into_a_shared_state():
    total = State(jnp.array(0.0))

    def f(x):
        total.value = total.value + jax.lax.psum(x.sum(), ("x", "y"))
        return x

    sharded(f)(xs)
    assert total.value == xs.sum()


def test_a_model_as_argument_with_data_parallel_gradients():
    nn.seed(0)
    net = nn.Linear(3, 1)
    x = jnp.arange(24.0).reshape(8, 3)

    def loss(net, x):
        return jax.lax.pmean(jnp.mean(net(x) ** 2), ("x", "y"))

    mapped = sharded(loss, in_specs=(P(), BOTH), out_specs=P())
    plain = value_and_grad(lambda: jnp.mean(net(x) ** 2), wrt=net)()
    for run in (lambda f: f(), lambda f: jit(f)()):
        value, grads = run(value_and_grad(lambda: mapped(net, x), wrt=net))
        np.testing.assert_allclose(value, plain[0], rtol=1e-5)
        for path in grads:
            np.testing.assert_allclose(grads[path], plain[1][path], rtol=1e-5)


@pytest.mark.parametrize("axes", [("x",), ("x", "y")], ids=str)
def test_a_value_per_shard_in_a_shared_state_is_named(axes):
    m = Net(2.0)

    def f(x):
        m(x)
        m.w.value = m.w.value + x.sum()
        return x

    spec = P(axes)
    for mapped in (sharded(f, in_specs=spec, out_specs=spec), jit(sharded(f, in_specs=spec, out_specs=spec))):
        with pytest.raises(BatchAxisError, match=r"differs per shard over .*'x'.* to Param at Net\.w.*pmean.*in_st"):
            mapped(xs)
        assert (m.w.value, m.n.value) == (2.0, 0.0)


def test_a_result_that_differs_per_shard_is_named():
    with pytest.raises(ValueError, match=r"result\['a'\] of `.*` differs per shard over \['x', 'y'\]"):
        sharded(lambda x: {"a": x}, out_specs=P())(xs)


def test_a_size_that_does_not_split():
    h = State(jnp.zeros(7))
    with pytest.raises(ValueError, match=r"State has shape \[7\]: 7 cannot be split evenly into 4 shards"):
        sharded(lambda x: x + h.value.sum(), in_states={BOTH: h})(xs)
    with pytest.raises(ValueError, match=r"argument 'x'.* of `.*` has shape \[6\]: 6 cannot be split"):
        sharded(lambda x: x)(jnp.zeros(6))


def test_an_exception_leaves_everything_as_it_was():
    m, rng = Net(2.0), nn.RandomState(0)
    before = rng.value

    def f(x):
        m(x)
        rng.uniform()
        raise KeyError("no")

    with pytest.raises(KeyError):
        sharded(f)(xs)
    assert m.n.value == 0.0
    assert rng.value is before


def test_each_shard_draws_other_numbers():
    rng, plain = nn.RandomState(0), nn.RandomState(0)
    draw = lambda: rng.uniform((1,))
    out = sharded(draw, in_specs=())()
    assert len(np.unique(out)) == 4
    plain.split_key()
    assert int(rng.value[1]) == int(plain.value[1]) == 1
    fold, key = jax.random.fold_in, jax.random.key(0)
    want = [jax.random.uniform(fold(fold(fold(key, 0), shard), 0)) for shard in range(4)]
    np.testing.assert_allclose(out, want, rtol=1e-6)
    again = sharded(draw, in_specs=())()
    assert len(np.unique([out, again])) == 8


def test_the_same_draws_compiled_or_not():
    eager, compiled, plain = nn.RandomState(0), nn.RandomState(0), nn.RandomState(0)
    out = sharded(lambda: eager.uniform((1,)), in_specs=())()
    np.testing.assert_array_equal(out, jit(sharded(lambda: compiled.uniform((1,)), in_specs=()))())
    with jax.disable_jit():
        np.testing.assert_allclose(out, sharded(lambda: plain.uniform((1,)), in_specs=())(), rtol=1e-6)


def test_shared_draws():
    rng, plain = nn.RandomState(0), nn.RandomState(0)
    out = sharded(lambda: rng.uniform((1,)), in_specs=(), rngs="share")()
    np.testing.assert_allclose(out, np.full(4, plain.uniform()), rtol=1e-6)
    assert int(rng.value[1]) == 1


def test_draws_in_lanes_and_loops_on_shards():
    rng = nn.RandomState(0)

    def f(x):
        def step(i):
            return vmap(lambda x: x + rng.uniform())(x)

        return for_loop(step, jnp.arange(3)).T

    out = sharded(f)(jnp.zeros(8))
    assert len(np.unique(out)) == 24
    assert int(rng.value[1]) == 1


def test_loops_and_branches_on_shards_and_around():
    h = State(jnp.zeros(8))

    def f(x):
        def step(i):
            h.value = cond(i > 0, lambda: h.value + x, lambda: h.value * 1.0)

        for_loop(step, jnp.arange(3))
        return h.value

    def plain(v, x):
        for i in range(3):
            v = v + x if i > 0 else v
        return v

    mapped = sharded(f, in_states={BOTH: h})
    np.testing.assert_allclose(mapped(xs), plain(np.zeros(8), xs))
    h.value = jnp.zeros(8)
    for_loop(lambda i: mapped(xs), jnp.arange(2))
    np.testing.assert_allclose(h.value, plain(plain(np.zeros(8), xs), xs))


def test_on_some_axes_of_the_mesh():
    rng = nn.RandomState(0)
    out = sharded(lambda x: x + rng.uniform(), in_specs=P("x"), out_specs=P("x"), axis_names={"x"})(jnp.zeros(8))
    assert len(np.unique(out)) == 2


def test_in_each_other_over_different_axes():
    def inner(x):
        return jax.lax.psum(x.sum(), "y") * x

    def outer(x):
        return sharded(inner, in_specs=P("y"), out_specs=P("y"), axis_names={"y"})(x)

    out = sharded(outer, in_specs=P("x"), out_specs=P("x"), axis_names={"x"})(xs)
    np.testing.assert_allclose(out, np.repeat([6.0, 22.0], 4) * xs)
    with pytest.raises(ValueError, match=r"already runs on the shards of \['x', 'y'\].*axis_names"):
        sharded(lambda x: sharded(lambda x: x)(x))(xs)


def test_in_lanes():
    w = Param(jnp.arange(3.0))
    out = vmap(lambda x: sharded(lambda x: x * w.value)(x), in_states=w)(jnp.ones((3, 8)))
    np.testing.assert_allclose(out, np.tile(np.arange(3.0)[:, None], 8))


def test_leaks():
    # Not of gradients: `jax.jit` of `jax.grad` of `jax.shard_map` alone leaks in JAX 0.10 to 0.12.
    m, rng = Net(2.0), nn.RandomState(0)
    with jax.checking_leaks():
        jit(sharded(lambda x: m(x) + rng.uniform()))(xs)
        sharded(lambda x: m(x))(xs)
        for_loop(lambda i: sharded(lambda x: m(x))(xs), jnp.arange(2))


def test_gradients_of_sharded_states():
    w = Param(xs)
    mapped = sharded(lambda x: jax.lax.psum((w.value * x).sum(), ("x", "y")), out_specs=P(), in_states={BOTH: w})
    np.testing.assert_allclose(grad(mapped, wrt=w)(xs), xs)


# ------------------------------------------------------------------------------------- loops over a sharded batch

EXPLICIT = jax.make_mesh((2, 2), ("x", "y"))
batches = jax.random.normal(jax.random.key(0), (6, 8, 4))


class Leaky(nn.Module):
    """A hidden state that takes the layout of its input, step by step."""

    def __init__(self):
        self.decay = nn.ParamState(jnp.full((4,), 0.9))
        self.h = nn.HiddenState(jnp.zeros((8, 4)))

    def __call__(self, x):
        self.h.value = self.h.value * self.decay.value[None] + x
        return self.h.value


LOOPS = {
    "for_loop": lambda f, xs: for_loop(f, xs),
    "scan": lambda f, xs: scan(lambda carry, x: (carry + f(x), carry), jnp.zeros((8, 4)), xs),
    "checkpointed": lambda f, xs: checkpointed_for_loop(f, xs, base=2),
    "while_loop": lambda f, xs: while_loop(lambda c: c[0] < 6, lambda c: (c[0] + 1, c[1] + f(xs[0])), (0, 0.0 * xs[0])),
    "bounded": lambda f, xs: bounded_while_loop(
        lambda c: c[0] < 6, lambda c: (c[0] + 1, c[1] + f(xs[0])), (0, jnp.zeros((8, 4))), max_steps=9
    ),
    "fori_loop": lambda f, xs: fori_loop(0, 6, lambda i, y: y + f(xs[0]), jnp.zeros((8, 4))),
}


@pytest.mark.parametrize("spec", [P("x"), P(("x", "y")), P("y", "x")], ids=str)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_hidden_state_follows_the_sharding_of_the_batch(loop, spec):
    run = LOOPS[loop]
    alone, model = Leaky(), Leaky()
    want = run(alone, batches)
    xs = jax.device_put(batches, NamedSharding(EXPLICIT, P(None, *spec)))
    with jax.set_mesh(EXPLICIT):  # where zeros are of the mesh, and on no axis of it
        model.h.value = jnp.zeros((8, 4))
        out = run(model, xs)
        np.testing.assert_allclose(model.h.value, alone.h.value, rtol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), out, want)
        assert jax.typeof(model.h.value).sharding.spec == P(*spec, *(None,) * (2 - len(spec)))
        compiled = jit(lambda xs: run(model, xs))
        model.h.value = jnp.zeros((8, 4))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), compiled(xs), want)


def losses(run, model, xs):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(run(model, xs)))


@pytest.mark.parametrize("loop", ["for_loop", "scan", "checkpointed", "bounded"])
def test_gradients_of_a_loop_over_a_sharded_batch(loop):
    run, spec = LOOPS[loop], P("x")

    def slope(model, xs):
        return grad(lambda: losses(run, model, xs), model.decay)()

    want = slope(Leaky(), batches)
    xs = jax.device_put(batches, NamedSharding(EXPLICIT, P(None, *spec)))
    with jax.set_mesh(EXPLICIT):
        model = Leaky()
        np.testing.assert_allclose(slope(model, xs), want, rtol=1e-5)


def test_a_sharding_that_does_not_come_to_rest_is_named():
    model = Leaky()
    with jax.set_mesh(EXPLICIT):
        model.h.value = jax.device_put(jnp.zeros((8, 4)), NamedSharding(EXPLICIT, P("x", "y")))

        def drop(x):
            model.h.value = jax.reshard(model.h.value, P("x"))

        before = model.h.value
        with pytest.raises(
            TypeError,
            match=r"the loop body `.*drop` changes HiddenState at Leaky\.h from float32\[8@x, 4@y\] to "
            r"float32\[8@x, 4\]; a loop needs the same sharding in each step\. Write `jax.reshard\(x, spec\)` for what "
            r"is assigned, or the state before the loop\.",
        ):
            for_loop(drop, batches)
        assert model.h.value is before


def test_map_keeps_the_layout_of_each_element():
    xs = jax.device_put(batches, NamedSharding(EXPLICIT, P(None, "x")))
    with jax.set_mesh(EXPLICIT):
        out = map(lambda x: jnp.tanh(x), xs)
    assert jax.typeof(out).sharding.spec == P(None, "x", None)
    np.testing.assert_allclose(out, np.tanh(batches), rtol=1e-6)
