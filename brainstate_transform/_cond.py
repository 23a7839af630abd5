"""``cond``: both branches see one graph, and carry what either of them writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from brainstate_graph import Node, State, StateArgumentError
from brainstate_graph.extend import locate

from ._core import Core, Run, without_jit
from ._eager import compiled_once
from ._lift import lift
from ._values import StateValues, Written

__all__ = ["cond"]


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """Run one of two functions, chosen by a scalar that may be traced; both may use states.

    Args:
        pred: A boolean or number, scalar; not zero means true.
        true_fun: Called with the operands if `pred` holds.
        false_fun: Called with the operands if not; results and written states must agree in shape and dtype.
        *operands: Pytrees of arrays.

    Returns:
        The result of the branch.

    Raises:
        TypeError: `pred` is no scalar, or the branches leave a state with different shape or dtype.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import cond
        >>> steps = State(0)
        >>> def step(x):
        ...     steps.value += 1
        ...     return x + 1.0
        >>> float(cond(True, step, lambda x: x, 1.0)), int(steps.value)
        (2.0, 1)
    """
    if isinstance(pred, (State, Node)):
        raise StateArgumentError(f"the predicate of cond is {pred!r}: give the value, `state.value`")
    _check_pred(pred)
    for fun in (true_fun, false_fun):
        if not callable(fun):
            raise TypeError(
                f"the branches of cond are functions, not {fun!r}: `cond(pred, true_fun, false_fun, *operands)`"
            )

    compiled = compiled_once(
        true_fun,
        ("cond", id(false_fun)),  # which the compiled form keeps alive
        lambda: lambda pred, *operands: _cond(pred, true_fun, false_fun, operands),
    )
    return compiled(pred, *operands) if compiled else _cond(pred, true_fun, false_fun, operands)


def _cond(pred: Any, true_fun: Any, false_fun: Any, operands: tuple[Any, ...]) -> Any:
    def rule(*cores: Core) -> Run:
        def run(_: StateValues, pred: Any, *operands: Any) -> tuple[Any, Written]:
            if without_jit() and not isinstance(pred, Tracer):
                return _run_one(cores, bool(pred), operands)
            found = _look(cores, operands)
            states = StateValues.read(dict.fromkeys(s for part in found for s in part.states))
            _refuse_mismatch(cores, found, states, operands)

            def branch(core: Core, own: StateValues) -> Callable[..., Any]:
                def chosen(states: StateValues, *operands: Any) -> tuple[Any, StateValues]:
                    out, new = core.staged(states.only(own.states), *operands)
                    return out, states.updated(new.as_written())

                return chosen

            branches = [branch(core, part) for core, part in zip(cores, found, strict=True)]
            out, states = jax.lax.cond(pred, *branches, states, *operands)
            return out, states.as_written()

        return run

    return lift(rule, true_fun, false_fun)(pred, *operands)


def _look(cores: tuple[Core, ...], operands: tuple[Any, ...]) -> list[StateValues]:
    written = {core: core.written_by(*operands) for core in dict.fromkeys(cores)}
    return [written[core] for core in cores]


def _run_one(cores: tuple[Core, ...], pred: bool, operands: tuple[Any, ...]) -> tuple[Any, Written]:
    """Run one branch in Python, as JAX does where it does not compile."""
    out, written = cores[0 if pred else 1](StateValues.of((), ()), *operands)
    before = StateValues.read(state for state, _ in written.items())
    if any(map(_differ, *jax.eval_shape(lambda *v: v, list(before.values), list(written.values)))):
        found = _look(cores, operands)  # only now does it matter what the other branch would do
        states = StateValues.read(dict.fromkeys(s for part in found for s in part.states))
        _refuse_mismatch(cores, found, states, operands)
    return out, written


def _differ(left: Any, right: Any) -> bool:
    return jax.tree.structure(left) != jax.tree.structure(right) or any(
        a.shape != b.shape or a.dtype != b.dtype
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    )


def _check_pred(pred: Any) -> None:
    if pred is None or isinstance(pred, (str, list, tuple, dict)):
        raise TypeError(f"the predicate of cond is a scalar, not {pred!r}")
    if jnp.ndim(pred) or jnp.issubdtype(jnp.result_type(pred), jnp.complexfloating):
        raise TypeError(f"the predicate of cond is a real scalar, not {jnp.result_type(pred)}{list(jnp.shape(pred))}")


def _refuse_mismatch(cores: tuple[Core, ...], found: list[StateValues], states: StateValues, operands: Any) -> None:
    """Refuse branches that leave a state different, in words that name the state."""
    results = []
    for core, own in zip(cores, found, strict=True):
        after = jax.eval_shape(lambda s, ops, core=core: core.staged(s, *ops)[1], own, operands)
        results.append(dict(zip(own.states, after.values, strict=True)))
    before = dict(zip(states.states, jax.eval_shape(lambda v: v, states.values), strict=True))
    for state in states.states:
        left, right = (result.get(state, before[state]) for result in results)
        if _differ(left, right):
            names = [f"`{core.__qualname__}`" for core in cores]
            raise TypeError(
                f"{names[0]} leaves {locate(state)} as {left}, {names[1]} as {right}; both branches of cond must leave "
                "it with the same shape and dtype. Cast what is assigned."
            )
