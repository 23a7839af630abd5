"""Abstract values in words: shape and dtype, and what else JAX tells them apart by.

*Abstract value*: what JAX knows of an array while it traces.  Beside its shape and dtype that is whether its type is
weak, how it lies on a mesh, in which kind of memory, and over which axes of a `shard_map` it varies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from brainstate_graph.extend import describe

__all__ = ["LEAF", "Abstract", "differences", "nbytes_of", "placed", "words_of"]

Abstract = tuple[Any, tuple[Any, ...]]  # the structure of a value, and its leaves in the abstract
LEAF = jax.tree.structure(0)


def words_of(abstract: Abstract) -> str:
    """Describe a value in the abstract, in all that JAX tells it apart by."""
    weak = " weak" if any([getattr(aval, "weak_type", False) for aval in abstract[1]]) else ""
    shape, *where = placed(abstract).split(" ", 1) if len(abstract[1]) == 1 else (placed(abstract),)
    return " ".join([shape + weak, *where])


def placed(abstract: Abstract) -> str:
    """Describe a value by structure, dtype and shape, and say where it lies if that is no single device."""
    treedef, avals = abstract
    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    places = set(map(_place, avals))
    where = f"in {len(places)} placements" if len(places) > 1 else "".join(places)
    return f"{describe(jax.tree.unflatten(treedef, shapes))} {where}".rstrip()


def nbytes_of(abstract: Abstract) -> int:
    """Return the size of a value in bytes."""
    return sum([math.prod(aval.shape) * aval.dtype.itemsize for aval in abstract[1]])


def differences(old: Abstract, new: Abstract) -> Iterator[tuple[str, str, str]]:
    """Say in what two values differ in the abstract.

    Returns:
        For each difference the path in the value, and both sides in words, which are not the same.
    """
    if old[0] != new[0]:
        yield ("", *_told_apart(old, new))
        return
    paths = jax.tree_util.tree_leaves_with_path(jax.tree.unflatten(new[0], range(len(new[1]))))
    for path, number in paths:
        one, other = old[1][number], new[1][number]
        if one != other:
            yield (jax.tree_util.keystr(path), *_told_apart((LEAF, (one,)), (LEAF, (other,))))


def _told_apart(old: Abstract, new: Abstract) -> tuple[str, str]:
    """Return both in words; in those of JAX where ours are too few."""
    for words in (words_of, _in_full, repr):
        one, other = words(old), words(new)
        if one != other:
            return one, other
    return words_of(old), f"another {words_of(new)}"


def _in_full(abstract: Abstract) -> str:
    treedef, avals = abstract
    each = [f"{aval!r} with {getattr(aval, 'sharding', None)}" for aval in avals]
    return each[0] if treedef == LEAF else f"{treedef} of {', '.join(each)}"


def _place(aval: Any) -> str:
    """Say where an array lies; nothing where that is the memory of one device."""
    return " ".join(filter(None, (_sharding(aval), _memory(aval), _varying(aval))))


def _sharding(aval: Any) -> str:
    sharding: Any = getattr(aval, "sharding", None)
    mesh = getattr(sharding, "mesh", None)
    if mesh is None or mesh.empty:
        return ""
    kinds = [str(getattr(kind, "name", kind)).lower() for kind in mesh.axis_types]
    axes = [f"{name}: {size} {kind}" for (name, size), kind in zip(mesh.shape.items(), kinds, strict=True)]
    # Of axes that are not explicit, XLA decides how arrays lie on them.
    how = _spec(sharding.spec) if "explicit" in kinds else ""
    return f"{how}on mesh ({', '.join(axes)})"


def _spec(spec: Any) -> str:
    if any(spec) or getattr(spec, "unreduced", None) or getattr(spec, "reduced", None):
        return f"{spec} "
    return "replicated "


def _memory(aval: Any) -> str:
    space = getattr(aval, "memory_space", None)
    name = str(getattr(space, "name", space)).lower()
    return "" if space is None or name in ("device", "any") else f"in {name} memory"


def _varying(aval: Any) -> str:
    axes: Sequence[Any] = sorted(getattr(aval, "vma", None) or (), key=str)
    return f"varying over {', '.join(map(str, axes))}" if axes else ""
