"""Files that are made to do harm, by what is wrong with them; "w" is what the one who reads looks for."""

from __future__ import annotations

import json
import os
import pickle
import zlib

import msgpack
import numpy as np
import safetensors.numpy
from flax import serialization

from brainstate_graph import State, graphdef, to_json

MODULE = "a_module_that_no_file_may_import"


def safetensor(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def row(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def texts(about, extra=None):
    """Our text with a checksum that is right, as somebody makes it who means harm."""
    text = about if isinstance(about, str) else json.dumps(about)
    found = {**(extra or {}), "brainstate_nn": text}
    return {**found, "brainstate_nn": f"{zlib.crc32(json.dumps(sorted(found.items())).encode()):08x} {text}"}


def sealed(array=None, name="w", **about):
    array = np.float32([1]) if array is None else array
    head = f"{name} {array.dtype.name}{list(array.shape)}".encode()
    crc = zlib.crc32(array.tobytes(), zlib.crc32(head))
    whole = {"format": "brainstate_nn", "version": 1, "crc32": {name: crc}, **about}
    return safetensors.numpy.save({name: array}, texts(whole))


def extension(code, *parts, raw=None):
    return msgpack.packb({"w": msgpack.ExtType(code, msgpack.packb(parts) if raw is None else raw)})


def chunked(**changes):
    form = {"__msgpack_chunked_array__": True, "shape": {"0": 1}, "chunks": {"0": np.float32([1])}, **changes}
    return serialization.msgpack_serialize({"w": {key: part for key, part in form.items() if part is not None}})


def model(shape=None, trees=None):
    shape = to_json(graphdef({"w": State(0)})) if shape is None else shape
    trees = to_json(graphdef({})) if trees is None else trees
    return sealed(graphdef=shape, trees=trees)


def graph(*rows, root=0):
    return json.dumps({"format": "brainstate_graph.GraphDef", "version": 1, "root": {"row": root}, "rows": list(rows)})


STATE = {"state": "brainstate_graph:State", "metadata": []}


def calls(name):
    """A layer that calls something of this name."""
    edges = [["args", {"tuple": []}], ["fun", {"name": name}], ["kwargs", {"dict": []}]]
    return model(graph({"node": "brainstate_nn:Lambda", "edges": edges}))


class Runs:
    def __reduce__(self):
        return os.system, (f"touch {MODULE}",)


FLOAT = np.float32([1]).tobytes()
DEEP = 100_000
HOSTILE = {
    # safetensors: its header
    **{f"header of {n}": safetensor(row(), FLOAT, n) for n in (0, 1, 2**31, 2**63, 2**64 - 1, 100_000_001)},
    "a header that is nested": safetensor(b"[" * DEEP + b"]" * DEEP),
    "a header with nested metadata": safetensor(b'{"__metadata__":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}"),
    "a list for a header": safetensor([]),
    "half a header": safetensor(b'{"w":'),
    "no text for a header": safetensor(b'{"\xff":1}'),
    "metadata that are no texts": safetensor({"__metadata__": {"a": [1]}}),
    "one name twice": safetensor(json.dumps(row())[:-1].encode() + b"," + json.dumps(row("I32"))[1:].encode(), FLOAT),
    "a name that is a path": safetensor({"../../etc/passwd": row()["w"]}, FLOAT),
    **{f"dtype {d!r}": safetensor(row(d), FLOAT) for d in ("O", "object", "", "F33", None, 3, "I32")},
    **{
        f"shape {s}": safetensor(row(shape=s, offsets=(0, min(n, 4))), FLOAT)
        for s, n in [
            ([-1], 4), ([2**63], 4), ([2**64], 4), ([2**40, 2**40], 4), ([2**32, 2**32], 0), ([1.5], 4), (["1"], 4),
            ([[1]], 4),
            ([2**62, 2**62, 0], 0), ([2**63, 0], 0), ([1] * 1000, 4), ([None], 4),
        ]
    },
    **{
        f"offsets {o}": safetensor(row(offsets=o), FLOAT)
        for o in [(4, 0), (-4, 0), (0, 2**63), (2**63, 2**63 + 4), (1, 5), (0, 4.0), (0,), ("0", "4")]
    },
    "holes": safetensor({**row(), "v": row(offsets=(8, 12))["w"]}, FLOAT * 3),
    "overlaps": safetensor({**row(), "v": row(offsets=(0, 4))["w"]}, FLOAT),
    "a truth value of 2": safetensor(row("BOOL", (4,)), b"\0\1\2\3"),
    # what we write beside
    **{f"texts {i}": safetensors.numpy.save({"w": np.ones(1)}, texts(t)) for i, t in enumerate((
        "", "null", "[]", "{", "3", "[" * DEEP, '{"a":' * DEEP, '{"version": 2}', "9" * 5000, "NaN",
        '{"format":"brainstate_nn","version":1}', '{"format":"brainstate_nn","version":1,"crc32":{"w":"1"}}',
    ))},
    "a checksum that is none": safetensors.numpy.save({"w": np.ones(1)}, {"brainstate_nn": "{}"}),
    "a checksum of another array": sealed(crc32={"w": 1}),
    "checksums of other arrays": sealed(crc32={"w": 1, "v": 2}),
    **{f"kind {k}": sealed(kinds={"w": k}) for k in (
        "int", "bool", "complex", "scalar", "os:system", "__class__", "key threefry2x32", "key ../../x", "key ", 3,
        None, ["int"],
    )},
    **{f"key of {a.shape} for {i}": sealed(a, kinds={"w": f"key {i}"}) for a in (
        np.zeros(3, np.uint32), np.zeros((), np.uint32), np.zeros((2, 0), np.uint32), np.zeros(2, np.int32),
    ) for i in ("threefry2x32", "rbg", "dice", "None")},
    **{f"dtype {d} of bytes": sealed(np.zeros((2, 3), np.uint8), dtypes={"w": d}) for d in (
        "object", "O", "float64", "complex128", "V3", "U", "datetime64", "f4,f4", "float32", 7,
    )},
    "aliases in a ring": sealed(aliases={"w": "v", "v": "w", "x": "x"}),
    "parts that are none": sealed(kinds=[], aliases="no"),
    # msgpack
    **{f"a claim {c[:2].hex()}": b"\x81\xa1w" + c for c in (
        b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01", b"\xc9\x7f\xff\xff\xff\x01", b"\xc1", b"\xdc\xff\xff", b"\xc7\xff\x01",
    )},
    "lists of lists that claim": b"\x81\xa1w" + b"\xdd\x7f\xff\xff\xff" * 500,
    "small lists that claim": b"\x81\xa1w" + b"\xdd\x00\x00\x07\xd0" * 900,
    "nested maps": b"\x81\xa1w" * DEEP + b"\xc0",
    "nested maps that jax can take": b"\x81\xa1w" * 400 + b"\xc0",
    "nested lists": b"\x81\xa1w" + b"\x91" * DEEP + b"\xc0",
    "the whole map is a claim": b"\xdf\xff\xff\xff\xff",
    **{f"key {k.hex()}": b"\x81" + k + b"\xc0" for k in (b"\xc0", b"\xc4\x01a", b"\x90", b"\x80", b"\xcb" + bytes(8),
    b"\xa1\xff")},
    "one name twice in msgpack": b"\x82\xa1a\x81\xa1b\x01\xa3a.b\x01",
    **{f"extension {c}": extension(c, [1], "float32", FLOAT) for c in (0, 4, 127)},
    "a time": msgpack.packb({"w": msgpack.Timestamp(1, 2)}),
    **{f"array of {d!r}": extension(1, [1], d, FLOAT) for d in (
        "O", "object", "V4", "S4", "U1", "M8[Y]", "f4,f4", "f2,f2", "(4,)u1", ">f4", "", None, 3, [], "float32\0", "os",
    )},
    **{f"array of shape {i}": extension(1, s, "float32", FLOAT) for i, s in enumerate((
        [-1], [2**62, 4], [2**63 - 1, 0], [2**40, 2**40], [1.0], ["1"], "1", None, 1, [True], [1] * 65, [1] * 9999,
        {"0": 1}, [[1]],
    ))},
    **{f"array from {b!r:.20}": extension(1, [1], "float32", b) for b in (b"", b"123", FLOAT * 2, "text", None, [1],
    3)},
    "an array of two parts": extension(1, [1], "float32"),
    "an array of no parts": extension(1, raw=b""),
    "an array of a number": extension(1, raw=b"\x01"),
    "an array that claims": extension(1, raw=b"\x93\xdd\xff\xff\xff\xff"),
    "a scalar of three": extension(3, [3], "float32", FLOAT * 3),
    **{f"complex of {p}": extension(2, *p) for p in ((1,), (1, 2), ("a", "b"), (1.0, 2.0, 3.0), ([1.0], 1.0))},
    **{f"parts {i}": chunked(**c) for i, c in enumerate((
        {"shape": None}, {"chunks": None}, {"shape": [1]}, {"chunks": [1]}, {"shape": {"0": -1}}, {"shape": {"0": 2}},
        {"shape": {"1": 1}}, {"chunks": {}}, {"chunks": {"0": 1}}, {"chunks": {"0": {"0": 1}}}, {"shape": {"0": 2**62,
        "1": 4}},
        {"more": 1}, {"chunks": {"0": np.float32([1]), "1": np.int32([])}}, {"shape": {"0": "1"}},
        {"shape": {"0": 1.0}},
    ))},
    "metadata that are a number": msgpack.packb({"__metadata__": 1, "w": 1}),
    "metadata of numbers": msgpack.packb({"__metadata__": {"a": 1}, "w": 1}),
    "metadata of bytes": msgpack.packb({"__metadata__": {"brainstate_nn": b"\xff"}, "w": 1}),
    "texts in msgpack": msgpack.packb({"__metadata__": texts('{"a":' * DEEP), "w": 1}),
    "our texts elsewhere": msgpack.packb({"__metadatb__": texts("{}"), "w": 1}),
    "our texts in a list": msgpack.packb({"w": {"brainstate_nn": [1]}}),
    # models
    **{f"a model that calls {n}": calls(n) for n in (
        "os:system", "builtins:eval", "builtins:exec", "subprocess:Popen", "pickle:loads",
        "brainstate_nn:save_states", "sys:exit",
        f"{MODULE}:x", f"os.{MODULE}:x", "brainstate_nn._checkpoints.state_files:save_states", "jax:jit", "numpy:load",
        "x", "", ":", "a:b:c",
    )},
    **{f"a model {i}": model(s) for i, s in enumerate((
        "", "{", "[" * DEEP, 3, [], {"format": 1}, graph(), graph(root=7), graph({"list": [{"row": 0}]}),
        graph({"dict": [["w", {"row": 1}], ["v", {"row": 2}]]}, STATE, STATE), to_json(graphdef({"v": State(0)})),
        graph(*[{"list": [{"row": i + 1}]} for i in range(3000)], STATE), "9" * 5000, graph({"node": "builtins:int",
        "edges": []}),
        graph({"state": "builtins:int", "metadata": []}), graph({"dict": [["w", {"float": "x"}]]}),
        graph({"pytree": "builtins:dict", "data": None, "edges": []}),
    ))},
    **{f"trees {i}": model(trees=t) for i, t in enumerate((
        "", "[" * DEEP, 3, [], graph({"list": [{"row": 1}]}, STATE), graph({"dict": [[1, {"row": 1}]]}, STATE),
        graph({"dict": [["w", {"int": "0x1"}]]}), graph({"dict": [["w", 3]]}), graph({"dict": [["v", {"row": 1}]]},
        STATE),
        graph({"dict": [["w", {"row": 1}]]}, *[{"list": [{"row": i + 2}]} for i in range(50_000)], STATE),
        graph({"dict": [["w", {"row": 1}]]}, *[{"list": [{"row": i + 2}] * 2} for i in range(60)], STATE),
        graph({"dict": [["w", {"row": 1}]]}, {"list": [{"row": 2}, {"row": 2}]}, STATE),
        graph({"dict": [["w", {"row": 1}]]}, {"node": "brainstate_nn:Identity", "edges": []}),
        graph({"dict": [["w", {"row": 1}]]}, {"state": "brainstate_nn:ParamState", "metadata": []}),
    ))},
    # indices
    **{f"index {n}": json.dumps(i).encode() if not isinstance(i, bytes) else i for n, i in enumerate((
        {}, {"weight_map": []}, {"weight_map": {"w": 1}}, {"weight_map": {"w": "/etc/passwd"}},
        {"weight_map": {"w": "../x"}},
        {"weight_map": {"w": "."}}, {"weight_map": {"w": ".."}}, {"weight_map": {"w": ""}},
        {"weight_map": {"w": "victim"}},
        {"weight_map": {"w": "folder"}}, b'{"a":' * DEEP, b'{"weight_map": ' + b"[" * DEEP, b"{" + b"9" * 9000,
        b'{"a": NaN, "a": 1}',
        b'{"weight_map": ' + b"9" * 5000 + b"}",
    ))},
    # other formats
    **{f"pickle {p}": pickle.dumps(Runs(), p) for p in range(6)},
    "zip": b"PK\x03\x04" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "nothing": b"",
    "zeros": bytes(10_000),
    "ones": b"\xff" * 10_000,
    "text": b"weights",
    "npy": b"\x93NUMPY\x01\x00",
}  # fmt: skip
