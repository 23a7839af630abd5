"""``util``: dictionaries and filters by their older names; flax has most of these, and they are taken from there."""

from __future__ import annotations

import collections
import itertools
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import jax
from flax.core import FrozenDict, copy, freeze, pop, unfreeze
from flax.struct import PyTreeNode, dataclass, field
from flax.traverse_util import flatten_dict as _flatten_dict
from flax.traverse_util import unflatten_dict as _unflatten_dict

import brainstate_graph as filter
import brainstate_graph.compat as _graph
from brainstate_graph.compat import StateDictManager as DictManager
from brainstate_transform import breakpoint_if

__all__ = [
    "DictManager", "DotDict", "FrozenDict", "PyTreeNode", "breakpoint_if", "clear_buffer_memory", "copy", "dataclass",
    "field", "filter", "flatten_dict", "freeze", "get_unique_name", "is_dataclass", "is_instance_eval", "merge_dicts",
    "not_instance_eval", "pop", "pretty_repr", "split_total", "struct", "unflatten_dict", "unfreeze",
]  # fmt: skip

__getattr__ = _graph.from_today(__name__, _graph)

pretty_repr = repr
struct = sys.modules[__name__]  # what it has is here
sys.modules[f"{__name__}.struct"] = struct
sys.modules[f"{__name__}.filter"] = filter  # so that `from brainstate_nn.compat.util.filter import ...` finds it
_numbers: dict[str, Any] = collections.defaultdict(itertools.count)


class DotDict(dict[str, Any]):
    """A dict whose items are attributes, too, and so are those of dicts in it.

    Example:
        >>> from brainstate_nn.compat.util import DotDict
        >>> settings = DotDict(lr=0.1)
        >>> settings.lr
        0.1
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __init__(self, *items: Any, **named: Any) -> None:
        for key, value in dict(*items, **named).items():
            self[key] = DotDict(value) if type(value) is dict else value

    __setattr__ = dict.__setitem__
    __delattr__ = dict.__delitem__

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts."""
        return {key: value.to_dict() if isinstance(value, DotDict) else value for key, value in self.items()}


def flatten_dict(d: dict[str, Any], parent_key: str = "", sep: str = ".") -> dict[str, Any]:
    """Return the items of a dict of dicts by their paths, below `parent_key`."""
    return _flatten_dict({parent_key: d} if parent_key else d, sep=sep)


def unflatten_dict(d: dict[str, Any], sep: str = ".") -> dict[str, Any]:
    """Return the dict of dicts that `flatten_dict` has made flat."""
    return _unflatten_dict(d, sep=sep)


def merge_dicts(*dicts: dict[Any, Any], recursive: bool = True) -> dict[Any, Any]:
    """Return one dict of several, of which the later ones count; dicts in it are merged, too."""
    merged: dict[Any, Any] = {}
    for key, value in itertools.chain.from_iterable(part.items() for part in dicts):
        both = recursive and isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge_dicts(merged[key], value) if both else value
    return merged


def split_total(total: int, fraction: float) -> int:
    """Return a part of a whole number: a fraction of it, or a number of its own."""
    return int(total * fraction) if isinstance(fraction, float) else fraction


def get_unique_name(type_: str, prefix: str = "") -> str:
    """Return a name that was not returned before."""
    return f"{prefix}{type_}{next(_numbers[type_])}"


def is_instance_eval(*cls: type) -> Callable[[Any], bool]:
    """Return a function that tells whether an object is of some classes."""
    return lambda item: isinstance(item, cls)


def not_instance_eval(*cls: type) -> Callable[[Any], bool]:
    """Return a function that tells whether an object is of other classes."""
    return lambda item: not isinstance(item, cls)


def clear_buffer_memory(platform: str | None = None, array: bool = True, compilation: bool = False) -> None:
    """Delete all arrays of a platform, and the programs that JAX keeps; a deleted array cannot be used any more."""
    if array:
        for one in jax.live_arrays(platform):
            one.delete()
    if compilation:
        jax.clear_caches()
