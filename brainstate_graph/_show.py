"""How values print in one line; knows nothing of graphs, so that everything may use it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

__all__ = ["describe", "dotted", "dtype_name", "render"]

_SHORT = {
    "float": "f",
    "bfloat": "bf",
    "complex": "c",
    "int": "i",
    "uint": "u",
}


def dtype_name(dtype: Any) -> str:
    name = str(dtype)
    for long, short in _SHORT.items():
        if name.startswith(long) and name[len(long) :].isdigit():
            return short + name[len(long) :]
    return name


def describe(value: Any) -> str:
    """Describe a value by structure, dtype and shape, as in ``f32[3,4]``; never print numbers."""
    if isinstance(value, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct)):
        return f"{dtype_name(value.dtype)}[{','.join(map(str, value.shape))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {describe(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(describe(v) for v in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def dotted(path: tuple[Any, ...]) -> str:
    """Spell a path the way a person writes it: ``('layers', 0, 'weight')`` is ``layers.0.weight``."""
    return ".".join(map(str, path)) if path else "(root)"


def render(kind: type[Any], attributes: dict[str, Any], path: str | None, subtree_renderer: Any) -> Any:
    """Render an object for the treescope viewer as a constructor call that can be unfolded."""
    from treescope import repr_lib  # only a program that shows something pays for the import

    return repr_lib.render_object_constructor(
        object_type=kind, attributes=attributes, path=path, subtree_renderer=subtree_renderer
    )
