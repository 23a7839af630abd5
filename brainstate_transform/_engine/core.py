"""The core: the pure function of a user's function, ``core(states, *args, **kwargs) -> (out, written)``.

A core runs the user's function in an overlay: given values come in, what was written goes out, and no State is touched.
`Core` runs at each call, and its function finds its states where they are.  `StagedCore` is compiled: it gets states of
a touched graph, and what it wrote leaves as a number.  A trace that is not kept ends in a `Retry`.
"""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import jax

from brainstate_graph import Node, Overlay, State
from brainstate_graph.extend import Journal, Shelf, detached, warn

from .._messages.source import name_of, short_name_of, source_of
from .._messages.state_names import name_states
from .ahead import Looked, look_ahead
from .changes import Carried, Containers, Kept, Refused
from .placeholders import Constant, Slot, is_placeholder, seal, unseal_arguments
from .results import seal_result
from .retry import Moved, Retry, Unpassed
from .touched import Inputs, Touched, TouchedGraph, same_objects, where_changed
from .user_function import code_of
from .values import GraphKey, Outcome, Particular, StateValues, Trace, Written

__all__ = ["ANEW", "Core", "Run", "StagedCore", "TraceLog", "trace_of", "without_jit"]

Run = Callable[..., Any]


# Another value for each trace that must find nothing of what is kept of inner functions, by JAX or by us: one of an
# audit, see `brainstate_transform._jit.audit`.  None for all others.
ANEW: Any = jax.make_user_context(None)

_config: Any = jax.config  # its options are attributes that a type checker does not know


def without_jit() -> bool:
    """Tell whether JAX runs without compiling, and so without tracing."""
    return bool(_config.jax_disable_jit)


class _Signature:
    """JAX takes the names of the arguments from it; it is made when it is asked for, as that takes 10 microseconds."""

    def __get__(self, core: Core | None, owner: type[Core] | None = None) -> inspect.Signature | None:
        if core is None:
            return None
        if core.signature is None:
            try:
                core.signature = _with_states(inspect.signature(core.fun))
            except (TypeError, ValueError):  # builtins have none; a parameter may be called as ours
                raise AttributeError("__signature__") from None
        return core.signature


class Core:
    """The pure form of a user's function: states and arguments in, result and written states out.

    A rule gets one for each of its functions and passes it to JAX, unchanged or inside a function of its own. The first
    argument holds the states that the rule chooses, such as those that it differentiates or carries. A rule that
    chooses none passes the `states` of its `run`. The core reads every other state through the closure, as JAX does.

    Args:
        fun: The user's function.

    Attributes:
        fun: The user's function.
        frozen: Whether to refuse, with a StructureError, that the function sets attributes or keeps new states: set it
            in a rule that runs the function more than once for a call.

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

    __signature__ = _Signature()

    def __init__(self, fun: Callable[..., Any]) -> None:
        if not callable(fun):
            raise TypeError(f"expected a function to transform, not {fun!r}")
        self.fun = fun
        self.touched = Touched(fun)
        self.__name__, self.__qualname__, self.__code__ = short_name_of(fun), name_of(fun), source_of(fun)
        self.nodes: Sequence[Node] = ()  # those among the arguments of the call
        self.frozen = False
        self.heeds_threads = True  # whether a trace is given up for what another thread changes
        self.bound = 0  # how many leading arguments a call as a method has filled in: positions are counted with them
        self.sealed: list[bool] | None = None  # where given, gets an item for each result that has placeholders
        self._looked: Looked | None = None
        self.signature: inspect.Signature | None = None
        self.shelf = Shelf()
        self.containers: Containers | None = None  # the lists and dicts before the call, where nothing is compiled
        self.sets_attributes = False  # whether the function did in its last run, even if to what they were

    def __repr__(self) -> str:  # stands in messages of JAX
        return f"`{self.__qualname__}`"

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
            Unpassed: `states` is a touched graph, and the function used a state beyond it.
            Moved: It is one, and another thread changed it.
        """
        key = states.key
        graph = key.inputs.graph if isinstance(key, GraphKey) else None
        overlay = self.overlay() if overlay is None else overlay
        overlay.user = code_of(self.fun)
        compiled = graph is not None and not without_jit()
        if graph is not None and compiled and graph.places.stages:
            overlay.shelf = self.shelf, graph.shape
        if graph is not None and compiled and self.moved(graph):
            raise self.moved_from(graph)
        # A change of a list or dict shows only beside what it held before.
        containers = self.containers
        if compiled or self.frozen:
            containers = Containers(self.touched_graph() if graph is None else graph)
        try:
            with overlay:
                overlay.bind(states.states, states.values if compiled else map(detached, states.values))
                if graph is not None and not compiled:
                    seal(args, kwargs, self.fun)  # refuses bare States, which JAX does only where it traces
                args, kwargs = unseal_arguments(args, kwargs, () if graph is None else graph.nodes)
                out = self.fun(*args, **kwargs)
                del args, kwargs  # what nobody holds any more is not kept
                if not containers and not overlay.journal.notes and not overlay.births:  # as it is nearly always
                    (out, sealed), kept = seal_result(out, overlay, graph, self.fun), ()
                else:
                    fate = Refused if self.frozen else Carried if compiled else Kept
                    out, sealed, kept = fate(self, containers).leave(out, overlay, graph)
        except BaseException as error:
            overlay.close(failed=True)
            if containers:
                containers.restore()
            name_states(error, states.states, self)
            raise
        self.sets_attributes = bool(overlay.journal.notes)
        if graph is not None and compiled:
            self.touched.ask_again(graph, overlay)
            if self.moved(graph, overlay.journal):
                raise self.moved_from(graph)
        if sealed:
            self.note_sealed()
        return out, _outcome_of(overlay, [*overlay.written(), *kept], graph if compiled and not kept else None, sealed)

    def overlay(self) -> Overlay:
        """Return an overlay for a trace that a rule has started: what is read there is no constant, see `Overlay`."""
        overlay = Overlay()
        overlay.user = code_of(self.fun)
        return overlay

    def graph_now(self, graph: TouchedGraph | None) -> TouchedGraph:
        """Return what the call of a touched graph touches by now."""
        return self.touched.graph(self.nodes if graph is None else graph.nodes)

    def moved(self, graph: TouchedGraph, journal: Journal | None = None) -> bool:
        """Tell whether another thread has changed the touched graph; this one has set what is in the journal."""
        if not self.heeds_threads:
            return False
        if journal is not None and journal.disturbed(item for item in graph.objects if isinstance(item, Node)):
            return True
        if graph.is_current(cached=False):
            return False
        own = set[int]() if journal is None else journal.noted
        changed, now = graph.snapshot.changed_nodes(), self.touched.graph(graph.nodes)
        if any(id(node) not in own for node in changed) or not same_objects(now, graph):
            return True
        # Who has changed a plain value, in a list, a variable or another object, is known only where there is no other
        # thread: then the function did it itself, and does it again in each trace.  What is changed back by now was
        # changed too, but for attributes that this thread has put back.
        return threading.active_count() > 1 and not (changed and now.shape is graph.shape)

    def moved_from(self, graph: TouchedGraph) -> Moved:
        """Return why the trace of a touched graph that has moved is given up."""
        return Moved(where_changed(graph, self.touched.graph(graph.nodes)))

    def note_sealed(self) -> None:
        """Note that a result has placeholders for nodes, which are put back after the call."""
        if self.sealed is not None:
            self.sealed.append(True)

    def touched_graph(self) -> TouchedGraph:
        """Return the touched graph of the call."""
        return self.touched.graph(self.nodes)

    def count_in(self, states: Iterable[State[Any]]) -> TouchedGraph:
        """Count these states in that the function reaches in a way that cannot be seen; return the touched graph."""
        return self.touched.count_in(states, self.nodes)

    def states(self) -> list[State[Any]]:
        """Return the states that the function reaches, each once, to pass them to it as explicit values.

        They are the states that it reaches by name, and others that earlier traces found. A rule needs this where JAX
        traces the function later than the call, as the forward function of ``jax.custom_vjp``.
        """
        return list(self.touched_graph().states)

    def graph_again(self, again: Retry, graph: TouchedGraph) -> TouchedGraph:
        """Return the touched graph for another trace, or raise what no other graph helps against."""
        if isinstance(again, Unpassed):
            strays = set(again.states).difference(graph.states)
            return self.touched.count_in([s for s in again.states if s in strays], graph.nodes) if strays else graph
        if isinstance(again, Moved):
            warn(again.given_up(self.__qualname__))
            return self.touched.graph(graph.nodes)
        raise again

    def written_by(self, *args: Any, **kwargs: Any) -> StateValues:
        """Trace the function once, to find out which states it writes for arguments like these.

        The trace is kept: calling `staged` with the result, as a loop does with its carry, does not run the user's
        function again.

        Args:
            *args: Arguments, or their shapes.
            **kwargs: Keyword arguments.

        Returns:
            The states with their current values.
        """
        self.frozen = True
        self._looked = look_ahead(self, args, kwargs)
        return StateValues.read(self._looked.written)

    @property
    def looked(self) -> Looked:
        """What `written_by` found.

        Raises:
            RuntimeError: It was not called before.
        """
        if self._looked is None:
            raise RuntimeError(f"`{self.__qualname__}` was not traced yet: call `written_by` of its core first")
        return self._looked

    def staged(self, states: StateValues, /, *args: Any, **kwargs: Any) -> tuple[Any, StateValues]:
        """Call the function that `written_by` traced.

        Args:
            states: The states that `written_by` returned, with the values to start from.
            *args: Positional arguments.
            **kwargs: Keyword arguments.

        Returns:
            The result, and the same states with their new values.

        Raises:
            RuntimeError: `written_by` was not called before.
        """
        out, written, sealed = self.looked.call(states, args, kwargs)
        if sealed:
            self.note_sealed()
        return out, states.updated(written)


def _outcome_of(
    overlay: Overlay, written: Sequence[tuple[State[Any], Any]], graph: TouchedGraph | None, sealed: bool
) -> Written:
    """Return what a function did to states; by index, where its program is of a touched graph.

    Raises:
        Unpassed: It used a state beyond that graph.
    """
    values = [value for _, value in written]
    if graph is None:
        return Written((Outcome(Particular([state for state, _ in written]), None, sealed), values))
    index_of = {state: index for index, state in enumerate(graph.states)}
    used = [state for state in overlay.reads | overlay.writes if not overlay.created(state)]
    strays = [state for state in used if state not in index_of]
    if strays:
        raise Unpassed(strays)
    states = tuple([index_of[state] for state, _ in written])
    indices, possible = [sorted([index_of[s] for s in used if every or not overlay.uses(s)]) for every in (True, False)]
    return Written((Outcome(states, tuple(indices), sealed, tuple(possible)), values))


class TraceLog(Protocol):
    """Where a staged core notes its traces, see `brainstate_transform._jit.explain`."""

    traces: deque[Trace]
    count: int

    def noted(self, inputs: Inputs, sets_attributes: bool) -> None:
        """Look at the last trace, beside those before it; whether the function has set attributes in it."""
        ...


def trace_of(states: StateValues, args: Any, kwargs: Any, outcome: Outcome) -> Trace:
    """Return the trace of a function for these states and arguments, as data."""
    assert isinstance(states.key, GraphKey)
    leaves, structure = jax.tree.flatten((args, kwargs), is_leaf=is_placeholder)
    leaves = tuple([leaf if isinstance(leaf, (Constant, Slot)) else jax.typeof(leaf) for leaf in leaves])
    values, treedef = jax.tree.flatten(list(states.values))
    return Trace(states.key, leaves, structure, treedef, tuple([jax.typeof(leaf) for leaf in values]), outcome)


class StagedCore:
    """The core of a rule that compiles: what was written leaves as a pair of values and a number spelt in structure.

    JAX builds the result of a compiled call from its tree structure. A tuple of so many empty tuples is built without a
    call into Python, which `Written` costs: 1 of 18 microseconds.

    Args:
        core: The core.
        log: Gets each trace, as data.

    Attributes:
        outcomes: What each number means.
    """

    def __init__(self, core: Core, log: TraceLog | None = None) -> None:
        self.core = core
        self.log = log
        self.outcomes: list[Outcome] = []
        self._numbering = threading.Lock()
        self.__name__, self.__qualname__, self.__code__ = core.__name__, core.__qualname__, core.__code__

    @property
    def __signature__(self) -> inspect.Signature | None:
        return self.core.__signature__

    @property
    def fun(self) -> Callable[..., Any]:
        """The user's function."""
        return self.core.fun

    @property
    def frozen(self) -> bool:
        """Whether changes of structure are refused, as in `Core`."""
        return self.core.frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self.core.frozen = frozen

    def __repr__(self) -> str:  # stands in messages of JAX
        return repr(self.core)

    def __call__(self, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        out, (outcome, values) = self.core.run(_states_, args, kwargs)
        if outcome.used is None:  # particular states, where nothing is compiled
            return out, (values, Written((outcome, values)))
        if self.log is not None and ANEW.value is None:
            self._note(self.log, _states_, args, kwargs, outcome)
        return out, (values, ((),) * self._number(outcome))

    def _note(self, log: TraceLog, states: StateValues, args: Any, kwargs: Any, outcome: Outcome) -> None:
        trace = trace_of(states, args, kwargs, outcome)
        with self._numbering:
            log.traces.append(trace)
            log.count += 1
        log.noted(trace.key.inputs, self.core.sets_attributes)

    def outcome(self, number: Any) -> Outcome:
        """Return the outcome behind what a call returned in the place of its number."""
        return number.outcome if type(number) is Written else self.outcomes[len(number)]

    def outcome_of(self, structure: Any) -> Outcome:
        """Return the outcome of a trace whose result has this structure; its avals would take 0.2 ms."""
        _, (_, number) = map(jax.tree_util.treedef_children, jax.tree_util.treedef_children(structure))
        return self.outcome(jax.tree.unflatten(number, ()))

    def _number(self, outcome: Outcome) -> int:
        with self._numbering:
            if outcome not in self.outcomes:
                self.outcomes.append(outcome)
            return self.outcomes.index(outcome)


def _with_states(user: inspect.Signature) -> inspect.Signature:
    states = inspect.Parameter("_states_", inspect.Parameter.POSITIONAL_ONLY)
    return user.replace(parameters=[states, *user.parameters.values()])
