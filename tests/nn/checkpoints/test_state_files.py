from __future__ import annotations

import functools
import json
import os
import pickle
import re
import struct
import sys
import time

import hypothesis.strategies as hs
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors
import safetensors.flax
import safetensors.numpy
from flax import linen, serialization
from hypothesis import given, settings

import brainstate_nn as nn
from brainstate_graph import GraphError, clone, states, treefy_states
from brainstate_nn._checkpoints.safetensors import SafetensorsFile
from tests.nn.whole import Everything, Odd, all_bits, bits
from tests.tables import each

FORMATS = pytest.mark.parametrize("suffix", ["msgpack", "safetensors"])


def read(path):
    """The arrays and texts of a file, by the libraries of the formats."""
    if str(path).endswith("safetensors"):
        with safetensors.safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    flat = serialization.msgpack_restore(path.read_bytes())
    return flat, flat.pop("__metadata__")


# ---------------------------------------------------------------------------------------------------------- round trips


def make_trained(seed):
    net = nn.Sequential(nn.Linear(3, 2, rng=nn.RandomState(seed)), nn.Dropout(0.5, rng=nn.RandomState(seed)))
    optimizer = nn.Optimizer(net, optax.chain(optax.clip(1.0), optax.adam(0.1)))
    optimizer.update({path: jnp.ones_like(s.value) for path, s in net.states(nn.ParamState).items()})
    return {"net": net, "optimizer": optimizer, "ema": nn.EMA(net, 0.9)}


KINDS = {
    "everything": Odd,
    "trained": make_trained,
    "integers": lambda seed: {3: nn.State(seed), 10: {1: nn.State(seed + 1)}},
}


@functools.cache
def made(kind, seed):
    return KINDS[kind](seed)


@FORMATS
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_is_exact(tmp_path, suffix, kind):
    first, second = made(kind, 1), clone(made(kind, 0))
    assert all_bits(first) != all_bits(second)
    nn.save_states(tmp_path / f"model.{suffix}", first)
    assert nn.load_states(tmp_path / f"model.{suffix}", second) == ((), ())
    assert all_bits(first) == all_bits(second)
    assert jax.tree.structure(treefy_states(first)) == jax.tree.structure(treefy_states(second))


@FORMATS
@settings(max_examples=40, deadline=None)
@given(
    number=hs.one_of(
        hs.integers(), hs.integers(-(2**70), 2**70), hs.floats(), hs.booleans(), hs.complex_numbers(),
        hs.integers(0, 2**64 - 1).map(lambda i: struct.unpack("<d", i.to_bytes(8, "little"))[0]),
    )
)  # fmt: skip
def test_numbers_of_python(tmp_path_factory, suffix, number):
    path = tmp_path_factory.getbasetemp() / f"number.{suffix}"
    model, other = nn.State(number), nn.State(type(number)(0))
    nn.save_states(path, [model])
    nn.load_states(path, [other])
    assert (type(other.value), bits(other.value)) == (type(number), bits(number))


@FORMATS
def test_a_weak_type_and_the_programs_of_jit_survive(tmp_path, suffix):
    model = {"scale": nn.State(jnp.full((2,), 0.5)), "net": nn.Linear(2, 2)}
    run = jax.jit(lambda tree: jax.tree.map(jnp.sum, tree))
    run(treefy_states(model))
    nn.save_states(tmp_path / f"m.{suffix}", model)
    nn.load_states(tmp_path / f"m.{suffix}", model)
    assert model["scale"].value.weak_type
    run(treefy_states(model))
    assert run._cache_size() == 1


@FORMATS
def test_a_tied_weight_stands_once_and_answers_to_both_names(tmp_path, suffix):
    path = tmp_path / f"tied.{suffix}"

    def make(seed, tied):
        one, two = (nn.Linear(2, 2, use_bias=False, rng=nn.RandomState(seed + i)) for i in range(2))
        if tied:
            two.weight = one.weight
        return [one, two]

    first = make(0, True)
    nn.save_states(path, first)
    assert list(read(path)[0]) == ["0.weight"]
    for tied in (True, False):
        second = make(5, tied)
        nn.load_states(path, second)
        for layer in second:
            np.testing.assert_array_equal(layer.weight.value, first[0].weight.value)
    # what is not asked for under the other name is not told of either
    assert nn.load_states(path, first[:1]) == ((), ())
    assert nn.load_states(path, make(0, False), rename={}) == ((), ())


@FORMATS
def test_filters_choose_what_is_saved_and_what_is_loaded(tmp_path, suffix):
    path = tmp_path / f"p.{suffix}"
    first, second = Everything(1), Everything(0)
    second.norm.running_mean.value += 1.0
    nn.save_states(path, first, nn.ParamState, nn.RandomState)
    nn.load_states(path, second, nn.ParamState, nn.RandomState)
    assert second.half.value.tolist() == first.half.value.tolist()
    assert second.steps.value == 0
    assert second.norm.running_mean.value.tolist() == [1.0, 1.0]


@FORMATS
def test_state_trees_are_saved_as_models(tmp_path, suffix):
    model = nn.BatchNorm(2)
    files = [tmp_path / f"{i}.{suffix}" for i in range(3)]
    for path, what in zip(files, (model, treefy_states(model), treefy_states(model).to_flat()), strict=True):
        nn.save_states(path, what)
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


@FORMATS
def test_names_casts_and_parts_are_those_of_from_flat_dict(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    nn.save_states(path, {"old": nn.Linear(2, 3)})
    model = {"new": nn.Linear(2, 3, param_dtype=jnp.bfloat16)}
    with pytest.raises(GraphError, match=rf"^{re.escape(str(path))}: the values do not fit .* missing: new.bias"):
        nn.load_states(path, model)
    nn.load_states(path, model, rename=[(r"^old\.", "new.")], cast=True)
    assert model["new"].weight.value.dtype == jnp.bfloat16
    assert nn.load_states(path, model, strict=False).unexpected == ("old.bias", "old.weight")


@FORMATS
def test_an_abstract_model_on_several_devices_is_filled_where_it_will_be(tmp_path, suffix):
    mesh = jax.make_mesh((1,), ("d",))
    sharding = jax.NamedSharding(mesh, jax.P("d"))
    model = nn.Linear(4, 2)
    want = all_bits(model)
    nn.save_states(tmp_path / f"m.{suffix}", model)
    for state in model.states().values():
        state.value = jax.ShapeDtypeStruct(state.value.shape, state.value.dtype, sharding=sharding)
    nn.load_states(tmp_path / f"m.{suffix}", model)
    assert all_bits(model) == want
    assert model.weight.value.sharding == sharding


@FORMATS
def test_under_an_explicit_mesh_and_without_rank_promotion(tmp_path, suffix):
    first, second = made("everything", 1), clone(made("everything", 0))
    with jax.set_mesh(jax.make_mesh((1,), ("d",))), jax.numpy_rank_promotion("raise"):
        nn.save_model(tmp_path / f"m.{suffix}", first)
        nn.load_states(tmp_path / f"m.{suffix}", second)
        assert all_bits(second) == all_bits(first) == all_bits(nn.load_model(tmp_path / f"m.{suffix}", [Odd]))


# --------------------------------------------------------------------------------------------- how others see the files


@FORMATS
def test_a_file_is_a_flat_dictionary_for_the_library_of_its_format(tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    net = nn.Sequential(nn.Dropout(0.5, rng=nn.RandomState(3)), nn.Linear(2, 3))
    nn.save_states(path, net, metadata={"format": "pt", "who": "ü"})
    arrays, texts = read(path)
    assert sorted(arrays) == ["layers.0.rng.0", "layers.0.rng.1", "layers.1.bias", "layers.1.weight"]
    assert arrays["layers.0.rng.0"].tolist() == [0, 3]
    np.testing.assert_array_equal(arrays["layers.1.weight"], net[1].weight.value)
    assert texts.pop("format") == "pt"
    assert texts.pop("who") == "ü"
    assert json.loads(texts["brainstate_nn"].partition(" ")[2])["kinds"] == {"layers.0.rng.0": "key threefry2x32"}


def test_dtypes_of_safetensors_are_its_own_where_it_has_them(tmp_path):
    path = tmp_path / "m.safetensors"
    nn.save_states(path, made("everything", 1))
    with safetensors.safe_open(path, "numpy") as file:
        codes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert codes["tiny"] == "F8_E4M3"
    assert codes["half"] == "BF16"
    assert codes["complex"] == "C64"
    assert codes["wide.complex128"] == codes["narrow.int4"] == "U8"


def test_loading_what_safetensors_wrote(tmp_path):
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    arrays = nn.to_flat_dict(model)
    safetensors.flax.save_file(dict(arrays), tmp_path / "theirs", {"format": "flax"})
    nn.load_states(tmp_path / "theirs", other)
    assert all_bits(model) == all_bits(other)


def test_a_dtype_that_nobody_here_has_is_told_where_it_is_needed(tmp_path):
    path = tmp_path / "m.safetensors"
    rows = {"w": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}
    rows["b"] = {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}
    head = json.dumps(rows).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(2) + np.float32(7).tobytes())
    one = nn.State(jnp.zeros(1))
    assert nn.load_states(path, {"b": one}, strict=False).unexpected == ("w",)
    assert one.value == 7
    with pytest.raises(ValueError, match=r"m.safetensors: w has the dtype F4, which is not supported"):
        nn.load_states(path, {"w": nn.State(jnp.zeros(4))})


def test_loading_what_flax_wrote(tmp_path):
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(3)(linen.BatchNorm(use_running_average=False)(x))

    variables = Net().init(jax.random.key(0), jnp.ones((4, 2)))
    (tmp_path / "linen.msgpack").write_bytes(serialization.to_bytes(variables))
    model = {"norm": nn.BatchNorm(2), "out": nn.Linear(2, 3)}
    nn.load_states(
        tmp_path / "linen.msgpack",
        model,
        rename={
            "params.BatchNorm_0.bias": "norm.bias", "params.BatchNorm_0.scale": "norm.weight",
            "batch_stats.BatchNorm_0.mean": "norm.running_mean", "batch_stats.BatchNorm_0.var": "norm.running_var",
            "params.Dense_0.bias": "out.bias", "params.Dense_0.kernel": "out.weight",
        },
    )  # fmt: skip
    np.testing.assert_array_equal(model["out"].weight.value, variables["params"]["Dense_0"]["kernel"])


def test_values_that_flax_writes_besides_arrays(tmp_path):
    tree = {"a": [np.float32(1.5), 2, {"0": 3.5}], "c": 1 + 2j, "t": [True], "7": np.arange(3)}
    (tmp_path / "m").write_bytes(serialization.msgpack_serialize({**tree, "note": "text", "none": None}))
    zeros = {"a": [np.float32(0), 0, {"0": 0.0}], "c": 0j, "t": [False], "7": np.zeros(3, int)}
    model = jax.tree.map(nn.State, zeros)
    assert nn.load_states(tmp_path / "m", model, strict=False).unexpected == ("none", "note")
    for state, want in zip(
        jax.tree.leaves(model, is_leaf=lambda x: isinstance(x, nn.State)), jax.tree.leaves(tree), strict=True
    ):
        assert (type(state.value), bits(state.value)) == (type(want), bits(want))


def test_an_array_that_flax_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 8)
    model, other = nn.Linear(3, 5, param_dtype=jnp.bfloat16), nn.Linear(3, 5, param_dtype=jnp.bfloat16)
    nn.save_states(tmp_path / "m", model)
    assert b"__msgpack_chunked_array__" in (tmp_path / "m").read_bytes()
    nn.load_states(tmp_path / "m", other)
    assert all_bits(model) == all_bits(other)


def write_shards(folder, arrays, count=2):
    names = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    places = {name: names[i % count] for i, name in enumerate(arrays)}
    for place in names:
        safetensors.numpy.save_file({n: np.asarray(a) for n, a in arrays.items() if places[n] == place}, folder / place)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}, indent=2))
    return index


def test_the_shards_of_hugging_face(tmp_path):
    model, other = (nn.MLP(2, 3, 4, 3, rng=nn.RandomState(i)) for i in range(2))
    index = write_shards(tmp_path, nn.to_flat_dict(model), 3)
    assert nn.load_states(index, other) == ((), ())
    assert all_bits(model) == all_bits(other)


@each(
    ("change", "text"),
    [
        (lambda m: {**m, "more": m["bias"]}, r"of-00002.safetensors has no more, which .*index.json lists there"),
        (lambda m: {**m, "bias": "../secret"}, r"index.json names '../secret', which is not a file in the same folder"),
        (
            lambda m: {**m, "bias": "model.safetensors.index.json"},
            "json is an index of files, but another index lists it",
        ),
        (lambda m: {**m, "bias": 3}, "a value is not the name of a file"),
        (lambda m: [], "it is not an index of files"),
    ],
)
def test_an_index_that_is_wrong(tmp_path, change, text):
    model = nn.Linear(2, 3)
    index = write_shards(tmp_path, nn.to_flat_dict(model))
    found = json.loads(index.read_text())
    index.write_text(json.dumps({**found, "weight_map": change(found["weight_map"])}))
    with pytest.raises(ValueError, match=text):
        nn.load_states(index, model)


def test_a_shard_that_is_missing_is_named(tmp_path):
    model = nn.Linear(2, 3)
    index = write_shards(tmp_path, dict(nn.to_flat_dict(model)))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-00002-of-00002\.safetensors"):
        nn.load_states(index, model)


@pytest.mark.parametrize("load", [nn.load_states, lambda path, model: nn.load_model(path)])
def test_each_array_is_read_once_and_only_where_it_is_wanted(tmp_path, monkeypatch, load):
    model = {"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)}
    nn.save_model(tmp_path / "m.safetensors", model)
    seen, read = [], SafetensorsFile.__getitem__
    monkeypatch.setattr(SafetensorsFile, "__getitem__", lambda self, name: (seen.append(name), read(self, name))[1])
    load(tmp_path / "m.safetensors", model)
    assert seen == ["a.bias", "a.weight", "b.bias", "b.weight"]
    seen.clear()
    nn.load_states(tmp_path / "m.safetensors", {"b": model["b"]}, strict=False)
    assert seen == ["b.bias", "b.weight"]
    write_shards(tmp_path, nn.to_flat_dict(model))
    seen.clear()
    nn.load_states(tmp_path / "model.safetensors.index.json", model)
    assert seen == ["a.bias", "a.weight", "b.bias", "b.weight"]


# --------------------------------------------------------------------------------------------------- names and aliases


def run_of(seed, *parts):
    net = nn.Linear(2, 2, rng=nn.RandomState(seed))
    made = {"net": net, "average": nn.EMA(net, 0.9), "all": [net]}
    return {part: made[part] for part in parts}


@FORMATS
@each("parts", [("net", "average", "all"), ("net", "all"), ("all", "average", "net"), ("average", "net")])
def test_what_is_shared_is_named_by_the_part_that_was_defined_first(tmp_path_factory, suffix, parts):
    path = tmp_path_factory.mktemp("run") / f"run.{suffix}"
    run = run_of(0, *parts)
    nn.save_states(path, run)
    prefix = {"net": "net.", "all": "all.0.", "average": "average.params."}[parts[0]]
    names = list(nn.to_flat_dict(run, nn.ParamState))
    assert sorted(names) == [f"{prefix}bias", f"{prefix}weight"]
    assert set(names) <= set(read(path)[0])
    # By any of its names, with `rename` and without, and also where it was stored under another one.
    net = nn.Linear(2, 2, rng=nn.RandomState(1))
    for target, rename in ((net, [(r"^net\.", "")]), ({"net": net}, None), ({"x": net}, {"net.weight": "x.weight"})):
        if "net" in parts:
            net.weight.value = jnp.zeros((2, 2))
            nn.load_states(path, target, strict=False, rename=rename)
            np.testing.assert_array_equal(net.weight.value, states(run, nn.ParamState)[tuple_of(run, "weight")].value)


def tuple_of(run, name):
    return next(path for path in states(run, nn.ParamState) if path[-1] == name)


@FORMATS
def test_an_empty_checkpoint_is_never_written(tmp_path, suffix):
    for model, filters in ((nn.Identity(), ()), (nn.Linear(1, 1), (nn.BatchState,)), ([], ())):
        with pytest.raises(GraphError, match=r"nothing was written: .* (holds no state|its states are bias, weight)"):
            nn.save_states(tmp_path / f"m.{suffix}", model, *filters)
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------- what cannot be in a file


@FORMATS
def test_what_a_file_cannot_hold_is_refused_before_anything_is_written(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    nn.save_states(path, nn.Linear(1, 1))
    before = path.read_bytes()
    gone = nn.State(jnp.ones(3))
    gone.value.delete()
    model = {
        "text": nn.State("hello"), "fine": nn.State(1), "shape": nn.State(jax.ShapeDtypeStruct((2,), "float32")),
        "gone": gone, "thing": nn.State([object()]), "when": nn.State(np.array(["2024"], "M8[Y]")),
        "big": nn.State(np.arange(3, dtype=">f4")), "mask": nn.State(np.ma.masked_array([1], [True])),
        "\ud800": nn.State(1),
    }  # fmt: skip
    with pytest.raises(GraphError) as caught:
        nn.save_states(path, model)
    for text in (
        "the states cannot be saved, nothing was written: ",
        "text is a str, but a file holds arrays and numbers: make it an attribute, or leave it out by a filter",
        "shape is a shape without a value: initialise or load the model first",
        "gone was donated, so its value is gone",
        "thing.0 is a object, but",
        "when has the dtype <M8[Y], which a file cannot hold: cast it",
        "big has the dtype >f4, which a file cannot hold: cast it",
        "mask is a MaskedArray, but",
        r"'\ud800' is not a name that a file can hold: rename the attribute or key",
    ):
        assert text in str(caught.value)
    assert "fine" not in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_names_and_texts_that_files_have_for_themselves(tmp_path):
    with pytest.raises(
        GraphError, match="__metadata__ is a name that this package writes itself: rename the attribute"
    ):
        nn.save_states(tmp_path / "m", {"__metadata__": nn.State(1)})
    with pytest.raises(
        ValueError, match="metadata cannot have the key 'brainstate_nn', which this package writes itself"
    ):
        nn.save_states(tmp_path / "m", nn.Linear(1, 1), metadata={"brainstate_nn": ""})
    with pytest.raises(
        TypeError, match=r"metadata must map texts to texts, as in `{\"format\": \"pt\"}`, not 'a' to 1"
    ):
        nn.save_states(tmp_path / "m", nn.Linear(1, 1), metadata={"a": 1})
    assert os.listdir(tmp_path) == []


def test_a_header_that_readers_of_safetensors_do_not_take(tmp_path):
    with pytest.raises(
        GraphError, match=r"m.safetensors was not written: names .* take 1000\d+ bytes, .* `.msgpack` f"
    ):
        nn.save_states(tmp_path / "m.safetensors", nn.Linear(1, 1), metadata={"long": "x" * 100_000_000})
    assert os.listdir(tmp_path) == []


def test_what_is_spread_over_processes_is_refused(tmp_path, monkeypatch):
    kind = type(jnp.ones(2))
    monkeypatch.setattr(kind, "is_fully_addressable", property(lambda self: False))
    monkeypatch.setattr(kind, "is_fully_replicated", property(lambda self: self.ndim == 0))
    with pytest.raises(GraphError, match=r"written: a is spread over several processes: save it with `Checkpoints`$"):
        nn.save_states(tmp_path / "m", {"a": nn.State(jnp.ones(2)), "everywhere": nn.State(jnp.ones(()))})
    assert os.listdir(tmp_path) == []


def test_saving_inside_of_a_compiled_function_is_refused(tmp_path):
    model = nn.Linear(1, 1)

    @jax.jit
    def save(x):
        nn.save_states(tmp_path / "m", {"x": nn.State(x), "model": model})
        return x

    with pytest.raises(GraphError, match="x is being traced: save outside of the compiled function"):
        save(1.0)


# -------------------------------------------------------------------------------------------------- whole or not at all


@FORMATS
def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"model.{suffix}"
    nn.save_states(path, nn.Linear(1, 1))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            nn.save_states(path, nn.Linear(2, 2))
    assert path.read_bytes() == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        nn.save_states(tmp_path / "folder", nn.Linear(2, 2))
    assert sorted(os.listdir(tmp_path)) == ["folder", path.name]


def test_what_killed_saves_left_is_removed_after_an_hour(tmp_path):
    path = tmp_path / "model.msgpack"
    old, new = (tmp_path / f"model.msgpack.{i}.0123abcd.part" for i in (1, 2))
    others = [tmp_path / name for name in ("model.msgpack.part", "xmodel.msgpack.1.0123abcd.part", "notes")]
    for left in (old, new, *others):
        left.mkdir()
        (left / ".tmp").write_text("half")
    for left in (old, *others):
        for file in (left / ".tmp", left):
            os.utime(file, (time.time() - 4000,) * 2)
    link = tmp_path / "model.msgpack.3.0123abcd.part"
    link.symlink_to(others[0])
    os.utime(link, (0, 0), follow_symlinks=False)
    others.append(link)
    nn.save_states(path, nn.Linear(1, 1))
    assert sorted(tmp_path.iterdir()) == sorted([path, new, *others])


def test_a_name_alone_is_a_file_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nn.save_states("m", nn.Linear(1, 1))
    nn.load_states("m", nn.Linear(1, 1))
    assert os.listdir(tmp_path) == ["m"]


# ------------------------------------------------------------------------------------------------ files of other things


@each(
    ("data", "text"),
    [
        (
            b"hello",
            "notes is damaged, or no file of `save_states`: it begins like neither safetensors nor a map of msg",
        ),
        (b"", "notes is damaged, or no file of `save_states`: it begins like neither"),
        (b"\x80", None),
        (b"\x81\xa1a", "notes is damaged, or no file of `save_states`: it is cut off"),
        (b"\x80\x80", "notes is damaged, or no file of `save_states`: there are bytes after its end"),
        (b"PK\x03\x04", r"notes is a zip archive, as `np.savez`, `torch.save` and `save_program` write: not a file of"),
        (pickle.dumps([1]), "notes is a pickle, which may run any code when it is read: save it as safetensors"),
        (b"\x89HDF\r\n", "notes is an HDF5 file, as Keras writes: not a file of `save_states`"),
        (b'{"a": [1]}', "notes is damaged, or no file of `save_states`: it is not an index of files: 'weight_map'"),
        (b"\x05\0\0\0\0\0\0\0{", "notes is damaged, or no file of `save_states`: .*"),
    ],
)
def test_a_file_of_something_else(tmp_path, data, text):
    path = tmp_path / "notes"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=text or "missing: bias"):
        nn.load_states(path, nn.Linear(1, 1))


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        nn.load_states(tmp_path / "none", nn.Linear(1, 1))
    with pytest.raises(
        ValueError, match="is a folder: name the file in it, or restore a step of orbax with `Checkpoints`"
    ):
        nn.load_states(tmp_path, nn.Linear(1, 1))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe is not a file$"):
        nn.load_states(tmp_path / "pipe", nn.Linear(1, 1))


def test_safetensors_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(
        ImportError, match=r"files of safetensors need its library: run `pip install 'safetensors>=0.8'`"
    ):
        nn.save_states(tmp_path / "m.safetensors", nn.Linear(1, 1))
    nn.save_states(tmp_path / "m.msgpack", nn.Linear(1, 1))
