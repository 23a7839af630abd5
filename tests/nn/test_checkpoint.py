from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError, treefy_states


class Everything(nn.Module):
    def __init__(self, seed=0, size=3):
        key = jax.random.key(seed)
        self.layers = [nn.Linear(size, 2, rng=nn.RandomState(seed)), nn.Dropout(0.5, rng=nn.RandomState(seed))]
        self.norm = nn.BatchNorm(2)
        self.half = nn.ParamState(jax.random.normal(key, (5,), jnp.bfloat16))
        self.tiny = nn.ParamState(jax.random.normal(key, (5,)).astype(jnp.float8_e4m3fn))
        self.flag = nn.State(jnp.array([True, seed > 0]))
        self.steps = nn.State(seed)
        self.rate = nn.State(0.1 + seed)
        self.table = nn.State(np.arange(4, dtype=np.int64) + seed)
        self.scalar = nn.State(np.float32(seed))
        self.keys = nn.State({"a": jax.random.split(key, 3), "b": jax.random.key(seed, impl="rbg")})
        self.complex = nn.State(jnp.array(1j * seed))
        self.empty = nn.State(jnp.zeros((0, 3)))


def bits(value):
    value = jax.random.key_data(value) if jnp.issubdtype(getattr(value, "dtype", None), jax.dtypes.prng_key) else value
    return (str(np.asarray(value).dtype), np.shape(value), np.asarray(value).tobytes())


def all_bits(node):
    return [(type(leaf), bits(leaf)) for leaf in jax.tree.leaves(treefy_states(node))]


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


def test_state_trees_can_be_saved():
    net = nn.BatchNorm(2)
    expected = list(nn.to_flat_dict(net))
    assert list(nn.to_flat_dict(treefy_states(net))) == expected
    assert list(nn.to_flat_dict(treefy_states(net).to_flat())) == expected
    assert list(nn.to_flat_dict(net.states())) == expected
    assert list(nn.to_flat_dict(treefy_states(net), nn.ParamState)) == ["bias", "weight"]
    assert list(nn.to_flat_dict([net])) == [f"0.{name}" for name in expected]


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


def test_a_shared_state_has_one_name():
    net = nn.Linear(2, 2)
    twin = nn.Linear(2, 2)
    twin.weight = net.weight
    assert list(nn.to_flat_dict([net, twin])) == ["0.bias", "0.weight", "1.bias"]


def test_values_of_a_flat_dict_are_plain():
    flat = nn.to_flat_dict(Everything())
    assert type(flat["layers.0.weight"]) is np.ndarray
    assert flat["half"].dtype == jnp.bfloat16
    assert type(flat["steps"]) is int
    assert type(flat["rate"]) is float
    assert set(flat["keys.a"]) == {"impl", "data"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f.pop("layers.0.bias"), "missing: layers.0.bias"),
        (lambda f: f.update(extra=np.zeros(1)), "unexpected: extra"),
        (
            lambda f: f.update({"half": np.zeros(4, jnp.bfloat16)}),
            r"half is bfloat16\[5\] in the model, bfloat16\[4\] in the data",
        ),
        (
            lambda f: f.update({"half": np.zeros(5, np.float32)}),
            r"half is bfloat16\[5\] in the model, float32\[5\] in the data",
        ),
        (lambda f: f.update(steps=1.0), "steps is a int in the model, a float in the data"),
        (lambda f: f.update(steps=np.int32(1)), r"steps is a int in the model, int32\[\] in the data"),
        (
            lambda f: f.update({"keys.b": f["keys.a"]}),
            r"keys.b is key<rbg>\[\] in the model, key<fry>\[3\] in the data",
        ),
        (lambda f: f.update({"keys.b": {"impl": "dice", "data": np.zeros(2, np.uint32)}}), "keys.b: .*dice.*"),
        (
            lambda f: f.update({"keys.b": np.zeros(4, np.uint32)}),
            r"keys.b is key<rbg>\[\] in the model, uint32\[4\] in the data",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(change, text):
    flat = nn.to_flat_dict(Everything(1))
    change(flat)
    model = Everything(0)
    before = all_bits(model)
    with pytest.raises(GraphError, match=f"the values do not fit the model, nothing was written: {text}$"):
        nn.from_flat_dict(model, flat)
    assert all_bits(model) == before


def test_all_problems_are_in_one_message():
    flat = nn.to_flat_dict(nn.Linear(2, 3))
    flat["more"] = flat.pop("bias")
    flat["weight"] = flat["weight"].T
    with pytest.raises(GraphError) as caught:
        nn.from_flat_dict(nn.Linear(2, 3), flat)
    assert str(caught.value) == (
        "the values do not fit the model, nothing was written: missing: bias; "
        "weight is float32[2, 3] in the model, float32[3, 2] in the data; unexpected: more"
    )


def test_the_dictionary_given_is_not_changed():
    model = nn.Linear(2, 3)
    flat = nn.to_flat_dict(model)
    nn.from_flat_dict(model, flat)
    assert list(flat) == ["bias", "weight"]


def test_loading_does_not_change_where_arrays_are_nor_what_jit_knows():
    model, device = nn.Linear(2, 3), jax.devices()[0]
    model.weight.value = jax.device_put(model.weight.value, device)
    run = jax.jit(lambda tree: jax.tree.map(jnp.sum, tree))
    run(treefy_states(model))
    nn.from_flat_dict(model, nn.to_flat_dict(nn.Linear(2, 3)))
    assert model.weight.value.committed
    assert not model.bias.value.committed
    run(treefy_states(model))
    assert run._cache_size() == 1


def test_loading_into_a_model_of_shapes():
    model = nn.Linear(2, 3)
    full = nn.to_flat_dict(model)
    for state in model.states().values():
        state.value = jax.ShapeDtypeStruct(state.value.shape, state.value.dtype)
    nn.from_flat_dict(model, full)
    assert isinstance(model.weight.value, jax.Array)
    assert model(jnp.ones(2)).shape == (3,)


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
