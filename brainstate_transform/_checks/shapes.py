"""``eval_shape`` and ``StateFinder``: a function runs on shapes, to see what it returns and which states it uses."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import UnionType
from typing import Any

import jax

from brainstate_graph import Overlay, State, states, to_predicate
from brainstate_graph.extend import dotted, read_values

from .._engine.changes import CONTAINERS, Containers
from .._engine.core import Core, Run
from .._engine.lift import lift
from .._engine.select import select
from .._engine.values import StateValues, Written

__all__ = ["StateFinder", "eval_shape", "shape_of", "struct"]


def struct(aval: Any) -> jax.ShapeDtypeStruct:
    """Return an abstract array in the form in which JAX shows it to users."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of an array or number."""
    return struct(jax.typeof(leaf))


class _Dry(Overlay):
    """An overlay that undoes what its function has done to the structure of the graph, when the function has ended."""

    __slots__ = ("_containers",)

    def __init__(self, containers: Containers) -> None:
        super().__init__()
        self._containers = containers

    def made(self) -> list[tuple[State[Any], Any]]:
        self._containers.restore(self)
        self.journal.undo()
        return super().made()


def _dry_run(core: Core, args: Any, kwargs: Any) -> tuple[Any, Written, list[State[Any]]]:
    """Run a core on shapes; return also which states it used."""
    graph = core.touched_graph()
    shapes = [
        (state, value)
        for state, value in zip(graph.states, read_values(graph.states, False), strict=True)
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(value))
    ]  # of an abstract model: they cannot be closed over
    given = StateValues.of([s for s, _ in shapes], [v for _, v in shapes])
    containers = Containers(graph, [row for row, item in enumerate(graph.objects) if row and type(item) in CONTAINERS])
    used: dict[State[Any], None] = {}

    def run(given: StateValues, args: Any, kwargs: Any) -> tuple[Any, Written]:
        overlay = _Dry(containers)
        try:
            result = core.run(given, args, kwargs, overlay)
        except BaseException:
            containers.restore(overlay)
            raise
        containers.restore(overlay)
        used.update(dict.fromkeys((*overlay.reads, *overlay.writes)))
        return result

    return *jax.eval_shape(run, given, args, kwargs), list(used)


def _no_states() -> Written:
    return StateValues.of((), ()).as_written()


def eval_shape(fun: Callable[..., Any], *args: Any, return_state_shapes: bool = False, **kwargs: Any) -> Any:
    """Find out the shapes and dtypes of what a function returns, without computing it.

    Nothing is changed: no state, no random stream, no attribute of a module.

    Args:
        fun: A function that may use states.
        *args: Its arguments: arrays, ``jax.ShapeDtypeStruct`` or modules.
        return_state_shapes: Whether to return the states that `fun` uses too.
        **kwargs: Its keyword arguments.

    Returns:
        The result with a ``jax.ShapeDtypeStruct`` for each array. A module that `fun` makes and returns comes back with
        them as the values of its states, and may be an argument of `eval_shape` again. With `return_state_shapes` a
        pair: a dict from each used State to what its value is afterwards, and the result.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import eval_shape
        >>> w = State(jnp.ones((3, 4)))
        >>> eval_shape(lambda x: x @ w.value, jnp.ones(3))
        ShapeDtypeStruct(shape=(4,), dtype=float32)
    """
    after: dict[State[Any], Any] = {}

    def rule(core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            out, written, used = _dry_run(core, args, kwargs)
            new = dict(written.items())
            for state in used if return_state_shapes else ():
                after[state] = new[state] if state in new else jax.eval_shape(lambda v: v, *read_values([state]))
            return out, _no_states()

        return run

    out = lift(rule, fun)(*args, **kwargs)
    return (after, out) if return_state_shapes else out


class StateFinder:
    """Finds the states that a function uses for given arguments, without computing anything.

    Args:
        fn: The function.
        filter: Which states: a selector as for ``wrt``; all if None.
        usage: ``"all"``; ``"read"``, for those read and not written; ``"write"``; or ``"both"``, for a dict with the
            keys ``"read"`` and ``"write"``.
        return_type: ``"dict"``, ``"list"`` or ``"tuple"``.
        key_fn: ``key_fn(index, state)`` returns the key in a dict, or None for the usual one: the dotted path from the
            function on, as selectors take it, such as ``net.weight``. A key that is there already gets a number.

    Raises:
        ValueError: An option is none of these.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import StateFinder
        >>> w, b = State(2.0), State(0.0)
        >>> def f(x, w=w, b=b):
        ...     b.value = w.value * x
        >>> StateFinder(f)(1.0)
        {'w': State(2.0), 'b': State(0.0)}
        >>> StateFinder(f, usage="write", return_type="list")(1.0)
        [State(0.0)]
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        filter: Any = None,
        *,
        usage: str = "all",
        return_type: str = "dict",
        key_fn: Callable[[int, State[Any]], Hashable] | None = None,
    ) -> None:
        for name, option, known in (
            ("usage", usage, ("all", "read", "write", "both")), ("return_type", return_type, ("dict", "list", "tuple")),
        ):  # fmt: skip
            if option not in known:
                raise ValueError(f"StateFinder has no {name}={option!r}: it takes one of {', '.join(map(repr, known))}")
        if key_fn is not None and not callable(key_fn):
            raise TypeError(f"key_fn of StateFinder is a function of an index and a State, not {key_fn!r}")
        self.fn = fn
        self.filter = filter
        self.usage = usage
        self.return_type = return_type
        self.key_fn = key_fn
        self._find = lift(self._rule, fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the states that ``fn(*args, **kwargs)`` uses."""
        return self._find(*args, **kwargs)

    def _rule(self, core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            _, written, used = _dry_run(core, args, kwargs)
            writes = {state for state, _ in written.items()}
            paths = {s: dotted(path) for path, s in states(core.touched_graph().root).items()}
            used = [state for state in used if self._wanted(core)(state, state in paths)]
            parts = {
                "all": used,
                "read": [state for state in used if state not in writes],
                "write": [state for state in used if state in writes],
            }
            found = {name: self._arranged(part, paths) for name, part in parts.items()}
            both = {name: found[name] for name in ("read", "write")}
            return (both if self.usage == "both" else found[self.usage]), _no_states()

        return run

    def _wanted(self, core: Core) -> Callable[[State[Any], bool], bool]:
        """What the filter accepts; of a state beyond the touched graph, only its kind and tags are known."""
        if self.filter is None:
            return lambda state, inside: True
        chosen = set(select(self.filter, core, "filter").states)
        beyond = to_predicate(self.filter) if isinstance(self.filter, (str, type, UnionType)) else None
        return lambda state, inside: state in chosen or (not inside and beyond is not None and beyond((), state))

    def _arranged(self, found: list[State[Any]], paths: dict[State[Any], str]) -> Any:
        if self.return_type != "dict":
            return found if self.return_type == "list" else tuple(found)
        keyed: dict[Hashable, State[Any]] = {}
        for index, state in enumerate(found):
            key = self.key_fn(index, state) if self.key_fn else None
            if key is None:
                key = paths.get(state) or dict(state._meta).get("name") or f"state_{index}"
            if not isinstance(key, Hashable):
                key = str(key)
            plain, number = key, 2
            while key in keyed:
                key, number = f"{plain}_{number}", number + 1
            keyed[key] = state
        return keyed
