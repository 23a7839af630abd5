"""Each transform under each law: those that `check_transform` ships, and those that hold of our own ones besides."""

from __future__ import annotations

import jax
import pytest

from brainstate_graph import Snapshot
from brainstate_transform._conformance.check import laws
from brainstate_transform._conformance.trial import Trial
from tests.laws import laws_of_doors, laws_of_structure, laws_of_traces, laws_of_values  # noqa: F401 - enter theirs
from tests.laws.law import EXCEPT, LAWS
from tests.laws.transforms import CORE, DERIVATIVES, LOOPS, ONE_OF_EACH, TRANSFORMS

SHIPPED = laws(writes=True)
NESTED = {name for name in SHIPPED if name.startswith(("under_", "over_"))}
UNDER_A_DERIVATIVE = {"differentiates", "under_value_and_grad"}
# The shipped laws that a transform does not keep by its nature.
SKIPPED: dict[str, set[str]] = {
    # a module is not differentiated by position, has no steps, and is no value that a loop could carry
    **{name: {"takes_modules"} for name in (*DERIVATIVES, *LOOPS)},
    # the buffers are gone when the program fails
    "jit_donating": {"undoes_failures_at_run_time"},
    # the predicate is one per lane, and so is what is written
    "cond": {"under_vmap"},
    "ifelse": {"under_vmap"},
    # of unknown length, as in JAX
    "while_loop": {"takes_modules", *UNDER_A_DERIVATIVE},
    # whose rules in the table speak of no state
    "custom_vjp": UNDER_A_DERIVATIVE,
    "custom_jvp": UNDER_A_DERIVATIVE,
}
# Under JAX_CHECK_TRACER_LEAKS, what is traced again for such states keeps an inner trace that was given up; the values
# are right, and nothing reaches a state.
TRACES_AGAIN = {"finds_hidden_states", "runs_with_and_without_compiling"}
SLOW_HERE = jax.config.jax_check_tracer_leaks or not Snapshot.enabled  # where all is slow, one transform of each sort


def kept(name, law):
    """Whether a transform keeps a law."""
    return law not in SKIPPED.get(name, ()) and name not in EXCEPT.get(law, ())


def marks(name, law):
    found = [pytest.mark.counts_traces] if law in TRACES_AGAIN else []
    few = ("jit", "vmap", "for_loop") if law in NESTED else ONE_OF_EACH if law in LAWS else TRANSFORMS
    return [*found, pytest.mark.exhaustive] if name not in few else found


CASES = [
    pytest.param(name, law, id=f"{name}-{law}", marks=marks(name, law))
    for name in (CORE if SLOW_HERE else TRANSFORMS)
    for law in (*SHIPPED, *LAWS)
    if kept(name, law)
]


@pytest.mark.filterwarnings("ignore:.* was traced three times")  # of what a law changes on purpose
@pytest.mark.parametrize(("name", "law"), CASES)
def test_law(name, law):
    if law in SHIPPED:
        SHIPPED[law](Trial(TRANSFORMS[name], writes=True))
    else:
        LAWS[law](TRANSFORMS[name])
