"""Transforms by a stranger: public names only, fifteen lines of code or fewer each, and the laws hold for each."""

from __future__ import annotations

import ast
import inspect

import diffrax
import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_transform
from brainstate_graph import State, StructureError
from brainstate_transform import StateValues, check_transform, grad, jit, lift, value_and_grad
from brainstate_transform._conformance.check import laws
from tests.laws.transforms import Net, Param, Runs

one = jnp.float32(1.0)


def jvp(fun, primals, tangents):
    """The value of `fun` and its derivative along `tangents`; what it writes is written once."""

    def rule(core):
        def run(states, *primals):
            out, along, written = jax.jvp(lambda *p: core(states, *p), primals, tangents, has_aux=True)
            return (out, along), written

        return run

    return lift(rule, fun)(*primals)


def linearize(fun, *primals):
    """The value of `fun`, and its derivative as a linear function."""

    def rule(core):
        def run(states, *primals):
            out, along, written = jax.linearize(lambda *p: core(states, *p), *primals, has_aux=True)
            return (out, along), written

        return run

    return lift(rule, fun)(*primals)


def custom_vjp(fun, fwd, bwd):
    """`fun` with the derivative of `bwd`: a dict by State, then one for each argument."""

    def rule(core, forward):
        def forth(states, *args):
            (out, residuals), written = forward(states, *args)
            return (out, written), residuals

        def run(_, *args):
            def back(residuals, cotangents):
                of_states, *of_args = bwd(residuals, cotangents[0])
                return StateValues.of(states.states, [of_states.get(s) for s in states.states]), *of_args

            states = StateValues.read(dict.fromkeys([*core.states(), *forward.states()]))
            pure = jax.custom_vjp(core)
            pure.defvjp(forth, back)
            return pure(states, *args)

        return run

    return lift(rule, fun, fwd)


def solve(field, y0, t1, dt, solver, **options):
    """Solve dy/dt = field(t, y) from 0 to `t1`; the field reads states, and the solution has gradients for them."""

    def rule(core):
        def slope(t, y, states):
            out, written = core(states, t, y)
            if written.items():
                raise TypeError(f"`{core.__qualname__}` writes {written.items()[0][0]}, but a field can only read")
            return out

        def run(_, y0):
            given = StateValues.read(core.states())
            found = diffrax.diffeqsolve(diffrax.ODETerm(slope), solver, 0.0, t1, dt, y0, args=given, **options)
            return found.ys[-1], StateValues.read(()).as_written()

        core.frozen = True
        return run

    return lift(rule, field)(y0)


def filter_checkpoint(fun, **options):
    """`jax.checkpoint` for arguments that hold texts, functions and whatever else is no array."""

    def rule(core):
        def run(states, *args, **kwargs):
            leaves, tree = jax.tree.flatten((args, kwargs))
            arrays = {n: leaf for n, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray, float))}

            def inner(states, arrays):
                args, kwargs = tree.unflatten([arrays.get(n, leaf) for n, leaf in enumerate(leaves)])
                return core(states, *args, **kwargs)

            return jax.checkpoint(inner, **options)(states, arrays)

        return run

    return lift(rule, fun)


PLUGINS = [jvp, linearize, custom_vjp, solve, filter_checkpoint]


def code_lines(fun):
    """The lines of code of a function, as it is written: no docstring, no empty line."""
    tree = ast.parse(inspect.getsource(fun))
    doc = tree.body[0].body[0]
    lines = inspect.getsource(fun).splitlines()
    return sum(bool(line.strip()) for line in lines) - (doc.end_lineno - doc.lineno + 1)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_fifteen_lines_and_public_names_only(plugin):
    assert code_lines(plugin) <= 15
    names = {node.attr for node in ast.walk(ast.parse(inspect.getsource(plugin))) if isinstance(node, ast.Attribute)}
    assert not [name for name in names if name.startswith("_") and not name.startswith("__")]
    ours = {name for name in plugin.__code__.co_names if hasattr(brainstate_transform, name)}
    assert ours <= set(brainstate_transform.__all__)


def with_vjp(f):
    """The derivative of `f` as plain JAX finds it, given by hand."""
    return custom_vjp(f, lambda x: (f(x), None), lambda _, cotangent: ({}, cotangent))


def solved(f, **options):
    """One step of length 1 from 0: the result is f(x)."""
    return lambda x: solve(lambda t, y: f(x), jnp.zeros_like(x), 1.0, 1.0, diffrax.Euler(), max_steps=1, **options)


NESTED = {name for name in laws(writes=True) if name.startswith(("under_", "over_"))}
EQUINOX = lambda f: lift(lambda core: equinox.filter_checkpoint(core, policy=jax.checkpoint_policies.dots_saveable), f)

# each with the laws that it cannot keep by its nature, and why
CHECKED = {
    # a module has no tangent
    "jvp": (lambda f: lambda x: jvp(f, (x,), (jnp.ones_like(x),))[0], {"takes_modules"}),
    "linearize": (lambda f: lambda x: linearize(f, x)[0], set()),
    # the derivative is what the user says; JAX runs the forward function later, so that it is given every state
    "custom_vjp": (with_vjp, {"differentiates", "uses_few_of_many"}),
    "filter_checkpoint": (filter_checkpoint, set()),
    # equinox keeps the functions that it has traced in a cache, and takes any object for a part of a result
    "equinox": (EQUINOX, {"lets_models_go", "undoes_refused_results"}),
}


@pytest.mark.parametrize(("wrap", "skip"), CHECKED.values(), ids=CHECKED)
def test_the_laws_hold(wrap, skip):
    assert len(check_transform(wrap, skip=skip | NESTED)) >= 20


@pytest.mark.exhaustive
@pytest.mark.parametrize(("wrap", "skip"), CHECKED.values(), ids=CHECKED)
def test_the_laws_hold_nested(wrap, skip):
    check_transform(wrap, skip=skip)


@pytest.mark.exhaustive
def test_the_laws_hold_for_an_ode():
    skip = {
        "takes_modules",  # y0 is an array
        "runs_python_once",  # diffrax traces the field for its shapes, for the solver and in the loop
        "lets_models_go",  # as for equinox, with which diffrax compiles
        "leaks_nothing",  # on JAX 0.12 diffrax itself does
    }
    wrap = lambda f: solved(f, adjoint=diffrax.DirectAdjoint())
    check_transform(wrap, writes=False, skip=skip)


def test_jvp():
    m = Net(3.0)
    assert jvp(lambda x: m(x) ** 2, (2.0,), (1.0,)) == (36.0, 36.0)
    assert m.n.value == 1.0


def test_linearize_captures_the_states_of_the_moment():
    m = Net(3.0)
    out, slope = linearize(lambda x: m(x) ** 2, 2.0)
    m.w.value = jnp.array(100.0)
    assert (out, slope(1.0), slope(2.0)) == (36.0, 36.0, 72.0)
    assert m.n.value == 1.0


def test_linearize_runs_python_once():
    m, runs = Net(3.0), Runs()
    linearize(lambda x: (runs(), m(x))[1], one)
    assert runs.since() == 1


def scaled(m):
    """A custom derivative that is ten times that for x, and a hundred times that for the weight."""
    return custom_vjp(
        lambda x: m(x),
        lambda x: (m(x), (x, m.w.value)),
        lambda kept, cotangent: ({m.w: 100.0 * kept[0] * cotangent}, 10.0 * kept[1] * cotangent),
    )


ORDERS = {
    "grad": lambda f, *wrt: grad(f, *wrt),
    "jit of grad": lambda f, *wrt: jit(grad(f, *wrt)),
    "grad of jit": lambda f, *wrt: grad(jit(f), *wrt),
    "all": lambda f, *wrt: jit(grad(jit(f), *wrt)),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_custom_vjp_of_states_and_arguments(order):
    m = Net(3.0)
    f = scaled(m)
    assert f(2.0) == 6.0
    by_x, by_w = order(f), order(f, m.w)
    for calls, w in enumerate((3.0, 4.0, 3.0)):  # JAX runs the forward function later than the call: it sees the value
        m.w.value = jnp.array(w)
        assert by_x(2.0) == 10.0 * w
        assert by_w(2.0) == 200.0
        assert m.n.value == 3 + 2 * calls


def test_custom_vjp_that_fails_writes_nothing():
    m = Net(3.0)

    def fwd(x):
        m(x)
        raise RuntimeError("forward")

    f = custom_vjp(lambda x: m(x), fwd, lambda _, cotangent: ({}, cotangent))
    with pytest.raises(RuntimeError, match="forward"):
        grad(f)(2.0)
    assert m.n.value == 0.0


def decay(w, **options):
    return lambda y: solve(lambda t, y: w.value * y, y, 1.0, 0.1, diffrax.Tsit5(), max_steps=16, **options)


def test_an_ode_and_its_gradient():
    w = Param(jnp.array(-1.0))
    step = jit(value_and_grad(decay(w), w))
    for rate in (-1.0, -0.5):
        w.value = jnp.array(rate)
        value, slope = step(one)
        np.testing.assert_allclose([value, slope], [np.exp(rate), np.exp(rate)], rtol=1e-4)  # d exp(w)/dw at t = 1


def test_a_field_that_writes_or_changes_structure_is_refused():
    m = Net(-1.0)
    with pytest.raises(TypeError, match=r"writes Count\(.*\), but a field can only read"):
        solved(lambda x: m(x))(one)
    with pytest.raises(StructureError, match=r"sets Net\.extra"):
        solved(lambda x: setattr(m, "extra", State(x)) or x)(one)
    assert m.n.value == 0.0
    assert not hasattr(m, "extra")


def test_filter_checkpoint_takes_what_is_no_array():
    m = Net(3.0)
    f = filter_checkpoint(lambda x, name, act: act(m(x["a"])) if name == "net" else None, prevent_cse=False)
    assert grad(lambda x: f({"a": x, "b": "text"}, "net", jnp.sin), m.w)(one) == jnp.cos(3.0)
    assert f({"a": one}, "other", act=None) is None
