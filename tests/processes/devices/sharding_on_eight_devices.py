"""Models over eight devices; `test_several_devices.py` runs this file in a process that has as many."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import graphdef, states, treefy_merge, treefy_split
from brainstate_nn._devices import abstract as _abstract
from brainstate_transform import for_loop, jit, value_and_grad
from examples.gpt import GPT, Settings, adamw, loss_of

AUTO, EXPLICIT = AxisType.Auto, AxisType.Explicit
KINDS = pytest.mark.parametrize("kind", [AUTO, EXPLICIT], ids=["auto", "explicit"])
UNSET = Mesh(np.empty((), object), ())
SETTINGS = Settings(width=64, heads=4, depth=1, context=16, batch=8, steps=4)
BATCHES = np.random.default_rng(0).integers(0, 128, (4, 8, 17)).astype(np.int32)
RULES = {"data parallel": None, "fully sharded": nn.fully_sharded("data")}


def over(kind: AxisType) -> Mesh:
    return jax.make_mesh((8,), ("data",), axis_types=(kind,))


def set_if_explicit(mesh: Mesh) -> Any:
    """JAX 0.12 differentiates the `take` in optax's cross entropy on explicit axes only where the mesh is set."""
    return jax.set_mesh(mesh if EXPLICIT in mesh.axis_types else UNSET)


def build() -> GPT:
    return GPT(128, SETTINGS, nn.RandomState(0))


def optimiser() -> optax.GradientTransformation:
    return adamw(1e-2, len(BATCHES))


def trained(model: GPT, batches: Any) -> tuple[list[float], nn.Optimizer]:
    """Train by our `jit`, with donation."""
    optimizer = nn.Optimizer(model, optimiser())

    @jit(donate_states=True)
    def step(batch):
        def loss():
            with nn.gathered(model, axes="data"):
                return loss_of(model, batch)

        value, grads = value_and_grad(loss, nn.ParamState)()
        optimizer.update(grads)
        return value

    return [float(step(batch)) for batch in batches], optimizer


def trained_by_jax(model: GPT, batches: Any) -> tuple[list[float], Any, Any]:
    """Train by `jax.jit` and optax, with donation."""
    definition, params, rest = treefy_split(model, nn.ParamState, ...)
    tx = optimiser()
    opt_state = tx.init(params)

    def step(params, opt_state, batch):
        def loss(params):
            model = treefy_merge(definition, params, rest)
            with nn.gathered(model):
                return loss_of(model, batch)

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    step = jax.jit(step, donate_argnums=(0, 1))
    losses = []
    for batch in batches:
        params, opt_state, value = step(params, opt_state, batch)
        losses.append(float(value))
    return losses, params, opt_state


def shares(tree: Any) -> set[float]:
    """What part of each array that is no number lies on each device."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim]
    return {shard.data.nbytes / leaf.nbytes for leaf in arrays for shard in leaf.addressable_shards}


@pytest.fixture(scope="module")
def alone() -> list[float]:
    return trained(build(), map(jnp.asarray, BATCHES))[0]


def test_there_are_eight_devices():
    assert len(jax.devices()) == 8


@KINDS
@pytest.mark.parametrize("way", RULES)
def test_training_gives_the_losses_of_one_device(way, kind, alone):
    mesh, part = over(kind), 1.0 if way == "data parallel" else 0.125
    batches = [jax.device_put(batch, NamedSharding(mesh, P("data"))) for batch in BATCHES]
    model = nn.init_sharded(build, mesh, RULES[way])
    first = model.tokens.weight.value
    with set_if_explicit(mesh):
        losses, optimizer = trained(model, batches)
    np.testing.assert_allclose(losses, alone, rtol=2e-6)
    assert losses[0] != losses[-1]
    assert first.is_deleted()  # donated
    assert shares([state.value for state in states(model).values()]) == {part}
    assert shares(optimizer.opt_state.value) == {part}


@KINDS
@pytest.mark.parametrize("way", RULES)
def test_training_by_jax_gives_the_losses_of_one_device(way, kind, alone):
    mesh, part = over(kind), 1.0 if way == "data parallel" else 0.125
    batches = [jax.device_put(batch, NamedSharding(mesh, P("data"))) for batch in BATCHES]
    model = nn.init_sharded(build, mesh, RULES[way])
    with set_if_explicit(mesh):
        losses, params, opt_state = trained_by_jax(model, batches)
    np.testing.assert_allclose(losses, alone, rtol=2e-6)
    assert shares(params) == shares(opt_state) == {part}


COLUMNS = ("**.query.weight", "**.key.weight", "**.value.weight", "**.mlp.layers.0.weight")
TENSOR = {
    "whole in data": {
        COLUMNS: P(None, "model"),
        ("**.out.weight", "**.mlp.layers.2.weight", "**.mlp.layers.0.bias"): P("model"),
    },
    "and fully sharded": {
        COLUMNS: P("data", "model"),
        "**.out.weight": P("model", None, "data"),
        "**.mlp.layers.2.weight": P("model", "data"),
        ...: nn.fully_sharded("data"),
    },
}


@pytest.mark.parametrize("kinds", [(AUTO, AUTO), (EXPLICIT, AUTO)], ids=["auto", "explicit batch"])
@pytest.mark.parametrize("rules", TENSOR)
def test_tensor_parallel_training(rules, kinds, alone):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=kinds)
    model = nn.init_sharded(build, mesh, TENSOR[rules])
    with set_if_explicit(mesh):
        losses, _ = trained(model, [jax.device_put(batch, NamedSharding(mesh, P("data"))) for batch in BATCHES])
    np.testing.assert_allclose(losses, alone, rtol=2e-6)
    assert shares(model.blocks[0].mlp.layers[0].weight.value) == {1 / 4 if rules == "whole in data" else 1 / 8}


# ------------------------------------------------------------------------------------------------------ made in place


class Drawing(nn.Module):
    """A model that draws from a stream of its own, from one that is given, and from the default one."""

    def __init__(self, rng: nn.RandomState) -> None:
        self.net = GPT(128, SETTINGS, rng)
        self.head = nn.Linear(64, 128)
        self.drop = nn.Dropout(0.5, rng=nn.RandomState(3))


@KINDS
@pytest.mark.parametrize("is_set", [False, True], ids=["", "mesh set"])
def test_made_in_place_the_numbers_are_the_same(kind, is_set):
    mesh, rules = over(kind), nn.fully_sharded("data")
    nn.seed(0)
    given = nn.RandomState(1)
    want = nn.shard(Drawing(given), mesh, rules)
    counts = [int(stream.value[1]) for stream in (given, nn.default_rng())]
    nn.seed(0)
    given = nn.RandomState(1)
    with jax.set_mesh(mesh if is_set else UNSET):
        model = nn.init_sharded(lambda: Drawing(given), mesh, rules)
    assert graphdef(model) == graphdef(want)
    for ours, other in zip(
        *(jax.tree.leaves([s.value for s in states(m).values()]) for m in (model, want)), strict=True
    ):
        assert ours.sharding == other.sharding
        assert ours.committed
        if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, other = jax.random.key_data(ours), jax.random.key_data(other)
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(other))
    for stream, count in zip((given, nn.default_rng()), counts, strict=True):
        assert int(stream.value[1]) == count
        assert [leaf.committed for leaf in stream.value] == [False, False]  # the streams have not moved to the mesh
    assert len(nn.Linear(2, 2).weight.value.devices()) == 1


@KINDS
@pytest.mark.parametrize("is_set", [False, True], ids=["", "mesh set"])
def test_made_in_place_no_device_holds_a_whole_array(kind, is_set, monkeypatch):
    programs = []

    def spying(fun, **options):
        made = jit(fun, **options)
        programs.append(made)
        return made

    monkeypatch.setattr(_abstract, "jit", spying)
    mesh = over(kind)

    def big() -> nn.Module:
        return nn.Sequential(
            nn.Linear(512, 2048, rng=nn.RandomState(0)), nn.Embedding(4096, 512, rng=nn.RandomState(1))
        )

    with jax.set_mesh(mesh if is_set else UNSET):
        model = nn.init_sharded(big, mesh, nn.fully_sharded("data"))
    (program,) = programs
    compiled = program.compile()
    whole = sum(state.value.nbytes for state in states(model).values())
    memory = compiled.memory_analysis()
    assert memory.output_size_in_bytes < 1.01 * whole / 8
    assert memory.temp_size_in_bytes < whole / 3  # the numbers behind a normal one take several words
    shapes = set(re.findall(r"\w+\[([\d,]+)\]", compiled.as_text()))
    assert {"512,256", "512,512"} & shapes, shapes
    assert not {"512,2048", "4096,512", str(512 * 2048), str(4096 * 512)} & shapes


@KINDS
def test_a_template_is_filled_in_its_place(kind):
    mesh = over(kind)
    template = nn.abstract(build, mesh, nn.fully_sharded("data"))
    assert {type(state.value) for state in states(template).values()} == {jax.ShapeDtypeStruct}
    whole = build()
    nn.from_flat_dict(template, {name: np.asarray(leaf) for name, leaf in nn.to_flat_dict(whole).items()})
    assert shares([state.value for state in states(template).values()]) == {0.125}
    for ours, other in zip(states(template).values(), states(whole).values(), strict=True):
        np.testing.assert_array_equal(np.asarray(ours.value), np.asarray(other.value))


@KINDS
def test_the_plan_is_the_out_shardings_of_jax(kind):
    mesh = over(kind)
    plan = nn.shardings(nn.abstract(build), mesh, nn.fully_sharded("data"))
    made = jit(lambda: nn.to_flat_dict(build()), out_shardings=plan)()
    assert shares(made) == {0.125}
    assert {name: array.sharding for name, array in made.items()} == plan


# ------------------------------------------------------------------------------------------------------- what remains


@KINDS
def test_what_an_optimizer_keeps_goes_where_its_parameters_go(kind):
    mesh, model = over(kind), build()
    run = {"model": model, "optimizer": nn.Optimizer(model, optimiser()), "ema": nn.EMA(model, 0.9)}
    nn.shard(run, mesh, nn.fully_sharded("data"))
    assert shares([state.value for state in states(run).values()]) == {0.125}
    assert run["optimizer"].step.value.sharding.is_fully_replicated


class Gated(nn.Module):
    """A layer that says how it lies, and has a number: of eight of these the largest axis is that of the layers."""

    def __init__(self, spec: P | None) -> None:
        self.weight = nn.ParamState(jnp.eye(16) / 2, **({} if spec is None else {"sharding": spec}))
        self.gate = nn.ParamState(jnp.ones(()), penalty=nn.L2(0.1))

    def __call__(self, x: jax.Array) -> jax.Array:
        with nn.gathered(self):
            return x + self.gate.value * jnp.tanh(x @ self.weight.value)


@KINDS
@pytest.mark.parametrize(
    ("spec", "rules"), [(P("data"), None), (None, nn.fully_sharded("data"))], ids=["said", "ruled"]
)
def test_a_stack_lies_and_trains_as_its_layers_do(kind, spec, rules):
    def losses(stack, x):
        nn.penalise(stack, "**.weight", nn.Orthogonal(0.1))
        optimizer = nn.Optimizer(stack, optax.adam(0.1))

        def step():
            def loss():
                return jnp.mean(stack(x) ** 2) + nn.reg_loss(stack)

            value, grads = value_and_grad(loss, nn.ParamState)()
            optimizer.update(grads)
            return value

        return [float(jit(step)()) for _ in range(3)]

    x, mesh = jax.random.normal(jax.random.key(0), (16, 16)), over(kind)
    stack = nn.init_sharded(lambda: nn.Stack(8, lambda: Gated(spec)), mesh, rules)
    assert stack.layers.weight.value.sharding.spec in (P(None, "data"), P(None, None, "data"))
    assert stack.layers.gate.value.sharding.is_fully_replicated
    with set_if_explicit(mesh):
        ours = losses(stack, jax.device_put(x, NamedSharding(mesh, P("data"))))
    np.testing.assert_allclose(ours, losses(nn.Stack(8, lambda: Gated(None)), x), rtol=1e-4)


@KINDS
def test_statistics_that_are_spread(kind):
    mesh, x = over(kind), jax.random.normal(jax.random.key(0), (16, 8))
    one = nn.BatchNorm(8)
    want = one(x)
    layer = nn.shard(nn.BatchNorm(8), mesh, nn.fully_sharded("data"))
    spread = jax.device_put(x, NamedSharding(mesh, P("data")))

    @jit
    def step(x):
        with nn.gathered(layer):
            return layer(x)

    np.testing.assert_allclose(np.asarray(step(spread)), np.asarray(want), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.asarray(layer.running_mean.value), np.asarray(one.running_mean.value), rtol=1e-5)
    if kind is EXPLICIT:  # elsewhere the compiler decides where the new value is
        assert shares([layer.running_mean.value, layer.weight.value]) == {0.125}


CELLS = {
    "RNNCell": lambda: nn.RNNCell(3, 4, rng=nn.RandomState(0)),
    "GRUCell": lambda: nn.GRUCell(3, 4, rng=nn.RandomState(0)),
    "MGUCell": lambda: nn.MGUCell(3, 4, rng=nn.RandomState(0)),
    "LSTMCell": lambda: nn.LSTMCell(3, 4, rng=nn.RandomState(0)),
    "LIF": lambda: nn.LIF(3),
    "ExponentialSynapse": lambda: nn.ExponentialSynapse(3),
    "Delay": lambda: nn.Delay(3, 1.5),
}


@KINDS
@pytest.mark.parametrize("name", CELLS)
def test_hidden_states_lie_as_the_batch_does(name, kind):
    mesh, xs = over(kind), jax.random.normal(jax.random.key(0), (5, 16, 3))
    one = nn.init_all_states(CELLS[name](), 16)
    want = for_loop(one, xs)
    net = nn.shard(nn.Sequential(CELLS[name]()), mesh)
    rows = NamedSharding(mesh, P("data"))
    spread = jax.device_put(xs, NamedSharding(mesh, P(None, "data")))
    nn.init_all_states(net, 16, out_sharding=rows)
    kept = [state.value for state in net.states(nn.HiddenState).values() if state.value.ndim]
    assert shares(kept) == {0.125}
    outs = [for_loop(net, spread)]
    nn.reset_all_states(net)
    kept = [state.value for state in net.states(nn.HiddenState).values() if state.value.ndim]
    assert shares(kept) == {0.125}
    outs += [jit(for_loop)(net, spread), nn.RNN(net[0], time_major=True)(spread)]
    for out in outs:
        np.testing.assert_allclose(np.asarray(out), np.asarray(want), rtol=1e-4, atol=1e-5)
        assert shares(out) == {0.125}
    with jax.set_mesh(mesh):
        nn.init_all_states(net, 16, out_sharding=P("data"))
    assert shares([state.value for state in net.states(nn.HiddenState).values() if state.value.ndim]) == {0.125}


@KINDS
def test_decoding_with_a_cache_that_lies_as_the_batch_does(kind):
    mesh, tokens = over(kind), jnp.asarray(BATCHES[0][:, :6])
    want = build()(tokens)
    model = nn.shard(build(), mesh)
    rows = NamedSharding(mesh, P("data"))
    nn.init_all_states(model, batch_size=8, max_length=8, out_sharding=rows)
    assert shares(model.blocks[0].attention.cache.key.value) == {0.125}
    spread = jax.device_put(tokens, rows)

    @jit
    def following(tokens):
        return model(tokens, decode=True)

    parts = [following(spread[:, :3]), *(following(spread[:, i : i + 1]) for i in range(3, 6))]
    got = np.concatenate([np.asarray(part) for part in parts], axis=1)
    np.testing.assert_allclose(got, np.asarray(want), rtol=1e-4, atol=1e-4)
    assert shares(model.blocks[0].attention.cache.key.value) == {0.125}


@KINDS
def test_only_what_the_optimizer_keeps_is_split(kind, alone):
    mesh = over(kind)
    model = nn.shard(build(), mesh)
    optimizer = nn.Optimizer(model, optimiser())
    nn.shard([model, optimizer], mesh, {nn.OptState: nn.fully_sharded("data")})
    whole = {NamedSharding(mesh, P()): list(model.states(nn.ParamState).values())}

    @jit(donate_states=True, state_shardings=whole)
    def step(batch):
        value, grads = value_and_grad(lambda: loss_of(model, batch), nn.ParamState)()
        optimizer.update(grads)
        loss_of(model, batch)  # the moved parameters lie as before, also inside
        return value

    with set_if_explicit(mesh):
        losses = [float(step(jax.device_put(batch, NamedSharding(mesh, P("data"))))) for batch in BATCHES]
    np.testing.assert_allclose(losses, alone, rtol=2e-6)
    assert shares([state.value for state in model.states(nn.ParamState).values()]) == {1.0}
    assert shares(optimizer.opt_state.value) == {0.125}
