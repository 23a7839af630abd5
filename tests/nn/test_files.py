from __future__ import annotations

import os

import jax.numpy as jnp
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError
from tests.nn.whole import Everything, all_bits


def test_round_trip_through_a_file_is_exact(tmp_path):
    first, second = Everything(1), Everything(0)
    assert all_bits(first) != all_bits(second)
    nn.save_states(tmp_path / "model.msgpack", first)
    nn.load_states(tmp_path / "model.msgpack", second)
    assert all_bits(first) == all_bits(second)
    assert second.layers[1].rng.normal().tolist() == first.layers[1].rng.normal().tolist()


def test_the_file_is_flax_msgpack_of_a_flat_dictionary(tmp_path):
    from flax import serialization

    path = os.fspath(tmp_path / "model.msgpack")
    nn.save_states(path, nn.Sequential(nn.Dropout(0.5, rng=nn.RandomState(3)), nn.Linear(2, 3)))
    with open(path, "rb") as file:
        flat = serialization.msgpack_restore(file.read())
    assert list(flat) == ["layers.0.rng.0", "layers.0.rng.1", "layers.1.bias", "layers.1.weight"]
    assert flat["layers.0.rng.0"]["impl"] == "threefry2x32"
    assert flat["layers.0.rng.0"]["data"].tolist() == [0, 3]
    assert flat["layers.1.weight"].shape == (2, 3)


def test_filters_choose_what_is_saved_and_what_is_loaded(tmp_path):
    first, second = Everything(1), Everything(0)
    second.norm.running_mean.value += 1.0
    nn.save_states(tmp_path / "p", first, nn.ParamState, nn.RandomState)
    nn.load_states(tmp_path / "p", second, nn.ParamState, nn.RandomState)
    assert second.half.value.tolist() == first.half.value.tolist()
    assert second.steps.value == 0
    assert second.norm.running_mean.value.tolist() == [1.0, 1.0]
    assert list(nn.to_flat_dict(first, nn.BatchState)) == ["norm.running_mean", "norm.running_var"]


def test_an_optimizer_goes_with_its_model(tmp_path):
    def make(seed):
        net = nn.Linear(2, 3, rng=nn.RandomState(seed))
        return {"net": net, "optimizer": nn.Optimizer(net, optax.adam(0.1))}

    first, second = make(0), make(1)
    grads = {path: jnp.ones_like(s.value) for path, s in first["net"].states().items()}
    first["optimizer"].update(grads)
    nn.save_states(tmp_path / "both", first)
    assert "optimizer.opt_state.0.mu.weight" in nn.to_flat_dict(first)
    nn.load_states(tmp_path / "both", second)
    for both in (first, second):
        both["optimizer"].update(grads)
    assert all_bits(first) == all_bits(second)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "model.msgpack"
    nn.save_states(path, nn.Linear(1, 1))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        nn.save_states(path, nn.Linear(2, 2))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.msgpack"]


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"notes.txt is not a file of `save_states`"):
        nn.load_states(path, nn.Linear(1, 1))
    path.write_bytes(b"\x01")
    with pytest.raises(ValueError, match=r"notes.txt is not a file of `save_states`: it holds a int"):
        nn.load_states(path, nn.Linear(1, 1))
    with pytest.raises(FileNotFoundError):
        nn.load_states(tmp_path / "none", nn.Linear(1, 1))


def test_a_file_of_another_model_lists_what_differs(tmp_path):
    nn.save_states(tmp_path / "a", Everything(size=3), nn.ParamState)
    with pytest.raises(GraphError, match=r"layers.0.weight is float32\[4, 2\] in the model, float32\[3, 2\] in the da"):
        nn.load_states(tmp_path / "a", Everything(size=4), nn.ParamState)
