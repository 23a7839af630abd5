"""Rules for devices: the spec by which each array of a model is split over a mesh.

A *rule* is a selector of states with a *spec*, which names for each dimension the axes of the mesh that split it. The
first rule that selects a state counts, then what the state declares itself. An array that is kept for a parameter, as a
moment of Adam is, has the spec of that parameter (see `Follower`). All problems of a model are found before any array
moves.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from brainstate_graph import Any as AnyOf
from brainstate_graph import GraphError, Node, State, states, to_predicate
from brainstate_graph import nodes as nodes_of
from brainstate_graph.extend import describe, read_values
from brainstate_transform import lane_axes

from .._core.follower import Follower, StateLeaf
from .._core.paths import Path, StateArrays, dotted_name, state_arrays
from .._core.sharded import axes_in, spec_of

__all__ = ["AnyMesh", "Axes", "Rules", "ShardedState", "fully_sharded", "sharded_states"]

AnyMesh = Mesh | AbstractMesh
Axes = Mapping[str, Any]
# A mapping or pairs from selectors to specs; one spec for all states; or None for no rules.
Rules = Any

# How many problems one message lists.
_SHOWN = 20


@dataclass(frozen=True)
class fully_sharded:  # noqa: N801 - it is written and read as a function, and is one that compares by its arguments
    """The spec that splits the largest dimension of each array that can be split evenly, as in FSDP or ZeRO.

    Of equal dimensions it takes the last. An array that has no such dimension is replicated. Of the layers of a Stack,
    or the members of an ensemble, each array is split by itself: the axis of layers or members is left whole.

    Args:
        axis: The axis of the mesh, or several as a tuple.
        min_size: Arrays of fewer elements are replicated, for it is not worth while to gather them.

    Example:
        >>> import jax
        >>> from brainstate_nn import Linear, fully_sharded, shardings
        >>> mesh = jax.sharding.AbstractMesh((4,), ("data",))
        >>> {name: s.spec for name, s in shardings(Linear(8, 3), mesh, fully_sharded("data")).items()}
        {'bias': P(), 'weight': P('data',)}
    """

    axis: str | tuple[str, ...] = "data"
    min_size: int = 0

    def __call__(self, name: str, leaf: Any, mesh: AnyMesh) -> PartitionSpec:
        """Return the spec of an array.

        Args:
            name: Its dotted name.
            leaf: The array, or its shape and dtype.
            mesh: The mesh.
        """
        names = (self.axis,) if isinstance(self.axis, str) else self.axis
        if not set(names) <= set(mesh.axis_names):
            # A mesh without these axes: the spec is refused later, with the name of the array.
            return PartitionSpec(self.axis)
        parts = math.prod(mesh.shape[axis] for axis in names)
        shape = jax.numpy.shape(leaf)
        # Pairs in this order, so that `max` takes the largest dimension, and of equal ones the last.
        sizes = [(size, dimension) for dimension, size in enumerate(shape) if size and size % parts == 0]
        if not sizes or math.prod(shape) < self.min_size:
            return PartitionSpec()
        return PartitionSpec(*[None] * max(sizes)[1], self.axis)


class ShardedState(NamedTuple):
    """A state, and how its arrays are to be split.

    Attributes:
        state: The live state.
        names: The dotted names of the arrays of its value.
        leaves: The arrays.
        treedef: The tree that puts them together.
        specs: For each array a PartitionSpec that fits it and the mesh.
    """

    state: State[Any]
    names: list[str]
    leaves: list[Any]
    treedef: Any
    specs: list[PartitionSpec]


@dataclass(frozen=True, eq=False)
class _Rule:
    key: Any
    spec: Any
    selects: Callable[[Path, Any], bool]


def sharded_states(node: Any, mesh: AnyMesh, rules: Rules, axes: Axes | None) -> list[ShardedState]:
    """Return the states of a model with the specs that the rules give their arrays.

    Args:
        node: A Node, or a container of them.
        mesh: The mesh.
        rules: As for `shard`.
        axes: As for `shard`.

    Raises:
        GraphError: A rule selects nothing, or a spec does not fit the mesh or its array; the message lists all.
        TypeError: An argument is something else.
    """
    if not isinstance(mesh, (Mesh, AbstractMesh)):
        raise TypeError(f"mesh must be a Mesh, such as `jax.make_mesh((8,), ('data',))`, not {type(mesh).__name__}")
    ordered = list(_as_rules(rules))
    found = state_arrays(node)
    selecting = {
        (arrays.state, i): [rule for rule in ordered if any(rule.selects(p, arrays.state) for p in _paths(arrays, i))]
        for arrays in found
        for i in range(len(arrays.leaves))
    }
    problems = _unused(ordered, selecting, found, node)
    followed = dict(pair for follower in nodes_of(node, Follower).values() for pair in follower.followed())
    specs: dict[StateLeaf, PartitionSpec] = {}
    for arrays in found:
        for i, (name, leaf) in enumerate(zip(arrays.names, arrays.leaves, strict=True)):
            rules_here = selecting[arrays.state, i]
            if (arrays.state, i) in followed:
                # A rule that selects the parameter as well was written for the parameter.
                rules_here = [rule for rule in rules_here if rule not in selecting[followed[arrays.state, i]]]
                if not rules_here:
                    continue
            given = rules_here[0].spec if rules_here else arrays.state.metadata.get("sharding")
            # What a state declares, and what a function says, is said of one layer of a Stack or member of an ensemble.
            of_each = not rules_here or (callable(given) and not isinstance(given, PartitionSpec))
            lanes = _lanes(leaf, *followed.get((arrays.state, i), (arrays.state, i))) if of_each else ()
            specs[arrays.state, i], wrong = _spec(given, name, leaf, mesh, axes or {}, lanes)
            if wrong:
                paths = _paths(arrays, i)
                path = next((p for p in paths if rules_here and rules_here[0].selects(p, arrays.state)), paths[0])
                problems += [f"{dotted_name(path)} {what}" for what in wrong]
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise GraphError(
            f"{type(node).__name__} cannot be laid out by these rules, nothing was moved: "
            f"{'; '.join(problems[:_SHOWN] + more)}"
        )
    return [
        ShardedState(
            arrays.state, arrays.names, arrays.leaves, arrays.treedef,
            [
                specs[arrays.state, i] if (arrays.state, i) in specs
                else _of_follower(specs[followed[arrays.state, i]], leaf, *followed[arrays.state, i])
                for i, leaf in enumerate(arrays.leaves)
            ],
        )
        for arrays in found
    ]  # fmt: skip


def _lanes(leaf: Any, owner: State[Any], index: int) -> tuple[int, ...]:
    """Return the axes of lanes of an array, which may be kept for that of another state."""
    theirs = jax.tree.leaves(read_values([owner], False)[0])[index]
    return lane_axes(owner) if jax.numpy.ndim(leaf) == jax.numpy.ndim(theirs) else ()


def _of_follower(spec: PartitionSpec, leaf: Any, owner: State[Any], index: int) -> PartitionSpec:
    """Return the spec of an array that is kept for another one; for one lane of it, where it has its axes no more."""
    lanes = () if _lanes(leaf, owner, index) else lane_axes(owner)
    ndim = jax.numpy.ndim(leaf) + len(lanes)
    return PartitionSpec(*(spec[i] for i in _own_axes(ndim, lanes) if i < len(spec))) if lanes else spec


def _own_axes(ndim: int, lanes: Iterable[int]) -> list[int]:
    """Return the axes of an array that are none of its lanes."""
    own = list(range(ndim))
    for axis in lanes:
        own.pop(axis)
    return own


def _paths(arrays: StateArrays, index: int) -> list[Path]:
    """Return all paths of one array of a state, any of which a rule may name."""
    return [arrays.paths[index], *arrays.alias_paths(index)]


def _as_rules(rules: Rules) -> Iterator[_Rule]:
    if rules is None:
        return
    if isinstance(rules, PartitionSpec) or (callable(rules) and not isinstance(rules, type)):
        rules = {...: rules}
    if not isinstance(rules, (Mapping, list, tuple)):
        raise _bad_rules(rules)
    pairs = rules.items() if isinstance(rules, Mapping) else rules
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise _bad_rules(rules)
        key, spec = pair
        if isinstance(spec, type) or not (spec is None or isinstance(spec, (PartitionSpec, tuple)) or callable(spec)):
            raise TypeError(
                f"the rule {key!r} has {spec!r}: give a PartitionSpec, a tuple of names, None to replicate, or a "
                "function (name, array, mesh) -> PartitionSpec"
            )
        yield _Rule(key, spec, _predicate(key))


def _bad_rules(rules: Any) -> TypeError:
    return TypeError(
        "rules must be a mapping from a path, glob or filter to a PartitionSpec, as in "
        f"`{{'**.weight': P(None, 'model')}}`, or one spec for all, not {rules!r}"
    )


def _predicate(key: Any) -> Callable[[Path, Any], bool]:
    """Return the predicate of a selector, in the grammar that transforms have for states."""
    if isinstance(key, State):
        return lambda path, state: state is key
    if isinstance(key, Node):
        below = set(states(key).values())
        return lambda path, state: state in below
    if isinstance(key, tuple):
        return AnyOf(*map(_predicate, key))
    return to_predicate(key)


def _unused(
    rules: list[_Rule], selecting: dict[StateLeaf, list[_Rule]], found: list[StateArrays], node: Any
) -> list[str]:
    """Spell the rules that select nothing, each of which may be a slip of the pen."""
    used = {rule for rules_here in selecting.values() for rule in rules_here}
    problems: list[str] = []
    for rule in rules:
        if rule not in used:
            names = [name for arrays in found for name in arrays.names]
            near = difflib.get_close_matches(rule.key, names, 1) if isinstance(rule.key, str) else []
            hint = f"; {near[0]} comes nearest" if near else ""
            problems.append(f"the rule {rule.key!r} fits no state of {type(node).__name__}{hint}")
    return problems


def _spec(
    given: Any, name: str, leaf: Any, mesh: AnyMesh, axes: Axes, lanes: tuple[int, ...]
) -> tuple[PartitionSpec, list[str]]:
    """Return the spec of an array in the axes of the mesh, and what is wrong with it; it is given for each lane."""
    if lanes:
        own = _own_axes(jax.numpy.ndim(leaf), lanes)
        one = jax.ShapeDtypeStruct([jax.numpy.shape(leaf)[i] for i in own], leaf.dtype)
        spec, wrong = _spec(given, name, one, mesh, axes, ())
        entries = dict(zip(own, spec, strict=False))
        return PartitionSpec(*(entries.get(i) for i in range(max(entries, default=-1) + 1))), wrong
    if callable(given) and not isinstance(given, PartitionSpec):
        given = given(name, leaf, mesh)
    if not isinstance(given, (PartitionSpec, tuple, type(None))):
        return PartitionSpec(), [
            f"is given {given!r}, which is neither a PartitionSpec, nor a tuple of names, nor None"
        ]
    split = [_in_mesh(entry, axes) for entry in given or ()]
    flat = [axis for entry in split for axis in entry]
    shape = jax.numpy.shape(leaf)
    wrong: list[str] = []
    if len(split) > len(shape):
        wrong.append(f"is {describe(leaf)}, which has fewer axes than {given!r}")
    for axis in dict.fromkeys(flat):
        if axis not in mesh.axis_names:
            wrong.append(
                f"has {given!r}, but the mesh has no axis {axis!r}, only {_listed(mesh.axis_names)} (map the "
                f"name to an axis, `axes={{{axis!r}: {mesh.axis_names[0]!r}}}`)"
            )
        elif flat.count(axis) > 1:
            wrong.append(f"has {given!r}, where {axis!r} splits more than one dimension")
    for size, entry in zip(shape, () if wrong else split, strict=False):
        count = math.prod(mesh.shape[axis] for axis in entry)
        if size % count:
            wrong.append(
                f"is {describe(leaf)}, and {size} is not a multiple of the {count} devices along {_listed(entry)}"
            )
    return spec_of(split), wrong


def _in_mesh(entry: Any, axes: Axes) -> tuple[Any, ...]:
    """Return the axes of the mesh that split a dimension, given a name, several, or None."""
    meant = [axes.get(name, name) if isinstance(name, str) else name for name in axes_in(entry)]
    return tuple(axis for part in meant for axis in axes_in(part))


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(repr, names))
