"""The one door to the values of states: look, read, write, settle; one state or many.

*Look*: find a value without leaving a trace of it, to print or copy it.
*Read*: find a value for the program; open overlays note it, and hooks are told.
*Write*: assign a value; hooks are told, checks are made, and the overlay on top notes it.
*Settle*: give a new state its first value, where it is made.

Forms for many states tell no hook, as what a transform carries is no access of the user's, but for `assign_values`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import jax
from jax.core import Tracer
from jax.extend.core import get_opaque_trace_state

from .._records import hooks
from .._records.clock import StateBase
from .._tools import constants
from .._tools.arrays import ARRAYS, PLAIN, leaves_of, note_array
from .._tools.at_once import at_once, for_all, holding
from . import overlay as overlays
from .errors import TraceContextError
from .locate import find_hidden, locate, refuse_away, tell_constants
from .node import Node
from .overlay import NO_TRACE, Overlay, at_home, note_constants, stack
from .values import detached, refuse_deleted, refuse_unlike

if TYPE_CHECKING:
    from .state import State

__all__ = [
    "Box", "announce", "assign_values", "copied", "live", "look", "note_reads", "object_in", "read", "read_values",
    "refuse_foreign", "refuse_objects", "set_value", "settle", "value_leaves", "value_of", "write", "write_results",
    "write_values",
]  # fmt: skip


class Box(StateBase):
    """What holds the value of a state between calls.

    Attributes:
        _value: The value; not there in a state that was made inside a transform.
        _meta: What was declared: name, tags and further metadata.
        _birth: The trace in which it was made; not there where that was outside of any.
        graph_at_home: Whether its kind refuses writes in a trace of JAX alone, also of what is the same in all lanes.
        graph_as_argument: Whether one of its kind may be an argument and a result of a transform by itself, as a node
            may. Of most kinds it is the value that is meant where one is passed.
    """

    __slots__ = ("__weakref__", "_birth", "_meta", "_value")

    graph_at_home = False
    graph_as_argument = False
    _birth: Any
    _meta: tuple[tuple[str, Any], ...]
    _value: Any


# In C, so that values are read and stored `at_once`.  A comprehension would read in half of the time, and let other
# threads come in between.  The slot's own setter: a subclass cannot come in between.  It is called by `starmap` over
# `zip`, which takes 16 ns a state where `map` takes 28.
value_of = attrgetter("_value")
set_value: Any = Box.__dict__["_value"].__set__


# -- finding a value ---------------------------------------------------------------------------------------------------


def look(state: State[Any], record: bool = False) -> Any:
    """Find the value of a state: in the overlay on top, in one below, or in the box.

    Args:
        state: The state.
        record: Whether open overlays note it as a read; hooks are not told, as for a copy.
    """
    passed: list[Overlay] = []
    layer = stack.top
    while layer is not None:
        if record:
            layer.reads[state] = None
        if state in layer._values:
            value = layer._values[state]
            break
        passed.append(layer)
        layer = layer._parent
    else:
        value = live(state)
        constants.note((state,) if passed and passed[-1].user is None else ())
    for layer in reversed(passed):
        if layer._raw and layer._parent is not None:  # what JAX keeps of the trace around it, it keeps with this value
            layer._parent.note((state,))
        if type(layer) is not Overlay:
            entered = layer.enter(state, value)
            if entered is not value:
                value = entered
                # Kept where it was computed: a layer below may belong to a trace that outlives the current one.
                (layer if layer._trace == get_opaque_trace_state() else passed[0])._values[state] = value
    if passed and type(value) not in PLAIN and not isinstance(value, (Tracer, jax.Array)):
        value = passed[0]._values[state] = detached(value)  # a list that is changed inside is not changed outside
    return value


def copied(state: State[Any]) -> Any:
    """Find the value of a state for a copy of it: a read that no hook is told of."""
    return read_values((state,))[0]


def live(state: State[Any]) -> Any:
    """Return what is in the box.

    Raises:
        TraceContextError: Nothing is, since the state was made inside a transform and did not leave it.
    """
    try:
        return state._value
    except AttributeError:
        raise TraceContextError(
            f"{locate(state)} was made inside a transformed function, and its value did not leave that function. "
            "Make the State before the call, or return the Node that holds it from the function."
        ) from None


def read(state: State[Any]) -> Any:
    """Read the value of a state: of the trace while one runs, else of the box."""
    top = stack.top
    if top is None:
        constants.note((state,))
    elif not top._trace == get_opaque_trace_state():  # noqa: SIM201 - `!=` is slower
        note_constants((state,))
    if top is not None and state in top._values:  # as `look` would, without its frame: the usual case in a trace
        top.reads[state] = None
        value = top._values[state]
    else:
        value = look(state, True)
    if hooks.ever and hooks.told(state, "read"):
        hooks.call(hooks.HookContext(state, "read", value))
    return value


def read_values(states: Iterable[State[Any]], record: bool = True) -> list[Any]:
    """Read the current values of many states; open overlays note it if `record`."""
    top = stack.top if overlays.open_overlays else None
    if top is None:
        if record and overlays.busy:
            constants.note(states := list(states))
        try:
            return list(map(value_of, states))
        except AttributeError:
            return [live(state) for state in states]
    if record:
        note_constants(states := list(states))
        return [look(state, True) for state in states]
    inside = top._values  # where most of them are while a function is traced
    return [inside[state] if state in inside else look(state) for state in states]


def note_reads(states: Iterable[State[Any]]) -> None:
    """Record reads that a transform made on behalf of the enclosing trace."""
    top = stack.top
    if top is not None:
        for state in states:
            if state in top._values:
                top.reads[state] = None
            else:
                look(state, True)


# -- what may be put into a state --------------------------------------------------------------------------------------


def is_orphan(state: State[Any]) -> bool:
    """Tell whether a state was made in a trace that is over, and has no value that outlived it."""
    if hasattr(state, "_value"):
        return False
    layer = stack.top
    while layer is not None and state not in layer._values:
        layer = layer._parent
    return layer is None


def refuse_foreign(state: State[Any], value: Any) -> None:
    """Raise if `value` may not be put into `state` here."""
    if state.graph_at_home:
        refuse_away(state)
    if type(value) in PLAIN:
        if type(value) in ARRAYS:
            refuse_deleted(state, value)
        return
    if not isinstance(value, Tracer):
        refuse_objects(state, leaves := value_leaves(state, value))
        if not any(isinstance(leaf, Tracer) for leaf in leaves):
            refuse_deleted(state, value)
            note_array(value)
            return
    if not at_home(state) or (stack.top is None and get_opaque_trace_state() == NO_TRACE):
        raise TraceContextError(
            f"{locate(state)} cannot take a traced value here: the code runs inside a JAX transform that does not "
            "handle states, so the value would outlive its trace. Use the transform of the same name from "
            "brainstate_transform, or split the model first: `graphdef, tree = treefy_split(model)`."
        )


def value_leaves(state: State[Any], value: Any) -> list[Any]:
    """Return the leaves of what is to be the value of a state."""
    return leaves_of(value, lambda: f"the value of {locate(state)}")


def object_in(leaves: Iterable[Any]) -> Any:
    """Return a State or Node that is or is hidden in one of these leaves, or None: no value may hold one."""
    looked = (leaf for leaf in leaves if type(leaf) not in PLAIN and not isinstance(leaf, Tracer))
    return next((found for leaf in looked if (found := find_hidden(leaf, (Box, Node))) is not None), None)


def refuse_objects(state: State[Any], leaves: list[Any]) -> None:
    found = object_in(leaves)
    if found is not None:
        what = "another State" if isinstance(found, Box) else f"the Node {type(found).__name__}"
        raise ValueError(
            f"the value of {locate(state)} cannot be or hold {what}; assign `other.value`, or hold the States in a "
            "Node, list or dict"
        )


# -- writing a value ---------------------------------------------------------------------------------------------------


def write(state: State[Any], value: Any, restoring: bool = False) -> None:
    """Assign the value of a state, in the overlay on top or in the box; the hooks of the state are told."""
    if hooks.ever and hooks.told(state, *(("restore",) if restoring else ("write_before", "write_after"))):
        _write_told((state,), (value,), restoring)
        return
    top = stack.top
    plain = not stack.tree_check and not state.graph_at_home and ("checked", True) not in state._meta
    if top is not None and plain and isinstance(value, Tracer) and at_home(state):
        top.assigned((state,))  # as `_put` would, in half of its time
        at_once(map(_update, (top._values, top.writes), ({state: value}, {} if state in top.births else {state: None})))
    else:
        _put((state,), (value,))


def _write_told(states: Sequence[State[Any]], values: Sequence[Any], restoring: bool = False) -> None:
    """Assign values in one step; before it hooks may change or refuse them, and after it undo them all."""
    old = [look(state) for state in states]
    contexts = [hooks.HookContext(s, "write_before", v, o) for s, v, o in zip(states, values, old, strict=True)]
    if not restoring:
        _tell(contexts)
    overlay = stack.top
    noted = None if overlay is None else overlay.writes.copy()
    new = [context.value for context in contexts]
    kind = "restore" if restoring else "write_after"
    try:
        _put(states, new)
        _tell([hooks.HookContext(s, kind, v, o) for s, v, o in zip(states, new, old, strict=True)])
    except BaseException:
        _put(states, old)
        if overlay is not None and noted is not None:
            for_all(map(overlay.writes.pop, [state for state in states if state not in noted], [None] * len(states)))
        raise


def _tell(contexts: Iterable[hooks.HookContext]) -> None:
    for context in contexts:
        if hooks.told(context.state, context.kind):
            hooks.call(context)


def _put(states: Sequence[State[Any]], values: Sequence[Any]) -> None:
    for state, value in zip(states, values, strict=True):
        refuse_foreign(state, value)
        checked = ("checked", True) in state._meta
        if checked or stack.tree_check:
            refuse_unlike(state, look(state), value, checked)
    overlay = stack.top
    if overlay is None and constants.some:
        tell_constants(states)
    _store(overlay, states, values)


def _store(
    top: Overlay | None,
    states: Sequence[State[Any]],
    values: Sequence[Any],
    orphans: Sequence[State[Any]] = (),
    also: Sequence[Iterable[Any]] = (),
) -> None:
    """Put values that were checked into the boxes or an overlay, and run the loops of `also`, all in one step.

    States without a home live on as if they had been made here.
    """
    trace = get_opaque_trace_state() if orphans else NO_TRACE
    if not trace == NO_TRACE and not trace == stack.left:  # noqa: SIM201 - as in `settle`
        for state in orphans:
            state._birth = trace
    if top is None:
        before = [getattr(state, "_value", None) for state in states]
        at_once(starmap(set_value, zip(states, values)), *also, holding(before))  # noqa: RUF058, B905
        return
    top.assigned(states)
    news = dict(zip(states, values, strict=True))
    for state in orphans:
        top.born(state, news[state], trace)
    writes = dict.fromkeys([state for state in states if state not in top.births])
    at_once(map(_update, (top._values, top.writes), (news, writes)), *also)


_update: Any = dict.update


def write_values(
    states: Sequence[State[Any]],
    values: Sequence[Any],
    used: Sequence[State[Any]] = (),
    *,
    moved: bool = False,
    also: Sequence[Iterable[Any]] = (),
) -> None:
    """Assign the results of a finished transform, all or none, in one step.

    Args:
        states: The states to write.
        values: Their new values, in the same order.
        used: States that the transform read or wrote, for the record of an enclosing overlay.
        moved: Whether the values are those of before, on other devices.
        also: What else is stored in the same step: iterators that run in C, such as `storing` and `filling` return.

    Raises:
        TraceContextError: A value belongs to a JAX trace that does not handle the state.
    """
    top = stack.top if overlays.open_overlays else None
    checked = top is None and PLAIN.issuperset(map(type, values))
    if checked and not overlays.busy:  # nobody to tell: half of the time
        _store(None, states, values, (), also)
        return
    orphans = [] if checked else _check(states, values, top)
    note_reads(used)
    if top is None:
        constants.note(used)
        if constants.some and not moved:
            tell_constants(states)
    else:
        note_constants(used)
    _store(top, states, values, orphans, also)


def _check(states: Sequence[State[Any]], values: Sequence[Any], top: Overlay | None) -> list[State[Any]]:
    """Refuse values that may not be put into their states here, and return the states without a home."""
    orphans: list[State[Any]] = []
    at_home = top is not None and top._trace == get_opaque_trace_state()  # asked once: 0.5 microseconds each
    for state, value in zip(states, values, strict=True):
        if is_orphan(state):
            orphans.append(state)
        elif not (at_home and top is not None and isinstance(value, Tracer) and not top.created(state)):
            refuse_foreign(state, value)
    return orphans


def assign_values(states: Sequence[State[Any]], values: Sequence[Any]) -> None:
    """Assign values as ``.value = ...`` does, with hooks and checks, all or none, in one step."""
    if overlays.busy == overlays.open_overlays:  # no hook and no check anywhere
        write_values(states, values)
    else:
        _write_told(states, values)


def write_results(states: Sequence[State[Any]], values: Sequence[Any], used: Sequence[State[Any]] = ()) -> None:
    """Assign what one compiled call returned, as `write_values` does; one of the values tells for all of them.

    The caller holds the values from before until this has ended, see `at_once`.
    """
    if overlays.busy or not values or type(values[0]) not in PLAIN:
        write_values(states, values, used)
    else:
        for_all(starmap(set_value, zip(states, values)))  # noqa: RUF058, B905


# -- new states --------------------------------------------------------------------------------------------------------


def settle(state: State[Any], value: Any) -> None:
    """Give a new state its value, where it is made."""
    trace = get_opaque_trace_state()
    if not trace == NO_TRACE and not trace == stack.left:  # noqa: SIM201 - `!=` takes twice as long
        state._birth = trace  # else it stays unset: most states are born outside of any trace
    overlay = stack.top if overlays.open_overlays else None
    if overlay is None:
        state._value = value
    else:  # no tracer is ever put into the box; what leaves the trace is made anew outside
        overlay.born(state, value, trace)


def announce(state: State[Any]) -> None:
    """Tell hooks of a state that was constructed."""
    if hooks.ever and hooks.told(state, "init"):
        hooks.call(hooks.HookContext(state, "init", look(state)))
