"""Values that each of several processes holds on its own: are they alike everywhere, and as one array of all processes.

A program of several processes runs the same code in each. What is made there without a mesh, such as a counter, exists
once in every process. Before it can be written as one value, it has to be the same in all.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from .._core.arrays import is_key

__all__ = ["as_global", "is_process_local", "names_that_differ", "replicated_everywhere"]


def is_process_local(array: jax.Array) -> bool:
    """Tell whether each process has an array of its own, where there are several."""
    return jax.process_count() > 1 and array.is_fully_addressable


def replicated_everywhere() -> Sharding:
    """Return the sharding of an array that all devices of all processes have whole."""
    return NamedSharding(Mesh(np.asarray(jax.devices()), ("all",)), P())


def as_global(array: jax.Array) -> jax.Array:
    """Return what each process has, and has alike, as one array of all processes."""
    if is_key(array):
        return jax.random.wrap_key_data(as_global(jax.random.key_data(array)), impl=jax.random.key_impl(array))
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, replicated_everywhere(), lambda index: host[index])


def names_that_differ(values: Mapping[str, Any]) -> list[str]:
    """Return the names of those values that the processes do not have alike; all processes call this.

    Args:
        values: Arrays and plain values of this process, by name.
    """
    if jax.process_count() == 1:
        return []
    from jax.experimental.multihost_utils import process_allgather

    sums = np.array([_checksum(value) for value in values.values()], np.uint32)
    names = zlib.crc32("\n".join(values).encode())
    # Two numbers are sent, whatever the size of the model, and the checksums of all values only where these differ.
    digests = process_allgather(np.array([names, zlib.crc32(sums.tobytes())], np.uint32))
    if (digests == digests[0]).all():
        return []
    if (digests[:, 0] != digests[0, 0]).any():
        return ["the names"]
    all_sums = process_allgather(sums)
    return [name for name, column in zip(values, all_sums.T, strict=True) if (column != column[0]).any()]


def _checksum(value: Any) -> int:
    if is_key(value):
        value = jax.random.key_data(value)
    if not hasattr(value, "dtype"):
        return zlib.crc32(repr(value).encode())
    value = np.asarray(value)
    return zlib.crc32(np.ascontiguousarray(value).view(np.uint8).data if value.size else b"", value.ndim)
