"""Whom a function, class or module belongs to: Python and other libraries, this library, or the user."""

from __future__ import annotations

import argparse
import sys
import types
from typing import Any

__all__ = ["OPEN", "is_foreign", "is_nn", "is_ours", "is_users", "package_of"]

FOREIGN = frozenset(sys.stdlib_module_names) | {
    "jax", "jaxlib", "numpy", "scipy", "optax", "flax", "chex", "orbax", "equinox", "diffrax", "optimistix", "lineax",
    "jaxtyping", "haiku", "torch", "tensorflow", "pandas", "matplotlib", "sklearn", "tqdm", "rich", "treescope",
    "einops", "distrax", "numpyro", "blackjax", "IPython", "pytest", "_pytest", "hypothesis", "typing_extensions",
    "ml_dtypes",
}  # fmt: skip
OURS = ("brainstate_graph", "brainstate_transform", "brainstate_nn")
OPEN = (types.SimpleNamespace, argparse.Namespace)  # classes of Python whose objects users fill


def package_of(item: Any) -> str:
    """Return the top-level package of a function, class or module."""
    name = item.__name__ if isinstance(item, types.ModuleType) else getattr(item, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def is_foreign(item: Any) -> bool:
    """Tell whether a function, class or module belongs to Python or to a library that reaches no model by itself."""
    return package_of(item) in FOREIGN


def is_ours(item: Any) -> bool:
    """Tell whether a function, class or module is a part of this library."""
    return package_of(item) in OURS


def is_users(item: Any) -> bool:
    """Tell whether a function, class or module is the user's own."""
    return not (is_foreign(item) or is_ours(item))


def is_nn(item: Any) -> bool:
    """Tell whether a function, class or module is a part of what models are written with."""
    return package_of(item) == OURS[-1]
