"""`check_transform`: every built-in passes, and each law catches the mutant that breaks it."""

from __future__ import annotations

import pickle
import threading

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import BrainStateError, Node, State, StructureError
from brainstate_graph.extend import Journal
from brainstate_transform import ConformanceError, Core, StateValues, check_transform, lift
from brainstate_transform._conformance.check import laws
from tests.laws.transforms import TRANSFORMS
from tests.tables import each

ALL = set(laws(writes=True))
NESTED = {name for name in ALL if name.startswith(("under_", "over_"))}


def test_the_laws_are_those_of_the_page():
    assert len(ALL) >= 30
    assert all((law.__doc__ or "").endswith(".") and "\n" not in law.__doc__ for law in laws(writes=True).values())
    assert set(laws(writes=False)) - ALL == {"refuses_writes"}


def test_the_names_of_the_laws_that_were_run_come_back():
    skip = ALL - {"agrees_with_python", "sees_structure"}
    assert check_transform(TRANSFORMS["checkpoint"], skip=skip) == ("agrees_with_python", "sees_structure")


def test_plain_python_keeps_what_no_transform_is_needed_for():
    needs_one = {
        "refuses_state_arguments", "refuses_state_results", "undoes_exceptions", "undoes_interrupts",
        "undoes_refused_results", "undoes_errors_of_jax", "undoes_failures_at_run_time",
        "undoes_errors_between_transforms",
        "agrees_without_jit", "owns_lists_and_dicts",  # errors again
    }  # fmt: skip
    with pytest.raises(ConformanceError) as caught:
        check_transform(lambda f: f, skip=NESTED)
    assert set(caught.value.broken) == needs_one


def test_what_it_is_given_is_checked():
    with pytest.raises(TypeError, match="expected a function that wraps a function, not 3"):
        check_transform(3)
    for skip in ("nests", ["nests"]):
        with pytest.raises(ValueError, match=r"skip=\['nests'\] names no law; the laws are agrees_with_python, "):
            check_transform(TRANSFORMS["jit"], skip=skip)
    with pytest.raises(ValueError, match="refuses_raw_jit"):
        check_transform(TRANSFORMS["jit"], skip="refuses_raw_jit", writes=False)


def test_the_error_has_a_line_for_each_broken_law():
    with pytest.raises(ConformanceError) as caught:
        check_transform(drops_writes, skip=ALL - {"agrees_with_python", "lets_models_go", "leaks_nothing"})
    error, found = caught.value, "n after call 1: expected 1.0, found 0.0"
    assert isinstance(error, AssertionError)
    assert str(error).splitlines() == [
        "the transform breaks 2 of 3 laws of states:",
        f"- agrees_with_python: Results and states are those of plain Python, at each call. {found}",
        f"- leaks_nothing: `jax.checking_leaks()` finds no tracer that outlives its trace. {found}",
    ]
    assert error.broken == dict.fromkeys(["agrees_with_python", "leaks_nothing"], found)
    assert isinstance(pickle.loads(pickle.dumps(error)), ConformanceError)


def test_an_error_of_the_transform_is_a_broken_law_and_ctrl_c_is_not():
    def stops(f):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_transform(stops)
    with pytest.raises(
        ConformanceError, match=r"- draws_as_python: .* expected no error, found ZeroDivisionError: div"
    ):
        check_transform(lambda f: 1 / 0, skip=ALL - {"draws_as_python"})


def touched(core):
    return StateValues.read(core.states())


def lifted(run):
    """A transform from ``run(core, states, *args)``."""

    def wrap(f):
        return lift(lambda core: lambda states, *args: run(core, states, *args), f)

    wrap.__name__ = run.__name__
    return wrap


def raw(f):
    """No recipe: what is read is baked in."""
    return jax.jit(f)


@lifted
def drops_writes(core, states, *args):
    out, _ = core(states, *args)
    return out, StateValues.read(()).as_written()


@lifted
def writes_twice(core, states, *args):
    _, first = core(states, *args)
    return core(StateValues.of(*zip(*first.items(), strict=True)) if first.items() else states, *args)


@lifted
def runs_twice(core, states, *args):
    core(states, *args)
    return core(states, *args)


@lifted
def writes_what_is_read(core, states, *args):
    out, written = core(states, *args)
    new = dict(written.items())
    every = core.states()
    return out, StateValues.of(every, [new.get(s, s.value + 0.0) for s in every]).as_written()


def stale(f):
    """Compiled once with all states as inputs, so that only values are seen."""
    core = Core(f)
    compiled = jax.jit(lambda values, *args: core(StateValues(which.which, values), *args))
    which = touched(core)

    def call(*args):
        out, written = compiled([s.value for s in which.states], *args)
        written.write()
        return out

    return call


def sees_what_is_captured(f):
    """All is right but for states beyond the touched graph, which are constants."""
    core = Core(f)
    compiled = jax.jit(core)

    def call(*args):
        out, written = compiled(touched(core), *args)
        written.write()
        return out

    return call


def frozen_values(f):
    """States as they were when it was wrapped."""
    core = Core(f)
    first = touched(core)
    return lambda *args: jax.jit(core)(first, *args)[0]


def restores(*kinds):
    """Values are put back after errors of these kinds, and no others."""

    def wrap(f):
        def call(x):
            before = {state: state.value for state in Core(f).states()}
            try:
                return f(x)
            except kinds:
                for state, value in before.items():
                    state.value = value
                raise

        return call

    return wrap


def leaves_tracers(f):
    """On an error, the box of each state holds a tracer."""
    core = Core(f)

    def call(*args):
        def traced(*args):
            try:
                return core(StateValues.read(()), *args)
            except Exception:
                for state in core.states():
                    state._value = args[0]
                raise

        out, written = jax.jit(traced)(*args)
        written.write()
        return out

    return call


@lifted
def unties(core, states, x):
    out, written = core(states, x)
    values = dict(written.items())
    for node in [n for n in core.touched.plan().snapshot.objects if isinstance(n, Node)]:
        if hasattr(node, "w"):
            node.w = State(values.get(node.w, node.w.value))
    return out, written


def numbers_only(f):
    """Takes nothing but numbers."""
    wrapped = lift(jax.checkpoint, f)
    return lambda x: wrapped(jnp.asarray(x))


def takes_states(f):
    """Unpacks a State that it is given, and one that comes back."""
    wrapped = lift(jax.checkpoint, lambda x: jax.tree.map(lambda v: getattr(v, "value", v), f(x)))
    return lambda x: wrapped(getattr(x, "value", x))


def other_draws(f):
    """Another key for each lane."""

    def call(x):
        for state in Core(f).states():
            if jnp.issubdtype(jax.dtypes.result_type(state.value), jax.dtypes.prng_key):
                state.value = jax.random.fold_in(state.value, 0)
        return f(x)

    return call


@lifted
def drops_what_is_made(core, states, *args):
    every = set(core.states())
    out, written = jax.jit(lambda *args: core(states, *args))(*args)
    return out, written.pick(lambda state: state in every)


def in_a_thread(f):
    """Where the overlays of the caller are not seen."""

    def call(x):
        out = []
        thread = threading.Thread(target=lambda: out.append(f(x)))
        thread.start()
        thread.join()
        return out[0]

    return call


def needs_jit(f):
    """Works only where it is traced."""

    def run(core):
        def traced(states, x):
            if not isinstance(x, jax.core.Tracer):
                raise RuntimeError("concrete")
            return core(states, x)

        return jax.jit(traced)

    return lift(run, f)


LEAKED = []


@lifted
def leaks(core, states, *args):
    def traced(*args):
        LEAKED[:] = args
        return core(states, *args)

    return jax.jit(traced)(*args)


@lifted
def stops_gradients(core, states, *args):
    out, written = core(states, *args)
    return jax.tree.map(jax.lax.stop_gradient, out), written


def sets_nothing(f):
    """Refuses that an attribute is set, whatever to."""

    def call(x):
        with Journal() as journal:
            out = f(x)
            if journal.noted:
                raise StructureError("an attribute was set")
        return out

    return call


KEPT = []


def holds_models(f):
    KEPT.append(f)
    return f


@lifted
def floats_only(core, states, *args):
    out, written = core(states, *args)
    values = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), written.values)
    return out, StateValues.of([s for s, _ in written.items()], values).as_written()


def swallows(f):
    """Lets no error of ours through."""

    def call(x):
        try:
            return f(x)
        except BrainStateError:
            return x

    return call


def concrete(f):
    """Needs numbers, so that nothing can be around it."""
    return lambda x: lift(jax.checkpoint, f)(jnp.float32(float(x)))


MUTANTS = [
    (raw, "agrees_with_python"),
    (raw, "sees_assigned_values"),
    (drops_writes, "agrees_with_python"),
    (drops_writes, "tells_the_outer_trace"),
    (writes_twice, "agrees_with_python"),
    (runs_twice, "runs_python_once"),
    (writes_what_is_read, "leaves_what_is_read"),
    (frozen_values, "sees_assigned_values"),
    (stale, "sees_attributes"),
    (stale, "sees_structure"),
    (restores(KeyboardInterrupt), "undoes_exceptions"),
    (restores(Exception), "undoes_interrupts"),
    (restores(KeyboardInterrupt), "undoes_refused_results"),
    (restores(KeyboardInterrupt), "undoes_errors_of_jax"),
    (restores(KeyboardInterrupt), "undoes_failures_at_run_time"),
    (restores(KeyboardInterrupt), "undoes_errors_between_transforms"),
    (restores(Exception), "undoes_exceptions"),  # attributes stay set
    (raw, "sees_rebound_variables"),
    (raw, "uses_few_of_many"),
    (sets_nothing, "takes_equal_attributes"),
    (leaves_tracers, "undoes_exceptions"),
    (unties, "counts_tied_states_once"),
    (numbers_only, "takes_modules"),
    (takes_states, "refuses_state_arguments"),
    (takes_states, "refuses_state_results"),
    (other_draws, "draws_as_python"),
    (drops_what_is_made, "carries_structure"),
    (drops_what_is_made, "carries_replaced_states"),
    (sees_what_is_captured, "finds_hidden_states"),
    (in_a_thread, "tells_the_outer_trace"),
    (needs_jit, "agrees_without_jit"),
    (leaks, "leaks_nothing"),
    (stops_gradients, "differentiates"),
    (holds_models, "lets_models_go"),
    (floats_only, "holds_any_value"),
    (restores(Exception), "owns_lists_and_dicts"),  # the very dict that was changed
    (swallows, "refuses_raw_jit"),
    *(
        (concrete, f"under_{name}")
        for name in ("jit", "value_and_grad", "vmap", "for_loop", "scan", "cond", "checkpoint")
    ),
    *((raw, name) for name in sorted(NESTED) if name.startswith("over")),
]


@each("mutant, law", MUTANTS, ids=[f"{m.__name__}-{law}" for m, law in MUTANTS])
def test_a_mutant_is_caught(mutant, law):
    with pytest.raises(ConformanceError) as caught:
        check_transform(mutant, skip=ALL - {law})
    assert set(caught.value.broken) == {law}


def test_a_mutant_that_sees_all_but_hidden_states_keeps_the_laws_of_values():
    """So that `finds_hidden_states` is broken by what is hidden, and by nothing else."""
    kept = ("agrees_with_python", "sees_assigned_values", "draws_as_python")
    assert check_transform(sees_what_is_captured, skip=ALL.difference(kept)) == kept


def test_every_law_has_a_mutant():
    assert {law for _, law in MUTANTS} == ALL


def test_a_mutant_that_writes_where_only_reading_is_declared():
    with pytest.raises(ConformanceError, match=r"- refuses_writes: A write is refused, and changes nothing. a write: "):
        check_transform(TRANSFORMS["checkpoint"], writes=False, skip=set(laws(False)) - {"refuses_writes"})
