"""Arrays and texts in the msgpack format of flax, read at once.

Flax writes here, but does not read, since files come from anybody. Of the 99 hostile files of msgpack in the tests,
`flax.serialization.msgpack_restore` takes 30: arrays whose bytes do not fill their shape, dtypes that are structures or
text, parts of two dtypes that become a third, keys that are no names. Its arrays are views of the bytes of the whole
file, which JAX copies (600 MB for a file of 256 MB, where it is 517 here). What it accepts it reads in half the time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from io import BufferedReader
from typing import Any

import numpy as np

from brainstate_graph.extend import whole_file

from .errors import unreadable
from .leaves import DTYPES, empty_bytes

__all__ = ["METADATA", "PLAIN", "read_msgpack", "write_msgpack"]

PLAIN = frozenset(DTYPES)
METADATA = "__metadata__"
_CHUNKED = "__msgpack_chunked_array__"
# Levels of mappings and lists.
_NESTING = 100
# In bytes; 64 lengths and the name of a dtype take less.
_HEAD = 1024
# What a header may claim before the items are there: a list is made at its full length at once.
_LIMITS: dict[str, int] = {"max_array_len": 2_000}


def write_msgpack(path: str | os.PathLike[str], arrays: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Write one map of arrays by name, with the texts under the name `METADATA`.

    One array after the other goes to flax, which takes a whole tree through three copies (739 MB/s, and 3100 so).
    """
    import msgpack
    from flax import serialization

    packer = msgpack.Packer()
    with whole_file(path) as temporary, open(temporary, "xb") as file:
        file.write(packer.pack_map_header(len(arrays) + 1))
        file.write(packer.pack(METADATA) + packer.pack(dict(texts)))
        for name, array in arrays.items():
            file.write(packer.pack(name))
            file.write(serialization.msgpack_serialize(array))


def read_msgpack(file: BufferedReader, path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Read arrays by name, and texts.

    Others may have written the file: where mappings or lists lie in each other, as the variables of flax do, the names
    are put together with dots. Values that are neither arrays nor numbers are kept as they are.

    Raises:
        ValueError: It is damaged, or something else.
    """
    import msgpack

    size = max(os.fstat(file.fileno()).st_size, 1)
    unpacker = msgpack.Unpacker(
        file, strict_map_key=False, ext_hook=_from_extension, read_size=min(size, 2**20), max_buffer_size=2**31 - 1,
        **_LIMITS,
    )  # fmt: skip
    try:
        tree = unpacker.unpack()
        if not isinstance(tree, dict):
            raise ValueError(f"it holds a {type(tree).__name__}, not arrays by name")
        # Two maps one after the other: which one is meant?
        if unpacker.read_bytes(1):
            raise ValueError("there are bytes after its end")
        texts = tree.pop(METADATA, {})
        if not (isinstance(texts, dict) and all(isinstance(t, str) for item in texts.items() for t in item)):
            raise ValueError(f"{METADATA} does not hold texts")
        return _flat(tree), texts
    except msgpack.OutOfData as error:
        raise unreadable(path, "it is cut off") from error
    # Whatever libraries raise for bytes from anybody.
    except Exception as error:
        raise unreadable(path, str(error) or type(error).__name__) from error


def _flat(tree: dict[Any, Any]) -> dict[str, Any]:
    """Return what lies in mappings and lists by dotted names."""
    found: dict[str, Any] = {}
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), tree)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, dict) and _CHUNKED in item:
            item = _joined(item)
        elif isinstance(item, (dict, list)):
            if len(path) == _NESTING:
                raise ValueError(f"it is nested more than {_NESTING} deep")
            pairs = list(item.items() if isinstance(item, dict) else enumerate(item))
            if not all(isinstance(key, (str, int)) for key, _ in pairs):
                raise ValueError("a key is neither a text nor a whole number")
            waiting += [((*path, key), inner) for key, inner in reversed(pairs)]
            continue
        name = ".".join(map(str, path))
        if name in found:
            raise ValueError(f"two arrays have the name {name}")
        found[name] = item
    return found


def _from_extension(code: int, data: bytes) -> Any:
    """Return an array (1), a complex number (2) or a scalar of NumPy (3), which flax numbers so."""
    import msgpack

    if code == 2:
        real, imag = msgpack.unpackb(data, max_array_len=2)
        if type(real) is not float or type(imag) is not float:
            raise ValueError("a complex number must be a pair of floats")
        return complex(real, imag)
    if code not in (1, 3):
        raise ValueError(f"it has an object of the unknown type {code}")
    # It is given the head alone, so that the bytes of the array are copied once.
    head = msgpack.Unpacker(max_array_len=64)
    head.feed(data[:_HEAD])
    if head.read_array_header() != 3:
        raise ValueError("an array must have a shape, a dtype and bytes")
    shape, dtype = head.unpack(), head.unpack()
    if not (isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)):
        raise ValueError("the shape of an array must be a list of lengths")
    if dtype not in DTYPES:
        raise ValueError(f"an array has the dtype {dtype!r:.40}, which is not supported")
    size = math.prod(shape) * DTYPES[dtype].itemsize
    start = len(data) - size
    if start < 0 or data[head.tell() : start] != _head_of_bytes(size):
        raise ValueError(f"an array of {dtype}{shape} does not have {size} bytes")
    array = empty_bytes(size)
    array[:] = np.frombuffer(data, np.uint8, offset=start) if size else 0
    array = array.view(DTYPES[dtype]).reshape(shape)
    return array[()] if code == 3 else array


def _head_of_bytes(size: int) -> bytes:
    """Return what stands before so many bytes, after the specification of msgpack."""
    for tag, width in ((b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4)):
        if size < 256**width:
            return tag + size.to_bytes(width, "big")
    raise ValueError("it has more bytes than msgpack can count")


def _joined(chunked: dict[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array that flax has split, because msgpack holds 4 GiB at most."""
    parts = [chunked[part] for part in ("shape", "chunks") if isinstance(chunked.get(part), dict)]
    if len(chunked) != 3 or len(parts) != 2:
        raise ValueError("an array in parts must have a shape and its parts")
    shape, chunks = ([part[str(i)] for i in range(len(part))] for part in parts)
    if not chunks or not all(isinstance(chunk, np.ndarray) and chunk.dtype == chunks[0].dtype for chunk in chunks):
        raise ValueError("the parts of an array must have one dtype")
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) != sum(chunk.size for chunk in chunks):
        raise ValueError("the parts of an array do not fill its shape")
    return np.concatenate([chunk.reshape(-1) for chunk in chunks]).reshape(shape)
