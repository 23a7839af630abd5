"""``shard`` lays the states of a model out over the devices of a mesh, ``shardings`` tells how it would.

The rules are answered in `rules`; here arrays are moved.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from brainstate_graph.extend import write_values

from .._core.replacement import put
from .rules import AnyMesh, Axes, Rules, ShardedState, sharded_states

__all__ = ["named_shardings", "shard", "shardings"]

N = TypeVar("N")


def shardings(node: Any, mesh: AnyMesh, rules: Rules = None, *, axes: Axes | None = None) -> dict[str, NamedSharding]:
    """Return how `shard` would lay out the states of a model, which stays as it is.

    Args:
        node: A Node, or a container of them; their states may hold shapes in place of arrays.
        mesh: The mesh; an AbstractMesh will do.
        rules: As for `shard`.
        axes: As for `shard`.

    Returns:
        A NamedSharding by dotted name, for each array that `to_flat_dict` has, in the same order.

    Raises:
        GraphError: As for `shard`.

    Example:
        >>> import jax
        >>> from brainstate_nn import Linear, shardings
        >>> mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
        >>> plan = shardings(Linear(8, 4), mesh, {"weight": jax.P(None, "model")})
        >>> {name: sharding.spec for name, sharding in plan.items()}
        {'bias': P(), 'weight': P(None, 'model')}
    """
    parts = sharded_states(node, mesh, rules, axes)
    return {
        name: NamedSharding(mesh, spec) for part in parts for name, spec in zip(part.names, part.specs, strict=True)
    }


def shard(node: N, mesh: AnyMesh, rules: Rules = None, *, axes: Axes | None = None) -> N:
    """Lay the states of a model out over the devices of a mesh; all of them or, where something does not fit, none.

    For each array the first rule that fits its state counts, then what the state declares as metadata,
    ``ParamState(value, sharding=P(None, "model"))``; what neither names is replicated. What an Optimizer or EMA keeps
    for a parameter follows that, unless a rule fits it that does not fit the parameter.

    Args:
        node: A Node, or a container of them, such as the model together with its optimizer.
        mesh: The mesh, with Auto or Explicit axes.
        rules: A mapping, or pairs, from selectors to specs, or one spec for all. A selector is a dotted path, for all
            below it; a glob, such as ``"blocks.*.mlp.**"``; a tag, class of states or another filter; a State or Node;
            or a tuple of these. Any path of a state that is held in several places may be meant; what is inside of a
            value that is a tree has a path too. A spec is a PartitionSpec; a tuple of names; None, to replicate; or a
            function ``(name, array, mesh)`` that returns one, as `fully_sharded` is. What a function says, and what a
            state declares, is about one layer of a Stack, and one member of an ensemble: the axis for these comes on
            top, and is whole. A spec in a rule is about the array as it is, that axis included.
        axes: What names in specs stand for: an axis of the mesh, several as a tuple, or None for no splitting. Other
            names are those of axes.

    Returns:
        The node, whose states hold arrays on the mesh. Python numbers stay what they are; where a state holds shapes,
        they are given the sharding.

    Raises:
        GraphError: A rule fits no state, a spec names an axis that the mesh has not, names more dimensions than there
            are, or splits one unevenly; the message lists all, by path.
        TypeError: An argument is something else.

    Example:
        >>> import jax
        >>> from brainstate_nn import Linear, shard
        >>> mesh = jax.make_mesh((1,), ("model",))
        >>> layer = shard(Linear(8, 4), mesh, {"weight": jax.P(None, "model")})
        >>> layer.weight.value.sharding.spec, layer.bias.value.sharding.spec
        (P(None, 'model'), P())
    """
    parts = sharded_states(node, mesh, rules, axes)
    # by identity, so that an array that two states hold is moved once, and stays one
    moved: dict[tuple[int, Any], Any] = {}
    for part in parts:
        for leaf, spec in zip(part.leaves, part.specs, strict=True):
            # Python numbers and shapes are no arrays that could be moved.
            if isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
                moved[id(leaf), spec] = leaf
    if moved and not isinstance(mesh, Mesh):
        raise TypeError("arrays need a mesh of devices, such as `jax.make_mesh((8,), ('data',))`, not an AbstractMesh")
    moved = {key: put(leaf, NamedSharding(mesh, key[1])) for key, leaf in moved.items()}
    write_values(
        [part.state for part in parts],
        [
            part.treedef.unflatten(
                [
                    _shaped(leaf, sharding)
                    if isinstance(leaf, jax.ShapeDtypeStruct)
                    else moved.get((id(leaf), sharding.spec), leaf)
                    for leaf, sharding in zip(part.leaves, named_shardings(part, mesh), strict=True)
                ]
            )
            for part in parts
        ],
    )
    return node


def named_shardings(part: ShardedState, mesh: AnyMesh) -> list[NamedSharding]:
    """Return the shardings of the arrays of a state."""
    return [NamedSharding(mesh, spec) for spec in part.specs]


def _shaped(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding, weak_type=leaf.weak_type)
