"""Options of ``jit`` by state: which ones are donated (``donate_states``), where they live (``state_shardings``).

A node among donated arguments donates its states.

A user names states by a selector; what a program needs is an answer for each state of its touched graph.  `StateOption`
finds it once for each graph.
"""

from __future__ import annotations

import abc
import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding

from brainstate_graph import State, states
from brainstate_graph.extend import locate

from .._engine.core import Core
from .._engine.placeholders import OBJECTS, Slot, is_placeholder
from .._engine.touched import TouchedGraph
from .._engine.values import GraphKey, StateValues
from .._selection.select import place

__all__ = ["DonatedArguments", "Donation", "Placement", "constrained", "placed", "with_placement"]


class StateOption(abc.ABC):
    """An option of `jit` that says something of each state of a touched graph.

    Args:
        core: The function.
        argument: The user's argument, for messages.
        selector: What the user gave.
    """

    def __init__(self, core: Core, argument: str, selector: Any) -> None:
        self.core = core
        self.argument = argument
        self.selector = selector
        # By graph, and by index among its states: a function keeps no model alive.
        self._found: weakref.WeakKeyDictionary[TouchedGraph, tuple[Any, ...]] = weakref.WeakKeyDictionary()

    @abc.abstractmethod
    def _by_state(self, graph: TouchedGraph) -> dict[State[Any], Any]:
        """Return what is said, of the states that are selected."""

    def of(self, graph: TouchedGraph) -> tuple[Any, ...]:
        """Return what is said of each state of the graph; None for those that are not selected."""
        found = self._found.get(graph)
        if found is None:
            said = self._by_state(graph)
            found = self._found[graph] = tuple(said.get(state) for state in graph.states)
        return found

    def check(self, graph: TouchedGraph) -> None:
        """Refuse states that the function does not touch, once it is known what it touches.

        Raises:
            ValueError: A selected state is not in the graph.
        """
        if graph.nodes:  # the states of other models may be meant
            return
        beyond = [state for state in self._by_state(graph) if state not in set(graph.states)]
        if beyond:
            raise ValueError(
                f"{self.argument} names {', '.join(map(locate, beyond))}, which `{self.core.__qualname__}` does not use"
            )

    def _core_of(self, graph: TouchedGraph) -> Core:
        """Return the core of a call with this graph, by which a selector is resolved."""
        core = copy.copy(self.core)
        core.nodes = graph.nodes
        return core


class DonatedArguments(NamedTuple):
    """The arguments of ``donate_argnums`` and ``donate_argnames``.

    Attributes:
        numbers: Their positions.
        names: Their names, for those that are passed by name.
    """

    numbers: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def _leaves(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        given = [args[n] for n in self.numbers if n < len(args)]
        return jax.tree.leaves([*given, *(kwargs[n] for n in self.names if n in kwargs)], is_leaf=is_placeholder)

    def hold_nodes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Tell whether one of them is or holds a Node."""
        return any(isinstance(leaf, OBJECTS) for leaf in self._leaves(args, kwargs))

    def nodes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the numbers of the nodes in them, whose placeholders stand among the arguments."""
        return tuple([leaf.item for leaf in self._leaves(args, kwargs) if isinstance(leaf, Slot)])


class Donation(StateOption):
    """The states that give their buffers away: those that ``donate_states`` names, and those of donated arguments.

    The selector is None where only arguments are donated.
    """

    def __init__(self, core: Core, argument: str, selector: Any) -> None:
        super().__init__(core, argument, selector)
        self._of_nodes: weakref.WeakKeyDictionary[TouchedGraph, dict[tuple[int, ...], tuple[Any, ...]]]
        self._of_nodes = weakref.WeakKeyDictionary()

    def of_call(self, graph: TouchedGraph, nodes: tuple[int, ...]) -> tuple[Any, ...]:
        """Return the same as `of`, and the states of the nodes with these numbers among the arguments."""
        if not nodes:
            return self.of(graph)
        calls = self._of_nodes.setdefault(graph, {})
        if nodes not in calls:
            own = {state for number in nodes for state in states([graph.nodes[number]]).values()}
            pairs = zip(self.of(graph), graph.states, strict=True)
            calls[nodes] = tuple([said or state in own for said, state in pairs])
        return calls[nodes]

    def _by_state(self, graph: TouchedGraph) -> dict[State[Any], Any]:
        if self.selector is None:
            return {}
        return place(self.selector, self._core_of(graph), self.argument, True, lambda _: False)


class Placement(StateOption):
    """``state_shardings``: the sharding of each state."""

    def __init__(self, core: Core, argument: str, selector: Any) -> None:
        super().__init__(core, argument, selector)
        mapping = isinstance(selector, dict)
        if not (
            _is_place(selector) or (mapping and any(all(map(_is_place, x)) for x in (selector, selector.values())))
        ):
            raise TypeError(
                f"{argument} is {selector!r}: expected a sharding for all states, `{{sharding: states}}` or "
                "`{states: sharding}`"
            )

    def of(self, graph: TouchedGraph) -> tuple[Any, ...]:
        """Return the sharding of each state of the graph, None where none is given."""
        found = super().of(graph)
        return tuple(map(_meshed, found)) if any(isinstance(s, PartitionSpec) for s in found) else found

    def where(self, states: StateValues, put: Callable[[Any, Any], Any]) -> tuple[Sequence[Any], tuple[Any, ...]]:
        """Return values where they belong, and the sharding of each state of the graph.

        Args:
            states: The values.
            put: Puts one value where it belongs.
        """
        if not isinstance(states.key, GraphKey):
            return states.values, ()
        inputs = states.key.inputs
        shardings = self.of(inputs.graph)
        pairs = zip(inputs.indices, states.values, strict=True)
        return [v if shardings[i] is None else put(v, shardings[i]) for i, v in pairs], shardings

    def _by_state(self, graph: TouchedGraph) -> dict[State[Any], Any]:
        if _is_place(self.selector):  # one sharding is for all states that are used, those met on the way too
            return dict.fromkeys(graph.states, self.selector)
        return place(self.selector, self._core_of(graph), self.argument, None, _is_place)


def _is_place(item: Any) -> bool:
    return isinstance(item, (Sharding, PartitionSpec))


def _meshed(where: Any) -> Any:
    """A PartitionSpec with the mesh of the moment."""
    if not isinstance(where, PartitionSpec):
        return where
    try:
        mesh = jax.sharding.get_mesh()
    except ValueError:  # while JAX traces, where the mesh is known in the abstract
        mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        raise ValueError(
            f"state_shardings has {where!r}, and there is no mesh: call within `jax.set_mesh(mesh)`, or give "
            "`NamedSharding(mesh, spec)`"
        )
    return NamedSharding(mesh, where)


def placed(value: Any, where: Any) -> Any:
    """Return a value where it belongs, itself if it is there."""
    if type(value) is not list and isinstance(value, jax.Array):
        return value if _is_there(value, where) else jax.device_put(value, where)
    leaves, treedef = jax.tree.flatten(value)
    if all(isinstance(leaf, jax.Array) and _is_there(leaf, where) for leaf in leaves):
        return value
    return jax.tree.unflatten(treedef, [placed(jax.numpy.asarray(leaf), where) for leaf in leaves])


def _is_there(leaf: jax.Array, where: Any) -> bool:
    if isinstance(leaf, Tracer):
        return True  # constrained inside
    return leaf.committed and (leaf.sharding == where or leaf.sharding.is_equivalent_to(where, leaf.ndim))


def constrained(values: Sequence[Any], where: Sequence[Any]) -> list[Any]:
    """Hold values in their places, within a program."""
    return [
        v if w is None else jax.tree.map(lambda leaf, w=w: _held(leaf, w), v)
        for v, w in zip(values, where, strict=True)
    ]


def _held(leaf: Any, where: Sharding) -> Any:
    """Hold an array in its place, within a program."""
    if isinstance(where, NamedSharding) and AxisType.Explicit in where.mesh.axis_types:
        return jax.device_put(leaf, where)  # the place is part of the type; with_sharding_constraint refuses such axes
    return jax.lax.with_sharding_constraint(leaf, where)  # where device_put may be optimised away


def with_placement(value: Any, where: Any) -> Any:
    """Return the shapes of a value as it will be when it is placed."""

    def shape(leaf: Any) -> Any:
        aval = jax.typeof(leaf)
        return jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=where, weak_type=aval.weak_type)

    return jax.tree.map(shape, value)
