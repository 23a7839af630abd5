"""Which form a checked state keeps: the structure of its value, and the shapes and dtypes in it."""

from __future__ import annotations

from typing import Any

import jax

from .._tools.words import describe, dtype_name
from .locate import locate

__all__ = ["refuse_other_form"]


def refuse_other_form(state: Any, old: Any, new: Any, shapes: bool) -> None:
    before, after = jax.tree.structure(old), jax.tree.structure(new)
    if before != after:
        raise ValueError(f"{locate(state)} holds a value of structure {before}, and was assigned one of {after}")
    if shapes:
        for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True):
            if _form(x) != _form(y):
                at = jax.tree_util.keystr(path)
                raise ValueError(
                    f"{locate(state)} is checked: its value{at} is {_form(x)}, and was assigned {_form(y)}. "
                    "Make a new State to change the shape or dtype."
                )


def _form(leaf: Any) -> str:
    if hasattr(leaf, "dtype"):
        return describe(leaf)
    number = isinstance(leaf, (bool, int, float, complex))
    return f"{dtype_name(jax.numpy.result_type(leaf))}[]" if number else f"a {type(leaf).__name__}"
