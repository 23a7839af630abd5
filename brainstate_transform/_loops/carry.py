"""The carry of a loop: what goes from step to step, and keeps its structure, shapes and dtypes.

*Carry* is here a pair ``(states, user_carry)``: the states that the body writes, and what the user carries.
*Step* is the body as the loops of JAX take it: ``step(carry, x) -> (carry, y)``.

JAX refuses a body that changes the type of its carry.  Three changes are not a mistake of the user, and `adapted` makes
them before the loop begins:

- A Python number becomes an array.
- An array is spread over a mesh by the array that it is combined with.
- Inside `shard_map`, an array varies over the shards as the array does that it is combined with.

All others are refused, in words that name the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
from jax.sharding import AxisType

from brainstate_graph.extend import locate

from .._checks.avals import both_in_words, first_difference
from .._checks.layout import Layout
from .._engine.core import Core
from .._engine.values import StateValues

__all__ = ["Carry", "Step", "adapted", "meets_other_floats", "sharded_aval", "varying_as"]

Carry = tuple[StateValues, Any]
Step = Callable[[Carry, Any], tuple[Carry, Any]]


def adapted(core: Core, carry: Carry, after: Carry, strengthen: Callable[[Any], bool] = lambda _: False) -> Carry:
    """Return a carry with the dtypes and layouts of the one after a step, and the carry itself if it has them.

    Args:
        core: The body.
        carry: What a step starts from.
        after: What it leaves, or its shapes.
        strengthen: Whether a number of this dtype, where a step puts an array of it, is to be an array at once.

    Raises:
        TypeError: Something has another structure, shape or dtype than before.
    """
    (states, user_carry), (new_states, new_user_carry) = carry, after
    changes = f"the loop body `{core.__qualname__}` changes"
    values = [
        _adapted(
            old,
            new,
            strengthen,
            lambda state=state: f"{changes} {locate(state)}",
            "what is assigned, or the state before the loop",
        )
        for state, old, new in zip(states.states, states.values, new_states.values, strict=True)
    ]
    user_carry = _adapted(
        carry[1], new_user_carry, strengthen, lambda: f"{changes} its carry", "what is returned, or the first carry"
    )
    if user_carry is carry[1] and all(a is b for a, b in zip(values, states.values, strict=True)):
        return carry
    return StateValues.of(states.states, values), user_carry


def _adapted(old: Any, new: Any, strengthen: Callable[[Any], bool], changes: Callable[[], str], cure: str) -> Any:
    leaves, structure = jax.tree_util.tree_flatten_with_path(old)
    if structure != jax.tree.structure(new):
        at, left, right = first_difference(old, new)
        left, right = both_in_words(left, right)
        raise TypeError(
            f"{changes()}{at} from {left} to {right}; a loop needs the same structure, and the "
            "same modules, in each step."
        )
    found: list[Any] = []
    for (path, before), leaf in zip(leaves, jax.tree.leaves(new), strict=True):
        aval, after = jax.typeof(before), leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
        layout, then = Layout.of(aval), Layout.of(after)
        same = aval.dtype == after.dtype
        # A weak type is that of a Python number, which takes the dtype of what it meets.
        promoted = same or (aval.weak_type and _promoted(aval.dtype, after.dtype) == after.dtype)
        # Axes of a mesh may come in, and none may go: then this comes to an end, as each comes in once at most.
        spread = aval.shape == after.shape and all(a in (None, b) for a, b in zip(layout.spec, then.spec, strict=True))
        if not (promoted and spread):
            what = "sharding" if promoted and aval.shape == after.shape else "shape and dtype"
            how = "Write `jax.reshard(x, spec)` for" if what == "sharding" else "Cast"
            raise TypeError(
                f"{changes()}{jax.tree_util.keystr(path)} from {_in_words(aval)} to {_in_words(after)}; a loop needs "
                f"the same {what} in each step. {how} {cure}."
            )
        if not same or (aval.weak_type and not after.weak_type and strengthen(aval.dtype)):
            before = jax.lax.convert_element_type(before, after.dtype)
        found.append(then.given_to(before))
    if all(new is before for new, (_, before) in zip(found, leaves, strict=True)):
        return old
    return jax.tree.unflatten(structure, found)


def _promoted(number: Any, dtype: Any) -> Any:
    """The dtype of a Python number of dtype `number` together with an array of dtype `dtype`."""
    return jnp.result_type(number.type(0).item(), dtype)


def meets_other_floats(number: Any, jaxpr: Any) -> bool:
    """Tell whether it matters in a program that a number of this dtype is weakly typed.

    It does where there are arrays of other dtypes of its kind. In Python, ``State(0.0)`` times a bfloat16 is a bfloat16
    until an array of float32 is assigned to it; a loop has one dtype for all steps.
    """
    kind = jnp.floating if jnp.issubdtype(number, jnp.floating) else jnp.integer
    return any(dtype != number and jnp.issubdtype(dtype, kind) for dtype in _dtypes(jaxpr))


def _dtypes(jaxpr: Any) -> set[Any]:
    variables = (*jaxpr.invars, *jaxpr.constvars, *(out for eqn in jaxpr.eqns for out in eqn.outvars))
    found = {v.aval.dtype for v in variables if hasattr(v.aval, "dtype")}
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(list(eqn.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            if isinstance(inner, jax.extend.core.Jaxpr):
                found |= _dtypes(inner)
    return found


def sharded_aval(aval: Any) -> tuple[Any, ...]:
    """Return the shape and dtype of an abstract array, over what it is spread, and over what it varies."""
    layout = Layout.of(aval)
    return aval.shape, aval.dtype, layout.spec, layout.varying


def varying_as(new: Carry, old: Carry) -> Carry:
    """Return what a step leaves, where it varies at least over the shards over which the step was given it."""
    if AxisType.Manual not in jax.sharding.get_abstract_mesh().axis_types:
        return new

    def vary(new: Any, old: Any) -> Any:
        layout = Layout.of(jax.typeof(new))
        return layout._replace(varying=layout.varying | Layout.of(jax.typeof(old)).varying).given_to(new)

    return jax.tree.map(vary, new, old)


def _in_words(aval: Any) -> str:
    sizes = [f"{n}@{axis}" if axis else str(n) for n, axis in zip(aval.shape, Layout.of(aval).spec, strict=True)]
    return f"{aval.dtype}[{', '.join(sizes)}]"
