"""Oracles for layers: the same computation by flax.nnx or by a formula, as a pure function of the values of states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import jax
from flax import nnx

from brainstate_nn import BatchState, Module, ParamState

Values = dict[str, jax.Array]
# Of a layer: a pure function of the values of its parameters and statistics, by dotted path, and of the inputs.
Oracle = Callable[[Module], Callable[..., Any]]
Their = str | tuple[str, Callable[[jax.Array], jax.Array]]  # the dotted path in flax, and how the value is changed

KERNEL: Mapping[str, Their] = {"weight": "kernel", "bias": "bias"}
SCALE: Mapping[str, Their] = {"weight": "scale", "bias": "bias"}


def values_of(layer: Module) -> Values:
    """What is trained or gathered, by dotted path."""
    found = layer.states((ParamState, BatchState))
    return {".".join(map(str, path)): state.value for path, state in found.items()}


def flax(
    make: Callable[[Any], nnx.Module], names: Mapping[str, Their] = KERNEL, call: Callable[..., Any] | None = None
) -> Oracle:
    """The layer of flax.

    Args:
        make: Makes theirs, given ours.
        names: Where each value of ours belongs in theirs.
        call: What is called with theirs and the inputs, if not theirs alone.
    """

    def oracle(layer: Module) -> Callable[..., Any]:
        theirs = make(layer)
        theirs.train() if layer.training else theirs.eval()
        shape, state = nnx.split(theirs)

        def run(values: Values, *inputs: Any) -> Any:
            module = nnx.merge(shape, state, copy=True)
            for name, value in values.items():
                said = names[name]
                path, change = said if isinstance(said, tuple) else (said, lambda x: x)
                *steps, last = path.split(".")
                holder = reduce(lambda at, step: at[int(step)] if step.isdigit() else getattr(at, step), steps, module)
                setattr(holder, last, type(getattr(holder, last))(change(value)))
            return call(module, *inputs) if call else module(*inputs)

        return run

    return oracle


def formula(make: Callable[..., Any]) -> Oracle:
    """A formula written out: ``make(layer, values, *inputs)``."""
    return lambda layer: lambda values, *inputs: make(layer, values, *inputs)
