from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError, graphdef
from tests.laws.layer import Called
from tests.nn.whole import Odd, all_bits
from tests.tables import each

MINE = [Called, Odd, jnp.swapaxes]


@pytest.mark.parametrize("suffix", ["msgpack", "safetensors"])
def test_every_sort_of_value(tmp_path, suffix):
    model = Odd(1)
    nn.save_model(tmp_path / f"m.{suffix}", model)
    copy = nn.load_model(tmp_path / f"m.{suffix}", MINE)
    assert all_bits(copy) == all_bits(model)
    assert copy.weak.value.weak_type
    assert not copy.half.value.weak_type
    assert copy.tied[1].weight is copy.layers[0].weight
    assert list(copy.by_number) == [3, 10]
    assert copy.strided.value.flags.writeable
    other = Odd(0)
    nn.load_states(tmp_path / f"m.{suffix}", other)  # a file of a model is one of its states
    assert all_bits(other) == all_bits(model)


def test_modes_names_tags_constants_and_constraints(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm(2).eval(), nn.gelu)
    model[0].weight = nn.Constrained(
        jnp.ones((2, 2)), nn.Chain(nn.Softplus(), nn.Affine(2.0, -1.0)), tag="mine", role="w"
    )
    model.table = np.arange(3)
    nn.save_model(tmp_path / "m", model)
    copy = nn.load_model(tmp_path / "m")
    assert graphdef(copy) is graphdef(model)
    assert [layer.training for layer in copy.layers[:3]] == [True, True, False]
    np.testing.assert_array_equal(copy[0].weight.value, model[0].weight.value)
    assert copy[0].weight.tag == {"mine"}


def test_containers_of_models_and_empty_ones(tmp_path):
    net = nn.Linear(1, 1)
    for model in ([net, {"a": net}], {3: net}, nn.Identity(), [], {"x": 1}):
        nn.save_model(tmp_path / "m", model)
        copy = nn.load_model(tmp_path / "m")
        assert type(copy) is type(model)
        assert graphdef(copy) is graphdef(model)
    copy = (nn.save_model(tmp_path / "m", [net, net]), nn.load_model(tmp_path / "m"))[1]
    assert copy[0] is copy[1]


def test_what_has_no_form_in_a_file_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "m.safetensors"
    nn.save_model(path, nn.Linear(1, 1))
    before = path.read_bytes()
    net = nn.Sequential(nn.Linear(1, 1), lambda x: x)
    with pytest.raises(GraphError, match=r"at layers\.1: .*lambda"):
        nn.save_model(path, net)
    with pytest.raises(GraphError, match=r"at tx"):
        nn.save_model(path, nn.Optimizer(nn.Linear(1, 1), optax.adam(0.1)))
    with pytest.raises(GraphError, match=r"a is a shape without a value"):
        nn.save_model(path, {"a": nn.State(jax.ShapeDtypeStruct((), "float32"))})
    with pytest.raises(
        TypeError, match=r"save_model takes a model, not a NestedDict: write `save_states\(path, tree\)`"
    ):
        nn.save_model(path, nn.Linear(1, 1).states().to_nest())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_is_not_allowed_is_neither_imported_nor_made(tmp_path, monkeypatch):
    path = tmp_path / "m"
    nn.save_model(path, Called(nn.Linear(1, 1)))
    with pytest.raises(GraphError) as caught:
        nn.load_model(path)
    assert str(caught.value) == (
        f"{path}: the GraphDef cannot be read:\n  at (root): the file names tests.laws.layer:Called, "
        'which is not allowed. If you trust the file, write `load_model(path, allow=[..., "tests.laws.layer"])`'
    )
    assert isinstance(nn.load_model(path, ["tests.laws.layer"]), Called)
    with pytest.raises(TypeError, match=r"`allow` must be a list: write `allow=\['tests.laws.layer'\]`"):
        nn.load_model(path, "tests.laws.layer")


@each("name", ["save_states", "Checkpoints", "load_model", "seed", "Policy"])
def test_of_this_package_only_what_models_are_made_of_is_allowed(tmp_path, name):
    if not hasattr(nn, name):
        pytest.skip("there is no such name")
    nn.save_model(tmp_path / "m", nn.Lambda(getattr(nn, name)))
    with pytest.raises(GraphError, match=f"the file names brainstate_nn:{name}, which is not allowed"):
        nn.load_model(tmp_path / "m")


def test_a_file_of_states_alone(tmp_path):
    nn.save_states(tmp_path / "m", nn.Linear(1, 1))
    with pytest.raises(
        ValueError, match=r"m holds states without their model: make the model, and write `load_states\(path, model\)`"
    ):
        nn.load_model(tmp_path / "m")


def test_a_dtype_that_jax_would_cut_short(tmp_path):
    with jax.enable_x64(True):
        nn.save_model(tmp_path / "m", {"a": nn.State(jnp.arange(3))})
        assert nn.load_model(tmp_path / "m")["a"].value.dtype == jnp.int64
    with pytest.raises(GraphError, match=r"m: a: int64 needs `jax.config.update\(\"jax_enable_x64\", True\)`"):
        nn.load_model(tmp_path / "m")
