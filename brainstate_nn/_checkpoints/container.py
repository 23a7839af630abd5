"""The contents of a file, whatever its format: leaves by name, what they stand for, and a checksum over each.

Beside the arrays a file has texts (the metadata of safetensors). Ours is ``brainstate_nn``: a checksum over all texts,
and a JSON object with the kinds of the leaves, dtypes that the format lacks, the other names of tied states, a checksum
over each array, and the shape of the model if the file has it. A file without it is somebody else's: its arrays are
read as they are. Which format a file has, its first bytes tell; the formats themselves are in `safetensors` and
`msgpack`.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from brainstate_graph import GraphError

from . import msgpack as mp
from . import safetensors as st
from .errors import unreadable
from .json import json_and_crc32, read_json
from .leaves import DTYPES, as_bytes, from_array, refusal, to_arrays

__all__ = ["Contents", "open_contents", "save_contents"]

_OURS, _VERSION = "brainstate_nn", 1
_HEAD = f'{{"format":"{_OURS}"'
_SUFFIX = ".safetensors"


def save_contents(
    path: str | os.PathLike[str],
    flat: Mapping[str, Any],
    aliases: Mapping[str, str],
    metadata: Mapping[str, str] | None,
    **more: str,
) -> None:
    """Write leaves by name to a file, in the format of its suffix.

    Args:
        path: The file.
        flat: The leaves.
        aliases: The other names of some.
        metadata: Texts of the user.
        **more: Texts of ours, such as the shape of a model.

    Raises:
        GraphError: A file cannot hold a leaf; the message lists all, and nothing was written.
    """
    texts = _texts(metadata)
    _check_leaves(flat)
    plain, write = (
        (st.PLAIN, st.write_safetensors) if os.fspath(path).endswith(_SUFFIX) else (mp.PLAIN, mp.write_msgpack)
    )
    ours: dict[str, Any] = {
        "format": _OURS,
        "version": _VERSION,
        **more,
        "aliases": dict(aliases),
        "kinds": {},
        "dtypes": {},
    }
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, (array, kind) in zip(flat, to_arrays(flat.values()), strict=True):
        if kind:
            ours["kinds"][name] = kind
        if array.dtype.name not in plain:
            ours["dtypes"][name] = array.dtype.name
            # A dtype that the format lacks is written as its bytes, along an axis of its own.
            array = array.reshape(-1).view(np.uint8).reshape((*array.shape, array.dtype.itemsize))
        arrays[name] = array
    ours["crc32"] = {name: _crc32_of_array(name, array) for name, array in arrays.items()}
    texts[_OURS] = json.dumps(ours, separators=(",", ":"))
    write(path, arrays, {**texts, _OURS: f"{_crc32_of_texts(texts)} {texts[_OURS]}"})


def _texts(metadata: Mapping[str, str] | None) -> dict[str, str]:
    texts = dict(metadata or {})
    for key, text in texts.items():
        if not (isinstance(key, str) and isinstance(text, str)):
            raise TypeError(f'metadata must map texts to texts, as in `{{"format": "pt"}}`, not {key!r} to {text!r}')
        if key == _OURS:
            raise ValueError(
                f"metadata cannot have the key {key!r}, which this package writes itself: choose another key"
            )
    return texts


def _check_leaves(flat: Mapping[str, Any]) -> None:
    problems = [f"{name} {why}" for name, leaf in flat.items() if (why := refusal(leaf))]
    for name in flat:
        if name == mp.METADATA:
            problems.append(f"{name} is a name that this package writes itself: rename the attribute")
        elif not _is_text(name):
            problems.append(f"{name!r} is not a name that a file can hold: rename the attribute or key")
    if problems:
        raise GraphError("the states cannot be saved, nothing was written: " + "; ".join(problems))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    # Half of a pair of surrogates, which no file can hold.
    except UnicodeEncodeError:
        return False
    return True


def _crc32_of_array(name: str, array: np.ndarray[Any, Any]) -> int:
    # It is there for damage, as who means harm writes the sums anew: crc32 makes 4.2 GB/s, SHA-256 1.8.
    return zlib.crc32(as_bytes(array), zlib.crc32(f"{name} {array.dtype.name}{list(array.shape)}".encode()))


def _crc32_of_texts(texts: Mapping[str, str]) -> str:
    return f"{json_and_crc32(sorted(texts.items()))[1]:08x}"


class Contents(Mapping[str, Any]):
    """The leaves in an open file by name, each read, checked and made when it is looked up.

    Args:
        path: The name of the file.
        arrays: Its arrays.
        texts: Its texts.

    Attributes:
        kinds: The kinds of the leaves; those of JAX are not listed.
        aliases: Other names of leaves.
        more: What else of ours the file has.

    Raises:
        ValueError: The texts are damaged.
    """

    def __init__(self, path: str, arrays: Mapping[str, Any], texts: Mapping[str, str]) -> None:
        self._path, self._arrays = path, arrays
        self._tied: dict[str, str] = {}
        self.more: dict[str, Any] = {}
        self._ours = _OURS in texts
        # A file of ours whose texts were moved to another name would be read without any check.
        if not self._ours and (any(_HEAD in text for text in texts.values()) or any(map(_is_ours, arrays))):
            raise unreadable(path, "the texts of this package are under another name")
        if self._ours:
            self.more = _read_texts(path, texts)
        self.kinds: dict[str, str] = self._part("kinds", str)
        self.aliases: dict[str, str] = self._part("aliases", str)
        self._dtypes: dict[str, str] = self._part("dtypes", str)
        self._crc32: dict[str, int] = self._part("crc32", int)
        if self._ours and self._crc32.keys() != arrays.keys():
            wrong = min(self._crc32.keys() ^ arrays.keys())
            raise unreadable(path, f"{wrong} is {'missing' if wrong in self._crc32 else 'without a checksum'}")

    def _part(self, name: str, of: type[Any]) -> dict[str, Any]:
        part = self.more.pop(name, {})
        if type(part) is not dict or not all(type(item) is of for item in part.values()):
            raise unreadable(self._path, f"its {name} are invalid")
        return part

    def __getitem__(self, name: str) -> Any:
        name = self._tied.get(name, name)
        array = self._arrays[name]
        if self._ours and (not isinstance(array, np.ndarray) or _crc32_of_array(name, array) != self._crc32[name]):
            raise unreadable(self._path, f"the checksum of {name} is wrong")
        try:
            if name in self._dtypes:
                array = _of_dtype(array, self._dtypes[name])
            # NumPy takes any byte for a truth value, and XLA computes with it.
            if isinstance(array, np.ndarray) and array.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
                raise ValueError("a bool is neither 0 nor 1")
            return from_array(array, self.kinds.get(name, ""))
        except (ValueError, TypeError, OverflowError) as error:
            raise unreadable(self._path, f"{name}: {error}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._arrays or name in self._tied

    def __iter__(self) -> Iterator[str]:
        yield from self._arrays
        yield from self._tied

    def __len__(self) -> int:
        return len(self._arrays) + len(self._tied)

    def add_names(self, names: Mapping[str, str]) -> None:
        """Give arrays further names, each with the one that it has in the file."""
        self._tied |= names


def _is_ours(name: str) -> bool:
    return name.rpartition(".")[2] == _OURS


def _of_dtype(array: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    if dtype not in DTYPES or array.dtype != np.uint8 or array.shape[-1:] != (DTYPES[dtype].itemsize,):
        raise ValueError(f"{array.dtype}{list(array.shape)} cannot be read as bytes of {dtype!r}")
    return array.reshape(-1).view(DTYPES[dtype]).reshape(array.shape[:-1])


def _read_texts(path: str, texts: Mapping[str, str]) -> dict[str, Any]:
    total, _, text = texts[_OURS].partition(" ")
    if total != _crc32_of_texts({**texts, _OURS: text}):
        raise unreadable(path, "the checksum of its texts is wrong")
    ours = read_json(path, text)
    if type(ours) is not dict or ours.pop("format", None) != _OURS or ours.pop("version", None) != _VERSION:
        raise ValueError(f"{path} has another version of the format; this package reads version {_VERSION}")
    return ours


class _Shards(Mapping[str, Any]):
    """The leaves in several files, by the file that has each."""

    aliases: Mapping[str, str] = {}
    more: Mapping[str, Any] = {}

    def __init__(self, files: Mapping[str, Contents]) -> None:
        self._files = files

    def __getitem__(self, name: str) -> Any:
        return self._files[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@contextlib.contextmanager
def open_contents(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a file, of the format that its contents tell.

    Args:
        path: The file, or the ``.index.json`` of several as Hugging Face writes it.

    Returns:
        The Contents, or what is like them for several files; it is read from while the context lasts.

    Raises:
        ValueError: It is none of those.
    """
    with contextlib.ExitStack() as stack:
        yield _open(os.fspath(path), stack)


def _open(path: str, stack: contextlib.ExitStack, part: bool = False) -> Any:
    # Opening a pipe would wait for somebody to write.
    if not stat.S_ISREG(os.stat(path).st_mode):
        hint = ": name the file in it, or restore a step of orbax with `Checkpoints`" * os.path.isdir(path)
        raise ValueError(f"{path} is {'a folder' if os.path.isdir(path) else 'not a file'}{hint}")
    file = stack.enter_context(open(path, "rb"))  # noqa: SIM115
    head = file.read(9)
    file.seek(0)
    # An index is JSON from its first byte. As the length of a header that would be far longer than the file.
    if head.lstrip()[:1] == b"{" and int.from_bytes(head[:8], "little") > os.fstat(file.fileno()).st_size:
        if part:
            raise ValueError(f"{path} is an index of files, but another index lists it as a file")
        return _open_index(file.read(), path, stack)
    if head[8:] == b"{":
        arrays = st.SafetensorsFile(file, path)
        return Contents(path, arrays, arrays.texts)
    for magic, description in _OTHERS:
        if head.startswith(magic):
            raise ValueError(f"{path} is {description}")
    if not head or head[0] not in _MAPS:
        raise unreadable(path, "it begins like neither safetensors nor a map of msgpack")
    return Contents(path, *mp.read_msgpack(file, path))


# The first byte of a map, after the specification of msgpack.
_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)
_PICKLE = "a pickle, which may run any code when it is read: save it as safetensors with the library that wrote it"
_OTHERS: Iterable[tuple[bytes, str]] = (
    (b"PK\3\4", "a zip archive, as `np.savez`, `torch.save` and `save_program` write: not a file of `save_states`"),
    (b"\x89HDF", "an HDF5 file, as Keras writes: not a file of `save_states`"),
    *((bytes([0x80, protocol]), _PICKLE) for protocol in range(2, 6)),
)


def _open_index(text: bytes, path: str, stack: contextlib.ExitStack) -> _Shards:
    try:
        file_of = read_json(path, text)["weight_map"]
        if not all(isinstance(file, str) for file in file_of.values()):
            raise TypeError("a value is not the name of a file")
    except (LookupError, TypeError, AttributeError) as error:
        raise unreadable(path, f"it is not an index of files: {error}") from error
    folder = os.path.dirname(path)
    files: dict[str, Contents] = {}
    for file in dict.fromkeys(file_of.values()):
        # A name that leads out of the folder could make a program read, and report on, any file.
        if os.path.basename(file) != file or file in ("", ".", "..") or "\0" in file:
            raise ValueError(f"{path} names {file!r}, which is not a file in the same folder")
        try:
            files[file] = _open(os.path.join(folder, file), stack, part=True)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path} names {file!r}, which is missing in its folder") from error
    for name, file in file_of.items():
        if name not in files[file]:
            raise ValueError(f"{os.path.join(folder, file)} has no {name}, which {path} lists there")
    return _Shards({name: files[file] for name, file in file_of.items()})
