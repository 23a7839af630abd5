"""The same cases in flax nnx, whose transforms take the module as an argument."""

from __future__ import annotations

import importlib
from typing import Any

import jax
import jax.numpy as jnp

from .._arena.timing import Number, Work
from .transforms import STEPS, Case
from .workloads import Workload, bank_values

__all__ = ["Nnx"]


class Nnx:
    """flax nnx."""

    def __init__(self) -> None:
        self.nnx: Any = importlib.import_module("flax.nnx")
        nnx = self.nnx

        class Hidden(nnx.Variable):
            pass

        class Bank(nnx.Module):
            def __init__(self, params: Any, hidden: Any) -> None:
                self.params = nnx.List([nnx.Param(value) for value in params])
                self.hidden = nnx.List([Hidden(value) for value in hidden])

        self.Bank = Bank
        carried = nnx.StateAxes({...: nnx.Carry})
        lanes = nnx.StateAxes({Hidden: 0, ...: None})

        def other(_: Any, x: Any) -> Any:
            return x

        def more(carry: Any) -> Any:
            return carry[0] < STEPS

        def while_loop(f: Any) -> Any:
            def body(carry: Any) -> Any:
                i, _, x, bank = carry
                return i + 1, f(bank, x), x, bank

            return lambda bank, x: nnx.while_loop(more, body, (jnp.array(0), x, x, bank))[1]

        def loop(f: Any) -> Any:
            return nnx.scan(f, in_axes=(carried, 0), out_axes=0)

        self.cases: dict[str, Any] = {
            "jit": nnx.jit,
            "grad": nnx.grad,
            "value_and_grad": nnx.value_and_grad,
            "checkpoint": nnx.remat,
            "vmap": lambda f: nnx.vmap(f, in_axes=(lanes, 0)),
            "scan": loop,
            "for_loop": loop,
            "while_loop": while_loop,
            "cond": lambda f: lambda bank, x: nnx.cond(x, f, other, bank, x),
            "switch": lambda f: lambda bank, x: nnx.switch(1, [other, f], bank, x),
        }

    def warm(self, case: Case, work: Workload, compiled: bool) -> Work | None:
        """A call of a transformed function that has been called before."""
        if case.name not in self.cases:
            return None
        bank, x = self.Bank(*work.values(case.lanes)), jnp.ones(case.shape)
        ours = self.cases[case.name](self.of(work.pure()))
        if compiled and case.name != "jit":
            ours = self.nnx.jit(lambda bank, x, inner=ours: inner(bank, x))
        return lambda: ours(bank, x)

    def traced(self, case: Case, work: Workload) -> Work | None:
        """The trace of a function that JAX has never seen, under a transform and ``jit``."""
        if case.name not in self.cases:
            return None
        bank, x = self.Bank(*work.values(case.lanes)), jnp.ones(case.shape)

        def trace() -> Any:
            ours = self.cases[case.name](self.of(work.pure()))
            return (ours if case.name == "jit" else self.nnx.jit(lambda bank, x: ours(bank, x))).trace(bank, x)

        return trace

    @staticmethod
    def of(pure: Any) -> Any:
        """Return a function of a bank that does what a pure function does."""

        def f(bank: Any, x: Any) -> Any:
            y, hidden = pure([v.get_value() for v in bank.params], [v.get_value() for v in bank.hidden], x)
            for variable, value in zip(bank.hidden, hidden, strict=True):
                variable.set_value(value)
            return y

        return f

    def runs(self, kind: str, depth: int) -> Number | None:
        """How often Python runs the innermost function of a nest, cold."""
        nnx, count = self.nnx, 0

        def f(bank: Any, x: Any) -> Any:
            nonlocal count
            count += 1
            y = x * bank.params[0].get_value()
            bank.hidden[0].set_value(bank.hidden[0].get_value() + 1.0)
            return y

        bank, x = self.Bank(*bank_values(2, False)), jnp.ones(())
        nest: Any = f
        if kind == "vmap":
            axes = nnx.StateAxes({...: None})
            for _ in range(depth):
                nest = nnx.vmap(nest, in_axes=(axes, 0))
            nest(bank, jnp.ones((2,) * depth))
        elif kind == "jit(grad)":
            for _ in range(depth):
                nest = nnx.grad(nest, argnums=1)
            nnx.jit(nest)(bank, x)
        elif kind == "jit(for_loop)":
            for _ in range(depth):
                nest = nnx.scan(nest, in_axes=(nnx.StateAxes({...: nnx.Carry}), 0), out_axes=0)
            nnx.jit(nest)(bank, jnp.ones((2,) * depth))
        else:
            return None
        jax.block_until_ready(bank.hidden[0].get_value())
        return Number(count)
