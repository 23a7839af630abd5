"""The recipe: split what a call touches, run a pure core through a JAX transform, merge what came back.

*core*: the pure function ``core(states, *args, **kwargs) -> (out, written)`` that a transform hands to JAX.
*rule*: what makes ``jit`` jit and ``vmap`` vmap: ``rule(core) -> run`` with the same signature in and out.

``lift(jax.checkpoint, fun)`` is the whole of `checkpoint`; every transform of this package is a rule and `lift`.
"""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import jax
from jax.errors import JaxRuntimeError

from brainstate_graph import Node, Overlay
from brainstate_graph.extend import (
    PARTNERS,
    Journal,
    Remembered,
    close_above,
    here,
    in_raw_trace,
    leases,
    open_overlay,
    read_values,
    tokenless,
    under_jax_alone,
    untraced,
    warn,
)  # fmt: skip

from .._messages.boundary import boundary, is_boundary, leave
from .._messages.state_names import name_states
from .changes import Containers
from .core import Core, Run, StagedCore, without_jit
from .errors import raise_users
from .lifted import Lifted
from .lost import refuse_lost, refuse_objects
from .placeholders import hold, seal
from .results import finished, renewed_in_place, unseal_result
from .retry import RETRIES, Retry, disturbed, never_settled
from .touched import Inputs, TouchedGraph
from .user_function import code_of
from .values import Named, StateValues, Written

__all__ = ["Staged", "Unstaged", "lift"]


class Unstaged(Lifted):
    """A lifted function whose rule is run at each call; its function finds the states where they are.

    Args:
        rule: The rule.
        funs: The user's functions.
        inputs: Returns the states that the rule is given as values; None for none.
        name: The name of the result; that of the first function if None.
    """

    def __init__(
        self, rule: Callable[..., Run], funs: tuple[Callable[..., Any], ...], inputs: Any, name: str | None
    ) -> None:
        cores = {fun: Core(fun) for fun in funs}  # a function that is both branches is traced once
        super().__init__(tuple([cores[fun] for fun in funs]), name)
        self._rule = rule
        self._inputs = inputs
        self._code = code_of(funs[0])
        self._program: StagedByRule | None = None

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _traced_in_vain.get(self._code, False) and untraced() and not without_jit():
            try:
                if self._program is None:
                    self._program = StagedByRule(jax.jit, (self,), None)
                return self._program(*args, **kwargs)
            except (TypeError, IndexError):  # it needs values, or an argument is no array
                _traced_in_vain[self._code] = False
        noted = here.noted
        out = self._run(args, kwargs)
        if here.noted != noted and untraced():
            _traced_in_vain.setdefault(self._code, True)
        return out

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs, nodes = seal(args, kwargs, self.functions[0])
        states = _NONE if self._inputs is None else StateValues.read(self._inputs())
        if nodes:
            args, kwargs = hold(args, nodes), hold(kwargs, nodes)
        # A new core for each call: JAX remembers traces by the identity of the function (`jax.checkpoint` does), and
        # this one closes over the values of the moment.
        fresh = {core: copy.copy(core) for core in self.cores}
        sealed: list[bool] = []
        journal, around = Journal(), open_overlay()
        for core in fresh.values():
            core.nodes, core.sealed = nodes, sealed
            if around is None:  # else those around it put lists and dicts back; to look takes a third of a small trace
                core.containers = Containers.touched_by(core)
        try:
            with journal:
                run = self._rule(*[fresh[core] for core in self.cores])
                try:
                    # In a trace that JAX may keep, what is read through this overlay is noted as a constant of it.
                    with Overlay() if in_raw_trace() or under_jax_alone() else contextlib.nullcontext():
                        out, written = run(states, *args, **kwargs)
                except JaxRuntimeError as error:
                    raise_users(error)
                written.write([journal.keep()])
        except BaseException:  # also after the function has run: what it has set is undone
            close_above(around)
            journal.close(failed=True)
            if not journal.kept:
                for core in fresh.values():
                    if core.containers:
                        core.containers.restore()
            raise
        return unseal_result(out)[0] if sealed else out

    @property
    def parts(self) -> Sequence[Any]:
        """What it was made with."""
        return (self._rule, self._inputs, *self.functions)

    def _like(self, fun: Callable[..., Any]) -> Unstaged:
        bound = Unstaged(self._rule, (fun, *self.functions[1:]), self._inputs, None)
        bound.cores[0].bound = self.cores[0].bound + 1
        return bound


# The code of functions that were run outside of a trace and had States become constants of traces that JAX has kept
# (see `Overlay.note`). JAX cannot find those again, nor the compiled form of any operation in such a run: each took
# 0.1 s and 20 MB, for good. So the whole is compiled instead, with the states as arguments, where that can be done.
_traced_in_vain: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


class PassesInputs(Protocol):
    """Says which states of the touched graph a call passes."""

    remembered: Remembered[Inputs]

    def inputs(self, nodes: Sequence[Node], args: Any, kwargs: Any) -> Inputs:
        """Return the states to pass in a call with these arguments, the graph being looked at anew."""
        ...

    def inputs_again(self, again: Retry, inputs: Inputs, args: Any, kwargs: Any) -> Inputs:
        """Return the states to pass after a trace was given up."""
        ...


class Staged(Lifted):
    """A lifted function whose rule compiles: the program is passed states of the touched graph, by structure.

    The subclasses say what runs.

    Args:
        core: The core that the rule has made its program of.
        passing: Says which states those are.
        name: The name of the result; that of the function if None.
    """

    # Puts placeholders for static arguments, if there are any.
    _with_static: Callable[..., tuple[Any, Any]] | None = None

    def __init__(self, core: StagedCore, passing: PassesInputs, name: str | None) -> None:
        super().__init__((core.core,), name)
        self._passing = passing
        self._core = core
        self._outcomes = core.outcomes
        self._remembered = passing.remembered
        self._as_given = True  # whether the arguments go to JAX as they are, with no node among them
        self._run: Any = None  # what is called with chosen states
        self._run_whole: Any = None  # ... and with all states of the touched graph

    @is_boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # All this runs on every call: beside a compiled program of 12 microseconds, a Python frame more is 3 %.
        try:
            if leases and here.token is not None:  # inside of another function
                with tokenless():
                    return self(*args, **kwargs)
            inputs, as_given = self._remembered.current, self._as_given
            if not as_given or inputs is None or not inputs.is_current():
                args, kwargs, inputs = self._prepared(args, kwargs)
            key = inputs.key
            if key.passing is not None and not untraced():  # those left out would be closed over in that trace
                inputs = inputs.whole()
                key = inputs.key
            given = StateValues(key, read_values(inputs.states, False))  # held until the new values are stored
            run = self._run_whole if key.passing is None else self._run
            try:  # unpacking costs 0.3 microseconds, and an empty `**kwargs` 1
                if kwargs:
                    out, written = run(given, *args, **kwargs)
                elif len(args) == 1:
                    out, written = run(given, args[0])
                else:
                    out, written = run(given, *args)
            except Retry as again:
                return self._finish(*self._retry(again.alone(), inputs, args, kwargs))
            except (RuntimeError, ValueError) as error:
                refuse_lost(inputs.states, self.__qualname__, error)
                if isinstance(error, JaxRuntimeError):
                    raise_users(error)
                name_states(error, inputs.states)
                if as_given:
                    seal(args, kwargs, self.functions[0])  # refuses a State, of which it says more than JAX is told
                raise
            except TypeError as error:
                # JAX takes no node for an argument. To look for nodes first would cost 60 nanoseconds per array and
                # call. Not asked of `self` again: another thread may have found nodes meanwhile.
                if not as_given or not seal(args, kwargs, self.functions[0])[2]:
                    refuse_objects(inputs.states, self.__qualname__)
                    name_states(error, inputs.states)
                    raise
                self._as_given = False
                args, kwargs, inputs = self._prepared(args, kwargs)
                return self._finish(*self._retry(None, inputs, args, kwargs))
            values, number = written
            outcome, states, used = inputs.last
            if outcome is None or type(number) is Written or outcome is not self._outcomes[len(number)]:
                return self._finish(inputs, out, written)
            if outcome.sealed:
                return out.out if renewed_in_place(out, inputs, values) else self._finish(inputs, out, written)
            inputs.write_results(states, values, used)
            return out
        except Exception as error:
            leave(error)
            raise

    def _prepared(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Inputs]:
        """Return the arguments as JAX takes them, and the states to pass."""
        if self._as_given and self._remembered.current is not None:  # the graph has changed, or is asked for again
            return args, kwargs, self._passing.inputs((), args, kwargs)
        args, kwargs, nodes = self._sealed(args, kwargs)
        if nodes:
            self._as_given = False
        return args, kwargs, self._passing.inputs(nodes, args, kwargs)

    def _sealed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, list[Node]]:
        """Return the arguments as JAX takes them, and the nodes among them."""
        if self._with_static is not None:
            args, kwargs = self._with_static(args, kwargs)
        return seal(args, kwargs, self.functions[0])

    def _finish(self, inputs: Inputs, out: Any, written: Any) -> Any:
        """Write what came back from a run, and return the result."""
        values, number = written
        outcome = self._core.outcome(number)
        also: Sequence[Iterable[Any]] = ()
        afterwards: Callable[[], None] | None = None
        if outcome.sealed:  # before anything is stored: objects are made in Python
            out, also, afterwards = finished(out, inputs)
        inputs.write(Written((outcome, values)), also)
        if afterwards is not None:
            afterwards()
        return out

    def _retry(self, again: Retry | None, inputs: Inputs, args: Any, kwargs: Any) -> tuple[Inputs, Any, Written]:
        """Do the call in another way, a few times at most."""
        tried = [] if again is None else [again]
        for _ in range(RETRIES):
            inputs = whole_inside(self._passing.inputs_again(tried[-1], inputs, args, kwargs) if tried else inputs)
            run = self._run_whole if inputs.key.passing is None else self._run
            try:
                return inputs, *run(inputs.values(), *args, **kwargs)
            except Retry as another:
                tried.append(another.alone())
            except JaxRuntimeError as error:
                raise_users(error)
        moved = disturbed(tried)
        if moved is not None and untraced():  # as Python would run it beside the other thread; nothing is kept
            warn(moved.not_compiled(self.__qualname__))
            with jax.disable_jit():
                inputs = Inputs(self.cores[0].touched.graph(inputs.graph.nodes))
                return inputs, *self._run_whole(inputs.values(), *args, **kwargs)
        raise never_settled(self.__qualname__, tried)


def whole_inside(inputs: Inputs) -> Inputs:
    """Return the inputs; inside a trace all states of the graph, as those left out would be closed over there."""
    return inputs.whole() if inputs.key.passing is not None and not untraced() else inputs


class StagedByRule(Staged):
    """A lifted function with a user's rule that compiles; all states of the touched graph are passed."""

    def __init__(self, rule: Callable[..., Run], funs: tuple[Callable[..., Any], ...], name: str | None) -> None:
        core = StagedCore(Core(funs[0]))
        super().__init__(core, _WholeGraphs(core.core), name)
        self._rule, self._more = rule, funs[1:]
        self._run = self._run_whole = rule(self._core)

    @property
    def parts(self) -> Sequence[Any]:
        """What it was made with."""
        return (self._rule, *self.functions, *self._more)

    def _like(self, fun: Callable[..., Any]) -> StagedByRule:
        bound = StagedByRule(self._rule, (fun, *self._more), None)
        bound.cores[0].bound = self.cores[0].bound + 1
        return bound


class _WholeGraphs:
    """Passes all states of the touched graph."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.remembered = Remembered[Inputs](PARTNERS)

    def inputs(self, nodes: Sequence[Node], args: Any, kwargs: Any) -> Inputs:
        found = self.remembered.find(nodes)
        return self._of(self.core.touched.graph(nodes)) if found is None else found

    def inputs_again(self, again: Retry, inputs: Inputs, args: Any, kwargs: Any) -> Inputs:
        return self._of(self.core.graph_again(again, inputs.graph))

    def _of(self, graph: TouchedGraph) -> Inputs:
        inputs = Inputs(graph)
        self.remembered.keep(graph.nodes, inputs)
        return inputs


_NONE = StateValues(Named(()), ())


def lift(
    rule: Callable[..., Run],
    *funs: Callable[..., Any],
    inputs: Any = None,
    name: str | None = None,
) -> Lifted:
    """Turn a transform of pure functions into one that handles states.

    A rule passes its core to JAX like any pure function. It returns its result together with `written`, which may leave
    JAX as an auxiliary output, a carry, or a plain result. A rule does nothing for reads: the core finds the states.
    See docs/extend/plugins.md, and `check_transform`, which checks a rule.

    Args:
        rule: ``rule(core, ...) -> run``, with one `Core` for each of `funs`; it is called at each call. Core and `run`
            are ``(states, *args, **kwargs) -> (out, written)``. So any JAX transform of one function that keeps the
            signature is a rule already. With ``inputs="touched"`` the rule is called once, and `run` must return
            `written` unchanged.
        *funs: The user's functions.
        inputs: The states that `run` gets as first argument, as `StateValues`. None is for no states: the function
            finds them itself. ``"touched"`` is for all of the touched graph, so that one compiled program serves every
            graph of the same shape. A function returns the States.
        name: The name of the result; that of the first function if None.

    Returns:
        The function, aware of states: a call splits, runs and writes the new values, or raises and writes nothing.

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
    return StagedByRule(rule, funs, name) if inputs == "touched" else Unstaged(rule, funs, inputs, name)
