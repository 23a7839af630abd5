"""A State is no array, and says so: every operator, item and attribute of arrays names the line to write."""

from __future__ import annotations

import dataclasses
import math
import operator
import pickle
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State, TreefyState, states
from brainstate_transform import jit
from tests.tables import each

ARRAYS = (jnp.ones(2), np.ones(2), np.float32(1.0))

# What arrays have beside what every object has, and a State either has, too, or has no use for: attributes that others
# look for, and what is no operation.
NO_OPERATORS = {
    "__array_finalize__", "__array_function__", "__array_interface__", "__array_namespace__", "__array_prepare__",
    "__array_priority__", "__array_struct__", "__array_wrap__", "__buffer__", "__class_getitem__", "__copy__",
    "__deepcopy__", "__dict__", "__dlpack__", "__dlpack_device__", "__iter__", "__module__", "__numpy_dtype__",
    "__setstate__", "__slots__", "__weakref__", "__cuda_array_interface__", "__release_buffer__",
    "__abstractmethods__", "__annotations__", "__firstlineno__", "__static_attributes__", "__array_module__",
    "__del__", "__hex__", "__oct__", "__getnewargs__", "__getformat__", "__setformat__",
}  # fmt: skip


# What JAX does not document, and `copy`, which is a method of states too.
UNDOCUMENTED = {
    "aval", "clone", "copy", "device_buffer", "device_buffers", "on_device_size_in_bytes", "traceback",
    "unsafe_buffer_pointer", "unsafe_raw_buffer",
}  # fmt: skip


class Kind(State):
    """A kind of a user's."""


class Net(Node):
    def __init__(self):
        self.w = Kind(jnp.ones(2))


def held():
    net = Net()
    return net, net.w


def names_the_line(call, *errors, line):
    """Whether a call is refused with the path of the state and a line to write."""
    with pytest.raises(errors or TypeError) as caught:
        call()
    text = str(caught.value)
    assert "Kind at Net.w" in text, text
    assert f"write `{line}`" in text, text
    assert text.count("state.value") >= 1


BINARY = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "@": operator.matmul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow, "<<": operator.lshift, ">>": operator.rshift,
    "&": operator.and_, "|": operator.or_, "^": operator.xor,
}  # fmt: skip
IN_PLACE = {
    "+": operator.iadd, "-": operator.isub, "*": operator.imul, "@": operator.imatmul, "/": operator.itruediv,
    "//": operator.ifloordiv, "%": operator.imod, "**": operator.ipow, "<<": operator.ilshift,
    ">>": operator.irshift, "&": operator.iand, "|": operator.ior, "^": operator.ixor,
}  # fmt: skip
COMPARED = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@each("sign", BINARY)
@each("other", [2, 2.0, True, "x", None, (1,), [1], {}])
def test_an_operator_of_two_with_what_is_no_array(sign, other):
    _, s = held()
    names_the_line(lambda: BINARY[sign](s, other), line=f"state.value {sign} x")
    if not (sign == "%" and isinstance(other, str)):  # which formats
        names_the_line(lambda: BINARY[sign](other, s), line=f"x {sign} state.value")
    names_the_line(lambda: IN_PLACE[sign](s, other), line=f"state.value {sign}= x")


@each("sign", BINARY)
@each("number", range(len(ARRAYS)))
def test_an_operator_of_two_with_an_array(sign, number):
    _, s = held()
    names_the_line(lambda: BINARY[sign](s, ARRAYS[number]), line=f"state.value {sign} x")
    with pytest.raises((TypeError, ValueError), match=r"Kind at Net\.w .*state\.value"):
        BINARY[sign](ARRAYS[number], s)


@each("sign", COMPARED)
@each("other", [2, 2.0, "x", None, (1,), ..., Net(), TreefyState(State, 1.0).value, object()])
def test_comparisons(sign, other):
    _, s = held()
    names_the_line(lambda: COMPARED[sign](s, other), line=f"state.value {sign} x")
    names_the_line(lambda: COMPARED[sign](other, s), line=f"state.value {MIRRORED[sign]} x")


@each("sign", COMPARED)
@each("number", range(len(ARRAYS)))
def test_comparisons_with_an_array(sign, number):
    _, s = held()
    names_the_line(lambda: COMPARED[sign](s, ARRAYS[number]), line=f"state.value {sign} x")
    names_the_line(lambda: COMPARED[sign](ARRAYS[number], s), TypeError, ValueError, line="state.value")


OTHERS = {
    "-state.value": operator.neg,
    "+state.value": operator.pos,
    "~state.value": operator.invert,
    "abs(state.value)": abs,
    "round(state.value)": round,
    "math.ceil(state.value)": math.ceil,
    "math.floor(state.value)": math.floor,
    "math.trunc(state.value)": math.trunc,
    "float(state.value)": float,
    "int(state.value)": int,
    "complex(state.value)": complex,
    "range(state.value)": range,
    "len(state.value)": len,
    "reversed(state.value)": reversed,
    "state.value[i]": lambda s: s[0],
    "state.value = state.value.at[i].set(x)": lambda s: operator.setitem(s, 0, 1.0),
    "del state.value[i]": lambda s: operator.delitem(s, 0),
    "x in state.value": lambda s: 1.0 in s,
    "divmod(state.value, x)": lambda s: divmod(s, 2),
    "divmod(x, state.value)": lambda s: divmod(2, s),
    "if state.value:": bool,
    'f"{state.value:.3f}"': lambda s: f"{s:.3f}",
}


@each("line", OTHERS)
def test_all_other_operators(line):
    _, s = held()
    names_the_line(lambda: OTHERS[line](s), line=line)


@each("use", [list, tuple, set, sum, max, any, lambda s: [*s], lambda s: (lambda a, b: a)(*s)])
def test_a_state_has_no_items_to_go_through(use):
    _, s = held()
    names_the_line(lambda: use(s), line="state.value[i]")


def test_no_operator_of_arrays_is_left_out():
    ours = {name for kind in State.__mro__ for name in vars(kind)} - set(dir(object)) | {
        "__eq__",
        "__ne__",
        "__format__",
    }
    theirs = {name for array in ARRAYS[:2] for name in dir(type(array)) if re.fullmatch(r"__\w+__", name)}
    theirs |= {name for name in dir(float) + dir(int) if re.fullmatch(r"__\w+__", name)}
    left_out = theirs - ours - NO_OPERATORS - set(dir(object))
    assert not left_out


@each("number", range(2))
def test_no_attribute_of_arrays_is_left_out(number):
    _, s = held()
    for name in dir(ARRAYS[number]):
        if name.startswith("_") or name in UNDOCUMENTED:
            continue
        assert not hasattr(s, name)
        assert not hasattr(State, name)
        assert name not in dir(s)
        names_the_line(lambda name=name: getattr(s, name), AttributeError, line=f"state.value.{name}")


FUNCTIONS = {
    "jnp.sum": jnp.sum,
    "jnp.add": lambda s: jnp.add(jnp.ones(2), s),
    "jnp.dot": lambda s: jnp.dot(jnp.ones(2), s),
    "jnp.where": lambda s: jnp.where(s, 1, 2),
    "jnp.asarray": jnp.asarray,
    "jnp.stack": lambda s: jnp.stack([s, s]),
    "jnp.shape": jnp.shape,
    "an index": lambda s: jnp.ones(2)[s],
    "set": lambda s: jnp.ones(2).at[0].set(s),
    "jax.jit": lambda s: jax.jit(lambda x: x)(s),
    "jax.vmap": lambda s: jax.vmap(lambda x: x)(s),
    "jax.grad": lambda s: jax.grad(lambda x: x.sum())(s),
    "jax.device_put": jax.device_put,
    "np.sum": np.sum,
    "np.add": lambda s: np.add(np.ones(2), s),
    "np.mean": np.mean,
    "np.asarray": np.asarray,
    "np.stack": lambda s: np.stack([s, s]),
    "np.array": lambda s: np.array([s]),
    "np.shape": np.shape,
    "np.concatenate": lambda s: np.concatenate([s, s]),
}


@each("name", FUNCTIONS)
def test_functions_of_arrays(name):
    _, s = held()
    # JAX puts its own words in place of a TypeError
    names_the_line(lambda: FUNCTIONS[name](s), TypeError, ValueError, line="state.value")


def test_it_is_the_same_while_a_function_is_traced():
    net, s = held()
    for use in (lambda: s + 1, lambda: jnp.sum(s), lambda: s.shape, lambda: 2 if s else 3, lambda: s == 3):
        with pytest.raises((TypeError, ValueError, AttributeError), match=r"Kind at Net\.w .*state\.value"):
            jit(use)()
    assert float(net.w.value.sum()) == 2.0


# -- what goes on to work ----------------------------------------------------------------------------------------------


def test_states_are_compared_by_identity():
    a, b = State(1.0), State(1.0)
    assert a == a
    assert a != b
    assert not a == b  # noqa: SIM201
    assert not a != a  # noqa: SIM202
    assert (a in [b, a], a in [b], [b, a].index(a)) == (True, False, 1)
    assert {a: 1, b: 2}[b] == 2
    assert len({a, b, a}) == 2
    assert {a, b} == {b, a}
    assert [a, b] == [a, b] != [b, a]
    assert hash(a) == object.__hash__(a)
    one, two = pickle.loads(pickle.dumps([a, a]))
    assert one == two != a

    @dataclasses.dataclass
    class Pair:
        state: State

    assert Pair(a) == Pair(a) != Pair(b)


def test_a_kind_may_have_operators_and_attributes_of_its_own():
    class Quantity(State):
        size = 7

        @property
        def shape(self):
            return self.value.shape

        def __add__(self, other):
            return self.value + other

        def __bool__(self):
            return True

    class Open(State):
        def __getattr__(self, name):
            return getattr(self.value, name)

    q = Quantity(jnp.ones(3))
    assert (q.shape, q.size, bool(q), float((q + 1)[0])) == ((3,), 7, True, 2.0)
    assert "shape" in dir(q)
    assert (Open(jnp.ones(3)).shape, float(Open(jnp.ones(3)).sum())) == ((3,), 3.0)
    q.mean = 5  # a kind without slots has room for attributes
    assert q.mean == 5


def test_whoever_asks_does_not_wait_for_the_words(monkeypatch):
    def never(_):
        raise AssertionError("the path is looked for")

    monkeypatch.setattr(State, "_in_words", never)
    s = State(1.0)
    assert not hasattr(s, "dtype")
    assert getattr(s, "shape", ()) == ()


def test_a_list_in_which_a_number_takes_the_place_of_a_state_is_seen():
    net = Net()
    net.all = [State(1.0), State(2.0)]
    assert len(states(net)) == 3
    net.all[0] = 5
    assert list(states(net)) == [("all", 1), ("w",)]


def test_the_words_are_plain_text_where_the_error_goes_on():
    with pytest.raises(TypeError) as caught:
        State(1.0, name="gain") + 1
    assert "State 'gain' is not an array" in repr(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (TypeError, str(caught.value))
    assert isinstance(again.args[0], str)


def test_it_is_no_iterable_and_no_function():
    s = State(1.0)
    assert not isinstance(s, (types.FunctionType, tuple))
    assert not callable(s)
    from collections.abc import Iterable

    assert not isinstance(s, Iterable)
