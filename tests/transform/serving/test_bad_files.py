"""Files that are no program, saves that fail, and calls that are wrong."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import sys
import zipfile
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State
from brainstate_transform import deserialize, export, jit, load_program, save_program
from tests.transform.serving.test_program_file import bits, classifier, members, reader, served


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "reader.npz"
    save_program(path, read=export(reader(), jnp.ones((2, 3))))
    return path


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def written(path, **changes):
    """The good file with other members."""
    with zipfile.ZipFile(path, "w") as file:
        for name, data in changes.items():
            file.writestr(name.replace("__", "/"), data)
    return path


one = jnp.float32(1.0)


def test_a_damaged_file_is_refused_or_whole(good, tmp_path):
    draw, data, whole = random.Random(0), good.read_bytes(), members(good)
    path, refused = tmp_path / "damaged.npz", 0
    for i in range(200):
        damaged = bytearray(data)
        if i % 4 == 0:
            del damaged[draw.randrange(len(data)) :]
        elif i % 4 == 1:
            start = draw.randrange(len(data))
            damaged[start : start + 100] = draw.randbytes(len(damaged[start : start + 100]))
        else:
            damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        said = ""
        try:
            load_program(path)
        except ValueError as error:
            said = str(error)
            refused += 1
        # what is read must be whole: a date, or another thing that nobody reads, may be damaged
        assert said.startswith(f"{path} is not a file of `save_program`, or it is damaged: ") or members(path) == whole
    assert refused > 180


def test_a_foreign_file_is_refused(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = members(good)
    about = json.loads(parts["program.json"])
    pickled, short = io.BytesIO(), io.BytesIO()
    np.save(pickled, np.array([Bomb()], dtype=object))
    np.save(short, np.ones(3, np.float32))
    np.savez(tmp_path / "plain.npz", a=np.ones(3))
    for other in [
        b"", b"hello", parts["functions/0"], (tmp_path / "plain.npz").read_bytes(),
        {"program.json": b"[1, 2]"}, {"program.json": b"{}"}, {"program.json": b"\xff"},
        {"program.json": json.dumps({**about, "version": 2})}, {"program.json": json.dumps({**about, "states": 3})},
        {"program.json": json.dumps({**about, "format": "other"})},
        {"program.json": json.dumps({**about, "functions": [{"name": "read"}]})},
        {"program.json": json.dumps({**about, "states": [{**said, "key": "no"} for said in about["states"]]})},
        {"program.json": json.dumps({**about, "states": [{**said, "dtype": "no"} for said in about["states"]]})},
        {"states/0.npy": pickled.getvalue()}, {"states/0.npy": short.getvalue()}, {"states/0.npy": b"hello"},
        {"functions/0": b"hello"}, {"functions/0": b""}, {"functions/0": parts["functions/0"][:50]},
    ]:  # fmt: skip
        path = tmp_path / "foreign.npz"
        if isinstance(other, bytes):
            path.write_bytes(other)
        else:
            written(path, **{**parts, **other})
        with pytest.raises(ValueError, match=r"foreign\.npz is not a file of `save_program`, or it is damaged: ."):
            load_program(path)
    assert not (tmp_path / "exploded").exists()
    assert load_program(written(path, **parts)).names == ("read",)  # so each of them was refused for its own part
    with pytest.raises(FileNotFoundError):
        load_program(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match=r"brainstate program of version 2, and this library reads version 1"):
        load_program(written(path, **{**parts, "program.json": json.dumps({**about, "version": 2})}))


def test_a_program_of_another_version_that_cannot_run_says_so(good, tmp_path):
    parts = members(good)
    exported = jax.export.deserialize(bytearray(parts["functions/0"]))
    strange = bytes(dataclasses.replace(exported, mlir_module_serialized=b"of a later time").serialize())
    about = {**json.loads(parts["program.json"]), "jax": "99.1"}
    path = written(tmp_path / "later.npz", **{**parts, "program.json": json.dumps(about), "functions/0": strange})
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        load_program(path).read(jnp.ones((2, 3)))
    assert caught.value.__notes__[-1] == f"`read` was exported by JAX 99.1, and this is JAX {jax.__version__}"


def test_a_save_that_fails_leaves_the_file_that_was_there(good, tmp_path, monkeypatch):
    path = tmp_path / "program.npz"
    save_program(path, export(reader(), jnp.ones((2, 3))))
    before = path.read_bytes()
    for module, name in [(os, "replace"), (os, "fsync"), (np.lib.format, "write_array")]:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *args, **kwargs: (_ for _ in ()).throw(OSError("no space left")))
            with pytest.raises(OSError, match="no space left"):
                save_program(path, export(classifier(), jnp.ones((5, 4, 4, 1))))
        assert os.listdir(tmp_path) == ["program.npz"]
        assert path.read_bytes() == before


def test_wrong_calls_are_told_and_change_nothing(tmp_path):
    read = reader()
    x = jnp.ones((2, 3))
    program = served(tmp_path, read=export(read, x), again=export(read, x))
    before = program.states
    for call, error, text in [
        (
            lambda: program.read(jnp.ones((4, 3))), TypeError,
            r"`read` takes \(f32\[2,3\],\) as its arguments, not \(f32\[4,3\],\)",
        ),
        (lambda: program.read(x, x), TypeError, r"`read` takes .* as its arguments, not \(f32\[2,3\], f32\[2,3\]\)"),
        (lambda: program.read(x=x), TypeError, r"`read` takes .* as its arguments, not \(\)"),
        (lambda: program.read(x, y=x), TypeError, r"`read` takes \{\} as its keywords, not \{y: f32\[2,3\]\}"),
        (lambda: program.read(jnp.ones((2, 3), int)), TypeError, r"not \(i32\[2,3\],\)"),
        (lambda: program(x), TypeError, r"has several functions: name one, as in `program\.read\(\.\.\.\)`"),
        (lambda: program.pure(), TypeError, r"has several functions"),
        (lambda: program.write(x), AttributeError, r"<Program of read, again .*> has no function 'write'"),
        (lambda: program.pure("read")({}, x), ValueError, r"`read` needs the state 'cell\.\w+', which was not given"),
        (
            lambda: program.pure("read")({**before, "head.bias": x}, x), TypeError,
            r"`read` takes f32\[2\] as state head\.bias, not f32\[2,3\]",
        ),
        (lambda: setattr(program, "states", {}), ValueError, r"not states of <Program.*: without cell\.\w+; without"),
        (lambda: setattr(program, "states", {**before, "z": x}), ValueError, r": with z, which it has not$"),
        (
            lambda: setattr(program, "states", {**before, "head.bias": x}), ValueError,
            r": head\.bias is f32\[2\], and f32\[2,3\] was given",
        ),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            call()
        assert bits(program.states) == bits(before)


def test_what_cannot_be_saved(tmp_path):
    w = State(jnp.ones(3))
    f = jit(lambda x, w=w: x * w.value)
    exported = export(f, one)
    grows, fades = State(jnp.ones(2)), State(jnp.ones(2))

    def grow(grows=grows):
        grows.value = jnp.concatenate([grows.value, grows.value])

    path = tmp_path / "program.npz"
    clash = State({"a.b": one, "a": {"b": one}})
    for programs, error, text in [
        ({}, TypeError, r"save_program takes what `export` returned: write `save_program\(path, export\(jit\(fun\), "),
        ({"f": f}, TypeError, r"f is <.*>, and must come from `export` in this process: `export\(jit\(f\), \.\.\.\)`"),
        ({"f": deserialize(exported.serialize())}, TypeError, r"must come from `export` in this process"),
        ({"states": exported}, TypeError, r"cannot be named 'states', as a Program has it for itself"),
        ({"_f": exported}, TypeError, r"cannot be named '_f'"),
        ({"grow": export(jit(grow))}, ValueError, r"`grow` changes the shape of state grows from f32\[2\] to f32\[4\]"),
        ({"f": export(jit(lambda c=clash: c.value["a.b"]))}, ValueError, r"two arrays would be named 'c\.a\.b'"),
        ({"f": export(jit(lambda x: namedtuple("Unknown", "x")(x)), one)}, Exception, r"Unknown"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            save_program(path, **programs)
    with pytest.raises(TypeError, match=r"program is <.*>, and must come from `export`"):
        save_program(path, f)

    late = export(jit(lambda fades=fades: fades.value.sum()))
    fades.value = jnp.ones(5)
    with pytest.raises(
        ValueError, match=r"state fades is f32\[5\], and was f32\[2\] when `f` was exported: export it again"
    ):
        save_program(path, f=late)
    fades.value = jax.ShapeDtypeStruct((2,), jnp.float32)
    with pytest.raises(ValueError, match=r"state fades of `f` holds .*, which is not an array"):
        save_program(path, f=late)
    assert os.listdir(tmp_path) == []


def test_flatbuffers_is_asked_for(tmp_path, monkeypatch):
    exported = export(reader(), jnp.ones((2, 3)))
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    for call in (lambda: save_program(tmp_path / "a", exported), lambda: load_program(tmp_path / "a")):
        with pytest.raises(ImportError, match="pip install flatbuffers"):
            call()
