"""Files that are damaged, or made to do harm: a clear error each, nothing run, nothing imported, nothing written."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pathlib
import random
import re
import struct
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import serialization

import brainstate_nn as nn
from brainstate_graph import State, graphdef, to_json, treefy_states
from tests.fuzz.files import damaged
from tests.nn.whole import Everything, all_bits
from tests.processes.hostile_files import HOSTILE, MODULE, sealed

_seen: list[str] | None = None


def _hook(event, args):
    if _seen is None or event not in ("import", "exec", "pickle.find_class", "os.system", "subprocess.Popen", "open"):
        return
    if event == "import" and args[0] in sys.modules:
        return
    if event == "open" and not (isinstance(args[0], str) and isinstance(args[1], str) and set(args[1]) & set("wax+")):
        return
    _seen.append(f"{event} {args[0]!r}")


sys.addaudithook(_hook)


@contextlib.contextmanager
def nothing_happens():
    """Nothing is imported, run or opened for writing, and memory does not grow by more than 100 MB at any time."""
    global _seen
    modules = set(sys.modules)
    if sys.platform == "linux":
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    start, _seen = _highest(), []
    try:
        yield
    finally:
        seen, _seen = _seen, None
    assert seen == []
    assert set(sys.modules) == modules
    assert _highest() - start < 100, "MB"


def _highest():
    if sys.platform != "linux":
        return 0
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024


def refused(path, load):
    """Load, where an error must name the file or one beside it; return whether there was one."""
    try:
        load()
    except (ValueError, OSError) as error:
        text = str(error)
    else:
        return False
    assert str(path.parent) in text
    assert len(text) < 5000
    return True


# ----------------------------------------------------------------------------------------------------------- damage


class Net(nn.Module):
    def __init__(self, seed):
        self.layers = [nn.Linear(3, 2, rng=nn.RandomState(seed)), nn.Dropout(0.5, rng=nn.RandomState(seed))]
        self.half = nn.ParamState(jnp.arange(5, dtype=jnp.bfloat16) + seed)
        self.flag = nn.State(np.array([True, seed > 0]))
        self.steps = nn.State(2**70 + seed)
        self.wide = nn.State({"c": np.array([seed, 1j]), "r": 0.5 + seed})
        self.tied = self.layers[0]


def as_shards(path, model):
    arrays = {name: np.asarray(leaf) for name, leaf in nn.to_flat_dict(model, nn.ParamState).items()}
    for i, (name, array) in enumerate(arrays.items()):
        safetensors.numpy.save_file({name: array}, path.with_name(f"{i}.safetensors"))
    places = {name: f"{i}.safetensors" for i, name in enumerate(arrays)}
    path.write_text(json.dumps({"weight_map": places}))


def as_flax(path, model):
    tree = {"params": [np.asarray(leaf) for leaf in nn.to_flat_dict(model, nn.ParamState).values()], "step": 3}
    path.write_bytes(serialization.to_bytes(tree))


def load_flax(path, model):
    return nn.load_states(path, {"params": dict(enumerate(model.states(nn.ParamState).values()))}, strict=False)


def load_params(path, model):
    return nn.load_states(path, model, nn.ParamState)


def load_whole(path, model):
    copy = nn.load_model(path, [Net])
    for state, other in zip(model.states().values(), copy.states().values(), strict=True):
        state.value = other.value


KINDS = {  # how to save and load, and whether every damage must be seen
    "states.msgpack": (nn.save_states, nn.load_states, True),
    "states.safetensors": (nn.save_states, nn.load_states, True),
    "model.msgpack": (nn.save_model, load_whole, True),
    "model.safetensors": (nn.save_model, load_whole, True),
    "flax.msgpack": (as_flax, load_flax, False),
    "theirs.safetensors.index.json": (as_shards, load_params, False),
}


@pytest.mark.parametrize("count", [50, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_an_error_or_harmless(tmp_path, kind, count):
    save, load, checked = KINDS[kind]
    path = tmp_path / kind
    first, model = Net(1), Net(0)
    save(path, first)
    files = {p: p.read_bytes() for p in tmp_path.iterdir()}
    load(path, model)
    loaded = all_bits(model)
    model = Net(0)
    before, tree = all_bits(model), treefy_states(model)
    rng = random.Random(f"{kind} {count}")
    errors = 0
    with nothing_happens():
        for _ in range(count):
            victim = rng.choice(list(files))
            data = damaged(rng, files[victim])
            victim_before = files[victim]
            with open(os.open(victim, os.O_WRONLY | os.O_TRUNC), "wb") as file:  # unlike `open`, unseen by the hook
                file.write(data)
            if refused(path, lambda: load(path, model)):
                errors += 1
                assert all_bits(model) == before
            else:
                assert not checked or all_bits(model) == loaded, data
                for state, value in zip(model.states().values(), tree.to_flat().to_dict_values().values(), strict=True):
                    state.value = value
            with open(os.open(victim, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                file.write(victim_before)
    assert errors > (0.9 if checked else 0.3) * count
    load(path, model)
    assert all_bits(model) == loaded


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][2]])
def test_every_bit_counts(tmp_path, kind):
    save, load, _ = KINDS[kind]
    path = tmp_path / kind
    save(path, [nn.State(jnp.arange(3.0)), nn.Dropout(0.5, rng=nn.RandomState(3))] if "states" in kind else Net(1))
    model = [nn.State(jnp.zeros(3)), nn.Dropout(0.5, rng=nn.RandomState(0))] if "states" in kind else Net(0)
    load(path, model)
    loaded, data = all_bits(model), path.read_bytes()
    step = 1 if "states" in kind else 7
    for bit in range(0, 8 * len(data), step):
        out = bytearray(data)
        out[bit // 8] ^= 1 << bit % 8
        path.write_bytes(out)
        assert refused(path, lambda: load(path, model)) or all_bits(model) == loaded, bit


# ------------------------------------------------------------------------------------------------------ hostile files


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w", bytes(50_000_000))
    return path.read_bytes()


def test_hostile_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / f"{MODULE}.py").write_text("import os\nos.mkdir('imported')\nx = print\n")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "victim"
    files = {**HOSTILE, "zip bomb": zip_bomb(tmp_path / "bomb")}
    (tmp_path / "bomb").unlink()
    path.write_bytes(sealed(graphdef=to_json(graphdef({"w": State(0)})), trees=to_json(graphdef({}))))
    state = State(jnp.float32([0]))
    nn.load_states(path, {"w": state})  # what the first time imports
    assert nn.load_model(path)["w"].value == state.value == 1
    gc.collect()
    state.value = before = jnp.float32([0])
    listing = sorted(os.listdir(tmp_path))
    loaded = {}
    with nothing_happens():
        for name, data in files.items():
            with open(os.open(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                file.write(data)
            strict = refused(path, lambda: nn.load_states(path, {"w": state}))
            loose = refused(path, lambda: nn.load_states(path, {"w": state}, strict=False))
            whole = refused(path, lambda: nn.load_model(path))
            if not (strict and whole):
                loaded[name] = (strict, whole)
            assert loose or strict or state.value is not before
            state.value = before
    # states of a damaged model may be right
    assert {name for name, (strict, _) in loaded.items() if not strict} == {
        name for name in files if name.startswith(("a model", "trees"))
    } | {"aliases in a ring"}
    assert {name for name, (_, whole) in loaded.items() if not whole} == set()
    assert sorted(os.listdir(tmp_path)) == listing
    assert len(files) > 250


def test_links_to_what_is_no_file(tmp_path):
    model = nn.Linear(1, 1)
    (tmp_path / "folder").mkdir()
    for name, target in {"to_folder": "folder", "ring": "ring", "dangling": "none", "device": "/dev/zero"}.items():
        os.symlink(target, tmp_path / name)
        with pytest.raises((ValueError, OSError), match=name):
            nn.load_states(tmp_path / name, model)
    nn.save_states(tmp_path / "real", model)
    os.symlink("real", tmp_path / "link")
    nn.load_states(tmp_path / "link", model)


def test_random_bytes_are_refused(tmp_path):
    path, model, rng = tmp_path / "m", Everything(0), random.Random(0)
    before = all_bits(model)
    with nothing_happens():
        for i in range(300):
            head = [
                b"",
                b"\x81\xa1w",
                b"\xde\x00\x02",
                struct.pack("<Q", 20) + b"{",
                b'{"weight_map":',
                b"\x81\xa1w\xc7\x20\x01",
            ]
            with open(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CREAT), "wb") as file:
                file.write(head[i % len(head)] + rng.randbytes(rng.randrange(60)))
            assert refused(path, lambda: nn.load_states(path, model))
    assert all_bits(model) == before
    assert jax.tree.leaves(before)
