"""``save_program`` and ``load_program``: compiled functions and the states they share in one file.

The file is a zip archive that JAX and NumPy alone can read.  ``program.json`` lists what is in it, ``states/0.npy`` and
so on are the arrays, each once, and ``functions/0`` and so on the programs in the format of ``jax.export``.  Names are
in the JSON only, so that any name will do.  Each program takes the arrays that it uses as a list, as the types of trees
that hold them in a model are unknown where the file is read.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import os
import zipfile
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jax.core import Tracer
from jax.tree_util import DictKey, keystr, tree_flatten_with_path

from brainstate_graph import State
from brainstate_graph.extend import alike, describe, whole_file

from .avals import struct_of
from .derivatives import as_order
from .export import Exported
from .program import Function, Program

__all__ = ["load_program", "save_program"]

_FORMAT, _VERSION = "brainstate program", 1


def save_program(
    path: str | os.PathLike[str], program: Exported | None = None, /, *, vjp_order: int = 0, **programs: Exported
) -> None:
    """Write what `export` returned, and the present values of the states, to one file.

    A state that several functions use is written once, under the name that the first of them has for it. The file
    appears whole or not at all: it is written beside its place and then moved there.

    Args:
        path: The file.
        program: A function, under its own name.
        vjp_order: How many times the functions can be differentiated where the file is read: 1 for a gradient by states
            and arguments, `jax.grad` of `Program.pure`. Each time adds a program to the file for each function.
        **programs: Functions by name, such as ``prefill=export(prefill, prompt), decode=export(decode, token)``.

    Raises:
        TypeError: Something was not made by `export`, or takes or returns a type of tree unknown to ``jax.export``.
        ValueError: A state has another shape than at the export, changes its shape in a call, or holds no array; or a
            program is for several devices.
        ImportError: The library flatbuffers is missing, with which JAX writes programs.

    Example:
        >>> import os, tempfile
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import export, jit, load_program, save_program
        >>> w, total = State(jnp.ones(3)), State(0.0)
        >>> @jit
        ... def add(x):
        ...     total.value += x @ w.value
        >>> @jit
        ... def mean(count):
        ...     return total.value / count
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_program(os.path.join(folder, "mean.npz"), add=export(add, jnp.ones(3)), mean=export(mean, 1.0))
        ...     program = load_program(os.path.join(folder, "mean.npz"))
        >>> program.add(jnp.ones(3)), program.add(jnp.ones(3)), float(program.mean(2.0))
        (None, None, 3.0)
    """
    _require_flatbuffers()
    vjp_order = as_order(vjp_order)
    if program is not None:
        programs = {program.name if isinstance(program, Exported) else "program": program, **programs}
    if not programs:
        raise TypeError("save_program takes what `export` returned: write `save_program(path, export(jit(fun), ...))`")
    arrays, functions = _StateArrays(), list[tuple[dict[str, Any], bytes]]()
    for name, exported in programs.items():
        if not isinstance(exported, Exported) or len(exported.states) < len(exported.states_info):
            raise TypeError(
                f"{name} is {exported!r}, and must come from `export` in this process: `export(jit(f), ...)`"
            )
        if name.startswith("_") or hasattr(Program, name):
            raise TypeError(f"a function cannot be named {name!r}, as a Program has it for itself: choose another name")
        functions.append(arrays.add(name, exported, vjp_order))
    contents = {
        "format": _FORMAT, "version": _VERSION, "jax": jax.__version__, "states": arrays.headers,
        "functions": [header for header, _ in functions],
    }  # fmt: skip
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(_member("program.json"), json.dumps(contents, indent=1))
        for i, (_, data) in enumerate(functions):
            archive.writestr(_member(f"functions/{i}"), data)
        for i, leaf in enumerate(arrays.leaves):
            with archive.open(_member(f"states/{i}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, _plain(leaf), allow_pickle=False)


def load_program(path: str | os.PathLike[str]) -> Program:
    """Read a file of `save_program`; the code of the model is not needed.

    A program is code, and ``jax.export`` trusts it: load files of people whom you would let run code. Damage is seen
    by the check sums of the archive.

    Args:
        path: The file.

    Returns:
        A `Program`, with the values that the states had.

    Raises:
        ValueError: The file is something else or damaged, or has arrays of 64 bits where JAX has them switched off.
        ImportError: The library flatbuffers is missing, with which JAX reads programs.

    Example:
        >>> import os, tempfile
        >>> from brainstate_graph import State
        >>> from brainstate_transform import export, jit, load_program, save_program
        >>> w = State(3.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_program(os.path.join(folder, "times.npz"), export(jit(lambda x, w=w: w.value * x), 1.0))
        ...     program = load_program(os.path.join(folder, "times.npz"))
        >>> float(program(2.0))
        6.0
    """
    _require_flatbuffers()
    with open(path, "rb") as file:
        try:
            program, narrowed = _read(file)
        except Exception as error:
            raise ValueError(f"{os.fspath(path)} is not a file of `save_program`, or it is damaged: {error}") from error
    if narrowed:
        raise ValueError(
            f"{os.fspath(path)} has {', '.join(narrowed)}, and JAX has 64 bits switched off: write "
            '`jax.config.update("jax_enable_x64", True)` before anything else, or set JAX_ENABLE_X64=1'
        )
    return program


class _StateArrays:
    """The arrays in the states of all functions, each once.

    Attributes:
        headers: The name, dtype and shape of each array.
        leaves: The arrays.
    """

    def __init__(self) -> None:
        self.headers: list[dict[str, Any]] = []
        self.leaves: list[Any] = []
        self._paths: dict[State[Any], str] = {}
        self._owners: dict[str, State[Any]] = {}
        self._taken: set[str] = set()

    def add(self, function: str, exported: Exported, vjp_order: int) -> tuple[dict[str, Any], bytes]:
        """Add the states of a function; return its header, and its bytes."""
        inner = exported.exported
        if inner.nr_devices != 1:
            raise ValueError(
                f"`{function}` is for {inner.nr_devices} devices: export it for arguments on one device, outside of "
                "`jax.set_mesh`"
            )
        for path, state in exported.states.items():
            if state not in self._paths:
                taken = self._owners.setdefault(path, state) is not state
                self._paths[state] = name = f"{function}.{path}" if taken else path
                self._add_arrays(function, name, state.value, exported.states_info[path])
        given, written = self._names(exported, exported.states_info), self._names(exported, exported.written_info)
        for name, shape in written.items():
            if name not in given or given[name] != shape:
                raise ValueError(
                    f"`{function}` changes the shape of state {name} from {describe(given.get(name))} to "
                    f"{describe(shape)}, so it could be called only once: keep the shape"
                )
        (_, args, kwargs), _ = jax.tree.unflatten(inner.in_tree, range(inner.in_tree.num_leaves))
        out, _ = jax.tree.unflatten(inner.out_tree, range(inner.out_tree.num_leaves))
        flat = dataclasses.replace(
            inner,
            in_tree=jax.tree.structure((([0] * len(given), args, kwargs), {})),
            out_tree=jax.tree.structure((out, [0] * len(written))),
        )
        return {"name": function, "states": list(given), "written": list(written)}, bytes(
            flat.serialize(vjp_order=vjp_order)
        )

    def _names(self, exported: Exported, info: dict[str, Any]) -> dict[str, Any]:
        """The name of each array of some states, in the order in which JAX has them, and its shape."""
        return {
            _name(self._paths[exported.states[keys[0].key]], keys[1:]): struct_of(leaf)
            for keys, leaf in tree_flatten_with_path(info)[0]
        }

    def _add_arrays(self, function: str, path: str, value: Any, info: Any) -> None:
        leaves, _ = tree_flatten_with_path(value)
        if any(isinstance(leaf, (Tracer, jax.ShapeDtypeStruct)) for _, leaf in leaves):
            raise ValueError(f"state {path} of `{function}` holds {describe(value)}, which is not an array")
        shapes = jax.tree.map(struct_of, value)
        if not alike(shapes, info):
            raise ValueError(
                f"state {path} is {describe(shapes)}, and was {describe(info)} when `{function}` was exported: export "
                "it again"
            )
        for keys, leaf in leaves:
            header = {"name": _name(path, keys)}
            if header["name"] in self._taken:
                raise ValueError(f"two arrays would be named {header['name']!r}: rename one attribute or key")
            self._taken.add(header["name"])
            if jnp.issubdtype(jax.typeof(leaf).dtype, jax.dtypes.prng_key):
                header["key"], leaf = str(jax.random.key_impl(leaf)), jax.random.key_data(leaf)
            aval = jax.typeof(leaf)
            self.headers.append({**header, "dtype": aval.dtype.name, "shape": list(aval.shape)})
            self.leaves.append(leaf)


def _read(file: BinaryIO) -> tuple[Program, list[str]]:
    """Read all that is in a file; return also which states JAX has cut to 32 bits.

    Each member is read as a whole before anything is made of it, as then the archive compares its check sum.
    """
    sharding = jax.device_put(np.float32(0)).sharding  # the default one, given to each program
    states, functions, narrowed = dict[str, Any](), dict[str, Function](), list[str]()
    with zipfile.ZipFile(file) as archive:
        contents = json.loads(archive.read("program.json"))
        if (contents["format"], contents["version"]) != (_FORMAT, _VERSION):
            raise ValueError(
                f"it is a {contents['format']} of version {contents['version']}, and this library reads version "
                f"{_VERSION}"
            )
        for i, header in enumerate(contents["states"]):
            name, array = header["name"], np.load(io.BytesIO(archive.read(f"states/{i}.npy")), allow_pickle=False)
            array = array.view(header["dtype"])
            if list(array.shape) != header["shape"]:
                raise ValueError(f"{name} is of the shape {list(array.shape)}, and should be {header['shape']}")
            value = jax.device_put(array, sharding)  # `jnp.asarray` compiles a program for each shape
            if value.dtype != array.dtype:
                narrowed.append(f"state {name} of {array.dtype}")
            states[name] = jax.random.wrap_key_data(value, impl=header["key"]) if "key" in header else value
        for i, header in enumerate(contents["functions"]):
            exported = jax_export.deserialize(bytearray(archive.read(f"functions/{i}")))
            functions[header["name"]] = Function(exported, **header, sharding=sharding, writer=contents["jax"])
    return Program(states, functions), narrowed


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name)  # without the time, so that equal programs are equal files


def _plain(leaf: Any) -> np.ndarray[Any, Any]:
    """An array in a dtype that NumPy has by itself, which bfloat16 and its like are not."""
    array = np.asarray(leaf, jax.typeof(leaf).dtype)
    return array if array.dtype.isbuiltin == 1 else array.view(f"u{array.dtype.itemsize}")


def _name(path: str, keys: tuple[Any, ...]) -> str:
    return keystr((DictKey(path), *keys), simple=True, separator=".")


def _require_flatbuffers() -> None:
    try:
        importlib.import_module("flatbuffers")
    except ImportError as error:
        raise ImportError("JAX keeps programs with the library flatbuffers: `pip install flatbuffers`") from error
