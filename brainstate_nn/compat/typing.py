"""``typing``: names for annotations."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from jax import Array
from jax.typing import ArrayLike, DTypeLike

from brainstate_graph import Filter

__all__ = [
    "Array", "ArrayLike", "Axes", "DType", "DTypeLike", "Filter", "FilterLiteral", "K", "Key", "Missing",
    "PathParts", "Predicate", "PyTree", "SeedOrKey", "Shape", "Size", "SupportsDType",
]  # fmt: skip

Key = K = Hashable
PathParts = tuple[Key, ...]
Predicate = Callable[[PathParts, Any], bool]
Size = int | Sequence[int]
Shape = Axes = Sequence[int]
SeedOrKey = int | Array | None
PyTree = FilterLiteral = SupportsDType = Any
DType = DTypeLike


class Missing:
    """Stands for an argument that was not given."""
