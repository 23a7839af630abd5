"""``cond``, ``switch`` and ``ifelse``: one of several functions runs, chosen by a number that may be traced.

`cond` is a branch by a boolean, `switch` by a number, and `ifelse` a `switch` by the first of several conditions that
holds.  What each has of its own is in a `Branching`; what they share is in ``branches.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import Node, State, StateArgumentError
from brainstate_graph.extend import alike

from .._checks.error_if import jit_error_if
from .._collecting.collected import collected_branches
from .._engine.core import Core, Run, without_jit
from .._engine.lift import lift
from .._engine.values import NO_STATES, StateValues, Written
from .._jit.eager import compiled_once
from .._messages.boundary import boundary
from .._messages.source import named_like
from .branches import Branches, Branching, run_branches

__all__ = ["cond", "ifelse", "switch"]

_SCALARS = frozenset((bool, int, float, np.bool_))
_Funs = tuple[Callable[..., Any], ...]


@boundary
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
        TypeError: `pred` is not a scalar, or the branches differ in the shape or dtype of a result or state.

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
    _check_pred(pred, "the predicate of cond")
    for fun in (true_fun, false_fun):
        if not callable(fun):
            raise TypeError(
                f"the branches of cond must be functions, not {fun!r}: `cond(pred, true_fun, false_fun, *operands)`"
            )
    return _branch(_COND, pred, (true_fun, false_fun), operands)


@boundary
def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Run one of several functions, chosen by a number that may be traced; all may use states.

    Args:
        index: An integer, scalar; below 0 it means the first branch, beyond the end the last one.
        branches: Called with the operands; results and written states must agree in shape and dtype.
        *operands: Pytrees of arrays.

    Returns:
        The result of the branch.

    Raises:
        TypeError: `index` is not an integer, or the branches differ in the shape or dtype of a result or state.
        ValueError: There are no branches.

    Example:
        >>> from brainstate_transform import switch
        >>> int(switch(1, [lambda x: x, lambda x: x + 1, lambda x: x * 2], 5))
        6
    """
    funs = _functions(branches, "switch", "switch(index, branches, *operands)")
    if type(index) is int or _is_scalar(index, "iu"):
        return _branch(_SWITCH, index, funs, operands)
    _refuse_objects(index, "the index of switch")
    if isinstance(index, (bool, str, list, tuple, dict)) or index is None:
        raise TypeError(f"the index of switch must be an integer, not {index!r}")
    if jnp.ndim(index) or not jnp.issubdtype(jnp.result_type(index), jnp.integer):
        raise TypeError(f"the index of switch must be an integer scalar, not {_aval(index)}")
    return _branch(_SWITCH, index, funs, operands)


@boundary
def ifelse(conditions: Any, branches: Sequence[Callable[..., Any]], *operands: Any, check_cond: bool = True) -> Any:
    """Run the branch of the first condition that holds, as ``if``, ``elif`` and ``else`` do; all may use states.

    Args:
        conditions: Booleans or numbers, scalars; all are evaluated before.
        branches: One function for each condition, and one more for ``else``. With as many branches as conditions, a
            last condition ``True`` makes the last branch the ``else``.
        *operands: Pytrees of arrays.
        check_cond: Without an ``else``, whether it is an error that no condition holds; if not, the last branch runs.

    Returns:
        The result of the branch.

    Raises:
        TypeError: A condition is not a scalar, or the branches differ in the shape or dtype of a result or state.
        ValueError: The numbers of conditions and branches do not fit, or no condition holds.

    Example:
        >>> from brainstate_transform import ifelse, jit
        >>> @jit
        ... def sign(x):
        ...     return ifelse([x > 0, x < 0], [lambda: 1, lambda: -1, lambda: 0])
        >>> int(sign(2.5)), int(sign(-1.0)), int(sign(0.0))
        (1, -1, 0)
    """
    funs = _functions(branches, "ifelse", "ifelse(conditions, branches, *operands)")
    _refuse_objects(conditions, "the argument `conditions` of ifelse")
    if isinstance(conditions, (str, dict)) or not hasattr(conditions, "__len__"):
        raise TypeError(f"the conditions of ifelse must be a list of scalars, not {conditions!r}")
    tests = list(conditions)
    if len(funs) - len(tests) not in (0, 1):
        raise ValueError(
            f"ifelse has {len(tests)} conditions and {len(funs)} branches: give one branch for each, and one more for "
            "`else` if there is one"
        )
    for number, test in enumerate(tests):
        _check_pred(test, f"condition {number} of ifelse")
    if any(isinstance(test, Tracer) for test in tests):
        index = jnp.argmax(jnp.stack([jnp.asarray(test, bool) for test in (*tests, True)]))  # the first True
    else:
        index = next((number for number, test in enumerate(tests) if test), len(tests))
    if check_cond and len(tests) == len(funs) and not _is_true(tests[-1]):
        none = index == len(tests)
        if none is not False:
            jit_error_if(none, f"none of the {len(tests)} conditions of ifelse holds: add a branch for `else`")
    return _branch(_IFELSE, index, funs, operands)


_COND = Branching(
    "cond",
    ("true_fun", "false_fun").__getitem__,
    lambda pred, branches, *operands: jax.lax.cond(pred, *branches, *operands),
    lambda pred, _: 0 if pred else 1,
)
_SWITCH = Branching(
    "switch",
    "branch {}".format,
    jax.lax.switch,
    lambda index, count: min(max(int(index), 0), count - 1),
)
_IFELSE = _SWITCH._replace(name="ifelse")


def _branch(branching: Branching, index: Any, funs: _Funs, operands: tuple[Any, ...]) -> Any:
    def make() -> Callable[..., Any]:
        return named_like(run, funs[0])

    def run(index: Any, *operands: Any) -> Any:
        return collected_branches(funs, lambda each, operands: _lifted(branching, each)(index, *operands), operands)

    compiled = compiled_once(funs, branching.name, make)
    return (compiled or run)(index, *operands)


def _lifted(branching: Branching, funs: Sequence[Any]) -> Callable[..., Any]:
    def rule(*cores: Core) -> Run:
        def run(_: StateValues, index: Any, *operands: Any) -> tuple[Any, Written]:
            if len(cores) == 1:
                return cores[0](_, *operands)
            if without_jit() and not isinstance(index, Tracer):
                return _run_one(branching, cores, branching.number(index, len(cores)), operands)
            return run_branches(branching, cores, index, operands)

        return run

    return lift(rule, *funs)


def _run_one(
    branching: Branching, cores: Sequence[Core], number: int, operands: tuple[Any, ...]
) -> tuple[Any, Written]:
    """Run one branch in Python, as JAX does where it does not compile."""
    cores[number].frozen = True
    out, written = cores[number](NO_STATES, *operands)
    before = StateValues.read(state for state, _ in written.items())
    if not alike(*jax.eval_shape(lambda *v: v, list(before.values), list(written.values))):
        Branches(branching, cores, operands)  # only now does it matter what the other branches would do
    return out, written


def _functions(branches: Any, name: str, usage: str) -> _Funs:
    if callable(branches) or not hasattr(branches, "__len__"):
        raise TypeError(f"the branches of {name} must be a list of functions, not {branches!r}: `{usage}`")
    funs = tuple(branches)
    if not funs:
        raise ValueError(f"{name} has no branches: `{usage}`")
    for fun in funs:
        if not callable(fun):
            raise TypeError(f"the branches of {name} must be functions, not {fun!r}: `{usage}`")
    return funs


def _is_true(test: Any) -> bool:
    return isinstance(test, (bool, np.bool_)) and bool(test)


def _refuse_objects(given: Any, what: str) -> None:
    if isinstance(given, (State, Node)):
        raise StateArgumentError(f"{what} is {given!r}: give the value, `state.value`")


def _is_scalar(value: Any, kinds: str) -> bool:
    """Tell whether a value is an array without axes of one of these kinds of dtype.

    It is asked first, of what most calls give: JAX's own functions know all cases, and take 15 microseconds.
    """
    return isinstance(value, jax.Array) and not value.ndim and value.dtype.kind in kinds


def _check_pred(pred: Any, what: str) -> None:
    if type(pred) in _SCALARS or _is_scalar(pred, "biuf"):
        return
    _refuse_objects(pred, what)
    if pred is None or isinstance(pred, (str, list, tuple, dict)):
        raise TypeError(f"{what} must be a scalar, not {pred!r}")
    if jnp.ndim(pred) or jnp.issubdtype(jnp.result_type(pred), jnp.complexfloating):
        raise TypeError(f"{what} must be a real scalar, not {_aval(pred)}")


def _aval(value: Any) -> str:
    return f"{jnp.result_type(value)}{list(jnp.shape(value))}"
