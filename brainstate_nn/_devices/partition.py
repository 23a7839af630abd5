"""Rules: which axes of a mesh split which dimensions of which states.

*rule*: a selector of states and a *spec*, which names for each dimension the axes of the mesh that split it.
*follower*: an array that is kept for another one, as a moment of Adam for a parameter, and lies where that one lies.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from brainstate_graph import Any as AnyOf
from brainstate_graph import GraphError, Node, PathGlob, PathPrefix, State, WithTag, graphdef, states, to_predicate
from brainstate_graph import nodes as nodes_of
from brainstate_graph.extend import describe

from .._core.follower import Follower, StateLeaf
from .._core.names import alias_paths, dotted_name, dotted_names, leaf_names

__all__ = ["AnyMesh", "Axes", "Part", "Rules", "fully_sharded", "planned"]

AnyMesh = Mesh | AbstractMesh
Axes = Mapping[str, Any]
Rules = Any  # a mapping or pairs of selectors and specs; one spec for all; None

_SHOWN = 20  # problems that one message lists


@dataclass(frozen=True)
class fully_sharded:  # noqa: N801 - it is written and read as a function, and is one that compares by its arguments
    """The spec that splits the largest dimension of each array that can be split evenly, as in FSDP or ZeRO.

    Of equal dimensions it takes the last. An array that has no such dimension is replicated.

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
            return PartitionSpec(self.axis)  # which is refused, by the name of the array
        parts = math.prod(mesh.shape[axis] for axis in names)
        shape = jax.numpy.shape(leaf)
        sizes = [(size, place) for place, size in enumerate(shape) if size and size % parts == 0]
        if not sizes or math.prod(shape) < self.min_size:
            return PartitionSpec()
        return PartitionSpec(*[None] * max(sizes)[1], self.axis)


class Part(NamedTuple):
    """A state with what is planned for it.

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
    fits: Callable[[tuple[Any, ...], Any], bool]


def planned(node: Any, mesh: AnyMesh, rules: Rules, axes: Axes | None) -> list[Part]:
    """Find out how each state of a model is to lie on a mesh.

    Args:
        node: A Node, or a container of them.
        mesh: The mesh.
        rules: As for `shard`.
        axes: As for `shard`.

    Raises:
        GraphError: A rule fits nothing, or a spec does not fit the mesh or its array; the message lists all.
        TypeError: An argument is something else.
    """
    if not isinstance(mesh, (Mesh, AbstractMesh)):
        raise TypeError(f"mesh is a Mesh, such as `jax.make_mesh((8,), ('data',))`, not {type(mesh).__name__}")
    ordered = list(_as_rules(rules))
    parts, held = _parts(node)
    fitting = {
        (part.state, i): [rule for rule in ordered if any(rule.fits(path, part.state) for path in paths)]
        for part, places in zip(parts, held, strict=True)
        for i, paths in enumerate(places)
    }
    problems = _useless(ordered, fitting, parts, node)
    followed = dict(pair for keeper in nodes_of(node, Follower).values() for pair in keeper.followed())
    specs: dict[StateLeaf, PartitionSpec] = {}
    for part, places in zip(parts, held, strict=True):
        for i, (name, leaf, paths) in enumerate(zip(part.names, part.leaves, places, strict=True)):
            fits = fitting[part.state, i]
            if (part.state, i) in followed:  # what fits the parameter as well was said of the parameter
                fits = [rule for rule in fits if rule not in fitting[followed[part.state, i]]]
                if not fits:
                    continue
            said = fits[0].spec if fits else part.state.metadata.get("sharding")
            specs[part.state, i], wrong = _spec(said, name, leaf, mesh, axes or {})
            if wrong:
                path = next((path for path in paths if fits and fits[0].fits(path, part.state)), paths[0])
                problems += [f"{dotted_name(path)} {what}" for what in wrong]
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise GraphError(
            f"{type(node).__name__} cannot be laid out so, nothing was moved: {'; '.join(problems[:_SHOWN] + more)}"
        )
    for part in parts:
        leaves = [(part.state, i) for i in range(len(part.names))]
        part.specs.extend(specs[leaf] if leaf in specs else specs[followed[leaf]] for leaf in leaves)
    return parts


def _parts(node: Any) -> tuple[list[Part], list[list[list[Any]]]]:
    """Return the states of a model, for which nothing is planned yet, and all paths of each of their arrays."""
    others: dict[Any, list[Any]] = {}
    for other, first in alias_paths(graphdef(node)).items():
        others.setdefault(first, []).append(other)
    taken = [(path, state, *leaf_names((), state.value)) for path, state in states(node).items()]
    held = [
        [[(*p, *inner) for p in (path, *others.get(path, ()))] for inner in inners] for path, _, inners, *_ in taken
    ]
    names = iter(dotted_names([paths[0] for places in held for paths in places]))
    return [
        Part(state, [next(names) for _ in inners], leaves, tree, []) for _, state, inners, leaves, tree in taken
    ], held


def _as_rules(rules: Rules) -> Iterator[_Rule]:
    if rules is None:
        return
    if isinstance(rules, PartitionSpec) or (callable(rules) and not isinstance(rules, type)):
        rules = {...: rules}
    if not isinstance(rules, (Mapping, list, tuple)):
        raise _no_rules(rules)
    pairs = rules.items() if isinstance(rules, Mapping) else rules
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise _no_rules(rules)
        key, spec = pair
        if isinstance(spec, type) or not (spec is None or isinstance(spec, (PartitionSpec, tuple)) or callable(spec)):
            raise TypeError(
                f"the rule {key!r} has {spec!r}: give a PartitionSpec, a tuple of names, None to replicate, or a "
                "function (name, array, mesh) -> PartitionSpec"
            )
        yield _Rule(key, spec, _selecting(key))


def _no_rules(rules: Any) -> TypeError:
    return TypeError(
        "rules are a mapping from a path, glob or filter to a PartitionSpec, as in "
        f"`{{'**.weight': P(None, 'model')}}`, or one spec for all, not {rules!r}"
    )


def _selecting(key: Any) -> Callable[[tuple[Any, ...], Any], bool]:
    """Return the predicate of a selector, in the grammar that transforms have for states."""
    if isinstance(key, str):
        return PathGlob(key) if set("*?[") & set(key) else AnyOf(WithTag(key), PathPrefix(key))
    if isinstance(key, State):
        return lambda path, state: state is key
    if isinstance(key, Node):
        held = set(states(key).values())
        return lambda path, state: state in held
    if isinstance(key, tuple):
        return AnyOf(*map(_selecting, key))
    return to_predicate(key)


def _useless(rules: list[_Rule], fitting: dict[StateLeaf, list[_Rule]], parts: list[Part], node: Any) -> list[str]:
    """Say of each rule that fits nothing that it does, for it may be a slip of the pen."""
    used = {rule for fits in fitting.values() for rule in fits}
    problems: list[str] = []
    for rule in rules:
        if rule not in used:
            names = [name for part in parts for name in part.names]
            near = difflib.get_close_matches(rule.key, names, 1) if isinstance(rule.key, str) else []
            hint = f"; {near[0]} comes nearest" if near else ""
            problems.append(f"the rule {rule.key!r} fits no state of {type(node).__name__}{hint}")
    return problems


def _spec(said: Any, name: str, leaf: Any, mesh: AnyMesh, axes: Axes) -> tuple[PartitionSpec, list[str]]:
    """Return the spec of an array in the axes of the mesh, and what is wrong with it."""
    if callable(said) and not isinstance(said, PartitionSpec):
        said = said(name, leaf, mesh)
    if not isinstance(said, (PartitionSpec, tuple, type(None))):
        return PartitionSpec(), [f"is given {said!r}, which is no PartitionSpec, no tuple of names and not None"]
    split = [_in_mesh(entry, axes) for entry in said or ()]
    flat = [axis for entry in split for axis in entry]
    shape = jax.numpy.shape(leaf)
    wrong: list[str] = []
    if len(split) > len(shape):
        wrong.append(f"is {describe(leaf)}, which has fewer axes than {said!r}")
    for axis in dict.fromkeys(flat):
        if axis not in mesh.axis_names:
            wrong.append(
                f"has {said!r}, and the mesh has no axis {axis!r}, only {_listed(mesh.axis_names)} (say what a name "
                f"stands for by `axes={{{axis!r}: {mesh.axis_names[0]!r}}}`)"
            )
        elif flat.count(axis) > 1:
            wrong.append(f"has {said!r}, where {axis!r} splits more than one dimension")
    for size, entry in zip(shape, () if wrong else split, strict=False):
        count = math.prod(mesh.shape[axis] for axis in entry)
        if size % count:
            wrong.append(
                f"is {describe(leaf)}, and {size} is no multiple of the {count} devices along {_listed(entry)}"
            )
    return PartitionSpec(*(entry if len(entry) > 1 else next(iter(entry), None) for entry in split)), wrong


def _in_mesh(entry: Any, axes: Axes) -> tuple[Any, ...]:
    """Return the axes of the mesh that split a dimension, given a name, several, or None."""
    meant = [axes.get(name, name) if isinstance(name, str) else name for name in _several(entry)]
    return tuple(axis for part in meant for axis in _several(part))


def _several(entry: Any) -> tuple[Any, ...]:
    return () if entry is None else tuple(entry) if isinstance(entry, (tuple, list)) else (entry,)


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(repr, names))
