"""What all loops share: the body is traced once, what it writes is carried, and drift is refused by name.

*body*: the user's function in the form ``(carry, x) -> (carry, y)``.
*now*: what goes from step to step, ``(states, carry)``: the states that the body writes, and the user's carry.
*step*: ``step(now, x) -> (now, y)``, the body as the loops of JAX take it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp

from brainstate_graph import Overlay
from brainstate_graph.extend import locate, read_values

from .._engine.core import Core
from .._engine.values import StateValues, Written, written_in

__all__ = ["NONE", "Now", "Step", "by_hand", "enter", "refuse_writes", "traced"]

Now = tuple[StateValues, Any]
Step = Callable[[Now, Any], tuple[Now, Any]]
NONE = StateValues.of((), ())


def enter(core: Core, init: Any, x: Any = None) -> tuple[Step, Now]:
    """Trace the body for arguments like these.

    Args:
        core: The body.
        init: The first carry.
        x: The input of one step, or its shapes.

    Returns:
        The step, which does not run the user's function again, and the `now` to start from.

    Raises:
        TypeError: The body changes the shape or dtype of a state or of the carry.
    """
    states = core.written_by(init, x)

    def step(now: Now, x: Any) -> tuple[Now, Any]:
        states, carry = now
        out, states = core.staged(states, carry, x)
        carry, y = _pair(core, out)
        return (states, carry), y

    looked = core.looked
    now, after = (states, init), (StateValues(states.key, looked.values), _pair(core, looked.out)[0])
    settled = _settled(core, now, after, lambda number: _meets_narrower(number, looked.jaxpr))
    while settled is not now:  # each number is promoted once at most, and mostly none is
        now = settled
        _, (after, _), jaxpr = traced(step, now, x)
        settled = _settled(core, now, after, lambda number, jaxpr=jaxpr: _meets_narrower(number, jaxpr))
    return _steady(step, now, x), now


def _steady(fun: Callable[..., Any], *like: Any) -> Callable[..., Any]:
    """Return a function that is traced for arguments like these, whatever JAX makes of them later.

    A number may be weakly typed at first and not after a step, which would be reason to run the user's function again.

    Args:
        fun: The function; it was called with such arguments before.
        *like: Arguments, or their shapes.
    """
    weak = _weak(like)
    replays: list[Callable[..., Any]] = []

    def steadily(*args: Any) -> Any:
        if _weak(args) == weak:
            return fun(*args)
        if not replays:
            replays.append(traced(fun, *like)[0])
        return replays[0](*args)

    return steadily


def _weak(args: Any) -> list[bool]:
    return [(x if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x)).weak_type for x in jax.tree.leaves(args)]


def traced(fun: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], Any, Any]:
    """Trace a function for arguments like these.

    Args:
        fun: The function.
        *args: Arguments, or their shapes.

    Returns:
        The function that replays the trace, the shapes of its result, and the jaxpr.
    """
    jaxpr, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    structure, avals = jax.tree.structure(shapes), list(map(_form, jaxpr.in_avals))

    def replay(*args: Any) -> Any:
        leaves = jax.tree.leaves(args)
        if [_form(jax.typeof(leaf)) for leaf in leaves] != avals:
            return fun(*args)
        return jax.tree.unflatten(structure, jax.extend.core.jaxpr_as_fun(jaxpr)(*leaves))

    return replay, shapes, jaxpr.jaxpr


@contextlib.contextmanager
def by_hand(core: Core, init: Any) -> Generator[tuple[Step, Now, Callable[[], Written]]]:
    """Run the body step by step in Python, as JAX does where it does not compile.

    Args:
        core: The body.
        init: The first carry.

    Yields:
        The step, the `now` to start from, and a function that tells what was written; an error drops it.
    """
    with Overlay() as overlay:

        def step(now: Now, x: Any) -> tuple[Now, Any]:
            out, written = core(NONE, now[1], x)
            carry, y = _pair(core, out)
            changed = written.outcome.states
            before = StateValues.of(changed, read_values(changed))
            _settled(core, (before, now[1]), (StateValues.of(changed, written.values), carry))
            written.write()
            return (NONE, jax.tree.map(jnp.asarray, carry)), y

        yield step, (NONE, jax.tree.map(jnp.asarray, init)), lambda: written_in(overlay)


def refuse_writes(core: Core, written: Written, what: str) -> None:
    """Refuse a function that may only read states.

    Raises:
        ValueError: It wrote some; the message begins with `what`.
    """
    if written.outcome.states:
        names = ", ".join(locate(state) for state, _ in written.items())
        raise ValueError(f"{what} `{core.__qualname__}` writes {names}, and may only read states")


def _pair(core: Core, out: Any) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"the loop body `{core.__qualname__}` must return a pair (carry, y), not {out!r}")
    return out


def _settled(core: Core, now: Now, after: Now, hardens: Callable[[Any], bool] = lambda _: False) -> Now:
    """Return `now` in the form of `after`, and `now` itself if it fits.

    The dtype follows where JAX promotes a Python number, and the sharding where an axis of an explicit mesh comes in,
    as it does where a hidden state begins unsharded and the inputs are a sharded batch.

    Args:
        core: The body.
        now: What a step starts from.
        after: What it leaves, or its shapes.
        hardens: Whether a number of this dtype that an array replaces is to be an array of its dtype from the start.
    """
    (states, carry), (new_states, new_carry) = now, after
    body = f"the loop body `{core.__qualname__}` changes"
    values = [
        _followed(
            old,
            new,
            hardens,
            lambda state=state: f"{body} {locate(state)}",
            "what is assigned, or the state before the loop",
        )
        for state, old, new in zip(states.states, states.values, new_states.values, strict=True)
    ]
    followed = _followed(carry, new_carry, hardens, lambda: f"{body} its carry", "what is returned, or the first carry")
    if followed is carry and all(a is b for a, b in zip(values, states.values, strict=True)):
        return now
    return StateValues(states.key, values), followed


def _followed(old: Any, new: Any, hardens: Callable[[Any], bool], what: Callable[[], str], instead: str) -> Any:
    """Return `old` with the dtypes and shardings of `new`; `old` itself if it has them."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(old)
    if structure != jax.tree.structure(new):
        raise TypeError(
            f"{what()} from a value of structure {structure} to one of {jax.tree.structure(new)}; a loop needs the "
            "same structure in each step."
        )
    followed: list[Any] = []
    for (path, before), leaf in zip(leaves, jax.tree.leaves(new), strict=True):
        aval, after = jax.typeof(before), leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)
        spec, spec_after = _spec(aval), _spec(after)
        same = aval.dtype == after.dtype
        promoted = same or (aval.weak_type and _promoted(aval.dtype, after.dtype) == after.dtype)
        # Only axes that come in: each at most once, so that following comes to an end.
        reached = aval.shape == after.shape and all(a in (None, b) for a, b in zip(spec, spec_after, strict=True))
        if not (promoted and reached):
            alike = "sharding" if promoted and aval.shape == after.shape else "shape and dtype"
            how = "Write `jax.reshard(x, spec)` for" if alike == "sharding" else "Cast"
            raise TypeError(
                f"{what()}{jax.tree_util.keystr(path)} from {_show(aval)} to {_show(after)}; a loop needs the same "
                f"{alike} in each step. {how} {instead}."
            )
        if not same or (aval.weak_type and not after.weak_type and hardens(aval.dtype)):
            before = jax.lax.convert_element_type(before, after.dtype)
        followed.append(before if spec == spec_after else jax.reshard(before, after.sharding))
    if all(new is before for new, (_, before) in zip(followed, leaves, strict=True)):
        return old
    return jax.tree.unflatten(structure, followed)


def _promoted(number: Any, dtype: Any) -> Any:
    """The dtype of a Python number of dtype `number` together with an array of dtype `dtype`."""
    return jnp.result_type(number.type(0).item(), dtype)


def _meets_narrower(number: Any, jaxpr: Any) -> bool:
    """Tell whether it matters that a number is weakly typed: whether it may meet arrays of other dtypes of its kind.

    In Python, `State(0.0)` times a bfloat16 is a bfloat16 until an array of float32 is assigned to it.
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


def _spec(aval: Any) -> tuple[Any, ...]:
    """For each axis the axes of an explicit mesh over which it is spread, or None."""
    return tuple(getattr(aval.sharding, "spec", ())) or (None,) * len(aval.shape)


def _form(aval: Any) -> tuple[Any, ...]:
    return aval.shape, aval.dtype, _spec(aval)


def _show(aval: Any) -> str:
    sizes = [f"{n}@{axis}" if axis else str(n) for n, axis in zip(aval.shape, _spec(aval), strict=True)]
    return f"{aval.dtype}[{', '.join(sizes)}]"
