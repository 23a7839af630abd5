"""Registered pytrees in the text of a GraphDef: what a text says of one must be what its class can give."""

from __future__ import annotations

from typing import Any

import jax
from jax.tree_util import GetAttrKey, PyTreeDef, default_registry, flatten_one_level_with_keys

from .._core.errors import GraphError
from .._core.graphdef import GraphDef, treedef_key
from .._core.node import Node
from .._core.state import State
from .._core.static import Static, static_key
from .._core.watch import one_level
from .._trees.tree import StateTree, TreefyState

__all__ = ["child_names", "treedef_of"]

_NO_PYTREES = (Node, State, StateTree, TreefyState, GraphDef, Static)
_LEAF = jax.tree.structure(0)


def treedef_of(kind: type[Any], data: Any, keys: tuple[Any, ...]) -> Any:
    """Return the treedef of one level of a registered pytree, whose class makes an object of it, and it of that."""
    if issubclass(kind, _NO_PYTREES) or kind.__module__ in ("builtins", "collections") or hasattr(kind, "_fields"):
        raise GraphError(f"a {kind.__name__} is not a row of this kind")
    try:
        treedef = PyTreeDef.from_node_data_and_children(default_registry, (kind, data), [_LEAF] * len(keys))
    except RuntimeError:
        raise GraphError(f"{kind.__name__} is not registered as a pytree") from None
    try:
        _, again, found = one_level(jax.tree.unflatten(treedef, [0.0] * len(keys)))
        same = static_key(tuple(found)) == static_key(keys) and treedef_key(again) == treedef_key(treedef)
    except Exception:  # whatever the code of a class does with data that are not its own
        same = False
    if not same:
        raise GraphError(f"a {kind.__name__} cannot have these children and data")
    return treedef


def child_names(kind: type[Any]) -> tuple[str, ...]:
    """Return the attributes in which a class holds its children, or nothing where its own code holds them.

    Of a dataclass with too few children, JAX 0.10 and 0.12 read past their end, which ends the process.  So an object
    without attributes is given what JAX asks it for, one after the other.
    """
    maker: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins" and "__new__" in vars(base))
    try:
        blank = maker.__new__(kind)
        for _ in range(10_000):
            try:
                pairs = list(flatten_one_level_with_keys(blank)[0])
                names = tuple(key.name if isinstance(key, GetAttrKey) else "" for key, _ in pairs)
                own = (getattr(blank, name, pairs) is not child for name, (_, child) in zip(names, pairs, strict=True))
                return () if any(own) else names
            except AttributeError as error:
                if error.obj is not blank:
                    return ()
                maker.__setattr__(blank, error.name, None)
    except AttributeError:
        pass  # it cannot be given what it is asked for
    except Exception:  # whatever the code of a class does with half an object: then it has such code
        return ()
    raise GraphError(f"cannot find out which children a {kind.__name__} has")
