"""The steps of `steps` by other libraries, each used as its guides recommend.

nnx takes the module as an argument in three ways: ``nnx.jit``, which takes it apart and updates it in each call;
``nnx.cached_partial``, which its performance guide offers for loops over one and the same module; and modules as trees,
``nnx.jit(graph=False)``. brainstate's ``jit`` takes a function that closes over the module. equinox has modules that
are pytrees: a step returns the new one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .._arena.timing import Work
from .steps import Part, Step, flat, scalars

__all__ = ["PEER_SYSTEMS", "Brainstate", "Equinox", "Nnx"]


class Nnx:
    """flax nnx, in one of its three ways."""

    def __init__(self, way: str = "graph") -> None:
        nnx: Any = importlib.import_module("flax.nnx")

        class Slot(nnx.Module):
            def __init__(self, params: Any, hidden: Any) -> None:
                self.params = nnx.List([nnx.Param(value) for value in params])
                self.hidden = nnx.List([nnx.Variable(value) for value in hidden])

        class Bank(nnx.Module):
            def __init__(self, parts: list[Part]) -> None:
                self.parts = nnx.List([Slot(*part) for part in parts])

        self.nnx, self.Bank, self.way = nnx, Bank, way

    def _call(self, step: Any, bank: Any, x: Any, donate: bool) -> Work:
        mode = {"graph": False, "graph_updates": False} if self.way == "tree" else {}
        jitted = self.nnx.jit(step, donate_argnums=(0,) if donate else (), **mode)
        if self.way == "cached":
            bound = self.nnx.cached_partial(jitted, bank)
            return lambda: bound(x)
        return lambda: jitted(bank, x)

    def calling(self, make: Callable[[], Step], donate: bool = False) -> Work:
        pure, parts, x = make()

        def step(bank: Any, x: Any) -> Any:
            params, hidden = flat(bank.parts)
            y, new = pure([v.get_value() for v in params], [v.get_value() for v in hidden], x)
            for variable, value in zip(hidden, new, strict=True):
                variable.set_value(value)
            return y

        return self._call(step, self.Bank(parts), x, donate)

    def partly(self, used: int, held: int) -> Work:
        def step(bank: Any, x: Any) -> Any:
            variables = bank.parts[0].hidden
            for variable in variables[:used]:
                variable.set_value(variable.get_value() + x)
            return variables[0].get_value()

        return self._call(step, self.Bank([Part([], scalars(held))]), jnp.array(1.0), False)


class Brainstate:
    """brainstate, the reference system."""

    def __init__(self) -> None:
        brainstate: Any = importlib.import_module("brainstate")
        node: Any = brainstate.graph.Node

        class Slot(node):
            def __init__(self, params: Any, hidden: Any) -> None:
                self.params = [brainstate.ParamState(value) for value in params]
                self.hidden = [brainstate.State(value) for value in hidden]

        class Bank(node):
            def __init__(self, parts: list[Part]) -> None:
                self.parts = [Slot(*part) for part in parts]

        self.jit, self.Bank = brainstate.transform.jit, Bank

    def calling(self, make: Callable[[], Step], donate: bool = False) -> Work | None:
        if donate:
            return None  # it donates arguments, and its states are none
        pure, parts, x = make()
        bank = self.Bank(parts)

        @self.jit
        def step(x: Any) -> Any:
            params, hidden = flat(bank.parts)
            y, new = pure([state.value for state in params], [state.value for state in hidden], x)
            for state, value in zip(hidden, new, strict=True):
                state.value = value
            return y

        return lambda: step(x)

    def partly(self, used: int, held: int) -> Work:
        bank, x = self.Bank([Part([], scalars(held))]), jnp.array(1.0)

        @self.jit
        def step(x: Any) -> Any:
            states = bank.parts[0].hidden
            for state in states[:used]:
                state.value = state.value + x
            return states[0].value

        return lambda: step(x)


class Equinox:
    """equinox."""

    def __init__(self) -> None:
        eqx: Any = importlib.import_module("equinox")

        class Slot(eqx.Module):
            params: list[Any]
            hidden: list[Any]

        class Bank(eqx.Module):
            parts: list[Any]

        self.eqx, self.Bank, self.Slot = eqx, Bank, Slot

    def calling(self, make: Callable[[], Step], donate: bool = False) -> Work:
        pure, parts, x = make()
        bank = self.Bank([self.Slot(*part) for part in parts])

        def step(x: Any, bank: Any) -> Any:
            params, hidden = flat(bank.parts)
            y, new = pure(params, hidden, x)
            values = iter(new)
            slots = [self.Slot(slot.params, [next(values) for _ in slot.hidden]) for slot in bank.parts]
            return y, self.Bank(slots)

        jitted = self.eqx.filter_jit(step, donate="all-except-first" if donate else "none")

        def work() -> Any:
            nonlocal bank
            y, bank = jitted(x, bank)
            return y

        return work


PEER_SYSTEMS: dict[str, Callable[[], Any]] = {
    "nnx": Nnx,
    "nnx cached": lambda: Nnx("cached"),
    "nnx tree": lambda: Nnx("tree"),
    "brainstate": Brainstate,
    "equinox": Equinox,
}
