"""`jit_error_if`, `breakpoint_if` and `check_finite`: checks of values that are known only when the program runs."""

from __future__ import annotations

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State, StateArgumentError
from brainstate_transform import (
    NonFiniteError,
    breakpoint_if,
    checkpoint,
    cond,
    for_loop,
    grad,
    ifelse,
    jit,
    jit_error_if,
    switch,
    value_and_grad,
    vmap,
)
from brainstate_transform._checks.error_if import check_finite
from tests.laws.transforms import Net
from tests.tables import each, pairs


class Special(Exception):
    pass


def root(x):
    jit_error_if(x < 0, Special, x)
    return jnp.sqrt(x)


UNDER = {
    "eager": lambda f: f,
    "jit": jit,
    "jit of jit": lambda f: jit(jit(f)),
    "grad": lambda f: lambda x: value_and_grad(f)(x)[0],
    "jit of grad": lambda f: jit(lambda x: value_and_grad(f)(x)[0]),
    "checkpoint": lambda f: lambda x: value_and_grad(checkpoint(f))(x)[0],
    "loop": lambda f: lambda x: for_loop(f, x[None])[0],
    "vmap": lambda f: lambda x: vmap(f)(x[None])[0],
    "jit of vmap of vmap": lambda f: jit(lambda x: vmap(vmap(f))(x[None, None])[0, 0]),
    "vmap of jit": lambda f: lambda x: vmap(jit(f))(x[None])[0],
    "vmap of grad": lambda f: lambda x: vmap(value_and_grad(f))(x[None])[0][0],
    "vmap of loop": lambda f: lambda x: vmap(lambda x: for_loop(f, x[None])[0])(x[None])[0],
    "cond": lambda f: lambda x: cond(x == x, f, f, x),
    "vmap of cond": lambda f: lambda x: vmap(lambda x: cond(x == x, f, f, x))(x[None])[0],
    "switch": lambda f: jit(lambda x: switch(jnp.int32(x), [f, f], x)),
    "jvp": lambda f: jit(lambda x: jax.jvp(f, (x,), (x,))[0]),
    "jacobian of gradient": lambda f: lambda x: f(x) + 0 * jax.hessian(f)(x),
}


@pairs(under={name: name for name in UNDER}, context={"leaks": jax.checking_leaks, "no jit": jax.disable_jit})
def test_the_exception_of_the_user_under_every_transform(under, context):
    with context():
        f = UNDER[under](root)
        assert f(jnp.float32(4.0)) == 2.0
        with pytest.raises(Special, match=r"-4\."):
            f(jnp.float32(-4.0))
        assert f(jnp.float32(9.0)) == 3.0


def test_an_error_at_run_time_leaves_states_alone():
    m = Net()

    def f(x):
        m.n.value = x
        return root(x)

    for under in ("jit", "jit of grad", "loop", "cond"):
        UNDER[under](f)(jnp.float32(1.0))
        before = m.n.value
        with pytest.raises(Special, match=r"-4\.0"):
            UNDER[under](f)(jnp.float32(-4.0))
        assert m.n.value is before


def test_under_raw_jax_the_text_comes():
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"Special: -4\.0"):
        jax.jit(root)(-4.0)


def test_it_runs_once_for_all_lanes_with_the_whole_batch():
    seen = []

    def note(x, y):
        seen.append((x, y))
        return Special("noted")

    xs = jnp.array([-1.0, 2.0, -3.0])
    f = lambda x: jit_error_if(x < 0, note, x, y=2 * x)
    for way in (vmap(f), jit(vmap(f)), vmap(jit(f))):
        seen.clear()
        with pytest.raises(Special):
            way(xs)
        assert len(seen) == 1
    np.testing.assert_array_equal(seen[0][0], xs)


@each(
    ("error", "args", "kwargs", "text"),
    [
        ("plain", (), {}, "plain"),
        ("100% wrong", (), {}, "100% wrong"),
        ("x is %.1f", (1.5,), {}, "x is 1.5"),
        ("x is %s and %d", (1.5, 3), {}, "x is 1.5 and 3"),
        ("x is {:.2f}", (1.5,), {}, "x is 1.50"),
        ("x is {x}, y {0}", (3,), {"x": 1.5}, "x is 1.5, y 3"),
        ("50% {}", (3,), {}, "50% 3"),
        ("no place", (3,), {}, "no place"),
        ("wrong {z}", (3,), {}, r"wrong {z} \(3"),
        ("{who}: {x[0]}", (), {"who": "me", "x": [7]}, "me: 7"),
    ],
)  # fmt: skip
@each("under", [lambda f: f, jit])
def test_texts(error, args, kwargs, text, under):
    dynamic = jax.tree.map(lambda a: a if isinstance(a, str) else jnp.asarray(a), (args, kwargs))
    for given in ((args, kwargs), dynamic):
        with pytest.raises(ValueError, match=f"^{text}"):
            under(lambda p, given=given: jit_error_if(p, error, *given[0], **given[1]))(jnp.array([False, True]))


def raises_itself(x):
    raise Special(f"itself {x}")


def returns_nothing(x):
    return None


@pytest.mark.parametrize("under", [lambda f: f, jit])
def test_what_an_error_may_be(under):
    for error, kind, text in (
        (Special("ready"), Special, "ready"),
        (Special, Special, "2"),
        (raises_itself, Special, "itself 2"),
        (lambda x: Special(x), Special, "2"),
        (lambda x: f"text {x}", RuntimeError, "text 2"),
        (returns_nothing, RuntimeError, "`returns_nothing` of jit_error_if raised nothing"),
    ):
        args = () if isinstance(error, Exception) else (jnp.array(2),)
        with pytest.raises(kind, match=text):
            under(lambda p, error=error, args=args: jit_error_if(p, error, *args))(True)
    for wrong in (3, None, ["text"]):
        with pytest.raises(TypeError, match="a text, an exception or a function"):
            jit_error_if(False, wrong)


def test_states_are_refused():
    s = State(jnp.array(True))
    for call in (lambda: jit_error_if(s, "x"), lambda: jit_error_if(True, "x %s", s), lambda: breakpoint_if(s)):
        with pytest.raises(StateArgumentError, match=r"give the value, `state\.value`"):
            call()


def test_any_shape_and_kind_of_predicate():
    for pred in (True, 1, 2.5, np.bool_(True), np.array([[0, 1]]), jnp.array([0.0, -1.0])):
        for under in (lambda f: f, jit):
            with pytest.raises(ValueError, match="bad"):
                under(lambda p: jit_error_if(p, "bad"))(pred)
            assert under(lambda p: jit_error_if(p, "bad"))(jax.tree.map(lambda p: p * 0, pred)) is None


@pytest.mark.parametrize("under", [lambda f: f, jit])
def test_a_constant_predicate_in_a_branch_that_is_not_taken(under):
    fails = lambda: jit_error_if(True, "taken")
    assert under(lambda p: cond(p, fails, lambda: None))(False) is None
    with pytest.raises(ValueError, match="taken"):
        under(lambda p: cond(p, fails, lambda: None))(True)
    assert jit(lambda p: jax.lax.cond(p, jit(fails), lambda: None))(False) is None


@each("under", [lambda f: f, lambda f: jax.checkpoint(f), jit])
def test_gradients_go_past_a_check_with_a_traced_argument(under):
    f = lambda x: (jit_error_if(x < 0, "x is {} and {y}", x, y=x**2), x**3)[1]
    assert grad(under(f))(2.0) == 12.0
    assert jit(grad(under(f)))(2.0) == 12.0
    with pytest.raises(ValueError, match=r"x is -2\.0 and 4\.0"):
        jit(grad(under(f)))(-2.0)


def test_typed_keys_as_arguments():
    key = jax.random.key(3)
    for under in (lambda f: f, jit, lambda f: lambda k: vmap(f)(k[None])):
        with pytest.raises(Special, match="3"):
            under(lambda k: jit_error_if(True, lambda data: Special(str(data)), k))(key)


def test_of_two_failing_checks_one_speaks():
    s = State(jnp.array(0.0))

    def f(x):
        s.value = x
        jit_error_if(x > 1, Special, "first")
        jit_error_if(x > 0, Special, "second")

    for x in (2.0, 3.0):
        with pytest.raises(Special, match="first"):
            f(x)
        s.value = jnp.array(0.0)
        with pytest.raises(Special, match=r"first|second"):
            jit(f)(x)
        with pytest.raises(Special, match="first"), jax.disable_jit():
            jit(f)(x)
        assert s.value == 0.0
    with pytest.raises(Special, match="second"):
        jit(f)(0.5)


def test_checks_in_a_mapped_choice_and_loop():
    def f(x):
        return ifelse([x > 1, x > 0], [lambda: root(x), lambda: -x, lambda: 0 * x])

    np.testing.assert_allclose(vmap(f)(jnp.array([4.0, 1.0, 0.0])), [2.0, -1.0, 0.0])
    ys = vmap(lambda x: for_loop(lambda i: root(x + i), jnp.arange(2.0)))(jnp.array([0.0, 3.0]))
    np.testing.assert_allclose(ys, np.sqrt([[0.0, 1.0], [3.0, 4.0]]))


def test_check_finite():
    parts = {
        "gradient": {"a": jnp.array([1.0, jnp.nan]), "k": jax.random.key(0), "n": 3},
        "value": (jnp.array(jnp.inf) + 1j,),
    }
    for under in (lambda f: f, jit):
        with pytest.raises(NonFiniteError, match=r"^later: NaN in gradient\['a'\] and infinite numbers in value\[0\]"):
            under(lambda: check_finite(parts, phase="later"))()
        with pytest.raises(NonFiniteError, match=r"NaN in x\. lanes: 2"):
            under(vmap(lambda x: check_finite({"x": x}, lambda v: f"lanes: {v.size}", x)))(jnp.array([1.0, jnp.nan]))
        assert under(lambda: check_finite({"x": (1.0, jnp.ones(3), jax.random.key(0))}))() is None
    assert check_finite({"x": (1, 2)}) is None
    assert issubclass(NonFiniteError, FloatingPointError)
    assert issubclass(NonFiniteError, RuntimeError)


def debugged(f, *args, answers=1):
    shown = io.StringIO()
    f({"backend": "cli", "stdin": io.StringIO("c\n" * answers), "stdout": shown}, *args)
    return shown.getvalue().count("Entering jdb")


def test_breakpoint_if():
    f = lambda x: debugged(lambda options: breakpoint_if(x > 1, **options))
    compiled = lambda x: debugged(lambda options: jit(lambda x: breakpoint_if(x > 1, **options))(x))
    for stop in (f, compiled):
        assert [stop(jnp.float32(x)) for x in (2.0, 0.0)] == [1, 0]
    in_lanes = lambda xs: debugged(lambda options: vmap(lambda x: breakpoint_if(x > 1, **options))(xs), answers=3)
    assert in_lanes(jnp.array([0.0, 1.0, 0.0])) == 0
    assert in_lanes(jnp.array([0.0, 2.0, 0.0])) >= 1
    with jax.disable_jit():
        assert compiled(jnp.float32(2.0)) == 1
