"""The laws of transforms that know of states: one short function for each, whose docstring is the law.

A law gets a `Trial` and raises `Broken`, or any other exception, where the transform does not keep it.  The oracle is
plain Python on a copy of the model.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Node, Overlay, State, StateArgumentError, StructureError, TraceContextError

from .._derivatives.grad import grad
from .._jit.jit import jit
from .._loops.scan import for_loop
from .laws_of_errors import (
    Boom,
    raising,
    undoes,
    undoes_errors_between_transforms,
    undoes_errors_of_jax,
    undoes_exceptions,
    undoes_failures_at_run_time,
    undoes_interrupts,
    undoes_refused_results,
)
from .trial import Broken, Chain, Layer, Trial, agree, expect, expect_refusal, expect_states, scalar, step, twin

__all__ = ["READING", "SHARED", "WRITING"]


def agrees_with_python(t: Trial) -> None:
    """Results and states are those of plain Python, at each call."""
    agree(t.wrap, t.layer(), step)


def sees_assigned_values(t: Trial) -> None:
    """A value assigned to a state between calls is seen."""
    model = t.layer()
    oracle, wrapped = twin(model), t.of(model)
    for weight in (2.0, 5.0, -1.0):
        model.w.value = oracle.w.value = jnp.float32(weight)
        expect(f"result with weight {weight}", wrapped(scalar()), oracle(scalar()))


def leaves_what_is_read(t: Trial) -> None:
    """A state that is only read keeps the very value that it had."""
    model = t.layer()
    before = model.w.value
    t.of(model)(scalar())
    if model.w.value is not before:
        raise Broken("the state that is read: expected the same array, found another")


def counts_tied_states_once(t: Trial) -> None:
    """A state under two names is one state, and stays one."""
    model = Chain(t.layer(), t.layer())
    model.layers[1].w = model.layers[0].w

    def f(model: Chain, x: Any) -> Any:
        if t.writes:
            model.layers[1].w.value = model.layers[0].w.value + x
        return model(x)

    agree(t.wrap, model, f)
    if model.layers[0].w is not model.layers[1].w:
        raise Broken("the tied state: expected one, found two")


def takes_modules(t: Trial) -> None:
    """A module may be the argument."""
    wrapped = t.wrap(lambda model: model(scalar()))
    for weight in (2.0, 3.0):
        model = t.layer(weight)
        oracle = twin(model)
        expect(f"result for the module of weight {weight}", wrapped(model), oracle(scalar()))
        expect_states("of the module", model, oracle)


def refuses_state_arguments(t: Trial) -> None:
    """A bare State as argument is refused."""
    expect_refusal("a State as argument", lambda: t.wrap(lambda x: 1.0)(State(scalar())), TypeError, ValueError)


def refuses_state_results(t: Trial) -> None:
    """A bare State as result is refused, and nothing is written."""
    model = t.layer()
    oracle = twin(model)

    def f(x: Any) -> Any:
        step(model, x)
        return model.w

    expect_refusal("a State as result", lambda: t.wrap(f)(scalar()), StateArgumentError)
    expect_states("after the refusal", model, oracle)


def sees_attributes(t: Trial) -> None:
    """A changed hyper-parameter is seen, and so is its return."""
    model = t.layer()
    oracle, wrapped = twin(model), t.of(model)
    for rate in (1.0, 3.0, 1.0, 0.0):
        model.rate = oracle.rate = rate
        expect(f"result with rate {rate}", wrapped(scalar()), oracle(scalar()))


def sees_structure(t: Trial) -> None:
    """A layer appended between calls is seen, and so is a state put in the place of another."""
    model = Chain(t.layer())
    oracle, wrapped = Chain(t.layer()), t.of(model)
    expect("result", wrapped(scalar()), oracle(scalar()))
    for chain in (model, oracle):
        chain.layers.append(t.layer(5.0))
    expect("result with a layer more", wrapped(scalar()), oracle(scalar()))
    for chain in (model, oracle):
        chain.layers[0].w = State(scalar(7.0))
    expect("result with another state", wrapped(scalar()), oracle(scalar()))
    expect_states("at last", model, oracle)


def sees_rebound_variables(t: Trial) -> None:
    """Another model bound to a variable of the function around is seen, and so is the return of the first one."""
    first, second = t.layer(), t.layer(7.0)
    oracles = {id(first): twin(first), id(second): twin(second)}
    model = first
    wrapped = t.wrap(lambda x: model(x))
    for model in (first, second, first):
        expect("result with the model bound now", wrapped(scalar()), oracles[id(model)](scalar()))
    for bound in (first, second):
        expect_states("of a model that was bound", bound, oracles[id(bound)])


def _carries(t: Trial, f: Callable[[Any, Any], Any]) -> None:
    """Run a function that changes its model; the changes come out alive, or are refused and undone."""
    model = t.layer()
    oracle = twin(model)
    wrapped = t.wrap(lambda x: f(model, x))
    for call in (1, 2):
        try:
            found = wrapped(scalar())
        except StructureError:
            expect_states("after the refusal", model, oracle)
            return
        expect(f"result of call {call}", found, f(oracle, scalar()))
        expect_states(f"after call {call}", model, oracle)


def carries_structure(t: Trial) -> None:
    """A state made inside and kept comes out alive, or StructureError refuses it and nothing is changed."""

    def f(model: Any, x: Any) -> Any:
        if not hasattr(model, "extra"):
            model.extra = State(model.w.value * x)
        return model(x) + model.extra.value

    _carries(t, f)


def carries_replaced_states(t: Trial) -> None:
    """A state put inside in the place of another comes out alive, or is refused in the same way."""

    def f(model: Any, x: Any) -> Any:
        model.before, model.w = model.w, State(model.w.value + x)
        return model(x) + model.before.value

    _carries(t, f)


def takes_equal_attributes(t: Trial) -> None:
    """An attribute that is set to what it was is no change of structure."""

    def f(model: Layer, x: Any) -> Any:
        model.rate = float(str(model.rate))  # another object
        return step(model, x)

    agree(t.wrap, t.layer(), f)


def finds_hidden_states(t: Trial) -> None:
    """A state that is reached in a way that cannot be seen beforehand is seen and written as well."""
    model = t.layer()
    oracle = twin(model)
    hidden = weakref.ref(model)  # which no capture follows: the function that is called is one of C
    wrapped = t.wrap(lambda x: hidden()(x))  # type: ignore[misc]
    for weight in (2.0, 5.0):
        model.w.value = oracle.w.value = scalar(weight)
        expect(f"result with weight {weight}", wrapped(scalar()), oracle(scalar()))
    expect_states("at last", model, oracle)


def uses_few_of_many(t: Trial) -> None:
    """Of many states those that the function uses are read and written, also where these change."""
    model, first, second = Chain(*(t.layer(float(i)) for i in range(30))), 3, 7
    oracle = twin(model)
    f = lambda model, x: model.layers[second](model.layers[first](x))  # noqa: E731
    wrapped = t.wrap(lambda x: f(model, x))
    for first, second in ((3, 7), (3, 7), (20, 3), (3, 7)):
        expect(f"result with the layers {first} and {second}", wrapped(scalar()), f(oracle, scalar()))
    expect_states("at last", model, oracle)


def tells_the_outer_trace(t: Trial) -> None:
    """What is read and written is recorded in the enclosing trace, and reaches no state before that ends."""
    model = t.layer()
    oracle = twin(model)
    with Overlay() as overlay:
        t.of(model)(scalar())
    expect_states("inside the outer trace", model, oracle)
    if model.w not in overlay.reads:
        raise Broken("the reads in the outer trace: expected the weight among them, found it missing")
    if t.writes != (model.n in overlay.writes) or model.w in overlay.writes:
        raise Broken(f"the writes in the outer trace: expected the counter, found {list(overlay.writes)}")


def agrees_without_jit(t: Trial) -> None:
    """`jax.disable_jit()` gives the same results, writes and errors."""
    with jax.disable_jit():
        agree(t.wrap, t.layer(), step)
        undoes(t, raising(Boom), Boom)


def leaks_nothing(t: Trial) -> None:
    """`jax.checking_leaks()` finds no tracer that outlives its trace."""
    with jax.checking_leaks():
        agree(t.wrap, t.layer(), step)


def runs_python_once(t: Trial) -> None:
    """The user's Python runs at most once for each call, and for each trace of one around."""
    if getattr(jax.config, "jax_check_tracer_leaks", False):  # JAX traces anew each time
        return
    model, runs = t.layer(), 0

    def f(x: Any) -> Any:
        nonlocal runs
        runs += 1
        return model(x)

    around = {"alone": t.wrap(f), "under jit": jit(t.wrap(f)), "under for_loop": for_loop}
    for name, call in around.items():
        runs = 0
        call(t.wrap(f), jnp.ones(2)) if call is for_loop else call(scalar())
        if runs > 1:
            raise Broken(f"runs of the user's function {name}: expected 1, found {runs}")


def differentiates(t: Trial) -> None:
    """The gradient through the transform, for states and for the argument, is that of the function."""
    model = t.layer(0.5)
    wrapped = t.wrap(lambda x: jnp.sin(model(x)))
    n = float(t.writes)
    wanted = jax.grad(lambda w, x: jnp.sin(w * x + n), argnums=(0, 1))(scalar(0.5), scalar(0.3))
    (by_weight,), by_x = grad(wrapped, [model.w], argnums=0)(scalar(0.3))
    expect("the gradient", (by_weight, by_x), wanted)


def lets_models_go(t: Trial) -> None:
    """A model that nobody else holds goes with the transformed function."""
    model = t.layer()
    wrapped = t.of(model)
    wrapped(scalar())
    gone = weakref.ref(model)
    del model, wrapped
    gc.collect()
    if gone() is not None:
        raise Broken("the model that nobody holds: expected it to be gone, found it alive")


class _Stream(Node):
    def __init__(self) -> None:
        self.key = State(jax.random.key(7))


def draws_as_python(t: Trial) -> None:
    """A random key in a state gives the draws, and the key afterwards, of plain Python."""

    def f(model: _Stream, x: Any) -> Any:
        model.key.value, key = jax.random.split(model.key.value)
        return x * jax.random.normal(key)

    agree(t.wrap, _Stream(), f)


class _Boxes(Node):
    def __init__(self) -> None:
        kinds = {
            "bool": jnp.array(True), "int": jnp.array([1, 2]), "half": jnp.ones(2, jnp.bfloat16), "none": None,
            "complex": jnp.array(1.0 + 2.0j), "tree": {"a": jnp.ones(2), "b": (jnp.zeros(()), None)},
            "empty": jnp.zeros((0, 3)), "numpy": np.ones(2, np.float32), "key": jax.random.key(0),
        }  # fmt: skip
        self.read = {kind: State(value) for kind, value in kinds.items()}
        self.written = {kind: State(jax.tree.map(jnp.copy, value)) for kind, value in kinds.items()}


def holds_any_value(t: Trial) -> None:
    """States may hold arrays of any dtype and shape, trees of them, None, and random keys."""

    def f(model: _Boxes, x: Any) -> Any:
        for kind, state in model.written.items():
            _ = model.read[kind].value
            state.value = jax.tree.map(lambda v: v, state.value)
        return x

    agree(t.wrap, _Boxes(), f, (1.0, 1.0))


class _Trees(Node):
    def __init__(self) -> None:
        self.by_name = State({"a": scalar(1.0), "b": {"c": scalar(2.0)}})
        self.in_order = State([scalar(3.0), (scalar(4.0), [scalar(5.0)])])


def owns_lists_and_dicts(t: Trial) -> None:
    """What is changed in place in a list or dict of a state and assigned is kept, and what is not assigned is not."""

    def change(model: _Trees, x: Any) -> tuple[Any, Any]:
        by_name, in_order = model.by_name.value, model.in_order.value
        by_name["a"], by_name["b"]["c"] = by_name["a"] + x, by_name["a"] * x
        in_order[0] = in_order[1][1][0] = in_order[0] * x
        return by_name, in_order

    def f(model: _Trees, x: Any) -> Any:
        model.by_name.value, model.in_order.value = change(model, x)
        return x * model.in_order.value[1][1][0]

    def keeps_what_is_assigned() -> None:
        agree(t.wrap, _Trees(), f, (1.0, 3.0))
        model = _Trees()
        oracle = twin(model)
        t.wrap(lambda x: x + change(model, x)[0]["a"])(scalar())
        expect_states("after a change that is not assigned", model, oracle)
        fails = t.wrap(lambda x: raising(Boom)(change(model, x)))
        expect_refusal("an error", lambda: fails(scalar()), Boom)
        expect_states("after a change and an error", model, oracle)

    keeps_what_is_assigned()
    with jax.disable_jit():
        keeps_what_is_assigned()


def refuses_raw_jit(t: Trial) -> None:
    """A write under plain `jax.jit` around the transform is refused, as nobody could carry it out."""
    model = t.layer()
    oracle = twin(model)
    expect_refusal("a write under jax.jit", lambda: jax.jit(t.of(model))(scalar()), TraceContextError)
    expect_states("after the refusal", model, oracle)


def refuses_writes(t: Trial) -> None:
    """A write is refused, and changes nothing."""
    model = t.layer()
    oracle = twin(model)

    def f(x: Any) -> Any:
        model.n.value = model.n.value + x
        return model(x)

    expect_refusal("a write", lambda: t.wrap(f)(scalar()), TypeError, ValueError)
    expect_states("after the refusal", model, oracle)


SHARED = (
    agrees_with_python, sees_assigned_values, leaves_what_is_read, undoes_exceptions, undoes_interrupts,
    undoes_refused_results, undoes_errors_of_jax, undoes_failures_at_run_time, undoes_errors_between_transforms,
    counts_tied_states_once, takes_modules, refuses_state_arguments, refuses_state_results, sees_attributes,
    sees_structure, sees_rebound_variables, carries_structure, carries_replaced_states, takes_equal_attributes,
    finds_hidden_states, uses_few_of_many, tells_the_outer_trace, agrees_without_jit, leaks_nothing, runs_python_once,
    differentiates, lets_models_go,
)  # fmt: skip
WRITING = (draws_as_python, holds_any_value, owns_lists_and_dicts, refuses_raw_jit)  # where the function may write
READING = (refuses_writes,)  # where it may not
