"""The recipe: split what a call touches, run a pure core through a JAX transform, merge what came back.

*core*: the pure function ``core(states, *args, **kwargs) -> (out, written)`` that a transform hands to JAX.
*rule*: what makes ``jit`` jit and ``vmap`` vmap: ``rule(core) -> run`` with the same signature in and out.

``lift(jax.checkpoint, fun)`` is the whole of `checkpoint`; every transform of this package is a rule and `lift`.
"""

from __future__ import annotations

import copy
import functools
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.errors import JaxRuntimeError

from brainstate_graph import Node
from brainstate_graph.extend import Journal, read_values, untraced, write_results

from .core import RETRIES, Core, Moved, Retry, Run, StagedCore, never_settled
from .errors import raise_users
from .lost import refuse_lost, refuse_objects
from .placeholders import Held, Slot, seal, unseal_result
from .reach import WeakMethod
from .touched import Plan
from .values import Named, StateValues, Written

__all__ = ["Lifted", "Staged", "hold", "lift", "whole_inside"]


class Lifted:
    """A function that runs through a JAX transform and knows of states; what `lift` returns.

    It can be called, and used as a method.  ``__wrapped__`` is the user's function.

    Example:
        >>> import jax
        >>> from brainstate_transform import lift
        >>> lift(jax.checkpoint, abs)
        <Lifted of 'abs'>
    """

    def __init__(
        self, rule: Callable[..., Run], funs: tuple[Callable[..., Any], ...], inputs: Any, name: str | None
    ) -> None:
        self.__wrapped__ = funs[0]
        functools.update_wrapper(self, funs[0], updated=())
        if name is not None:
            self.__name__ = name
        self._rule = rule
        self.functions = funs
        self._inputs = inputs
        cores = {fun: self._core(fun) for fun in funs}  # a function that is both branches is traced once
        self.cores = tuple(cores[fun] for fun in funs)
        self.__qualname__ = getattr(self, "__qualname__", self.cores[0].__qualname__)  # a callable object has none
        self._touched = self.cores[0].touched
        self._bound: dict[int, tuple[weakref.ref[Any], Lifted]] = {}  # by identity; an entry goes with its object

    _core: Callable[..., Core] = Core
    __name__: str
    __qualname__: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs, nodes = seal(args, kwargs, self.functions[0])
        states = _NONE if self._inputs is None else StateValues.read(self._inputs())
        if nodes:
            args, kwargs = hold(args, nodes), hold(kwargs, nodes)
        # A new core for each call: JAX remembers traces by the identity of the function (`jax.checkpoint` does), and
        # this one closes over the values of the moment.
        fresh = {core: copy.copy(core) for core in self.cores}
        for core in fresh.values():
            core.nodes = nodes
        with Journal():  # an error after the function has run undoes what it has set
            run = self._rule(*(fresh[core] for core in self.cores))
            try:
                out, written = run(states, *args, **kwargs)
            except JaxRuntimeError as error:
                raise_users(error)
            written.write()
        return unseal_result(out)

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        if isinstance(instance, Node):  # an argument like others: models of one shape share a program
            return types.MethodType(self, instance)
        found = self._bound.get(id(instance))
        if found is not None and found[0]() is instance:
            return found[1]
        try:
            gone = weakref.ref(instance, functools.partial(self._forget, id(instance)))
        except TypeError:  # no weak reference to it
            return self._like(types.MethodType(self.functions[0], instance))
        bound = self._like(WeakMethod(self.functions[0], instance))
        self._bound[id(instance)] = (gone, bound)
        return bound

    def _forget(self, key: int, _: Any) -> None:
        self._bound.pop(key, None)

    def _like(self, fun: Callable[..., Any]) -> Lifted:
        bound = type(self)(self._rule, (fun, *self.functions[1:]), self._inputs, None)
        bound.cores[0].bound = self.cores[0].bound + 1
        return bound

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {getattr(self, '__qualname__', self.functions[0])!r}>"


class Staged(Lifted):
    """A lifted function whose rule compiles: it is given the whole touched graph, by structure."""

    _core: Callable[..., StagedCore] = StagedCore
    cores: tuple[StagedCore, ...]
    _prepare: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] | None = None  # what a rule does to the arguments

    def __init__(
        self, rule: Callable[..., Run], funs: tuple[Callable[..., Any], ...], inputs: Any, name: str | None
    ) -> None:
        super().__init__(rule, funs, inputs, name)
        self._run = self._run_whole = rule(*self.cores)
        self._whiches = self.cores[0].whiches
        self._as_given = self._prepare is None  # whether the arguments go to JAX as they are

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # All this runs on every call: beside a compiled program of 12 microseconds, a Python frame more is 3 %.
        plan, as_given = self._touched.current, self._as_given
        if not as_given or plan is None or not plan.is_current():
            args, kwargs, plan = self._prepared(args, kwargs)
        which = plan.which
        if which.choice is not None:
            plan = whole_inside(plan)
            which = plan.which
        states = StateValues(which, read_values(plan.inputs, False))
        run = self._run_whole if which.choice is None else self._run
        try:  # unpacking costs 0.3 microseconds, and an empty `**kwargs` 1
            if kwargs:
                out, written = run(states, *args, **kwargs)
            elif len(args) == 1:
                out, written = run(states, args[0])
            else:
                out, written = run(states, *args)
        except Retry as again:
            return self._finish(*self._retry(again.alone(), plan, args, kwargs))
        except (RuntimeError, ValueError) as error:
            refuse_lost(plan.inputs, self.__qualname__, error)
            if isinstance(error, JaxRuntimeError):
                raise_users(error)
            raise
        except TypeError:
            # JAX takes no node for an argument. To look for nodes first would cost 60 nanoseconds per array and call.
            # Not asked of `self` again: another thread may have found nodes meanwhile.
            if not as_given or not seal(args, kwargs, self.functions[0])[2]:
                refuse_objects(plan.inputs, self.__qualname__)
                raise
            self._as_given = False
            args, kwargs, plan = self._prepared(args, kwargs)
            return self._finish(*self._retry(None, plan, args, kwargs))
        values, number = written
        which, states, used = plan.targets
        if which is None or type(number) is Written or which is not self._whiches[len(number)]:
            return self._finish(plan, out, written)
        write_results(states, values, used)
        return unseal_result(out, plan.snapshot.objects) if which.sealed else out

    def _prepared(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Plan]:
        """Return the arguments as JAX takes them, and the touched graph of the call."""
        touched = self._touched
        if self._as_given and touched.current is not None:  # the graph has changed, or is asked for again
            return args, kwargs, touched.plan()
        if self._prepare is not None:
            args, kwargs = self._prepare(args, kwargs)
        args, kwargs, nodes = seal(args, kwargs, self.functions[0])
        if nodes:
            self._as_given = False
        return args, kwargs, touched.plan(nodes)

    def _finish(self, plan: Plan, out: Any, written: Any) -> Any:
        """Write what came back from a run, and return the result."""
        values, number = written
        which = number.which if type(number) is Written else self._whiches[len(number)]
        plan.write(Written((which, values)))
        return unseal_result(out, plan.snapshot.objects) if which.sealed else out

    def _retry(self, again: Retry | None, plan: Plan, args: Any, kwargs: Any) -> tuple[Plan, Any, Written]:
        """Do the call in another way, a few times at most."""
        for _ in range(RETRIES):
            plan = whole_inside(plan if again is None else self._other_plan(again, plan, args, kwargs))
            run = self._run_whole if plan.which.choice is None else self._run
            try:
                return plan, *run(plan.values(), *args, **kwargs)
            except Retry as another:
                again = another.alone()
            except JaxRuntimeError as error:
                raise_users(error)
        if isinstance(again, Moved) and untraced():  # as Python would run it beside the other thread; nothing is kept
            with jax.disable_jit():
                plan = self._touched.plan(plan.nodes)
                return plan, *self._run(plan.values(), *args, **kwargs)
        raise never_settled(self.__qualname__, again)

    def _other_plan(self, again: Retry, plan: Plan, args: Any, kwargs: Any) -> Plan:
        return self.cores[0].planned_again(again, plan)


def whole_inside(plan: Plan) -> Plan:
    """Return the plan; inside a trace the one that passes all states, as those left out would be closed over there."""
    return plan.choosing(None) if plan.which.choice is not None and not untraced() else plan


_NONE = StateValues(Named(()), ())


def hold(tree: Any, nodes: Sequence[Node]) -> Any:
    """Put placeholders that carry the node itself for numbered ones."""
    return jax.tree.map(
        lambda x: Held(nodes[x.item]) if isinstance(x, Slot) else x, tree, is_leaf=lambda x: isinstance(x, Slot)
    )


def lift(
    rule: Callable[..., Run],
    *funs: Callable[..., Any],
    inputs: Any = None,
    name: str | None = None,
) -> Lifted:
    """Turn a transform of pure functions into one that knows of states.

    A rule hands its core to JAX like any pure function, and returns what it makes of the result together with
    `written` as it came back: as an auxiliary output, a carry, or a plain result. Reads need no care, as the core finds
    the states where they are. See docs/plugins.md, and `check_transform` for whether it is right.

    Args:
        rule: ``rule(core, ...) -> run``, with one `Core` for each of `funs`, called anew for each call. Both are
            ``(states, *args, **kwargs) -> (out, written)``; so any JAX transform with one function argument that leaves
            the signature as it is, is a rule already. With ``inputs="touched"`` it is called once, and `written` is
            opaque: `run` hands it on as it came from the core.
        *funs: The user's functions.
        inputs: Which states `run` gets as first argument, as `StateValues`: None for none (the function finds
            them where they are), ``"touched"`` for all of the touched graph, in a form that can be compiled once and
            used for every graph of the same shape, or a function that returns the States.
        name: The name of the result; that of the first function if None.

    Returns:
        The function that knows of states: a call splits, runs, and writes what was written, or raises and writes
        nothing.

    Example:
        >>> import jax
        >>> from brainstate_graph import State
        >>> from brainstate_transform import lift
        >>> count = State(0)
        >>> def f(x):
        ...     count.value += 1
        ...     return x * x
        >>> def rule(core):
        ...     def run(states, x):
        ...         out, slope, written = jax.jvp(lambda x: core(states, x), (x,), (1.0,), has_aux=True)
        ...         return (out, slope), written
        ...
        ...     return run
        >>> [float(v) for v in lift(rule, f)(3.0)], int(count.value)
        ([9.0, 6.0], 1)
    """
    return Staged(rule, funs, None, name) if inputs == "touched" else Lifted(rule, funs, inputs, name)
