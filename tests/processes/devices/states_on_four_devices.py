"""States that lie on a mesh, inside `shard_map` and in a compiled step; what is refused there.

`test_several_devices.py` runs this file in a process with four devices.
"""

from __future__ import annotations

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import FlattedDict, Node, State, update_states
from brainstate_transform import (
    BatchAxisError,
    checkpointed_for_loop,
    for_loop,
    grad,
    jit,
    map,
    shard_map,
    value_and_grad,
)
from tests.processes.devices.meshes_on_four_devices import MESHES, put
from tests.tables import each


@each("mesh", ["default", "auto"])
def test_a_stream_on_a_mesh_draws_as_one_beside_it(mesh):
    mesh = MESHES[mesh]
    xs, beside, on = put(mesh, jnp.zeros(8), P("d")), nn.RandomState(0), nn.shard([nn.RandomState(0)], mesh)[0]
    draws = [
        shard_map(lambda x, r=rng: x + r.uniform(x.shape), mesh=mesh, in_specs=P("d"), out_specs=P("d"))
        for rng in (beside, on)
    ]
    for _ in range(2):
        one, other = (draw(xs) for draw in draws)
        np.testing.assert_array_equal(one, other)
        assert len(np.unique(one)) == 8


@each("mesh", ["default", "auto"])
def test_a_state_on_a_mesh_may_be_reached_in_a_way_that_cannot_be_seen(mesh):
    mesh = MESHES[mesh]
    xs = put(mesh, jnp.arange(8.0), P("d"))
    state = State(put(mesh, jnp.float32(2.0), P()))
    hidden, runs = weakref.ref(state), []

    def f(x):
        runs.append(x)
        return for_loop(lambda y: y * hidden().value, x)

    mapped = shard_map(f, mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    with jax.set_mesh(mesh):
        slope = grad(lambda x: jnp.sum(mapped(x)))
        np.testing.assert_allclose(slope(xs), np.full(8, 2.0))
        count = len(runs)
        assert count == 2
        np.testing.assert_allclose(slope(xs), np.full(8, 2.0))
        assert len(runs) == count + 1
    assert state.value == 2.0


@each("mesh", ["default", "auto"])
def test_a_state_that_is_passed_and_not_read_is_not_used(mesh):
    mesh = MESHES[mesh]
    xs = put(mesh, jnp.arange(8.0), P("d"))
    w, idle = (State(put(mesh, jnp.float32(2.0), P())) for _ in range(2))

    def f(x):
        if x.ndim > 1:
            return idle.value
        return x * w.value

    mapped = shard_map(f, mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    with jax.set_mesh(mesh):
        with pytest.raises(ValueError, match=r"does not use these states.*wrt\[1\]"):
            grad(lambda x: jnp.sum(mapped(x)), wrt=[w, idle])(xs)
        slopes = grad(lambda x: jnp.sum(mapped(x)), wrt=[w, idle], allow_unused=True)(xs)
    assert [float(slope) for slope in slopes] == [28.0, 0.0]


@each("mesh", ["default", "auto"])
def test_states_made_on_shards(mesh):
    mesh = MESHES[mesh]
    xs = put(mesh, jnp.arange(16.0).reshape(2, 8), P(None, "d"))
    holder = Node()

    def f(x):
        holder.h = State(jnp.zeros(x.shape[1]))
        for_loop(lambda x: setattr(holder.h, "value", holder.h.value + x), x)
        return holder.h.value

    specs = {"mesh": mesh, "in_specs": P(None, "d"), "out_specs": P("d")}
    with pytest.raises(BatchAxisError, match=r"`.*f` makes State at .*h with .* over \['d'\]: write .*new_states=Part"):
        shard_map(f, **specs)(xs)
    assert not hasattr(holder, "h")
    run = shard_map(f, **specs, new_states=P("d"))
    for call in (run, jit(run)):
        np.testing.assert_allclose(call(xs), np.asarray(xs).sum(0))
        np.testing.assert_allclose(holder.h.value, np.asarray(xs).sum(0))
        assert holder.h.value.sharding.spec == P("d")
    with pytest.raises(TypeError, match=r"new_states=0: give one PartitionSpec for all"):
        shard_map(f, **specs, new_states=0)


# ------------------------------------------------------------------------------------------------------ what is refused


def test_an_argument_that_lies_in_another_way_is_named():
    mesh = MESHES["default"]
    run = shard_map(lambda x: x, mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    with pytest.raises(
        ValueError,
        match=r"argument 'x' of `.*` lies as P\(None,\) on a mesh with the explicit axes \['d'\], and its spec is "
        r"P\('d',\): pass `jax\.reshard\(x, NamedSharding\(mesh, P\('d',\)\)\)`, or leave the axis to JAX",
    ):
        run(put(mesh, jnp.arange(8.0), P()))


def test_steps_that_are_spread_are_named():
    xs = {"a": put(MESHES["default"], jnp.arange(8.0), P("d"))}
    for loop in (for_loop, map, checkpointed_for_loop):
        with pytest.raises(ValueError, match=r"xs\[0\]\['a'\] of `.*body` is spread over 'd' along the axis of the st"):
            loop(body, xs)


def body(x):
    return x["a"]


# ------------------------------------------------------------------------------------------------------ compiled once


@each("mesh", ["default", "auto"])
@each("tx", [lambda: optax.adam(0.1), lambda: optax.MultiSteps(optax.inject_hyperparams(optax.adam)(0.1), 2)])
def test_a_fully_sharded_step_is_compiled_once(mesh, tx):
    mesh = MESHES[mesh]
    model = nn.init_sharded(lambda: nn.Linear(8, 4, rng=nn.RandomState(0)), mesh, nn.fully_sharded("d"))
    optimizer, ema = nn.Optimizer(model, tx()), nn.EMA(model, 0.9)
    x = put(mesh, jnp.ones((8, 8)), P("d"))
    programs = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **more: programs.append(more) if event.endswith("backend_compile_duration") else None
    )

    @jit(donate_states=True)
    def step(x):
        with nn.gathered(model):
            loss, grads = value_and_grad(lambda: jnp.mean((model(x) - 1.0) ** 2), nn.ParamState)()
        optimizer.update(grads)
        ema.update()
        return loss

    with jax.set_mesh(mesh):
        first = float(step(x))
        count = len(programs)
        losses = [float(step(x)) for _ in range(3)]
    assert len(programs) == count, programs
    assert losses[-1] < first


# -- arrays of another device ------------------------------------------------------------------------------------------


def on_device(net, device):
    for state in net.parameters():
        state.value = jax.device_put(state.value, device)
    return net


def by_file(net, data, folder):
    nn.save_states(folder / "m.safetensors", FlattedDict({tuple(name.split(".")): x for name, x in data.items()}))
    nn.load_states(folder / "m.safetensors", net)


def by_checkpoint(net, data, folder):
    with nn.Checkpoints(folder) as checkpoints:
        checkpoints.save(0, FlattedDict({tuple(name.split(".")): x for name, x in data.items()}))
        checkpoints.restore(net)


def by_assignment(net, data, _):
    for name, state in net.named_parameters():
        state.value = data[name]


def by_update(net, data, _):
    update_states(net, FlattedDict({path: data[".".join(path)] for path in net.states()}))


# What fits arrays into a model by their names puts them where the model is; what assigns takes them as they are.
FITTING = {
    "from_flat_dict": lambda net, data, _: nn.from_flat_dict(net, data),
    "from_pure_dict": lambda net, data, _: nn.from_pure_dict(net, data),
    "load_states": by_file,
    "restore": by_checkpoint,
}
ASSIGNING = {"assignment": by_assignment, "update_states": by_update}
MODELS = {
    "one device": lambda net: net,
    "committed": lambda net: on_device(net, jax.devices()[2]),
    "default mesh": lambda net: nn.shard(net, MESHES["default"], {"weight": P(None, "d"), "bias": P("d")}),
    "auto mesh": lambda net: nn.shard(net, MESHES["auto"], {"weight": P("d"), "bias": P()}),
}


@each("place", MODELS)
@each("verb", FITTING | ASSIGNING)
def test_arrays_of_another_device(verb, place, tmp_path_factory):
    net = MODELS[place](nn.Linear(4, 4))
    before = {name: state.value.sharding for name, state in net.named_parameters()}
    away = {
        name: jax.device_put(jnp.full_like(x, 2.0), jax.devices()[1])
        for name, x in nn.to_flat_dict(nn.Linear(4, 4)).items()
    }
    (FITTING | ASSIGNING)[verb](net, away, tmp_path_factory.mktemp("files"))
    for name, state in net.named_parameters():
        assert (np.asarray(state.value) == 2.0).all()
        assert state.value.sharding == (before[name] if verb in FITTING else away[name].sharding)
    if verb in FITTING:
        assert jit(net)(jnp.ones((1, 4))).shape == (1, 4)
