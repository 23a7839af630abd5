"""The one grammar by which users name states: in ``wrt``, ``in_states``, ``out_states``, ``donate_states``, shardings.

*selector*: a State; a Node, for all its states; text, for a tag, a path or a glob; a filter; a state tree; or a
container of selectors.

*placed selector*: a selector, ``{place: selector}`` or ``{selector: place}``.  A place is an axis, a PartitionSpec, or
whatever else the transform gives to states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import UnionType
from typing import Any

import jax

from brainstate_graph import FlattedDict, Named, Node, State, TreefyState, nodes, states, to_predicate
from brainstate_graph.extend import StateTree, dotted, locate, note_owners, some

from .._engine.core import Core

__all__ = ["Selection", "overlooked", "place", "select"]

_Pairs = list[tuple[str, State[Any]]]
_Built = tuple[_Pairs, Callable[[Iterator[Any]], Any]]  # named states, and what puts as many values into the structure


class Selection:
    """Some states, each once, and the structure in which the user named them.

    Attributes:
        states: The states.
        names: For each a name for messages.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import Core, select
        >>> w = State(1.0)
        >>> chosen = select({"w": w}, Core(lambda: w.value), "wrt")
        >>> chosen.states, chosen.gather([2.0])
        ([State(1.0)], {'w': 2.0})
    """

    def __init__(self, pairs: _Pairs, build: Callable[[Iterator[Any]], Any]) -> None:
        self.names = [name for name, _ in pairs]
        self.states = [state for _, state in pairs]
        self._build = build

    def gather(self, values: Any) -> Any:
        """Put one value for each state into the structure of the selector."""
        tree = self._build(iter(values))
        note_owners(tree, lambda: self._build(iter(self.states)))
        return tree

    def scatter(self, tree: Any) -> list[Any]:
        """Take one value for each state out of the structure that `gather` built.

        Raises:
            ValueError: The structure is not that of the selector.
        """
        template = self.gather(range(len(self.states)))
        if isinstance(template, FlattedDict) and isinstance(tree, Mapping) and not isinstance(tree, StateTree):
            tree = FlattedDict(tree)
        numbers, treedef = jax.tree.flatten(template)
        parts = dict(zip(numbers, treedef.flatten_up_to(tree), strict=True))
        return [parts[number] for number in range(len(self.states))]


def select(selector: Any, core: Core, argument: str) -> Selection:
    """Resolve a selector: turn what a user writes to name states into a list of States.

    It is for a rule whose users choose states. Call it in `run`, where the graph is that of the call:
    ``chosen = select(wrt, core, "wrt")``. Then ``StateValues.read(chosen.states)`` is the input of the core, and
    ``chosen.gather(values)`` has the structure of the selector.

    Args:
        selector: A State; a Node, for all its states; text, for a tag, a path or a glob, see `Named`; another filter; a
            state tree, for the states at its paths; or a mapping, list, tuple or set of selectors. Text and filters
            choose among the states that the function touches, by their paths from the node that it reaches.
        core: The function whose touched graph a filter looks at.
        argument: The user's argument, for messages.

    Returns:
        The selection, in the structure of the selector; a Node, text or filter gives a FlattedDict by path. The paths
        are those in the model. If several models hold the states, the function's name for the model comes first.

    Raises:
        TypeError: The selector is something else.
        ValueError: A part of it selects no state, or two parts select the same one.

    Example:
        >>> from brainstate_graph import Node, State
        >>> from brainstate_transform import Core, select
        >>> net = Node()
        >>> net.w, net.b = State(1.0), State(0.0)
        >>> select("w", Core(lambda net=net: net.w.value * net.b.value), "wrt").names
        ['net.w']
    """
    pairs, build = _selected(selector, core, argument)
    names: dict[State[Any], str] = {}
    for name, state in pairs:
        if state in names:
            raise ValueError(
                f"{argument} names {locate(state)} twice, as {names[state]} and as {name}: leave one of them out"
            )
        names[state] = name
    return Selection(pairs, build)


def _selected(selector: Any, core: Core, argument: str) -> _Built:
    pairs, build = _resolve(selector, core, argument)
    if not pairs:
        raise _none(selector, core, argument)
    return pairs, build


def place(selector: Any, core: Core, argument: str, default: Any, is_place: Callable[[Any], bool]) -> dict[Any, Any]:
    """Resolve a placed selector: states, each with an axis, a sharding or another place that the transform gives it.

    Args:
        selector: None, for no state; a selector, whose states get `default`; ``{place: selector}``; or
            ``{selector: place}``. As the last selector of a mapping, ``...`` takes the states that no other one names.
        core: The function whose touched graph a filter looks at.
        argument: The user's argument, for messages.
        default: The place of states for which none is given.
        is_place: Tells a place from a selector.

    Returns:
        The place of each selected state.

    Raises:
        TypeError: A part of it is not a selector.
        ValueError: A selector selects no state, or two give the same one different places.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import Core, place
        >>> a, b = State(1.0), State(2.0)
        >>> place({0: a, 1: b}, Core(lambda: a.value + b.value), "in_states", 0, lambda p: type(p) is int)
        {State(1.0): 0, State(2.0): 1}
    """
    if selector is None:
        return {}
    if isinstance(selector, Mapping) and selector and not isinstance(selector, StateTree):
        if all(map(is_place, selector)):
            parts = [(part, where) for where, part in selector.items()]
        elif all(map(is_place, selector.values())):
            parts = list(selector.items())
        else:
            parts = [(selector, default)]
    else:
        parts = [(selector, default)]
    placed: dict[State[Any], Any] = {}
    for part, where in parts:
        rest = part is ... and len(parts) > 1
        for _, state in _selected(part, core, argument)[0]:
            if state in placed and (rest or placed[state] == where):  # a tied state may be named by both its ways
                continue
            if state in placed:
                raise ValueError(
                    f"{argument} gives {locate(state)} two places, {placed[state]!r} and {where!r}: leave it out of one"
                )
            placed[state] = where
    return placed


def overlooked(selector: Any, core: Core, used: Iterable[State[Any]]) -> list[State[Any]]:
    """Of the states that a function used, those beyond its touched graph that a filter in the selector accepts."""
    filters = [part for part in _parts(selector) if _is_filter(part) or isinstance(part, UnionType)]
    if not filters:
        return []
    asked = set(core.touched_graph().snapshot.states)
    return [state for state in used if state not in asked and any(_may_mean(part, state) for part in filters)]


def _parts(selector: Any) -> Iterator[Any]:
    if isinstance(selector, (State, Node, StateTree)):
        return
    if isinstance(selector, (set, frozenset)) or not (
        isinstance(selector, (str, type)) or jax.tree_util.all_leaves([selector])
    ):
        for part in selector if isinstance(selector, (set, frozenset)) else jax.tree.leaves(selector):
            yield from _parts(part)
        return
    yield selector


def _may_mean(filter: Any, state: State[Any]) -> bool:
    try:
        return bool(to_predicate(filter)((), state))
    except Exception:  # it looks at the path, which is not known: nobody can say that the state is not meant
        return True


def _resolve(selector: Any, core: Core, argument: str) -> _Built:
    if isinstance(selector, State):
        return [(argument, selector)], next
    if isinstance(selector, Node):
        return _by_path(states(selector))
    if isinstance(selector, StateTree):
        found = dict(selector.to_flat().items())
        if all([isinstance(item, TreefyState) for item in found.values()]):
            return _at_paths(selector, core, argument)
        if all([isinstance(item, State) for item in found.values()]):  # the usual selector, `model.states(...)`
            treedef = jax.tree.structure(selector)
            pairs = [(f"{argument}.{'.'.join(map(str, path))}", state) for path, state in found.items()]
            return pairs, lambda values: jax.tree.unflatten(treedef, list(values))
    if isinstance(selector, (set, frozenset)):
        selector = list(selector)
    if not isinstance(selector, (str, type)) and not jax.tree_util.all_leaves([selector]):
        return _resolve_each(selector, core, argument)
    return _chosen(_accepted(selector, core, argument), core)


def _resolve_each(container: Any, core: Core, argument: str) -> _Built:
    """Resolve a pytree of selectors; a list or tuple of filters is one filter, which accepts what any of them does."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(container)
    if isinstance(container, (list, tuple)) and leaves and all(_is_filter(leaf) for _, leaf in leaves):
        accepted = [_accepted(leaf, core, f"{argument}{jax.tree_util.keystr(path)}") for path, leaf in leaves]
        wanted = {state for found in accepted for state in found.values()}
        whole = states(core.touched_graph().root)
        return _chosen(FlattedDict({path: state for path, state in whole.items() if state in wanted}), core)
    parts = [_resolve(leaf, core, f"{argument}{jax.tree_util.keystr(path)}") for path, leaf in leaves]
    for (path, leaf), (pairs, _) in zip(leaves, parts, strict=True):
        if not pairs:
            raise ValueError(f"{argument}{jax.tree_util.keystr(path)} is {leaf!r}, which holds no state")
    pairs = [pair for found, _ in parts for pair in found]
    return pairs, lambda values: jax.tree.unflatten(treedef, [build(values) for _, build in parts])


def _is_filter(leaf: Any) -> bool:
    return not isinstance(leaf, (State, Node)) and (leaf is ... or isinstance(leaf, str) or callable(leaf))


def _accepted(filter: Any, core: Core, argument: str) -> FlattedDict:
    """The states of the touched graph that a filter accepts."""
    whole = states(core.touched_graph().root)
    if isinstance(filter, str):
        wanted = _reading(filter, core, argument)
    elif _is_filter(filter) or isinstance(filter, UnionType):
        accept = to_predicate(filter)
        wanted = {state for path, state in _own_paths(core) if accept(path, state)}
    else:
        raise TypeError(
            f"{argument} is {filter!r}, which names no states: give a State, a Node, states by path as in "
            f"`{argument.partition('[')[0]}=model.states(ParamState)`, a tag, path or glob, or a filter"
        )
    if not wanted:
        raise _none(filter, core, argument)
    return FlattedDict({path: state for path, state in whole.items() if state in wanted})


def _by_path(found: Mapping[tuple[Any, ...], State[Any]]) -> _Built:
    pairs = [(dotted(path), state) for path, state in found.items()]
    return pairs, lambda values: FlattedDict({path: next(values) for path in found})


def _chosen(found: FlattedDict, core: Core) -> _Built:
    """As `_by_path`; the states of one model have the paths of `states(model)`, however the function came by it."""
    models, wanted = _models(core), set(found.values())
    # What an optimizer holds too belongs to the model, which has fewer states.
    home: dict[State[Any], str] = {}
    for name in sorted(models, key=lambda name: len(models[name])):
        for state in models[name].values():
            home.setdefault(state, name)
    placed = {
        (name, *path): state
        for name, own in models.items()
        for path, state in own.items()
        if state in wanted and home[state] == name
    }
    whole = placed | {path: state for path, state in found.items() if state not in home}
    pairs, build = _by_path(whole)
    if len({home.get(state) for state in wanted}) > 1 or len(placed) < len(whole):
        return pairs, build
    return pairs, lambda values: FlattedDict({path[1:]: next(values) for path in whole})


def _models(core: Core) -> dict[str, FlattedDict]:
    """The states of the nodes that the function knows by a name, without those that are parts of others."""
    roots = {name: item for name, item in core.touched_graph().root.items() if isinstance(item, Node)}
    if len(roots) == 1:
        return {name: states(node) for name, node in roots.items()}
    parts = {name: set(map(id, nodes(node).values())) for name, node in roots.items()}
    order = list(roots)
    return {
        name: states(node)
        for name, node in roots.items()
        if not any(
            id(node) in parts[other] and (id(roots[other]) not in parts[name] or order.index(other) < order.index(name))
            for other in order
            if other != name
        )
    }


def _at_paths(tree: Any, core: Core, argument: str) -> _Built:
    """The states that stand where a state tree has values."""
    wanted = dict(tree.to_flat())
    found = {path: _at(path, core) for path in wanted}
    missing = [dotted(path) for path, state in found.items() if state is None]
    if missing:
        raise ValueError(f"{argument} has values for {', '.join(missing)}, where `{core.__qualname__}` has no state")
    flat = FlattedDict(found)
    pairs, build = _by_path(flat)
    return pairs, (build if isinstance(tree, FlattedDict) else lambda values: build(values).to_nest())


def _at(path: tuple[Any, ...], core: Core) -> State[Any] | None:
    for own, state in _own_paths(core):
        if own == path:
            return state
    return states(core.touched_graph().root).get(path)


def _own_paths(core: Core) -> list[tuple[tuple[Any, ...], State[Any]]]:
    """Every state that the function touches with its path from each node that the function reaches."""
    found: list[tuple[tuple[Any, ...], State[Any]]] = []
    for name, root in core.touched_graph().root.items():
        if isinstance(root, Node):
            found += states(root).items()
        elif isinstance(root, State):
            found.append(((name,), root))
    return found


def _reading(text: str, core: Core, argument: str) -> set[State[Any]]:
    """What a text names: a tag, or a path or glob, from a node on or with the function's name for the node before."""
    whole, named = states(core.touched_graph().root), Named(text)
    tagged = {state for state in whole.values() if named.is_tag_of(state)}
    placed = {state for path, state in (*_own_paths(core), *whole.items()) if named.is_at(path)}
    try:
        return set(named.one_meaning(tagged, placed))
    except ValueError as error:
        raise ValueError(f"{argument}={error}") from None


def _none(filter: Any, core: Core, argument: str) -> ValueError:
    found = states(core.touched_graph().root)
    there = some(map(dotted, found), len(found)) or "no state"
    return ValueError(f"{argument}={filter!r} selects no state that `{core.__qualname__}` touches; it touches {there}")
