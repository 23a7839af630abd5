"""Older spellings of states, hooks and graphs, one line each: names of brainstate that mean what ours mean.

They are here for code that is moving over; docs/coming_from/names_brainstate.md lists them beside today's spelling. A
name that is not here is today's, and comes from the package itself. Importing this file also gives `State` its older
methods (``state.numel()``), so that the states of every layer have them: each is the function of that name here.
Likewise a `HookContext` gets `operation`, `state_name` and `transformed_value`, and a `Hook` `enable` and `disable`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import brainstate_graph as today

from ._core.state import State
from ._records.hooks import Hook, HookContext, HookKind, hooks_of_all, register
from ._tools.spellings import name_here
from ._trees.tree import FlattedDict, NestedDict, TreefyState
from ._verbs.metadata import declare_late

__all__ = [
    "FakeState", "HookHandle", "InitHookContext", "MutableWriteHookContext", "NewStateCatcher", "ReadHookContext",
    "RestoreHookContext", "StateDictManager", "WriteHookContext", "add_tag", "catch_new_states", "clear_hooks",
    "clear_state_hooks", "flat_mapping", "from_today", "has_hooks", "has_state_hooks", "list_hooks",
    "list_state_hooks", "nest_mapping", "nodes", "numel", "register_state_hook", "states", "temporary_hook",
    "to_state_ref", "unregister_hook", "unregister_state_hook", "update_from_ref", "value_call",
]  # fmt: skip


def from_today(older: str, *packages: Any) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module of older spellings: what it does not spell is today's, by the same name.

    Args:
        older: The name of the module.
        *packages: Where the name is looked up, in this order.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph.compat import from_today
        >>> from_today("mine", jnp)("sin") is jnp.sin
        True
    """

    def find(name: str) -> Any:
        for package in packages:
            if not name.startswith("__") and hasattr(package, name):
                return getattr(package, name)
        instead = None if name.startswith("_") else name_here(name, older)
        instead = instead or "docs/coming_from/names_brainstate.md lists the names of brainstate"
        raise AttributeError(f"{older} has no {name!r}: {instead}")

    return find


__getattr__ = from_today(__name__, today)


# ------------------------------------------------------------------------------------------------------------ states


def numel(state: State[Any]) -> int:
    """Return how many numbers a state holds."""
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(state.value))


def add_tag(state: State[Any], tag: str) -> None:
    """Give a state one more tag."""
    declare_late(state, tag={*(state.tag or ()), tag})


def to_state_ref(state: State[Any]) -> TreefyState:
    """Return a state as plain data: its kind, value and metadata."""
    return TreefyState(type(state), state.value, **state.metadata)


def update_from_ref(state: State[Any], ref: TreefyState) -> None:
    """Give a state the value that it has as plain data."""
    state.value = ref.value


def value_call(state: State[Any], func: Callable[..., Any]) -> Any:
    """Return the value of a state with a function applied to each of its arrays."""
    return jax.tree.map(func, state.value)


class FakeState:
    """What has a `value` as a State has, and is none: no filter finds it, and no transform follows it.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_graph.compat import FakeState
        >>> fake = FakeState(2.0, name="gain")
        >>> fake.value, fake.name, isinstance(fake, State)
        (2.0, 'gain', False)
    """

    def __init__(self, value: Any, name: str | None = None, **_: Any) -> None:
        self.value = value
        self.name = name

    def __repr__(self) -> str:
        return f"FakeState({self.value!r})"


class StateDictManager(dict[Any, Any]):
    """A dict of states, with the verbs for parts of it; a plain dict and a comprehension do the same today.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_graph.compat import StateDictManager
        >>> states = StateDictManager(a=State(1.0), b=State(2.0))
        >>> states.assign_values({"a": 3.0})
        >>> states.collect_values()
        {'a': 3.0, 'b': 2.0}
    """

    def assign_values(self, *values: Mapping[Any, Any]) -> None:
        """Write to states by their keys; of a key that is not here, nothing is written and it raises KeyError."""
        new = {key: value for part in values for key, value in part.items()}
        for state, value in [(self[key], value) for key, value in new.items()]:
            state.value = value

    def collect_values(self) -> dict[Any, Any]:
        """Return the values of the states, as `to_dict_values` does."""
        return {key: state.value for key, state in self.items()}

    to_dict_values = collect_values

    def assign(self, *others: Mapping[Any, Any], **named: Any) -> None:
        """Put in the items of other dicts."""
        self.update(*others, **named) if len(others) < 2 else self.update(dict(_items(*others)), **named)

    def filter_by_predicate(self, predicate: Callable[[Any, Any], bool]) -> StateDictManager:
        """Return the items of which a function of key and state is true."""
        return StateDictManager({key: state for key, state in self.items() if predicate(key, state)})

    def split(self, *kinds: type) -> tuple[StateDictManager, ...]:
        """Return the states of each kind, and last those of none; a state goes to the first kind that it is of."""
        parts = tuple(StateDictManager() for _ in range(len(kinds) + 1))
        for key, state in self.items():
            parts[next((i for i, kind in enumerate(kinds) if isinstance(state, kind)), len(kinds))][key] = state
        return parts

    def split_values(self, *kinds: type) -> tuple[dict[Any, Any], ...]:
        """Return the values of what `split` returns."""
        return tuple(part.collect_values() for part in self.split(*kinds))

    def subset(self, *kinds: type) -> StateDictManager:
        """Return the states of some kinds."""
        return self.filter_by_predicate(lambda _, state: isinstance(state, kinds))

    def not_subset(self, *kinds: type) -> StateDictManager:
        """Return the states of other kinds."""
        return self.filter_by_predicate(lambda _, state: not isinstance(state, kinds))

    def map_values(self, func: Callable[[Any], Any]) -> StateDictManager:
        """Return the same keys, with a function applied to what stands under each."""
        return StateDictManager({key: func(item) for key, item in self.items()})

    def map_keys(self, func: Callable[[Any], Any]) -> StateDictManager:
        """Return the same items, with a function applied to the key of each."""
        return StateDictManager({func(key): item for key, item in self.items()})

    def unique(self) -> StateDictManager:
        """Return each state once, under the first of its keys."""
        first = {id(state): key for key, state in reversed(self.items())}
        return self.filter_by_predicate(lambda key, state: first[id(state)] == key)

    def to_dict(self) -> dict[Any, Any]:
        """Return the states in a plain dict."""
        return dict(self)


def _items(*parts: Mapping[Any, Any]) -> itertools.chain[tuple[Any, Any]]:
    return itertools.chain.from_iterable(part.items() for part in parts)


# ------------------------------------------------------------------------------------------------------------- hooks

HookHandle = Hook
InitHookContext = ReadHookContext = WriteHookContext = MutableWriteHookContext = RestoreHookContext = HookContext


def list_hooks(state: State[Any], hook_type: HookKind | None = None) -> list[Hook]:
    """Return the hooks of a state, those of one kind or all."""
    return [hook for hook in state.hooks if hook_type in (None, hook.kind)]


def has_hooks(state: State[Any], hook_type: HookKind | None = None) -> bool:
    """Tell whether a state has hooks, of one kind or any."""
    return bool(list_hooks(state, hook_type))


def clear_hooks(state: State[Any], hook_type: HookKind | None = None) -> None:
    """Remove the hooks of a state, those of one kind or all."""
    for hook in list_hooks(state, hook_type):
        hook.remove()


def unregister_hook(state: State[Any], handle: Hook) -> bool:
    """Remove a hook of a state, and tell whether it was one."""
    found = handle in state.hooks
    if found:
        handle.remove()
    return found


def temporary_hook(state: State[Any], hook_type: HookKind, callback: Callable[..., Any], **options: Any) -> Hook:
    """Return a hook that is removed at the end of a ``with`` block, as every hook is."""
    return state.register_hook(hook_type, callback, **options)


def register_state_hook(
    hook_type: HookKind, callback: Callable[..., Any], priority: int = 0, name: str | None = None, enabled: bool = True
) -> Hook:
    """Register a hook for all states."""
    return register(None, hook_type, callback, priority, enabled=enabled, name=name)


def list_state_hooks(hook_type: HookKind | None = None) -> list[Hook]:
    """Return the hooks for all states, those of one kind or all."""
    return [hook for hook in hooks_of_all() if hook_type in (None, hook.kind)]


def has_state_hooks(hook_type: HookKind | None = None) -> bool:
    """Tell whether there are hooks for all states, of one kind or any."""
    return bool(list_state_hooks(hook_type))


def clear_state_hooks(hook_type: HookKind | None = None) -> None:
    """Remove the hooks for all states, those of one kind or all."""
    for hook in list_state_hooks(hook_type):
        hook.remove()


def unregister_state_hook(handle: Hook) -> bool:
    """Remove a hook for all states, and tell whether it was one."""
    found = handle in hooks_of_all()
    if found:
        handle.remove()
    return found


# ------------------------------------------------------------------------------------------------------------- graphs


class NewStateCatcher(list[Any]):
    """The states that were made in a block."""

    def get_states(self) -> list[Any]:
        """Return them."""
        return list(self)

    def get_state_values(self) -> list[Any]:
        """Return their values."""
        return [state.value for state in self]

    def get_by_tag(self, tag: str) -> list[Any]:
        """Return those of a tag."""
        return [state for state in self if tag in (state.tag or ())]


@contextlib.contextmanager
def catch_new_states(state_tag: str | None = None, state_to_exclude: Any = None) -> Generator[NewStateCatcher]:
    """Collect the states that are made in a block, and tag them.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_graph.compat import catch_new_states
        >>> with catch_new_states("fresh") as catcher:
        ...     made = State(1.0)
        >>> catcher.get_states() == [made], made.tag
        (True, frozenset({'fresh'}))
    """
    caught = NewStateCatcher()
    with today.catch_new_states(state_tag, state_to_exclude) as found:
        try:
            yield caught
        finally:
            caught.extend(found)


def states(node: Any, *filters: Any, allowed_hierarchy: tuple[int, int] | None = None) -> Any:
    """Return the live states by path.

    Args:
        node: A node, or a container of them.
        *filters: As for `states` of today.
        allowed_hierarchy: The least and the greatest number of nodes, below the first one, in which a state may be;
            None for any.

    Example:
        >>> from brainstate_graph import Node, State
        >>> from brainstate_graph.compat import states
        >>> class Pair(Node):
        ...     def __init__(self, inner):
        ...         self.own, self.inner = [State(1.0)], inner
        >>> list(states(Pair(Pair(None)), allowed_hierarchy=(1, 1)))
        [('inner', 'own', 0)]
    """
    return _of_levels(today.states(node, *filters), node, allowed_hierarchy)


def nodes(node: Any, *filters: Any, allowed_hierarchy: tuple[int, int] | None = None) -> Any:
    """Return the nodes by path, as `states` does."""
    return _of_levels(today.nodes(node, *filters), node, allowed_hierarchy)


def _of_levels(found: Any, node: Any, allowed: tuple[int, int] | None) -> Any:
    if allowed is None:
        return found
    if isinstance(found, tuple):
        return tuple(_of_levels(part, node, allowed) for part in found)
    known = today.nodes(node)
    level = {path: sum(path[:n] in known for n in range(1, len(path) + 1)) for path in found}
    return FlattedDict({path: item for path, item in found.items() if allowed[0] <= level[path] <= allowed[1]})


# ------------------------------------------------------------------------------------------------------------- trees


def nest_mapping(xs: Any, /) -> NestedDict:
    """Return a state tree level by level, of one by whole paths."""
    return NestedDict.from_flat(xs)


def flat_mapping(xs: Any, /) -> FlattedDict:
    """Return a state tree by whole paths, of one level by level."""
    return FlattedDict.from_nest(xs)


for _method in (
    add_tag, clear_hooks, has_hooks, list_hooks, numel, temporary_hook, to_state_ref, unregister_hook, update_from_ref,
    value_call,
):  # fmt: skip
    setattr(State, _method.__name__, _method)


def _switch(enabled: bool) -> Callable[[Hook], None]:
    return lambda hook: setattr(hook, "enabled", enabled)


def _set_value(context: HookContext, value: Any) -> None:
    context.value = value


for _owner, _name, _part in (
    (Hook, "enable", _switch(True)),
    (Hook, "disable", _switch(False)),
    (Hook, "is_enabled", lambda hook: hook.enabled),
    (HookContext, "operation", property(lambda context: context.kind)),
    (HookContext, "state_name", property(lambda context: context.state.name)),
    (HookContext, "transformed_value", property(lambda context: context.value, _set_value)),
):
    setattr(_owner, _name, _part)
