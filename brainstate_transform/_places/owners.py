"""Whom a function, class or module belongs to: Python and other libraries, this library, or the user."""

from __future__ import annotations

import argparse
import enum
import sys
import threading
import types
from typing import Any

__all__ = ["OPEN", "Owner", "is_nn", "is_older", "owner_of", "package_of", "reads_settings", "stages"]


class Owner(enum.Enum):
    """Whom a thing belongs to."""

    LIBRARY = "Python, or a library that reaches no model by itself"
    OURS = "this library"
    USER = "the user"


_LIBRARIES = frozenset(sys.stdlib_module_names) | {
    "jax", "jaxlib", "numpy", "scipy", "optax", "flax", "chex", "orbax", "equinox", "diffrax", "optimistix", "lineax",
    "jaxtyping", "haiku", "torch", "tensorflow", "pandas", "matplotlib", "sklearn", "tqdm", "rich", "treescope",
    "einops", "distrax", "numpyro", "blackjax", "IPython", "pytest", "_pytest", "hypothesis", "typing_extensions",
    "ml_dtypes",
}  # fmt: skip
_OURS = ("brainstate_graph", "brainstate_transform", "brainstate_nn")
# Libraries that stage functions which they are given, and functions of JAX that do.
_STAGING = frozenset({"equinox", "diffrax", "optimistix", "lineax", "numpyro", "blackjax", "flax", "haiku"})
_STAGERS = frozenset({
    "associative_scan", "checkpoint", "closure_convert", "cond", "custom_gradient", "custom_jvp", "custom_linear_solve",
    "custom_root", "custom_vjp", "fori_loop", "jit", "linear_call", "map", "pjit", "pmap", "remat", "scan", "shard_map",
    "switch", "while_loop",
})  # fmt: skip
OPEN = (types.SimpleNamespace, argparse.Namespace, threading.local)  # classes of Python whose objects users fill


_owners: dict[str, Owner] = {}  # by the name of a module


def owner_of(item: Any) -> Owner:
    """Return whom a function, class or module belongs to."""
    name = item.__name__ if isinstance(item, types.ModuleType) else getattr(item, "__module__", None)
    if type(name) is not str:
        return Owner.USER
    owner = _owners.get(name)
    if owner is None:
        package = name.partition(".")[0]
        owner = Owner.LIBRARY if package in _LIBRARIES else Owner.OURS if package in _OURS else Owner.USER
        _owners[name] = owner
    return owner


def package_of(item: Any) -> str:
    """Return the top-level package of a function or class."""
    name = getattr(item, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def stages(package: str, name: str) -> bool:
    """Tell whether a function of a library stages the functions that it is given, and keeps their traces."""
    return package in _STAGING or (package == "jax" and name in _STAGERS)


def is_nn(item: Any) -> bool:
    """Tell whether a function or class is a part of what models are written with."""
    return package_of(item) == _OURS[-1]


def is_older(item: Any) -> bool:
    """Tell whether something is a class of the older spellings, whose objects may read what is set for a process."""
    return isinstance(item, type) and owner_of(item) is Owner.OURS and reads_settings(item)


def reads_settings(item: Any) -> bool:
    """Tell whether a class of ours, or a module, may read what is set for a process, which no layer of today does."""
    name = item.__name__ if isinstance(item, types.ModuleType) else item.__module__
    return f"{name}.".startswith("brainstate_nn.compat.")
