"""Rules, specs and their errors, on meshes of one device or none; what needs more is in `tests/processes`."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import GraphError, OfType, PathRegex, State, graphdef, states
from brainstate_transform import jit, value_and_grad
from tests.tables import each

GRID = AbstractMesh((2, 4), ("data", "model"))


def one_device(*kinds: AxisType):
    return jax.make_mesh((1,) * len(kinds), ("data", "model")[: len(kinds)], axis_types=kinds)


def specs(node, rules=None, mesh=GRID, **options):
    return {name: sharding.spec for name, sharding in nn.shardings(node, mesh, rules, **options).items()}


def net():
    return nn.Sequential(nn.Linear(8, 16), nn.relu, nn.Linear(16, 4))


# ------------------------------------------------------------------------------------------------------------- rules


@each(
    "key",
    [
        "layers.0.weight",
        "layers.0.w*",
        "*.0.weight",
        "**.0.weight",
        PathRegex(r".*\.0\.weight"),
        lambda path, state: path == ("layers", 0, "weight"),
        ("layers.0.weight", "layers.0.w*"),
        ("layers.0.weight", PathRegex("layers.0.weight")),
    ],
    ids=["path", "glob", "deep glob", "globs", "regex", "function", "both", "path or regex"],
)
def test_what_names_a_state(key):
    found = specs(net(), {key: P("data")})
    assert found == {name: P("data") if name == "layers.0.weight" else P() for name in nn.to_flat_dict(net())}


def test_states_nodes_classes_and_tags_name_states():
    model = net()
    model.scale = nn.ParamState(jnp.ones(8), tag="wide")
    model.count = nn.BatchState(jnp.ones(8))
    every = set(nn.to_flat_dict(model))
    for key, names in (
        (model[0], {"layers.0.weight", "layers.0.bias"}),
        ("layers.0", {"layers.0.weight", "layers.0.bias"}),
        (model[0].weight, {"layers.0.weight"}),
        ("wide", {"scale"}),
        (nn.BatchState, {"count"}),
        (OfType(nn.BatchState) | "wide", {"scale", "count"}),
        ((nn.BatchState, model[0]), {"count", "layers.0.weight", "layers.0.bias"}),
        (..., every),
    ):
        assert {name for name, spec in specs(model, {key: P("data")}).items() if spec == P("data")} == names


def test_the_first_rule_that_fits_counts():
    rules = {"layers.0.**": None, "**.weight": P("data"), ...: P("model")}
    want = {
        "layers.0.bias": P(),
        "layers.0.weight": P(),
        "layers.2.bias": P("model"),
        "layers.2.weight": P("data"),
    }
    assert specs(net(), rules) == specs(net(), list(rules.items())) == specs(net(), tuple(rules.items())) == want


def test_one_spec_for_all_and_a_function():
    assert set(specs(net(), P("data")).values()) == {P("data")}
    seen = []

    def last(name, leaf, mesh):
        seen.append((name, leaf.shape, mesh))
        return P(*[None] * (leaf.ndim - 1), "model") if leaf.ndim > 1 else None

    assert specs(net(), last)["layers.0.weight"] == P(None, "model")
    assert ("layers.0.weight", (8, 16), GRID) in seen


def test_metadata_count_where_no_rule_fits():
    model = nn.Module()
    model.a = nn.ParamState(jnp.ones((8, 8)), sharding=P(None, "model"))
    model.b = nn.ParamState(jnp.ones((8, 8)), sharding=("data", None))
    model.c = nn.ParamState(jnp.ones((8, 8)), sharding=("data", None))
    model.d = nn.ParamState(jnp.ones((8, 8)))
    assert specs(model, {"c": P("model")}) == {"a": P(None, "model"), "b": P("data", None), "c": P("model"), "d": P()}
    assert specs(model, {"a": None})["a"] == P()


def test_names_that_stand_for_axes():
    model = nn.Module()
    model.a = nn.ParamState(jnp.ones((8, 8, 8)), sharding=("embed", "mlp", "heads"))
    axes = {"embed": None, "mlp": ("data", "model"), "heads": None}
    assert specs(model, axes=axes) == {"a": P(None, ("data", "model"), None)}
    assert specs(model, axes={**axes, "mlp": "model", "heads": "data"}) == {"a": P(None, "model", "data")}
    assert specs(model, {"a": ("model",)}, axes={"model": "data"}) == {"a": P("data")}  # each name is looked up once
    assert specs(model, {"a": P(("embed", "mlp"))}, axes={"embed": "data", "mlp": "model"}) == {
        "a": P(("data", "model"))
    }


def test_any_path_of_a_shared_state_may_be_meant():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    assert list(specs(model)) == ["layers.0.bias", "layers.0.weight", "layers.1.bias"]
    assert specs(model, {"layers.1.weight": P("data")})["layers.0.weight"] == P("data")
    with pytest.raises(GraphError, match=r"layers\.1\.weight is f32\[8,8\], which has fewer axes"):
        specs(model, {"layers.1.weight": P(None, None, "data")})


def test_a_value_that_is_a_tree_has_a_path_for_each_array():
    model = nn.Module()
    model.params = nn.ParamState({"w": jnp.ones((8, 8)), "b": jnp.ones(8), "n": 3})
    assert specs(model, {"params.w": P("data")}) == {"params.b": P(), "params.n": P(), "params.w": P("data")}
    nn.shard(model, one_device(AxisType.Auto), {"params.w": P("data")})
    assert type(model.params.value["n"]) is int


@given(shape=st.lists(st.integers(0, 12), max_size=4).map(tuple), min_size=st.integers(0, 30), both=st.booleans())
def test_fully_sharded_splits_the_largest_dimension_that_can_be(shape, min_size, both):
    model = nn.Module()
    model.w = nn.ParamState(np.zeros(shape, np.float32))
    axis, count = (("data", "model"), 8) if both else ("model", 4)
    spec = specs(model, nn.fully_sharded(axis, min_size))["w"]
    fits = [size for size in shape if size > 0 and size % count == 0]
    if not fits or math.prod(shape) < min_size:
        assert spec == P()
    else:
        (place,) = [i for i, entry in enumerate(spec) if entry is not None]
        assert shape[place] == max(fits)
        assert shape[place] not in shape[place + 1 :]  # of equals the last
        assert spec[place] == axis


# ------------------------------------------------------------------------------------------------------------ errors


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_moved():
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
    before = [state.value for state in states(model).values()]
    rules = {
        "layers.0.wieght": P("data"),
        nn.BatchState: P(),
        "layers.0.weight": P("data", "model"),
        "layers.0.bias": P(None, "data"),
        "layers.1.weight": P("modle"),
        "layers.1.bias": ("data", ("model", "data")),
    }
    mesh = jax.make_mesh((1, 1), ("data", "model"))
    with pytest.raises(GraphError) as caught:
        nn.shard(model, mesh, rules)
    assert "6 is not a multiple" not in str(caught.value)  # one device
    assert all(old is state.value for old, state in zip(before, states(model).values(), strict=True))
    with pytest.raises(GraphError) as caught:
        nn.shardings(model, GRID, rules)
    assert str(caught.value) == (
        "Sequential cannot be laid out by these rules, nothing was moved: "
        "the rule 'layers.0.wieght' fits no state of Sequential; layers.0.weight comes nearest; "
        "the rule <class 'brainstate_nn.BatchState'> fits no state of Sequential; "
        "layers.0.bias is f32[6], which has fewer axes than P(None, 'data'); "
        "layers.0.weight is f32[8,6], and 6 is not a multiple of the 4 devices along 'model'; "
        "layers.1.bias is f32[4], which has fewer axes than ('data', ('model', 'data')); "
        "layers.1.bias has ('data', ('model', 'data')), where 'data' splits more than one dimension; "
        "layers.1.weight has P('modle',), but the mesh has no axis 'modle', only 'data', 'model' (map the "
        "name to an axis, `axes={'modle': 'data'}`)"
    )


def test_many_problems_are_counted():
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(20)])
    with pytest.raises(GraphError, match=r"; and 20 more$"):
        specs(model, P("nowhere"))


def test_metadata_that_do_not_fit_are_told_by_path():
    model = nn.Module()
    model.a = nn.ParamState(jnp.ones((8, 6)), sharding=(None, "model"))
    model.b = nn.ParamState(jnp.ones(8), sharding="model")
    with pytest.raises(
        GraphError, match=re.escape("a is f32[8,6], and 6 is not a multiple of the 4 devices")
    ) as caught:
        specs(model)
    assert "b is given 'model', which is neither a PartitionSpec" in str(caught.value)


def test_an_unknown_axis_of_fully_sharded():
    with pytest.raises(GraphError, match=r"bias has P\('fsdp',\), but the mesh has no axis 'fsdp'"):
        specs(nn.Linear(8, 8), nn.fully_sharded("fsdp"))


@each("rules", ["weight", 3, nn.ParamState, [("weight",)], [P("data")], {"weight": "data"}], ids=str)
def test_rules_that_are_none(rules):
    with pytest.raises(TypeError, match=r"rules must be a mapping|give a PartitionSpec"):
        specs(nn.Linear(8, 8), rules)


def test_a_mesh_that_is_none():
    for function in (nn.shard, nn.shardings):
        with pytest.raises(
            TypeError, match=r"mesh must be a Mesh, such as `jax.make_mesh\(\(8,\), \('data',\)\)`, not str"
        ):
            function(nn.Linear(8, 8), "data")
    with pytest.raises(TypeError, match="arrays need a mesh of devices"):
        nn.shard(nn.Linear(8, 8), GRID)


# ------------------------------------------------------------------------------------------ what follows a parameter

KEPT = {
    "adam": lambda: optax.adam(0.1),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.trace(0.9), optax.adamw(0.1)),
    "accumulation": lambda: optax.MultiSteps(optax.adam(0.1), 2),
    "hyperparameters": lambda: optax.inject_hyperparams(optax.adam)(0.1),
    "masked": lambda: optax.masked(optax.adam(0.1), lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)),
    "parts": lambda: optax.partition(
        {"a": optax.adam(0.1), "b": optax.sgd(0.1, 0.9)}, lambda tree: jax.tree.map(lambda x: "ab"[x.ndim > 1], tree)
    ),
    "lbfgs": lambda: optax.lbfgs(),
    "lookahead": lambda: optax.contrib.schedule_free_sgd(0.1),
}


@each("name", KEPT)
def test_what_optax_keeps_for_a_parameter_follows_it(name):
    model = net()
    optimizer = nn.Optimizer(model, KEPT[name]())
    found = specs([model, optimizer], {"0.layers.0.weight": P(None, "model"), "0.layers.2.weight": P("model")})
    shapes = {n: jnp.shape(x) for n, x in nn.to_flat_dict([model, optimizer]).items()}
    kept = {n: spec for n, spec in found.items() if n.startswith("1.opt_state")}
    seen = set()
    for n, spec in kept.items():
        if n.endswith("weight"):
            want = P(None, "model") if shapes[n] == (8, 16) else P("model")
            assert spec == (want if len(shapes[n]) == 2 else P())
            seen.add(spec)
        else:
            assert spec == P()
    assert seen >= {P(None, "model"), P("model")}


def test_rows_and_columns_of_adafactor_are_no_parameters():
    model = nn.Linear(128, 256)
    optimizer = nn.Optimizer(model, optax.adafactor(0.1))
    kept = {
        n: s for n, s in specs(optimizer, {"params.weight": P("data", "model")}).items() if n.startswith("opt_state")
    }
    assert set(kept.values()) == {P()}


def test_a_rule_for_the_optimizer_alone_wins():
    model = net()
    run = [model, nn.Optimizer(model, optax.adam(0.1)), nn.EMA(model, 0.9)]
    for rules in ({nn.OptState: nn.fully_sharded("data")}, {"1.opt_state": nn.fully_sharded("data")}):
        found = specs(run, rules)
        assert {spec for n, spec in found.items() if n.endswith(("bias", "weight")) and n.startswith("1.")} == {
            P("data"),
            P(None, "data"),
        }
        assert {spec for n, spec in found.items() if not n.startswith("1.opt_state")} == {P()}
    # what fits the parameter too was said of the parameter
    found = specs(run, {"0.layers.0.weight": P(None, "model"), ...: nn.fully_sharded("data")})
    assert {found[n] for n in found if n.endswith(r"layers.0.weight") and not n.startswith("2")} == {P(None, "model")}


def test_averages_follow():
    model = net()
    found = specs([nn.EMA(model, 0.9), model], {"1.layers.0.weight": P(None, "model")})
    assert found["0.averages.layers.0.weight"] == P(None, "model")
    assert found["0.averages.layers.2.weight"] == P()


# ------------------------------------------------------------------------------------------------------------- shard


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_shard_moves_values_and_nothing_else(kind):
    mesh, model = one_device(kind), nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5, rng=nn.RandomState(1)))
    model.count, model.host = State(3), nn.BatchState(np.ones(3, np.float32))
    shape, before = graphdef(model), nn.to_flat_dict(model)
    assert nn.shard(model, mesh, {"**.weight": P("data")}) is model
    assert graphdef(model) is shape
    plan = nn.shardings(model, mesh, {"**.weight": P("data")})
    after = nn.to_flat_dict(model)
    assert list(plan) == list(after) == list(before)
    for name, leaf in after.items():
        if name == "count":
            assert type(leaf) is int
            continue
        assert leaf.committed
        assert leaf.sharding == plan[name]
        assert leaf.dtype == before[name].dtype
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(leaf, before[name])
    assert model[1].rng.uniform() == nn.RandomState(1).uniform()


def test_tied_weights_stay_one_array():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight  # one state
    second.bias.value = first.bias.value  # one array in two states
    model = nn.shard(nn.Sequential(first, second), one_device(AxisType.Auto), nn.fully_sharded("data"))
    assert model[1].weight is model[0].weight
    assert model[1].bias.value is model[0].bias.value


def test_keys_numbers_and_what_has_no_axes_are_replicated():
    model = nn.Module()
    model.rng = nn.RandomState(0)
    model.keys = nn.ParamState(jax.random.split(jax.random.key(0), 8))
    model.scale = nn.ParamState(2.0)
    found = specs(model, nn.fully_sharded("data"))
    assert found == {"keys": P("data"), "rng.0": P(), "rng.1": P(), "scale": P()}


# -------------------------------------------------------------------------------------- shapes, and made in its place


def test_a_model_of_shapes():
    nn.seed(0)
    model = nn.abstract(lambda: [net(), nn.Dropout(0.5)], GRID, {"0.layers.0.weight": P("data", "model")})
    assert int(nn.default_rng().value[1]) == 0  # nothing is drawn
    like = [net(), nn.Dropout(0.5)]
    assert graphdef(model) == graphdef(like)
    for name, leaf in nn.to_flat_dict(model).items():
        live = nn.to_flat_dict(like)[name]
        assert (type(leaf), leaf.shape, leaf.dtype) == (jax.ShapeDtypeStruct, live.shape, live.dtype)
        assert leaf.sharding.spec == (P("data", "model") if name == "0.layers.0.weight" else P())
    assert nn.abstract(net)[0].weight.value.sharding is None


def test_a_model_of_shapes_is_filled():
    mesh = one_device(AxisType.Explicit)
    template, whole = nn.abstract(net, mesh, nn.fully_sharded("data")), net()
    nn.from_flat_dict(template, nn.to_flat_dict(whole))
    assert template[0].weight.value.sharding.spec == P(None, "data")
    assert (template[0].weight.value == whole[0].weight.value).all()


def test_an_error_of_the_plan_comes_before_anything_is_drawn():
    nn.seed(0)
    with pytest.raises(GraphError, match=r"layers\.0\.weight has P\('nowhere',\)"):
        nn.init_sharded(net, one_device(AxisType.Auto), {"layers.0.weight": P("nowhere")})
    assert int(nn.default_rng().value[1]) == 0


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_made_in_its_place_as_if_made_and_moved(kind):
    mesh, rules = one_device(kind), {"0.layers.0.weight": P("data")}
    stream = nn.RandomState(5)

    def build():
        first = net()
        return [first, nn.Dropout(0.5, rng=stream), nn.BatchNorm(3), {"tied": first[0]}]

    nn.seed(0)
    want = nn.shard(build(), mesh, rules)
    count = int(nn.default_rng().value[1])
    nn.seed(0)
    stream = nn.RandomState(5)
    model = nn.init_sharded(build, mesh, rules)
    assert graphdef(model) == graphdef(want)
    assert model[3]["tied"] is model[0][0]
    assert model[1].rng is stream  # what it shares with the outside stays shared
    assert int(nn.default_rng().value[1]) == count
    assert not nn.default_rng().value[1].committed
    ours, theirs = nn.to_flat_dict(model), nn.to_flat_dict(want)
    for name, leaf in theirs.items():
        assert ours[name].sharding == leaf.sharding
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(ours[name], leaf)


# ---------------------------------------------------------------------------------------------------------- gathered


def test_gathered_changes_nothing_where_nothing_is_spread():
    layer = nn.Linear(8, 4)
    before = layer.weight.value
    with nn.gathered(layer):
        assert layer.weight.value is before
    layer = nn.shard(nn.Linear(8, 4), one_device(AxisType.Auto), nn.fully_sharded("data"))
    before = layer.weight.value
    with nn.gathered(layer):
        assert layer.weight.value is before


def test_gathered_is_whole_inside_and_as_before_outside():
    mesh = one_device(AxisType.Explicit, AxisType.Explicit)
    layer = nn.shard(nn.Linear(8, 4), mesh, {"weight": P("data", "model"), "bias": P(("data", "model"))})
    before = layer.weight.value
    layer.h = nn.HiddenState(jax.device_put(jnp.ones((2, 2)), jax.NamedSharding(mesh, P("data"))))
    for axes, weight, bias in (
        (None, P(None, None), P(None)),
        ("data", P(None, "model"), P("model")),
        (("data", "model"), P(None, None), P(None)),
        ((), P("data", "model"), P(("data", "model"))),
    ):
        with nn.gathered(layer, axes=axes):
            assert (layer.weight.value.sharding.spec, layer.bias.value.sharding.spec) == (weight, bias)
            assert layer.h.value.sharding.spec == P("data")  # not one of those that are meant
        assert layer.weight.value is before
    with nn.gathered(layer, "weight", nn.HiddenState), nn.gathered(layer):
        assert layer.h.value.sharding.spec == P(None, None)

    @nn.gathered(layer)
    def failing():
        layer.weight.value = layer.weight.value + 1.0
        raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert layer.weight.value is before
    with nn.gathered(layer):
        layer.weight.value = layer.weight.value + 1.0
    assert layer.weight.value.sharding.spec == P("data", "model")
    np.testing.assert_array_equal(layer.weight.value, before + 1.0)


def test_a_gradient_through_gathered_lies_as_its_parameter():
    layer = nn.shard(nn.Linear(8, 4, rng=nn.RandomState(0)), one_device(AxisType.Explicit), nn.fully_sharded("data"))
    alone, x = nn.Linear(8, 4, rng=nn.RandomState(0)), jnp.ones((2, 8))

    @nn.gathered(layer)
    def loss(x):
        return jnp.sum(layer(x) ** 2)

    value, grads = jit(lambda x: value_and_grad(loss, layer.states(nn.ParamState))(x))(x)
    want, others = value_and_grad(lambda: jnp.sum(alone(x) ** 2), alone.states(nn.ParamState))()
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(grads[("weight",)], others[("weight",)], rtol=1e-6)
    assert grads[("weight",)].sharding.spec == P("data", None)
