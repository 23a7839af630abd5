"""`lift` by a stranger: public names only, a handful of lines each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State, StateArgumentError, TraceContextError
from brainstate_transform import Core, Lifted, StateValues, jit, lift
from tests.laws.transforms import Net, Param

one = jnp.float32(1.0)


def test_checkpoint_with_a_policy():
    m = Net()
    keep = jax.checkpoint_policies.dots_saveable
    f = lift(lambda core: jax.checkpoint(core, policy=keep), lambda x: m(x))
    assert [float(f(one)) for _ in range(2)] == [2.0, 2.0]
    assert m.n.value == 2.0
    m.w.value = jnp.array(5.0)
    assert f(one) == 5.0


def jvp(fun):
    """The derivative along a tangent, with states."""

    def rule(core):
        def run(states, primal, tangent):
            pure = lambda x: core(states, x)
            (out, written), (slope, _) = jax.jvp(pure, (primal,), (tangent,))
            return (out, slope), written

        return run

    return lift(rule, fun)


def test_jvp():
    m = Net(3.0)
    assert jvp(lambda x: m(x) ** 2)(2.0, 1.0) == (36.0, 36.0)
    assert m.n.value == 1.0


def linearize(fun):
    def rule(core):
        def run(states, x):
            out, slope, written = jax.linearize(lambda x: core(states, x), x, has_aux=True)
            return (out, jax.tree_util.Partial(slope)), written

        return run

    return lift(rule, fun)


def test_linearize():
    m = Net(3.0)
    out, slope = linearize(lambda x: m(x) ** 2)(2.0)
    assert (out, slope(1.0), slope(2.0)) == (36.0, 36.0, 72.0)
    assert m.n.value == 1.0


def eval_shape(fun, *args):
    def rule(core):
        def run(states, *args):
            out, _ = jax.eval_shape(core, states, *args)
            return out, StateValues.of([], []).as_written()

        return run

    return lift(rule, fun)(*args)


def test_eval_shape():
    m = Net(3.0)
    before = m.n.value
    out = eval_shape(lambda x: m(x), jnp.ones(3))
    assert (out.shape, out.dtype) == ((3,), jnp.float32)
    assert m.n.value is before


def logged(fun, log):
    def rule(core):
        def run(states, *args, **kwargs):
            out, written = core(states, *args, **kwargs)
            log.append([type(state).__name__ for state, _ in written.items()])
            return out, written

        return run

    return lift(rule, fun, name="logged")


def test_a_debug_wrapper():
    m, log = Net(), []
    f = logged(lambda x: m(x), log)
    assert f(one) == 2.0
    jit(f)(one)
    assert log == [["Count"], ["Count"]]
    assert f.__name__ == "logged"
    assert isinstance(f, Lifted)


def test_touched_states_as_inputs():
    a, b = Net(2.0), Net(3.0)
    seen = []

    def rule(core):
        def counted(states, *args):
            seen.append(len(states))
            return core(states, *args)

        return jax.jit(counted)

    f = lift(rule, lambda m, x: m(x), inputs="touched")
    assert [float(f(m, one)) for m in (a, b, a)] == [2.0, 3.0, 2.0]
    assert seen == [2]
    assert (a.n.value, b.n.value) == (2.0, 1.0)


def test_chosen_states_as_inputs():
    m = Net(2.0)

    def rule(core):
        def run(states, x):
            slopes, (out, written) = jax.grad(lambda s: (lambda o: (o[0], o))(core(s, x)), has_aux=True)(states)
            return (out, list(slopes.values)), written

        return run

    f = lift(rule, lambda x: m(x) ** 2, inputs=lambda: [m.w])
    assert f(3.0) == (36.0, [36.0])
    m.w.value = jnp.array(1.0)
    assert f(3.0) == (9.0, [18.0])


def test_core_is_pure():
    m = Net()
    core = Core(lambda x: m(x))
    out, written = core(StateValues.of([m.w], [jnp.array(7.0)]), one)
    assert out == 7.0
    assert [(s is m.n, float(v)) for s, v in written.items()] == [(True, 1.0)]
    assert (m.w.value, m.n.value) == (2.0, 0.0)
    written.write()
    assert m.n.value == 1.0


def test_state_values():
    a, b = State(jnp.array(1.0)), State(jnp.array(2.0))
    both = StateValues.read([a, b])
    assert jax.tree.leaves(jax.tree.map(lambda v: v + 1.0, both)) == [2.0, 3.0]
    assert both.only([b]).states == (b,)
    assert len(both) == 2
    new = both.updated(StateValues.of([b], [5.0]).as_written())
    assert new.values == [1.0, 5.0]
    with pytest.raises(ValueError, match="did not write"):
        both.only([a]).updated(new.as_written())


def test_a_rule_that_fails_writes_nothing():
    m = Net()

    def rule(core):
        def run(states, x):
            core(states, x)
            raise RuntimeError("rule")

        return run

    with pytest.raises(RuntimeError, match="rule"):
        lift(rule, lambda x: m(x))(one)
    assert m.n.value == 0.0


@pytest.mark.counts_traces  # where JAX looks for leaks itself, it is the first to refuse
def test_a_rule_that_leaks_a_tracer_is_refused():
    m = Net()

    def rule(core):
        def run(states, x):
            kept = []
            jax.jit(lambda x: kept.append(core(states, x)) or x)(x)
            return kept[0]

        return run

    with pytest.raises(TraceContextError):
        lift(rule, lambda x: setattr(m.w, "value", m.w.value * x))(one)
    assert m.w.value == 2.0


def test_states_are_refused():
    with pytest.raises(StateArgumentError, match="argument"):
        lift(lambda core: core, lambda s: 1.0)(Param(jnp.array(1.0)))


def test_on_a_method():
    class Model(Net):
        slope = lift(lambda core: jax.checkpoint(core), lambda self, x: self(x))

    m = Model(4.0)
    assert m.slope(one) == 4.0
    np.testing.assert_allclose(m.n.value, 1.0)


def test_a_core_that_was_not_traced_says_so():
    core = Core(lambda x: x)
    with pytest.raises(RuntimeError, match="was not traced yet: call `written_by` of its core first"):
        core.staged(StateValues.of((), ()), 1.0)
