from __future__ import annotations

import builtins
import functools
import re
import traceback

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import Node, State
from brainstate_transform import (
    StateFinder,
    StatefulFunction,
    cond,
    eval_shape,
    export,
    for_loop,
    grad,
    jit,
    linearize,
    make_jaxpr,
    scan,
    vjp,
    vmap,
)
from tests.tables import each


class Layer(Node):
    def __init__(self):
        self.w = State(jnp.ones(2))

    def __call__(self, x):
        return self.w.value + jnp.zeros(3) * x

    def twice(self, x):
        return self(x)


class Model(Node):
    def __init__(self):
        self.layers = {"first": Layer()}

    def __call__(self, x):
        return self.layers["first"](x).sum()


def failing(x):
    raise ValueError("wrong")


def raised_by(call, *args, kind=Exception):
    with pytest.raises(kind) as caught:
        call(*args)
    return caught.value


def files(error):
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def names(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def notes(error):
    return "\n".join(error.__notes__)


def line_of(function, after=1):
    return f"{__file__}:{function.__code__.co_firstlineno + after}"


@pytest.fixture
def filtering():
    before = jax.config.jax_traceback_filtering
    yield lambda how: jax.config.update("jax_traceback_filtering", how)
    jax.config.update("jax_traceback_filtering", before)


# -- frames ------------------------------------------------------------------------------------------------------------


def test_a_nest_shows_the_frames_of_the_user():
    model = Model()

    @jit
    def step(xs):
        return grad(lambda x: for_loop(model, xs * x).sum())(1.0)

    error = raised_by(step, jnp.ones(3), kind=TypeError)
    assert names(error) == ["raised_by", "step", "<lambda>", "__call__", "__call__"]
    assert set(files(error)) == {__file__}


def test_all_frames_are_shown_on_request(filtering):
    filtering("off")
    error = raised_by(jit(lambda x: grad(failing)(x)), 1.0)
    assert any("/brainstate_transform/" in file for file in files(error))
    assert any("/jax/" in file for file in files(error))
    assert notes(error).startswith(f"Raised at {line_of(failing)} in `failing`")
    assert "FILTERING" not in notes(error)


def test_notebooks_are_told_which_frames_to_hide(filtering, monkeypatch):
    monkeypatch.setattr(builtins, "get_ipython", None, raising=False)
    filtering("auto")
    error = raised_by(vmap(failing), jnp.ones(2))
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    hidden = [frame.f_code.co_filename for frame in frames if frame.f_locals.get("__tracebackhide__")]
    shown = [frame.f_code.co_filename for frame in frames if not frame.f_locals.get("__tracebackhide__")]
    assert set(shown) == {__file__}
    assert any("/brainstate_transform/" in file for file in hidden)


def test_jax_keeps_all_frames_in_the_cause_where_it_is_asked_to(filtering):
    filtering("remove_frames")
    error = raised_by(jit(failing), 1.0)
    assert set(files(error)) == {__file__}
    assert any("/brainstate_transform/" in file for file in files(error.__cause__))


def test_frames_of_causes_are_hidden_too():
    def wrapped(x):
        try:
            grad(failing)(x)
        except ValueError as error:
            raise TypeError("more") from error

    error = raised_by(jit(wrapped), 1.0, kind=TypeError)
    assert set(files(error)) == set(files(error.__cause__)) == {__file__}


def test_what_is_caught_inside_is_left_as_it_is():
    seen = []

    def careful(x):
        try:
            grad(failing)(x)
        except ValueError as error:
            seen.append(getattr(error, "__notes__", []))
        return x

    jit(careful)(1.0)
    assert not any("Raised" in note for note in seen[0])


def test_a_transform_of_jax_may_be_around():
    error = raised_by(jax.jit(lambda x: grad(lambda x: for_loop(failing, x[None])[0])(x)), 1.0)
    assert set(files(error)) == {__file__}
    assert f"Raised at {line_of(failing)} in `failing`" in notes(error)


def test_an_error_that_is_raised_again_is_noted_once():
    kept = ValueError("kept")

    def again(x):
        raise kept

    for _ in range(2):
        assert raised_by(jit(again), 1.0) is kept
    assert notes(kept).count("Raised at") == 1
    assert "are not shown" not in notes(kept)  # JAX has said it
    assert kept.args == ("kept",)


# Whatever users call. Those that the laws of errors run are not among them.
CALLS = {
    "trace": lambda f: jit(f).trace(1.0),
    "lower": lambda f: jit(f).lower(1.0),
    "compile": lambda f: jit(f).compile(1.0),
    "eval_shape of jit": lambda f: jit(f).eval_shape(1.0),
    "explain": lambda f: jit(f).explain(1.0),
    "export": lambda f: export(jit(f), 1.0),
    "eval_shape": lambda f: eval_shape(f, 1.0),
    "make_jaxpr": lambda f: make_jaxpr(f)(1.0),
    "StatefulFunction": lambda f: StatefulFunction(f).make_jaxpr(1.0),
    "StateFinder": lambda f: StateFinder(f)(1.0),
    "scan": lambda f: scan(lambda c, x: (f(c), x), 1.0, jnp.ones(2)),
    "cond": lambda f: cond(jnp.array(True), f, f, 1.0),
    "jit in jit": lambda f: jit(jit(f))(1.0),
    "method": lambda f: type("Owner", (), {"step": jit(lambda self, x: f(x))})().step(1.0),
}


@each("call", CALLS.values(), ids=list(CALLS))
def test_every_way_into_the_library_is_a_boundary(call):
    error = raised_by(call, lambda x: failing(x), kind=ValueError)
    assert set(files(error)) == {__file__}
    assert f"Raised at {line_of(failing)} in `failing`, inside of `" in notes(error)


def test_what_the_derivatives_return_is_a_boundary_too():
    pullback = vjp(lambda x: 2.0 * x, jnp.ones(2))[1]
    pushforward = linearize(lambda x: 2.0 * x, jnp.ones(2))[1]
    for call in (pullback, pushforward):
        assert set(files(raised_by(call, jnp.ones(7), kind=ValueError))) == {__file__}


def test_the_errors_of_a_group_show_the_frames_of_the_user():
    def collects(x):
        found = []
        for fun in (failing, grad(failing)):
            try:
                fun(x)
            except ValueError as error:
                found.append(error)
        raise ExceptionGroup("both", found)

    error = raised_by(jit(collects), 1.0, kind=ExceptionGroup)
    assert {file for each in error.exceptions for file in files(each)} == {__file__}


def test_an_argument_that_jax_refuses_is_that_of_the_users_function():
    with pytest.raises(TypeError, match=r"argument to `failing` as an abstract array.* at path operands\[0\]"):
        cond(True, failing, failing, "text")


def test_what_the_user_calls_with_the_wrong_arguments_has_one_frame():
    error = raised_by(lambda: cond(jnp.ones(2), failing, failing, 1.0), kind=TypeError)
    assert set(files(error)) == {__file__}
    assert "Raised" not in notes(error)  # no function of the user's was reached


# -- where it arose ----------------------------------------------------------------------------------------------------


def test_a_module_has_the_path_from_the_model_that_the_user_has_a_name_for():
    model = Model()

    def part(x):
        return model.layers["first"].twice(x)

    error = raised_by(jit(part), 1.0)
    assert f"Raised at {line_of(Layer.__call__)} in `Layer.__call__`, in the module `Model.layers.first`" in notes(
        error
    )
    assert f"inside of `{part.__qualname__}` ({line_of(part, 0)})." in notes(error)


def test_a_module_that_is_made_inside_has_the_name_of_its_class():
    error = raised_by(jit(lambda x: Layer()(x)), 1.0)
    assert "in the module `Layer`, inside of" in notes(error)


def test_the_function_is_the_users():
    class Callable:
        def __call__(self, x):
            return failing(x)

    class Owner:
        @jit
        def method(self, x):
            return failing(x)

    @functools.wraps(failing)
    def decorated(*args):
        return failing(*args)

    model = Model()
    for call, name, where in (
        (lambda: jit(Callable())(1.0), "Callable", line_of(Callable.__call__, 0)),
        (lambda: Owner().method(1.0), "method", line_of(Owner.method.__wrapped__, 0)),
        (lambda: for_loop(model, jnp.ones(2)), "Model", line_of(Model.__call__, 0)),
        (lambda: jit(functools.partial(lambda y, x: failing(x), 1.0))(1.0), "<lambda>", __file__),
    ):
        text = notes(raised_by(call))
        found = re.search(r"inside of `(\S+)` \((.*?)\)\.", text)
        assert found is not None, text
        assert found[1].endswith(name)
        assert found[2].startswith(where)
    assert "inside of" not in notes(raised_by(jit(decorated), 1.0))  # its line is named already
    assert notes(raised_by(jit(jnp.dot), 1.0)).startswith("-")  # a function of JAX's alone


def test_objects_that_answer_everything_or_nothing_do_no_harm():
    class Sloppy:
        def __getattr__(self, name):
            raise KeyError(name)

        def __call__(self, x):
            self = model  # noqa: F841
            raise ValueError("wrong")

    class Willing:
        def __getattr__(self, name):
            return Willing()

        def __call__(self, x):
            raise ValueError("wrong")

    model = Model()
    for one in (Sloppy(), Willing()):
        assert set(files(raised_by(jit(lambda x, one=one: one(x)), 1.0, kind=ValueError))) == {__file__}


# -- states by name ----------------------------------------------------------------------------------------------------


def told(error):
    return re.findall(r"argument\w* (.*)\.", str(error))[0]


def test_states_of_the_trace_that_has_the_value_are_named():
    model, free = Model(), State(jnp.ones(()), name="free")

    def inner(x):  # the states of the outer trace have other numbers in the inner one
        return jit(lambda y: y if model.layers["first"].w.value.sum() > 0 else y * free.value)(x)

    @jit
    def outer(x):
        return inner(x) * free.value

    assert told(raised_by(outer, 1.0)) == "Model.layers.first.w.value"
    assert told(raised_by(jit(lambda x: x if free.value > 0 else -x), 1.0)) == "State 'free'.value"

    others = [State(jnp.ones(()), name=f"other {i}") for i in range(3)]

    @jit
    def around(x):
        flag = free.value > 0  # of the outer trace, while the inner one has other states under each number
        return jit(lambda y: y * sum(other.value for other in others) if flag else y)(x)

    assert told(raised_by(around, 1.0)) == "State 'free'.value"


def test_a_state_without_a_value_is_named():
    state = State(jax.ShapeDtypeStruct((2,), jnp.float32), name="scale")
    for call in (jit(lambda x: state.value * x), lambda x: for_loop(lambda x: state.value * x, x)):
        with pytest.raises(TypeError, match=r"uses State 'scale', which is a shape without a value, f32\[2\]: init"):
            call(jnp.ones(2))


# -- modules in messages -----------------------------------------------------------------------------------------------


def test_modules_that_change_places_are_named():
    model = Model()
    model.second = model.layers["first"]
    first, other = model.layers["first"], Layer()
    with pytest.raises(TypeError, match=r"its carry\[0\] from <Layer at Model\.layers\.first> to <Layer>; a loop"):
        scan(lambda c, x: ((other, c[1]), x), (first, 1.0), jnp.ones(2))
    with pytest.raises(TypeError, match=r"\(true_fun\) returns <Layer>, .* another <Layer>; all branches must return"):
        cond(jnp.array(True), lambda a, b: a, lambda a, b: b, Layer(), Layer())


def test_a_long_path_is_cut_in_the_middle():
    deep = node = Layer()
    for _ in range(12):
        outer = Node()
        outer.module_inside = node
        node = outer
    with pytest.raises(TypeError, match=r"from <Layer at Node\.module_insi\.\.\.\S+inside> to <a new Layer>; a"):
        scan(lambda c, x: (Layer(), x), deep, jnp.ones(2))
