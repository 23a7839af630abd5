"""Arrays and texts in the safetensors format, read one by one.

A file begins with a JSON header of names, dtypes, shapes and offsets, so each array is read when it is looked up. What
the names and texts mean is the business of `container`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Any

import numpy as np

from brainstate_graph import GraphError
from brainstate_graph.extend import whole_file

from .errors import unreadable
from .json import read_json
from .leaves import DTYPES, as_bytes, empty_bytes

__all__ = ["PLAIN", "SafetensorsFile", "write_safetensors"]

_CODES = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip
PLAIN = frozenset(_CODES.values())
_LARGEST_HEADER = 100_000_000
# In bytes of JSON: dtype, shape and offsets of one array.
_HEADER_OF_ARRAY = 200


def _library() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("files of safetensors need its library: run `pip install 'safetensors>=0.8'`") from error
    return safetensors


def write_safetensors(path: str | os.PathLike[str], arrays: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Write arrays of dtypes that the format has, and texts beside them."""
    library = _library()
    header = sum(len(json.dumps(text)) for pair in texts.items() for text in pair)
    header += sum(len(json.dumps(name)) + _HEADER_OF_ARRAY for name in arrays)
    # Readers refuse a longer one, and so would we: better now than when the model is needed.
    if header > _LARGEST_HEADER:
        raise GraphError(
            f"{os.fspath(path)} was not written: names and texts take {header} bytes, but readers of safetensors "
            f"take at most {_LARGEST_HEADER}: save a `.msgpack` file"
        )
    with whole_file(path) as temporary:
        library.numpy.save_file(dict(arrays), temporary, dict(texts))


class SafetensorsFile(Mapping[str, np.ndarray[Any, Any]]):
    """The arrays of an open file by name, each read when it is looked up.

    The library checks the header; the bytes are read here, since it gives NumPy no dtypes of 8 bits, and so that JAX on
    a CPU takes them over without a copy.

    Args:
        file: The file, which stays open while arrays are read.
        path: Its name.

    Attributes:
        texts: The metadata.

    Raises:
        ValueError: The header is damaged.
    """

    def __init__(self, file: BufferedReader, path: str) -> None:
        self._file, self._path = file, path
        library = _library()
        try:
            # The library checks names, offsets and overlaps of the header. It opens the file by itself.
            with library.safe_open(path, "numpy", backend="pread"):
                pass
        except (library.SafetensorError, OverflowError) as error:
            raise unreadable(path, error) from error
        self._start = 8 + int.from_bytes(file.read(8), "little")
        self._header: dict[str, Any] = read_json(path, file.read(self._start - 8))
        self.texts: dict[str, str] = self._header.pop("__metadata__", {})

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        head = self._header[name]
        code, shape, (start, end) = head["dtype"], head["shape"], head["data_offsets"]
        if code not in _CODES:
            raise ValueError(f"{self._path}: {name} has the dtype {code}, which is not supported")
        dtype = DTYPES[_CODES[code]]
        size = math.prod(shape) * dtype.itemsize
        try:
            array = empty_bytes(size).view(dtype).reshape(shape)
        except (ValueError, OverflowError, MemoryError) as error:
            raise unreadable(self._path, f"{name}: {error}") from error
        self._file.seek(self._start + start)
        if end - start != size or self._file.readinto(as_bytes(array)) != size:
            raise unreadable(self._path, f"{name} is cut off")
        return array

    def __contains__(self, name: object) -> bool:
        # That of Mapping would read the array.
        return name in self._header

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)
