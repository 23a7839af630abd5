"""One case for each transform: the same function of the same states, under ours and under the one of JAX.

*Raw* is the pure function ``pure(params, hidden, x) -> (y, hidden)`` of a workload under the transform of JAX.  It is
called as ours is called: the eager one eagerly, the compiled one under ``jax.jit``, the hidden states threaded.

`Case.ours` is written in names that brainstate has too, so that one description serves both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify as jax_checkify
from jax.sharding import PartitionSpec

from ._cases import Works
from ._workloads import LANES, Library, Workload, bank_values, pure, user

__all__ = ["CASES", "STEPS", "Case", "missing", "nested_trace", "repeated", "traced", "warm"]

STEPS = 4


class Case(NamedTuple):
    """One transform.

    Attributes:
        name: Its name in the library.
        ours: ``ours(transforms, f, bank) -> call`` with ``call(x) -> y``.
        raw: ``raw(pure) -> call`` with ``call(params, hidden, x) -> (y, hidden)``.
        shape: The shape of `x`.
        lanes: Whether the hidden states have one value per lane.
        compiles: Whether it compiles by itself, so that there is no eager form to compare.
        same: Whether the first element of what both return is the same number.
    """

    name: str
    ours: Callable[[Any, Any, Any], Callable[[Any], Any]]
    raw: Callable[[Any], Callable[[Any, Any, Any], Any]]
    shape: tuple[int, ...] = ()
    lanes: bool = False
    compiles: bool = False
    same: bool = True


# ------------------------------------------------------------------------------------------------ differentiating


def _grad(pure: Any) -> Any:
    return jax.grad(pure, has_aux=True)


def _value_and_grad(pure: Any) -> Any:
    both = jax.value_and_grad(pure, has_aux=True)

    def call(params: Any, hidden: Any, x: Any) -> Any:
        (value, hidden), grads = both(params, hidden, x)
        return (value, grads), hidden

    return call


def _our_value_and_grad(t: Any, f: Any, bank: Any) -> Any:
    if hasattr(t, "value_and_grad"):
        return t.value_and_grad(f, bank.params)
    both = t.grad(f, bank.params, return_value=True)
    return lambda x: both(x)[::-1]


def _vjp(pure: Any) -> Any:
    def call(params: Any, hidden: Any, x: Any) -> Any:
        y, back, hidden = jax.vjp(lambda x: pure(params, hidden, x), x, has_aux=True)
        return back(y)[0], hidden

    return call


def _our_vjp(t: Any, f: Any, _: Any) -> Any:
    def call(x: Any) -> Any:
        y, back = t.vjp(f, x)
        return jax.tree.leaves(back(y))[0]

    return call


def _jvp(pure: Any) -> Any:
    def call(params: Any, hidden: Any, x: Any) -> Any:
        y, along, hidden = jax.jvp(lambda x: pure(params, hidden, x), (x,), (x,), has_aux=True)
        return (y, along), hidden

    return call


# ------------------------------------------------------------------------------------------------ mapping


def _mesh() -> Any:
    return jax.sharding.Mesh(np.array(jax.devices()[:1]), ("i",))


def _shard_map(pure: Any) -> Any:
    spec = PartitionSpec()
    return jax.shard_map(pure, mesh=_mesh(), in_specs=(spec, spec, spec), out_specs=(spec, spec))


def _our_shard_map(t: Any, f: Any, _: Any) -> Any:
    return t.shard_map(f, mesh=_mesh(), in_specs=(PartitionSpec(),), out_specs=PartitionSpec())


# ------------------------------------------------------------------------------------------------ looping, branching


def _scan(pure: Any) -> Any:
    def call(params: Any, hidden: Any, xs: Any) -> Any:
        def body(hidden: Any, x: Any) -> Any:
            y, hidden = pure(params, hidden, x)
            return hidden, y

        hidden, ys = jax.lax.scan(body, hidden, xs)
        return ys, hidden

    return call


def _our_scan(t: Any, f: Any, _: Any) -> Any:
    def body(carry: Any, x: Any) -> Any:
        return carry, f(x)

    return lambda xs: t.scan(body, None, xs)[1]


def _while_of(pure: Any) -> Any:
    def more(now: Any) -> Any:
        return now[0][2] < STEPS

    def call(params: Any, hidden: Any, carry: Any) -> Any:
        def body(now: Any) -> Any:
            (_, x, i), hidden = now
            y, hidden = pure(params, hidden, x)
            return (y, x, i + 1), hidden

        return jax.lax.while_loop(more, body, (carry, hidden))

    return call


def _while(pure: Any) -> Any:
    loop = _while_of(pure)

    def call(params: Any, hidden: Any, x: Any) -> Any:
        (y, _, _), hidden = loop(params, hidden, (x, x, 0))
        return y, hidden

    return call


def _our_while(t: Any, f: Any, _: Any) -> Any:
    def body(carry: Any) -> Any:
        i, _, x = carry
        return i + 1, f(x), x

    def more(carry: Any) -> Any:
        return carry[0] < STEPS

    return lambda x: t.while_loop(more, body, (0, x, x))[1]


def _same(_: Any, hidden: Any, x: Any) -> Any:
    return x, hidden


def _cond_of(pure: Any) -> Any:
    return lambda params, hidden, given: jax.lax.cond(given[0], pure, _same, params, hidden, given[1])


def _cond(pure: Any) -> Any:
    choose = _cond_of(pure)
    return lambda params, hidden, x: choose(params, hidden, (x, x))


def _our_cond(t: Any, f: Any, _: Any) -> Any:
    other = lambda x: x  # noqa: E731
    return lambda x: t.cond(x, f, other, x)


def _switch_of(pure: Any) -> Any:
    return lambda params, hidden, given: jax.lax.switch(given[0], [_same, pure], params, hidden, given[1])


def _switch(pure: Any) -> Any:
    choose = _switch_of(pure)
    return lambda params, hidden, x: choose(params, hidden, (1, x))


def _our_switch(t: Any, f: Any, _: Any) -> Any:
    branches = [lambda x: x, f]
    return lambda x: t.switch(1, branches, x)


# ------------------------------------------------------------------------------------------------ checking


def _checkify(pure: Any) -> Any:
    checked = jax_checkify.checkify(pure)

    def call(params: Any, hidden: Any, x: Any) -> Any:
        error, (y, hidden) = checked(params, hidden, x)
        return (y, error), hidden

    return call


def _our_checkify(t: Any, f: Any, _: Any) -> Any:
    checked = t.checkify(f)
    return lambda x: checked(x)[::-1]


CASES = (
    Case("jit", lambda t, f, _: t.jit(f), jax.jit, compiles=True),
    Case("StatefulFunction", lambda t, f, _: t.StatefulFunction(f), jax.jit, compiles=True),
    Case("grad", lambda t, f, b: t.grad(f, b.params), _grad),
    Case("value_and_grad", _our_value_and_grad, _value_and_grad),
    Case("jacrev", lambda t, f, b: t.jacrev(f, b.params), lambda pure: jax.jacrev(pure, has_aux=True)),
    Case("jacfwd", lambda t, f, _: t.jacfwd(f), lambda pure: jax.jacfwd(pure, argnums=2, has_aux=True)),
    Case("hessian", lambda t, f, _: t.hessian(f), lambda pure: jax.hessian(pure, argnums=2, has_aux=True)),
    Case("vjp", _our_vjp, _vjp),
    Case("jvp", lambda t, f, _: lambda x: t.jvp(f, (x,), (x,)), _jvp),
    Case("checkpoint", lambda t, f, _: t.checkpoint(f), jax.checkpoint),
    Case(
        "vmap", lambda t, f, b: t.vmap(f, in_states=b.hidden), lambda pure: jax.vmap(pure, (None, 0, 0)),
        shape=(LANES,), lanes=True,
    ),
    Case("shard_map", _our_shard_map, _shard_map),
    Case("scan", _our_scan, _scan, shape=(STEPS,)),
    Case("for_loop", lambda t, f, _: lambda xs: t.for_loop(f, xs), _scan, shape=(STEPS,)),
    Case("while_loop", _our_while, _while),
    Case("cond", _our_cond, _cond),
    Case("switch", _our_switch, _switch),
    Case("checkify", _our_checkify, _checkify),
)  # fmt: skip


def missing(library: Library) -> list[str]:
    """The transforms of the table that a library does not have."""
    has = set(vars(library.transforms))
    return [case.name for case in CASES if case.name not in has]


# ------------------------------------------------------------------------------------------------ what is timed


def _raw_threaded(call: Any, values: Any, x: Any) -> Callable[[], Any]:
    params, hidden = tuple(values[0]), tuple(values[1])

    def work() -> Any:
        nonlocal hidden
        out, hidden = call(params, hidden, x)
        return out

    return work


def warm(case: Case, count: int, compiled: bool, libraries: dict[str, Library]) -> Works:
    """A call of a transformed function that has been called before."""
    x = jnp.ones(case.shape)
    call = case.raw(pure())
    works = {"raw": _raw_threaded(jax.jit(call) if compiled else call, bank_values(count, case.lanes), x)}
    for name, library in libraries.items():
        if not hasattr(library.transforms, case.name):
            continue
        bank = library.bank(*bank_values(count, case.lanes))
        ours = case.ours(library.transforms, user(bank), bank)
        works[name] = _called(library.transforms.jit(ours) if compiled and not case.compiles else ours, x)
    return works


def _called(f: Any, x: Any) -> Callable[[], Any]:
    return lambda: f(x)


def traced(case: Case, work: Workload, libraries: dict[str, Library]) -> Works:
    """The trace of a function that JAX has never seen, under a transform and ``jit``."""
    x = jnp.ones(case.shape)
    values = work.values(case.lanes)
    works: Works = {"raw": lambda: jax.jit(case.raw(work.pure())).trace(tuple(values[0]), tuple(values[1]), x)}
    for name, library in libraries.items():
        if hasattr(library.transforms, case.name):
            works[name] = _traced(case, work, library, library.bank(*values), x)
    return works


def _traced(case: Case, workload: Workload, library: Library, bank: Any, x: Any) -> Callable[[], Any]:
    transforms = library.transforms
    if case.name == "StatefulFunction":
        return lambda: transforms.StatefulFunction(workload.user(bank)).make_jaxpr(x)

    def work() -> Any:
        ours = case.ours(transforms, workload.user(bank), bank)
        return (ours if case.name == "jit" else transforms.jit(lambda x: ours(x))).trace(x)

    return work


def nested_trace(work: Workload, libraries: dict[str, Library]) -> Works:
    """The trace of ``jit(for_loop(grad(cond)))``."""
    values, xs = work.values(False), jnp.ones(STEPS)
    loss = Case("grad of cond", lambda t, f, b: t.grad(_our_cond(t, f, b), b.params), lambda p: _grad(_cond(p)))
    case = Case("for_loop", lambda t, f, b: lambda xs: t.for_loop(loss.ours(t, f, b), xs), lambda p: _scan(loss.raw(p)))
    works: Works = {"raw": lambda: jax.jit(case.raw(work.pure())).trace(tuple(values[0]), tuple(values[1]), xs)}
    for name, library in libraries.items():
        works[name] = _traced(case, work, library, library.bank(*values), xs)
    return works


# What an eager call is, for those whose case gives it more than `x`.
_PROGRAMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "while_loop": (_while_of, lambda x: (x, x, 0)),
    "cond": (_cond_of, lambda x: (x, x)),
    "switch": (_switch_of, lambda x: (1, x)),
}


def repeated(case: Case, count: int, libraries: dict[str, Library]) -> Works:
    """An eager call beside a compiled one of raw JAX that takes and returns the same."""
    eager = warm(case, count, False, libraries)
    make, given = _PROGRAMS.get(case.name, (case.raw, lambda x: x))
    raw = _raw_threaded(jax.jit(make(pure())), bank_values(count, case.lanes), given(jnp.ones(case.shape)))
    return {**eager, "raw": raw}
