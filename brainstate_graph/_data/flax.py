"""``flax.serialization`` takes state trees: it is told of them when it is imported, before or after this package.

We do not import it: that costs a quarter of a second, several times as much as this package.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core.errors import GraphError
from .._core.layout import Layout, path_of
from .._tools.words import dotted
from .._trees.leaf import TreefyState, bare
from .._trees.nesting import nested
from .._trees.tree import layout_of, make_tree, values_of

__all__ = ["serialize_with_flax"]

_NAME = "flax.serialization"
_ABSENT = object()


class _AtImport(importlib.abc.MetaPathFinder):
    """Finds the module as the other finders do, and acts when it has run."""

    def __init__(self, act: Callable[[types.ModuleType], None]) -> None:
        self._act = act

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _NAME:
            return None
        others = (finder for finder in tuple(sys.meta_path) if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                run(module)
                if module.__name__ == _NAME:  # a loader may serve many
                    self._act(module)

            spec.loader.exec_module = exec_module
        return spec


def serialize_with_flax(*trees: type[Any]) -> None:
    """Tell flax of TreefyState and these classes of state trees, now or as soon as it is imported."""

    def act(flax: Any) -> None:
        for kind, form in ((TreefyState, _Value(flax)), *((kind, _Tree(flax)) for kind in trees)):
            flax.register_serialization_state(kind, form.write, form.read, override=True)

    if _NAME in sys.modules:
        act(sys.modules[_NAME])
    else:
        sys.meta_path.insert(0, _AtImport(act))


class _Value:
    """A TreefyState is written as its value, with random keys as the name of their generator and their bits."""

    def __init__(self, flax: Any) -> None:
        self.flax = flax

    def write(self, item: Any) -> Any:
        return self.flax.to_state_dict(_without_keys(bare(item)))

    def read(self, ref: TreefyState, data: Any) -> TreefyState:
        return ref.replace(self.value(ref.value, data, "value"))

    def value(self, value: Any, data: Any, name: str) -> Any:
        plain = _without_keys(value)
        found = self.flax.from_state_dict(plain, data, name=name)
        return found if plain is value else jax.tree.map(_with_key, value, found)


class _Tree(_Value):
    """A state tree is written as nested dictionaries with the text of the keys."""

    def write(self, item: Any) -> Any:
        layout, values = layout_of(item.to_nest()), values_of(item)
        _check_names(layout)
        return nested(layout, lambda place: super(_Tree, self).write(values[place]), str)

    def read(self, ref: Any, data: Any) -> Any:
        layout, before = layout_of(ref.to_nest()), values_of(ref)
        _check_names(layout)
        parts, problems = _parts(layout, data)
        values: list[Any] = []
        for place, leaf in enumerate(layout.leaves):
            if parts[leaf] is not _ABSENT:
                name = dotted(layout.path(place))
                try:
                    values.append(self.value(bare(before[place]), parts[leaf], name))
                except (AttributeError, KeyError, TypeError, ValueError) as error:  # all of which flax raises
                    problems.append(f"{name}: {error}")
        if problems:
            where = self.flax.current_path().removeprefix("./").removeprefix(".")
            raise GraphError(f"the data does not fit the tree{' at ' * bool(where)}{where}: " + "; ".join(problems))
        return make_tree(type(ref), layout, values)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(value: Any) -> Any:
    if not any(map(_is_key, jax.tree.leaves(value))):
        return value
    return jax.tree.map(
        lambda leaf: (
            {"impl": str(jax.random.key_impl(leaf)), "data": np.asarray(jax.random.key_data(leaf))}
            if _is_key(leaf)
            else leaf
        ),
        value,
    )


def _with_key(leaf: Any, data: Any) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(data["data"]), impl=data["impl"]) if _is_key(leaf) else data


def _check_names(layout: Layout) -> None:
    """Refuse keys that cannot be names, or would have the same name."""
    problems: list[str] = []
    names: dict[tuple[int, str], Any] = {}
    for entry, (parent, key) in enumerate(layout.entries):
        if type(key) not in (str, int):
            problems.append(f"the key {key!r} of {dotted(path_of(layout.entries, entry))} is a {type(key).__name__}")
        elif names.setdefault((parent, str(key)), key) is not key:
            problems.append(
                f"{dotted(path_of(layout.entries, entry))} stands for two keys, {key!r} and {names[parent, str(key)]!r}"
            )
    if problems:
        raise GraphError(
            "flax names states by text, so the keys of a tree must be strings or integers and differ as text: "
            + "; ".join(problems)
        )


def _parts(layout: Layout, data: Any) -> tuple[list[Any], list[str]]:
    """Return for each entry of a layout what stands there in dictionaries by name, and what does not fit."""
    parts: list[Any] = []
    names: dict[int, set[str]] = {-1: set()}
    problems: list[str] = []
    for entry, (parent, key) in enumerate(layout.entries):
        above = data if parent < 0 else parts[parent]
        parts.append(above.get(str(key), _ABSENT) if isinstance(above, dict) else _ABSENT)
        names.setdefault(parent, set()).add(str(key))
        names.setdefault(entry, set())
        if entry in layout.place_of and parts[entry] is _ABSENT:
            problems.append(f"missing: {dotted(path_of(layout.entries, entry))}")
    for entry, known in names.items():
        part = data if entry < 0 else parts[entry]
        if entry not in layout.place_of and isinstance(part, dict):
            above = dotted(path_of(layout.entries, entry)) + "." if entry >= 0 else ""
            problems += [f"unexpected: {above}{name}" for name in part if name not in known]
        elif entry not in layout.place_of and part is not _ABSENT:
            problems.append(f"{dotted(path_of(layout.entries, entry))} is one value")
    return parts, problems
