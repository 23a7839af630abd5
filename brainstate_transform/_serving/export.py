"""``export``: a compiled function as bytes, which run without the model and its code.

What was a State becomes an ordinary argument and result: a dict of values by path.  Nodes and static arguments become
part of the program.  For several functions that share states, and the values of these, see ``program_file.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
from jax import export as jax_export
from jax.extend.core import jaxpr_as_fun

from brainstate_graph import Node, State
from brainstate_graph.extend import describe

from .._engine.placeholders import Constant, Slot
from .._engine.results import holds_nodes
from .._engine.touched import Inputs
from .._engine.values import StateValues
from .._jit.dispatch import Dispatch
from .._jit.stages import Traced
from .._jit.state_options import with_placement
from .._messages.boundary import boundary
from .avals import fits, strong
from .derivatives import as_order, call_or_tell

__all__ = ["Exported", "deserialize", "export"]


class _Jitted(Protocol):
    """A function compiled by `jit`, as far as it is exported."""

    __qualname__: str
    _dispatch: Dispatch

    def trace(self, *args: Any, **kwargs: Any) -> Traced: ...

    def as_passed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Inputs]: ...


class Exported:
    """A stateful function without its model; made by `export` and `deserialize`.

    Attributes:
        exported: The ``jax.export.Exported`` of ``f(states, args, kwargs) -> (out, written)``, with states by path.
        states_info: Shapes and dtypes of the states, by path.
        written_info: Those of the states that it writes.
        out_info: Shapes and dtypes of the result.
        states: The live states by path where `export` made it, for `save_program`; none after `deserialize`.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import deserialize, export, jit
        >>> count = State(0)
        >>> @jit
        ... def step(x, count=count):
        ...     count.value += 1
        ...     return x * 2.0
        >>> loaded = deserialize(export(step, 1.0).serialize())
        >>> loaded({"count": 41}, 1.0)
        (Array(2., dtype=float32), {'count': Array(42, dtype=int32)})
    """

    def __init__(self, exported: jax_export.Exported, states: Mapping[str, State[Any]] | None = None) -> None:
        self.exported = exported
        self._call = call_or_tell(exported, exported.fun_name)
        self.states = dict(states or {})
        (given, args, kwargs), _ = jax.tree.unflatten(exported.in_tree, list(map(strong, exported.in_avals)))
        self._args_info, self._kwargs_info = args, kwargs
        self.states_info: dict[str, Any] = given
        results = jax.tree.unflatten(exported.out_tree, list(map(strong, exported.out_avals)))
        self.out_info, self.written_info = results

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.exported.fun_name

    def serialize(self, *, vjp_order: int = 0) -> bytes:
        """Return it as bytes, in the format of ``jax.export``, which later versions of JAX can read.

        Args:
            vjp_order: How many times the program can be differentiated where it is read, by its states and arguments;
                each time adds a program to the bytes.
        """
        return bytes(self.exported.serialize(vjp_order=as_order(vjp_order)))

    def __call__(self, states: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Run it.

        Args:
            states: The value of each state by path, as in `states_info`.
            *args: The positional arguments, without the nodes and static ones, which are part of the program.
            **kwargs: The keyword arguments, without those.

        Returns:
            The result, and all states with their new values.

        Raises:
            ValueError: A state is missing or unknown, or has another shape or dtype.
        """
        self._check(states)
        out, written = self._call(dict(states), args, kwargs)
        return out, {**states, **written}

    def _check(self, states: Mapping[str, Any]) -> None:
        wanted = self.states_info
        if not isinstance(states, Mapping):
            raise TypeError(
                f"the first argument of {self.name!r} must be a dict of its states, by the paths {list(wanted)}"
            )
        missing = [path for path in wanted if path not in states]
        unknown = [path for path in states if path not in wanted]
        if missing or unknown:
            wrong = [f"without {', '.join(missing)}"] if missing else []
            wrong += [f"with {', '.join(map(str, unknown))}, which it has not"] if unknown else []
            raise ValueError(f"{self.name!r} was called {' and '.join(wrong)}; its states are {list(wanted)}")
        for path, shape in wanted.items():
            given = jax.tree.map(jax.typeof, states[path])
            if not fits(given, shape):
                given = jax.tree.map(strong, given)
                raise ValueError(f"state {path} of {self.name!r} is {describe(shape)}, and {describe(given)} was given")

    def __repr__(self) -> str:
        return f"<Exported of {self.name!r} with states {list(self.states_info)}>"


@boundary
def export(fun: _Jitted, /, *args: Any, platforms: Sequence[str] | None = None, **kwargs: Any) -> Exported:
    """Turn a compiled function into a program that can be saved as bytes and run elsewhere; no state changes.

    Args:
        fun: A function compiled by `jit`.
        *args: Arguments like those of the calls, or their shapes, which may be symbolic. Nodes and static arguments
            become part of the program, and calls leave them out.
        platforms: As in ``jax.export.export``: what to compile for, such as ``("cpu", "cuda", "tpu")``.
        **kwargs: Keyword arguments.

    Returns:
        An `Exported`: ``out, states = exported(states, *args)`` with states by path, and ``serialize()``.

    Raises:
        TypeError: `fun` is not compiled by `jit`, an argument holds a Node inside, or the result holds one.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import export, jit
        >>> w = State(3.0)
        >>> exported = export(jit(lambda x, w=w: x * w.value), 2.0)
        >>> exported.states_info, float(exported({"w": 4.0}, 2.0)[0])
        ({'w': ShapeDtypeStruct(shape=(), dtype=float32)}, 8.0)
    """
    if not isinstance(getattr(fun, "_dispatch", None), Dispatch):
        raise TypeError(f"export takes a function compiled by `jit`, not {fun!r}: write `export(jit(fun), ...)`")
    traced = fun.trace(*args, **kwargs)
    dispatch = fun._dispatch
    names, written_names = list(traced.states_info), list(traced.written_info)
    user = fun.__qualname__
    if holds_nodes(traced.stage.out_info[0]):
        raise TypeError(
            f"`{user}` returns a Node or makes a part of one, which cannot be exported: return the values that are "
            "wanted, and make the parts before"
        )
    args, kwargs, inputs = fun.as_passed(args, kwargs)
    dynamic = [arg for arg in args if not _is_fixed(arg)]
    dynamic_kw = {name: value for name, value in kwargs.items() if not _is_fixed(value)}
    if holds_nodes((dynamic, dynamic_kw)):
        raise TypeError(f"`{user}` gets a container with a Node, which cannot be exported: pass the Node by itself")
    shapes, _ = dispatch.where(inputs.values(), with_placement)
    structure = jax.tree.structure(traced.stage.out_info)

    def pure(states: dict[str, Any], dynamic: tuple[Any, ...], dynamic_kw: dict[str, Any]) -> Any:
        rest = iter(dynamic)
        full = tuple(arg if _is_fixed(arg) else next(rest) for arg in args)
        named = {name: value if _is_fixed(value) else dynamic_kw[name] for name, value in kwargs.items()}
        values = StateValues(inputs.key, [states[name] for name in names])
        leaves = jax.tree.leaves((dispatch.leading(values, args, kwargs, lambda value, _: value), full, named))
        out, (new, _) = jax.tree.unflatten(structure, jaxpr_as_fun(traced.jaxpr)(*leaves))
        return out, dict(zip(written_names, new, strict=True))

    pure.__name__ = pure.__qualname__ = traced.fun_name
    values = dict(zip(names, map(_placed_shapes, shapes), strict=True))
    made = jax_export.export(jax.jit(pure), platforms=platforms)
    return Exported(made(values, tuple(dynamic), dynamic_kw), dict(zip(names, inputs.states, strict=True)))


def deserialize(data: bytes | bytearray) -> Exported:
    """Read an `Exported` from bytes; the code of the model is not needed.

    Args:
        data: From `Exported.serialize`.

    Returns:
        An `Exported`, which is called with the states and the arguments.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import deserialize, export, jit
        >>> w = State(3.0)
        >>> data = export(jit(lambda x, w=w: x * w.value), 2.0).serialize()
        >>> float(deserialize(data)({"w": 5.0}, 2.0)[0])
        10.0
    """
    return Exported(jax_export.deserialize(bytearray(data)))


def _is_fixed(arg: Any) -> bool:
    return isinstance(arg, (Slot, Constant, Node))


def _placed_shapes(value: Any) -> Any:
    """The shapes of a state, each with the sharding that it is given; those that have one already keep it."""
    return jax.tree.map(lambda x: x if isinstance(x, jax.ShapeDtypeStruct) else with_placement(x, None), value)
