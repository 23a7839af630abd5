"""``Program``: the functions of a file of `save_program`, and the states that they share, where it is loaded.

It needs JAX alone.  A function is pure inside; the Program keeps the states between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import export as jax_export

from brainstate_graph.extend import describe

from .avals import fits, struct_of
from .derivatives import call_or_tell

__all__ = ["Function", "Program"]


class Program:
    """Compiled functions with their states, without the model; made by `load_program`.

    A function of the file is called as a method, ``program.decode(token)``, and writes the states as the model did. A
    program of one function can itself be called.

    Attributes:
        names: The names of the functions.
        states: The arrays by name; a dict like it can be assigned.

    Example:
        >>> import os, tempfile
        >>> from brainstate_graph import State
        >>> from brainstate_transform import export, jit, load_program, save_program
        >>> count = State(0)
        >>> @jit
        ... def step(x, count=count):
        ...     count.value += 1
        ...     return x * count.value
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_program(os.path.join(folder, "step.npz"), export(step, 1.0))
        ...     program = load_program(os.path.join(folder, "step.npz"))
        >>> float(program(5.0)), float(program.step(5.0)), program.states
        (5.0, 10.0, {'count': Array(2, dtype=int32)})
        >>> program.reset()
        >>> float(program(5.0))
        5.0
    """

    def __init__(self, states: Mapping[str, Any], functions: Mapping[str, Function]) -> None:
        self._first = dict(states)
        self._states = dict(states)
        self._functions = dict(functions)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._functions)

    @property
    def states(self) -> dict[str, Any]:
        return dict(self._states)

    @states.setter
    def states(self, states: Mapping[str, Any]) -> None:
        wrong = [f"without {name}" for name in self._first if name not in states]
        wrong += [f"with {name}, which it has not" for name in states if name not in self._first]
        wrong += [
            f"{name} is {describe(struct_of(first))}, and {describe(struct_of(states[name]))} was given"
            for name, first in self._first.items()
            if name in states and struct_of(states[name]) != struct_of(first)
        ]
        if wrong:
            raise ValueError(f"these are not states of {self!r}: {'; '.join(wrong)}")
        self._states = {name: states[name] for name in self._first}

    def reset(self) -> None:
        """Give all states the values of the file."""
        self._states = dict(self._first)

    def pure(self, name: str | None = None) -> Callable[..., tuple[Any, dict[str, Any]]]:
        """Return a function as ``f(states, *args, **kwargs) -> (out, states)``, which changes nothing.

        One program then serves many sequences at once, each with states of its own.

        Args:
            name: The name of the function; None where there is only one.

        Example:
            >>> import os, tempfile
            >>> from brainstate_graph import State
            >>> from brainstate_transform import export, jit, load_program, save_program
            >>> w = State(3.0)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     save_program(os.path.join(folder, "times.npz"), export(jit(lambda x, w=w: w.value * x), 1.0))
            ...     program = load_program(os.path.join(folder, "times.npz"))
            >>> times = program.pure()
            >>> times({"w": 4.0}, 2.0)
            (Array(8., dtype=float32), {'w': 4.0})
        """
        return self._function(name)

    def _function(self, name: str | None) -> Function:
        if name is None and len(self._functions) == 1:
            return next(iter(self._functions.values()))
        if name is None:
            raise TypeError(f"{self!r} has several functions: name one, as in `program.{self.names[0]}(...)`")
        if name not in self._functions:
            raise AttributeError(f"{self!r} has no function {name!r}")
        return self._functions[name]

    def _run(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out, self._states = function(self._states, *args, **kwargs)
        return out

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the only function, and keep what it writes."""
        return self._run(self._function(None), args, kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):  # also while a copy has no attributes yet
            raise AttributeError(name)
        function = self._function(name)
        return lambda *args, **kwargs: self._run(function, args, kwargs)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._functions]

    def __repr__(self) -> str:
        return f"<Program of {', '.join(self._functions)} with {len(self._first)} states>"


class Function:
    """One function of a file, pure.

    Args:
        exported: The program, which takes and returns lists of arrays for the states.
        name: Its name.
        states: The names of the arrays that it takes.
        written: The names of those that it returns.
        sharding: The sharding of all that it is given.
        writer: The version of JAX that wrote it.
    """

    def __init__(
        self,
        exported: jax_export.Exported,
        *,
        name: str,
        states: list[str],
        written: list[str],
        sharding: Any,
        writer: str,
    ) -> None:
        self.name, self.states, self.written = name, states, written
        self._exported, self._writer = exported, writer

        call = call_or_tell(exported, name)

        def run(values: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            self._check(values, args, kwargs)
            return call(values, args, kwargs)

        run.__name__ = run.__qualname__ = name
        # Without a sharding JAX compiles twice: for what came out of a call, and for what a user made, as the one is
        # committed to a device and the other not.
        self._run = jax.jit(run, in_shardings=sharding)

    def __call__(self, states: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        try:
            values = [states[name] for name in self.states]
        except KeyError as error:
            raise ValueError(f"`{self.name}` needs the state {error}, which was not given") from None
        try:
            out, written = self._run(values, args, kwargs)
        except jax.errors.JaxRuntimeError as error:
            if self._writer != jax.__version__:
                error.add_note(f"`{self.name}` was exported by JAX {self._writer}, and this is JAX {jax.__version__}")
            raise
        return out, {**states, **dict(zip(self.written, written, strict=True))}

    def _check(self, values: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tree, avals = self._exported.in_tree, self._exported.in_avals
        wanted = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals])[0]
        for what, given, shape in [
            *zip((f"state {name}" for name in self.states), values, wanted[0], strict=True),
            ("its arguments", args, wanted[1]),
            ("its keywords", kwargs, wanted[2]),
        ]:
            given = jax.tree.map(struct_of, given)
            if not fits(given, shape):
                raise TypeError(f"`{self.name}` takes {describe(shape)} as {what}, not {describe(given)}")
