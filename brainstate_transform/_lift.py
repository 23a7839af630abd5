"""The recipe: split what a call touches, run a pure core through a JAX transform, merge what came back.

*core*: the pure function ``core(states, *args, **kwargs) -> (out, written)`` that a transform hands to JAX.
*rule*: what makes ``jit`` jit and ``vmap`` vmap: ``rule(core) -> run`` with the same signature in and out.

``lift(jax.checkpoint, fun)`` is the whole of `checkpoint`; every transform of this package is a rule and `lift`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import threading
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax

from brainstate_graph import Node, Overlay, State
from brainstate_graph.extend import note_reads, now, read_values, write_results

from ._capture import WeakMethod
from ._seal import Held, Slot, hold_known, seal, seal_result, unseal, unseal_result
from ._touched import Plan, Touched
from ._values import Named, Rows, StateValues, Written

__all__ = ["Core", "Lifted", "Retry", "Staged", "StagedCore", "StraysMet", "hold", "lift", "without_jit"]

Run = Callable[..., Any]


class Retry(Exception):
    """A trace was given up, and the call is to be done in another way; never seen outside the package."""

    def alone(self) -> Retry:
        """Let go of the frames in which it was raised, whose tracers would live on into the next trace."""
        self.__context__ = self.__cause__ = None
        return self.with_traceback(None)


class StraysMet(Retry):
    """States beyond the touched graph were met while tracing; the call is tried once more with them."""

    def __init__(self, states: Sequence[State[Any]]) -> None:
        super().__init__(
            f"{len(states)} states that the function reaches in a way that cannot be seen beforehand. Seeing this "
            "text means that a rule hid the exception from `lift`."
        )
        self.states = tuple(states)


_config: Any = jax.config  # its options are attributes that a type checker does not know


def without_jit() -> bool:
    """Tell whether JAX runs without compiling, and so without tracing."""
    return bool(_config.jax_disable_jit)


class Core:
    """The pure function of a user's function: states and arguments in, result and written states out.

    Args:
        fun: The user's function.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import Core, StateValues
        >>> s = State(1.0)
        >>> def add(x):
        ...     s.value += x
        ...     return s.value
        >>> out, written = Core(add)(StateValues.read([s]), 2.0)
        >>> out, written.items(), s.value
        (3.0, [(State(1.0), 3.0)], 1.0)
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        if not callable(fun):
            raise TypeError(f"expected a function to transform, not {fun!r}")
        self.fun = fun
        self.touched = Touched(fun)
        self.__name__: str = getattr(fun, "__name__", None) or type(fun).__name__
        self.__qualname__: str = getattr(fun, "__qualname__", self.__name__)
        with contextlib.suppress(TypeError, ValueError):  # builtins have none; a parameter may be called as ours
            self.__signature__ = _with_states(inspect.signature(fun))  # JAX takes the names of the arguments from it
        self.nodes: Sequence[Node] = ()  # those among the arguments of the call
        self._staged: tuple[Any, Any] | None = None

    def __call__(self, _states_: StateValues, /, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
        return self.run(_states_, args, kwargs)

    def run(
        self, states: StateValues, args: tuple[Any, ...], kwargs: dict[str, Any], overlay: Overlay | None = None
    ) -> tuple[Any, Written]:
        """Run the user's function in an overlay.

        Args:
            states: The states whose values are given; the values of others come from around.
            args: Positional arguments, nodes sealed.
            kwargs: Keyword arguments, nodes sealed.
            overlay: The overlay to use; a rule may give its own kind.

        Returns:
            The result, and what was written.

        Raises:
            StraysMet: `states` is a touched graph, and the function used a state beyond it.
        """
        which = states.which
        plan = which.plan if isinstance(which, Rows) else None
        overlay = Overlay() if overlay is None else overlay
        since = now()
        with overlay:
            overlay.bind(states.states, states.values)
            if plan is not None and without_jit():
                seal(args, kwargs, self.fun)  # refuses bare States, which JAX does only where it traces
            args, kwargs = self.open(args, kwargs, plan)
            out = self.fun(*args, **kwargs)
            out, sealed = seal_result(out, overlay, since, None if plan is None else plan.row_of(), self.fun)
        written = overlay.written()
        if plan is None:
            return out, Written(((tuple(s for s, _ in written), None, sealed), [v for _, v in written]))
        places = {id(state): place for place, state in enumerate(plan.table)}
        used = [s for s in (*overlay.reads, *overlay.writes) if not overlay.created(s)]
        strays = [s for s in dict.fromkeys(used) if id(s) not in places]
        if strays:
            if not without_jit():  # which traces nothing, so that nothing was baked in
                raise StraysMet(strays)
            return out, Written(((tuple(s for s, _ in written), None, sealed), [v for _, v in written]))
        which = (tuple(places[id(s)] for s, _ in written), tuple(sorted({places[id(s)] for s in used})), sealed)
        return out, Written((which, [v for _, v in written]))

    def open(self, args: tuple[Any, ...], kwargs: dict[str, Any], plan: Plan | None) -> Any:
        """Put the nodes back among the arguments."""
        return unseal((args, kwargs), () if plan is None else plan.nodes)

    def written_by(self, *args: Any, **kwargs: Any) -> StateValues:
        """Find out which states the function writes for arguments like these, tracing it once.

        The trace is kept: calling the core with the result, as a loop does with its carry, does not run the
        user's function again.

        Args:
            *args: Arguments, or their shapes.
            **kwargs: Keyword arguments.

        Returns:
            The states with their current values.
        """
        for _ in range(2):
            plan = self.touched.plan()
            whole = plan.values()
            staged = jax.jit(functools.partial(Core.__call__, self))
            try:
                _, written = staged.eval_shape(whole, *args, **kwargs)
                break
            except StraysMet as met:
                met.alone()
                self.touched.counting(met.states)
        else:
            raise RuntimeError(f"`{self.__qualname__}` reaches other states each time that it is traced")
        self._staged = (staged, plan)
        return StateValues.read([s for s, _ in written.named(plan.table).items()])

    def staged(self, states: StateValues, /, *args: Any, **kwargs: Any) -> tuple[Any, StateValues]:
        """Call the function that `written_by` traced.

        Args:
            states: The states that `written_by` returned, with the values to start from.
            *args: Positional arguments.
            **kwargs: Keyword arguments.

        Returns:
            The result, and the same states with their new values.
        """
        assert self._staged is not None, "call written_by first"
        staged, plan = self._staged
        whole = plan.values()
        given = dict(zip(states.states, states.values, strict=True))
        whole.values = [given.get(s, v) for s, v in zip(plan.table, whole.values, strict=True)]
        out, written = staged(whole, *args, **kwargs)
        note_used(plan.table, written)
        if written.which[2]:
            out = hold_known(out, plan.snapshot.objects)
        return out, states.updated(written.named(plan.table))


class StagedCore(Core):
    """The core of a rule that compiles: what was written leaves as a pair of values and a number spelt in structure.

    JAX builds the result of a compiled call from its tree structure. A tuple of so many empty tuples is built without a
    call into Python, which `Written` costs: 1 of 18 microseconds.
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        super().__init__(fun)
        self.whiches: list[Any] = []  # what each number means
        self._numbering = threading.Lock()

    def __call__(self, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        out, written = self.run(_states_, args, kwargs)
        if written.which[1] is None:  # particular states, where nothing is compiled
            return out, (written.values, written)
        return out, (written.values, ((),) * self._number(written.which))

    def _number(self, which: Any) -> int:
        with self._numbering:
            if which not in self.whiches:
                self.whiches.append(which)
            return self.whiches.index(which)


def _with_states(user: inspect.Signature) -> inspect.Signature:
    states = inspect.Parameter("_states_", inspect.Parameter.POSITIONAL_ONLY)
    return user.replace(parameters=[states, *user.parameters.values()])


def note_used(table: Sequence[State[Any]], written: Written) -> None:
    """Record in the enclosing trace what a staged function reads."""
    if written.which[1]:
        note_reads([table[i] for i in written.which[1]])


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
        run = self._rule(*(fresh[core] for core in self.cores))
        out, written = run(states, *args, **kwargs)
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
        return type(self)(self._rule, (fun, *self.functions[1:]), self._inputs, None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {getattr(self, '__qualname__', self.functions[0])!r}>"


class Staged(Lifted):
    """A lifted function whose rule compiles: it is given the whole touched graph, by structure."""

    _core: Callable[..., StagedCore] = StagedCore
    cores: tuple[StagedCore, ...]

    def __init__(
        self, rule: Callable[..., Run], funs: tuple[Callable[..., Any], ...], inputs: Any, name: str | None
    ) -> None:
        super().__init__(rule, funs, inputs, name)
        self._run = rule(*self.cores)
        self._whiches = self.cores[0].whiches
        self._as_given = self._prepare is None  # whether the arguments go to JAX as they are

    _prepare: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] | None = None  # what a rule does to the arguments

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # All this runs on every call: beside a compiled program of 12 microseconds, a Python frame more is 3 %.
        plan = self._touched.current
        if not self._as_given or plan is None or not plan.is_current():
            args, kwargs, plan = self._prepared(args, kwargs)
        states = StateValues(plan.which, read_values(plan.inputs, False))
        try:  # an empty `**kwargs` costs 1 microsecond to pass on
            out, written = self._run(states, *args, **kwargs) if kwargs else self._run(states, *args)
        except Retry as again:
            plan, out, written = self._retry(again.alone(), plan, args, kwargs)
        except TypeError:
            # JAX takes no node for an argument. To look for nodes first would cost 60 nanoseconds per array and call.
            args, kwargs, nodes = seal(args, kwargs, self.functions[0]) if self._as_given else (args, kwargs, [])
            if not nodes:
                raise
            self._as_given = False
            plan, out, written = self._retry(None, self._touched.plan(nodes), args, kwargs)
        values, number = written
        which = number.which if type(number) is Written else self._whiches[len(number)]
        targets = plan.targets
        if targets[0] is which:
            write_results(targets[1], values, targets[2])
        else:
            plan.write(Written((which, values)))
        return unseal_result(out, plan.snapshot.objects) if which[2] else out

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

    def _retry(self, again: Retry | None, plan: Plan, args: Any, kwargs: Any) -> tuple[Plan, Any, Written]:
        """Do the call in another way, a few times at most."""
        for _ in range(RETRIES):
            plan = plan if again is None else self._other_plan(again, plan, args, kwargs)
            try:
                return plan, *self._run(plan.values(), *args, **kwargs)
            except Retry as another:
                again = another.alone()
        raise RuntimeError(f"`{self.__qualname__}` reaches other states each time that it is traced")

    def _other_plan(self, again: Retry, plan: Plan, args: Any, kwargs: Any) -> Plan:
        if not isinstance(again, StraysMet):
            raise again
        return self._touched.counting(again.states, plan.nodes)


# Strays are met once, which states are used is found out once; each once more where a first trace took another branch.
RETRIES = 4
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

    Args:
        rule: ``rule(core, ...) -> run``, with one `Core` for each of `funs`, called anew for each call (once, with
            ``inputs="touched"``). Both are functions
            ``(states, *args, **kwargs) -> (out, written)``; so any JAX transform with one function argument that leaves
            the signature as it is, is a rule already.
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
        ...     return x * 2.0
        >>> float(lift(jax.checkpoint, f)(3.0)), int(count.value)
        (6.0, 1)
    """
    return Staged(rule, funs, None, name) if inputs == "touched" else Lifted(rule, funs, inputs, name)
