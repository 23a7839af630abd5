"""What each of several processes holds on its own: is it the same everywhere, and how it becomes one array of all."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from .._core.placing import is_key

__all__ = ["differing", "everywhere", "held_apart", "whole_everywhere"]


def held_apart(array: jax.Array) -> bool:
    """Tell whether each process has an array of its own, where there are several."""
    return jax.process_count() > 1 and array.is_fully_addressable


def whole_everywhere() -> Sharding:
    """Return the sharding of an array that all devices of all processes have whole."""
    return NamedSharding(Mesh(np.asarray(jax.devices()), ("all",)), P())


def everywhere(array: jax.Array) -> jax.Array:
    """Return what each process has, and has alike, as one array of all processes."""
    if is_key(array):
        return jax.random.wrap_key_data(everywhere(jax.random.key_data(array)), impl=jax.random.key_impl(array))
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, whole_everywhere(), lambda index: host[index])


def differing(held: Mapping[str, Any]) -> list[str]:
    """Return the names of those values that the processes do not have alike; all processes call this.

    Args:
        held: Arrays and plain values of this process, by name.
    """
    if jax.process_count() == 1:
        return []
    from jax.experimental.multihost_utils import process_allgather

    sums = np.array([_sum(value) for value in held.values()], np.uint32)
    names = zlib.crc32("\n".join(held).encode())
    digests = process_allgather(np.array([names, zlib.crc32(sums.tobytes())], np.uint32))
    if (digests == digests[0]).all():
        return []
    if (digests[:, 0] != digests[0, 0]).any():
        return ["the names"]
    all_sums = process_allgather(sums)
    return [name for name, column in zip(held, all_sums.T, strict=True) if (column != column[0]).any()]


def _sum(value: Any) -> int:
    if is_key(value):
        value = jax.random.key_data(value)
    if not hasattr(value, "dtype"):
        return zlib.crc32(repr(value).encode())
    value = np.asarray(value)
    return zlib.crc32(np.ascontiguousarray(value).view(np.uint8).data if value.size else b"", value.ndim)
