"""One case for each transform: the same function of the same states, under ours and under the one of JAX.

*Raw* is the pure function ``pure(params, hidden, x) -> (y, hidden)`` of a workload under the transform of JAX.  It is
called as ours is called: the eager one eagerly, the compiled one under ``jax.jit``, the hidden states threaded.

`Case.ours` is written in names that brainstate has too, so that one description serves both.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify as jax_checkify
from jax.sharding import PartitionSpec

from .._arena.timing import Number, Work
from .workloads import LANES, OURS, Library, Workload, bank_values

__all__ = ["CASES", "NEST", "STEPS", "TRAINED", "Case", "Closing", "Raw", "brainstate", "ours"]

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
        needs: The name that a library has to have, if it is another one.
    """

    name: str
    ours: Callable[[Any, Any, Any], Callable[[Any], Any]]
    raw: Callable[[Any], Callable[[Any, Any, Any], Any]]
    shape: tuple[int, ...] = ()
    lanes: bool = False
    compiles: bool = False
    same: bool = True
    needs: str = ""


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
    Case("value_and_grad", _our_value_and_grad, _value_and_grad, needs="grad"),
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


# ------------------------------------------------------------------------------------------------ what is timed

# What an eager call is, for those whose case gives it more than `x`.
_PROGRAMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "while_loop": (_while_of, lambda x: (x, x, 0)),
    "cond": (_cond_of, lambda x: (x, x)),
    "switch": (_switch_of, lambda x: (1, x)),
}
# ``jit(for_loop(grad(cond)))``, less the ``jit``.
_INNER = Case("grad of cond", lambda t, f, b: t.grad(_our_cond(t, f, b), b.params), lambda p: _grad(_cond(p)))


def _loop_loss(pure: Any) -> Any:
    loop = _scan(pure)

    def loss(params: Any, hidden: Any, xs: Any) -> Any:
        ys, hidden = loop(params, hidden, xs)
        return jnp.mean(ys), hidden

    return _grad(loss)


# The gradient of a loop, by its name in the libraries.
TRAINED = Case("grad", lambda t, f, b: t.grad(lambda xs: jnp.mean(t.for_loop(f, xs)), b.params), _loop_loss)
NEST = Case(
    "for_loop",
    lambda t, f, b: lambda xs: t.for_loop(_INNER.ours(t, f, b), xs),
    lambda p: _scan(_INNER.raw(p)),
    shape=(STEPS,),
)


class Raw:
    """The pure function under the transform of JAX, its states threaded by hand."""

    def warm(self, case: Case, work: Workload, compiled: bool) -> Work:
        call = case.raw(work.pure())
        return _threaded(jax.jit(call) if compiled else call, work.values(case.lanes), jnp.ones(case.shape))

    def repeated(self, case: Case, work: Workload) -> Work:
        """A compiled call that takes and returns what an eager one does."""
        make, given = _PROGRAMS.get(case.name, (case.raw, lambda x: x))
        return _threaded(jax.jit(make(work.pure())), work.values(case.lanes), given(jnp.ones(case.shape)))

    def traced(self, case: Case, work: Workload) -> Work:
        params, hidden = work.values(case.lanes)
        x = jnp.ones(case.shape)
        return lambda: jax.jit(case.raw(work.pure())).trace(tuple(params), tuple(hidden), x)


def _threaded(call: Any, values: Any, x: Any) -> Work:
    params, hidden = tuple(values[0]), tuple(values[1])

    def work() -> Any:
        nonlocal hidden
        out, hidden = call(params, hidden, x)
        return out

    return work


class Closing:
    """A library whose functions close over their states."""

    def __init__(self, library: Library) -> None:
        self.transforms, self.bank = library

    def has(self, case: Case) -> bool:
        return hasattr(self.transforms, case.needs or case.name)

    def warm(self, case: Case, work: Workload, compiled: bool) -> Work | None:
        """A call of a transformed function that has been called before."""
        if not self.has(case):
            return None
        bank, x = self.bank(*work.values(case.lanes)), jnp.ones(case.shape)
        call = case.ours(self.transforms, work.user(bank), bank)
        if compiled and not case.compiles:
            call = self.transforms.jit(call)
        return lambda: call(x)

    def repeated(self, case: Case, work: Workload) -> Work | None:
        return self.warm(case, work, False)

    def traced(self, case: Case, work: Workload) -> Work | None:
        """The trace of a function that JAX has never seen, under a transform and ``jit``."""
        if not self.has(case):
            return None
        transforms, bank, x = self.transforms, self.bank(*work.values(case.lanes)), jnp.ones(case.shape)
        if case.name == "StatefulFunction":
            return lambda: transforms.StatefulFunction(work.user(bank)).make_jaxpr(x)

        def trace() -> Any:
            call: Any = case.ours(transforms, work.user(bank), bank)
            return (call if case.name == "jit" else transforms.jit(lambda x: call(x))).trace(x)

        return trace

    def runs(self, kind: str, depth: int) -> Number | None:
        """How often Python runs the innermost function of a nest, cold."""
        t, count = self.transforms, 0
        bank = self.bank(*bank_values(2, False))
        if kind == "checkify" and not hasattr(t, "checkify"):
            return None

        def f(x: Any) -> Any:
            nonlocal count
            count += 1
            bank.hidden[0].value = bank.hidden[0].value + 1.0
            return x * bank.params[0].value

        nest: Any = f
        for _ in range(depth):
            inner = nest
            if kind == "vmap":
                nest = t.vmap(inner)
            elif kind == "checkify":
                nest = t.checkify(inner)
            elif kind == "jit(grad)":
                nest = t.grad(inner, argnums=0)
            else:
                nest = lambda xs, inner=inner: t.for_loop(inner, xs)  # noqa: E731
        batched = kind in ("vmap", "jit(for_loop)")
        (t.jit(nest) if kind.startswith("jit") else nest)(jnp.ones((2,) * depth if batched else ()))
        return Number(count)


def ours() -> Closing:
    return Closing(OURS)


def brainstate() -> Closing:
    """brainstate, the reference system."""
    module: Any = importlib.import_module("brainstate")

    class Bank(module.graph.Node):
        def __init__(self, params: Any, hidden: Any) -> None:
            self.params = [module.ParamState(value) for value in params]
            self.hidden = [module.State(value) for value in hidden]

    return Closing(Library(module.transform, Bank))
