"""``init_all_states`` and ``reset_all_states``: the states of one sequence or batch, in a whole model.

What a module keeps between steps has a shape that only the caller knows, such as the size of the batch. So a module
makes it in `init_state`, not in its constructor, and one call on the model reaches every module. The verbs that begin
with `vmap_` make the states once for each lane.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from brainstate_graph import Filter, Not, catch_new_states, nodes, states, to_predicate
from brainstate_graph.extend import locate
from brainstate_transform import StateFinder, vmap

from .._core.module import Module
from .._core.paths import from_below
from .._core.random import RandomState
from .._core.undo import all_or_nothing

__all__ = ["init_all_states", "reset_all_states", "vmap_init_all_states", "vmap_reset_all_states"]

N = TypeVar("N")


def init_all_states(node: N, /, *args: Any, **kwargs: Any) -> N:
    """Call ``init_state(*args, **kwargs)`` of every module of a model.

    Each module is called once, in the order of its attributes, those that it holds before itself. All get the same
    arguments: a module takes those that it does not use as ``**kwargs``. A name that no module takes is refused.

    Args:
        node: A module, or a container of them.
        *args: What the modules are given, such as the size of the batch.
        **kwargs: The same by name.

    Returns:
        The node. After an error it is as it was.

    Raises:
        TypeError: The method of a module does not take these arguments, or none has a use for one that is given by
            name; the message names the path, or that argument.

    Example:
        >>> import jax.numpy as jnp
        >>> import brainstate_nn as nn
        >>> class Counter(nn.Module):
        ...     def init_state(self, batch_size=1, **kwargs):
        ...         self.count = nn.HiddenState(jnp.zeros(batch_size))
        >>> net = nn.init_all_states(nn.Sequential(Counter(), Counter()), batch_size=4)
        >>> {path: state.value.shape for path, state in net.states(nn.HiddenState).items()}
        {('layers', 0, 'count'): (4,), ('layers', 1, 'count'): (4,)}
    """
    with all_or_nothing(node):
        _call_all("init_state", node, args, kwargs)
    return node


def reset_all_states(node: N, /, *args: Any, **kwargs: Any) -> N:
    """Call ``reset_state(*args, **kwargs)`` of every module of a model, as `init_all_states` does with `init_state`.

    Args:
        node: A module, or a container of them.
        *args: What the modules are given, as a rule what `init_all_states` was given.
        **kwargs: The same by name.

    Returns:
        The node. After an error it is as it was.

    Raises:
        TypeError: The method of a module does not take these arguments, or none has a use for one that is given by
            name; the message names the path, or that argument.

    Example:
        >>> import jax.numpy as jnp
        >>> import brainstate_nn as nn
        >>> class Counter(nn.Module):
        ...     def init_state(self, start=0.0):
        ...         self.count = nn.HiddenState(jnp.asarray(start))
        >>> counter = nn.init_all_states(Counter(), 1.0)
        >>> counter.count.value += 5.0
        >>> float(nn.reset_all_states(counter, 1.0).count.value)
        1.0
    """
    with all_or_nothing(node):
        _call_all("reset_state", node, args, kwargs)
    return node


def vmap_init_all_states(
    node: N, /, axis_size: int, *args: Any, tag: str | None = None, exclude: Filter = None, **kwargs: Any
) -> N:
    """Initialise the states of a model once for each lane, as `init_all_states` does for one.

    Every state that is made or written gets a leading axis with one value per lane. Random streams draw other numbers
    in each lane. ``vmap(model, in_states=nn.HiddenState)`` then runs the lanes.

    Args:
        node: A module, or a container of them.
        axis_size: The number of lanes.
        *args: What the modules are given; the same in all lanes.
        tag: A tag to add to each of the states that are made.
        exclude: A filter for the states that all lanes share; they get neither axis nor tag.
        **kwargs: What the modules are given by name.

    Returns:
        The node. After an error it is as it was.

    Raises:
        BatchAxisError: A state that is excluded gets a value that differs per lane.

    Example:
        >>> import jax.numpy as jnp
        >>> import brainstate_nn as nn
        >>> from brainstate_transform import vmap
        >>> class Walker(nn.Module):
        ...     def __init__(self, rng):
        ...         self.rng = rng
        ...
        ...     def init_state(self):
        ...         self.place = nn.HiddenState(self.rng.normal((2,)))
        ...
        ...     def __call__(self, step):
        ...         self.place.value += step
        ...         return self.place.value
        >>> walkers = nn.vmap_init_all_states(Walker(nn.RandomState(0)), 5)
        >>> walkers.place.value.shape, vmap(walkers, in_states=nn.HiddenState)(jnp.ones(5)).shape
        ((5, 2), (5, 2))
    """
    _call_lanes("init_state", node, axis_size, args, kwargs, tag, exclude)
    return node


def vmap_reset_all_states(
    node: N, /, axis_size: int, *args: Any, tag: str | None = None, exclude: Filter = None, **kwargs: Any
) -> N:
    """Reset the states of a model once for each lane, after `vmap_init_all_states`.

    Args:
        node: A module, or a container of them.
        axis_size: The number of lanes.
        *args: What the modules are given; the same in all lanes.
        tag: A tag to add to each of the states that are made anew.
        exclude: A filter for the states that all lanes share.
        **kwargs: What the modules are given by name.

    Returns:
        The node. After an error it is as it was.

    Raises:
        BatchAxisError: A state that is excluded gets a value that differs per lane.
        ValueError: A state that is written has no axis of this size.

    Example:
        >>> import jax.numpy as jnp
        >>> import brainstate_nn as nn
        >>> class Memory(nn.Module):
        ...     def init_state(self, size):
        ...         self.trace = nn.HiddenState(jnp.zeros(size))
        >>> memory = nn.vmap_init_all_states(Memory(), 5, 3)
        >>> memory.trace.value += 1.0
        >>> float(nn.vmap_reset_all_states(memory, 5, 3).trace.value.sum())
        0.0
    """
    _call_lanes("reset_state", node, axis_size, args, kwargs, tag, exclude)
    return node


def _call_all(method: str, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    asked = _asked.get()
    if not asked:
        _refuse_unused(method, node, kwargs)
    # All modules are asked whether they take the arguments before the first one is called.
    calls = [getattr(module, method) for module in _modules_to_call(node)]
    calls.sort(key=lambda call: getattr(call, "call_order", -1))  # which `compat.call_order` sets
    for call in calls:
        try:
            inspect.signature(call).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"{method} of {locate(call.__self__)} cannot be called with the arguments that all modules get: "
                f"{error}. Let it take the others too: `def {method}(self, batch_size=None, **kwargs)`"
            ) from None
    token = _asked.set(True)
    try:
        for call in calls:
            call(*args, **kwargs)
    finally:
        _asked.reset(token)


# Whether the names of this call are known to be of use. What a module calls in its turn, as a Stack does for its
# layers, gets the arguments that are for all, and some of them are for others.
_asked: ContextVar[bool] = ContextVar("asked", default=False)


def _refuse_unused(method: str, node: Any, kwargs: dict[str, Any]) -> None:
    """Raise if no module has a use for one of the arguments by name: it is misspelled, or meant for another model."""
    if not kwargs:
        return
    modules = [m for m in nodes(node, Module).values() if not getattr(m, "inits_what_it_holds", False)]
    # What is given again for a reset may be of use to the first call alone.
    calls = [getattr(module, name) for module in modules for name in {method, "init_state"}]
    unused = [name for name in kwargs if not any(_has_use_for(call, name) for call in calls)]
    if unused:
        known = sorted({name for call in calls for name in _named(call)})
        there = f"they take {', '.join(map(repr, known))}" if known else "they take no arguments by name"
        raise TypeError(
            f"`{method.removesuffix('_state')}_all_states` got {', '.join(map(repr, unused))}, which no module of "
            f"{type(node).__name__} takes: {there}"
        )


def _named(call: Any) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in inspect.signature(call).parameters.items() if parameter.kind in kinds]


def _has_use_for(call: Any, name: str) -> bool:
    """Tell whether a method names an argument, or looks at those that it does not name."""
    if name in _named(call):
        return True
    parameters = inspect.signature(call).parameters.values()
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    fun = inspect.unwrap(getattr(call, "__func__", call))
    if rest is None or fun is Module.reset_state:  # which hands them to `init_state`
        return False
    code = getattr(fun, "__code__", None)
    if code is None or rest in code.co_cellvars:
        return True
    # Python 3.13 loads two names in one instruction
    loads = (i.argval for i in dis.get_instructions(code) if i.opname.startswith("LOAD_FAST"))
    return any(rest in (loaded if isinstance(loaded, tuple) else (loaded,)) for loaded in loads)


def _modules_to_call(node: Any) -> Iterator[Module]:
    """Iterate over the modules of a model, each after those that it holds.

    What is in a module with `inits_what_it_holds`, such as a Stack, is left to that module.
    """
    found = nodes(node, Module)
    inner = [path for path, module in found.items() if getattr(module, "inits_what_it_holds", False)]
    for path, module in from_below(found.items()):
        if not any(path[: len(above)] == above and path != above for above in inner):
            yield module


def _call_lanes(
    method: str,
    node: Any,
    axis_size: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    tag: str | None,
    exclude: Filter,
) -> None:
    call = partial(_call_all, method, node, args, kwargs)
    excluded = to_predicate(exclude)
    paths = {state: path for path, state in states(node).items()}
    # What is there already and written, as by `self.h.value = ...`, gets the axis too, or has it from before. A random
    # stream is drawn from in lanes, and stays one.
    written = [
        state
        for state in StateFinder(call, usage="write", return_type="list")()
        if not isinstance(state, RandomState) and not excluded(paths.get(state, ()), state)
    ]
    by_axis = {0: written} if written else None

    def lane() -> None:
        with catch_new_states(tag, exclude):
            call()

    with all_or_nothing(node):
        vmap(
            lane,
            in_states=by_axis if method == "reset_state" else None,
            out_states=by_axis,
            new_states=0 if exclude is None else {0: Not(exclude)},
            axis_size=axis_size,
        )()
