"""Modules without a constructor: they take what they declare, as a dataclass does, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Any, ClassVar

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, clone, treefy_merge, treefy_split
from tests.tables import each

# Each a body of a class, as a namespace; the same body is given to a module and to a plain dataclass.
BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "one": lambda: {"__annotations__": {"a": int}},
    "defaults": lambda: {"__annotations__": {"a": int, "b": float}, "b": 2.0},
    "factory": lambda: {"__annotations__": {"a": list, "b": int}, "a": field(default_factory=list), "b": 3},
    "keyword only": lambda: {"__annotations__": {"a": int, "_": KW_ONLY, "b": int}},
    "class variable": lambda: {"__annotations__": {"a": int, "b": ClassVar[int]}, "b": 5},
    "in text": lambda: {"__annotations__": {"a": "int", "b": "ClassVar[int]"}, "b": 5, "__module__": __name__},
    "not given": lambda: {"__annotations__": {"a": int, "b": int}, "b": field(default=1, init=False)},
    "only for the constructor": lambda: {
        "__annotations__": {"a": InitVar[int], "b": int},
        "b": 0,
        "__post_init__": lambda self, a: setattr(self, "b", self.b + a),
    },
    "private": lambda: {"__annotations__": {"_a": int}},
}
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}), ((1,), {}), ((1, 2), {}), ((1, 2, 3), {}), ((), {"a": 1}), ((1,), {"b": 7}), ((), {"b": 7}),
    ((1,), {"a": 1}), ((), {"c": 1}), ((), {"_a": 4}),
]  # fmt: skip


def outcome(cls, args, kwargs):
    try:
        made = cls(*args, **kwargs)
    except TypeError as error:
        said = str(error).replace(cls.__qualname__, "cls")
        if "unexpected keyword" in said:  # of which ours says more
            said = said.replace("cls.__init__()", "cls()").split("'")[0]
        return said
    return dict(vars(made))


@each("body", BODIES)
def test_as_a_dataclass_does(body):
    ours, plain = type("M", (nn.Module,), BODIES[body]()), dataclass(type("M", (), BODIES[body]()))
    for args, kwargs in CALLS:
        assert outcome(ours, args, kwargs) == outcome(plain, args, kwargs)
    assert inspect.signature(ours).parameters.keys() == inspect.signature(plain).parameters.keys()


@each(
    "make, told",
    [
        (
            lambda: nn.MaxPool(2, stride=2),
            r"^MaxPool\(\) got an unexpected keyword argument 'stride': write `strides=`$",
        ),
        (lambda: nn.Linear(2, 3, biass=False), "Linear.* 'biass': write `use_bias=`$"),
        (lambda: nn.Dropout(q=0.5), "Dropout.* 'q': it takes rate, broadcast_dims, rng$"),
        (lambda: nn.Dropout(p=0.5), "Dropout.* 'p': write `rate=`$"),
    ],
)
def test_an_unknown_keyword_is_told_with_what_there_is(make, told):
    with pytest.raises(TypeError, match=told):
        make()


@each("args, kwargs", [((64,), {}), ((), {"anything": "goes"}), ((64,), {"anything": "goes"})])
@each("base", [nn.Module, Node])
def test_without_declarations_no_argument_is_taken(base, args, kwargs):
    class Block(base):
        def _init_(self, width):
            self.width = width

    class Empty(Block):
        pass

    assert isinstance(Empty(), Empty)
    with pytest.raises(
        TypeError, match=r"^Block\(\) takes no arguments: .*`def __init__\(self, .*in place of `_init_`"
    ):
        Block(*args, **kwargs)
    with pytest.raises(TypeError, match=r"^Empty\(\) takes no arguments"):
        Empty(*args, **kwargs)


def test_what_is_inherited():
    class Block(nn.Module):
        linear: nn.Linear
        scale: float = 1.0

        def __call__(self, x):
            return self.linear(x) * self.scale

    class Wide(Block):
        width: int = 2

    class Same(Block):
        pass

    class Own(Block):
        def __init__(self):
            super().__init__(nn.Linear(2, 3), scale=0.0)

    class Own2(Own):
        note: str = ""

    first = Own()  # the first object of all of these
    assert float(abs(first(jnp.ones(2))).sum()) == 0.0
    assert Own2().scale == 0.0
    wide = Wide(nn.Linear(2, 3), 2.0, 5)
    assert (wide.scale, wide.width, Same(nn.Linear(2, 3), 4.0).scale) == (2.0, 5, 4.0)
    with pytest.raises(TypeError, match="linear"):
        Wide()
    for other in (copy.deepcopy(wide), clone(wide), treefy_merge(*treefy_split(wide))):
        assert (other.scale, other.width) == (2.0, 5)
        assert (other(jnp.ones(2)) == wide(jnp.ones(2))).all()


class Pickled(nn.Module):
    linear: nn.Linear
    names: list = field(default_factory=list)


def test_what_is_pickled_and_what_is_the_same():
    one, two = Pickled(nn.Linear(2, 3)), Pickled(nn.Linear(2, 3))
    again = pickle.loads(pickle.dumps(one))
    assert (again.linear.weight.value == one.linear.weight.value).all()
    assert one.names is not two.names
    assert one != two
    assert len({one, two}) == 2  # by identity, as all modules
    assert repr(one).startswith("Pickled(")
    assert list(one.states(nn.ParamState)) == [("linear", "bias"), ("linear", "weight")]


def test_a_decorator_has_the_last_word():
    @dataclass(eq=False, kw_only=True)
    class Given(nn.Module):
        a: int = 1
        b: list = field(default_factory=list)

    assert Given(a=2).b == []
    with pytest.raises(TypeError):
        Given(2)

    @dataclass(eq=False, init=False)
    class Without(nn.Module):
        a: int = 1

    with pytest.raises(TypeError, match="takes no arguments"):
        Without(2)


def test_an_annotation_beside_a_constructor_declares_nothing():
    class Old(nn.Module):
        h: nn.HiddenState

        def __init__(self, size):
            self.size = size

    class Deep(nn.Linear):
        note: str = "x"

    class Quiet(nn.Module):
        training: bool = False
        graph_invisible_attrs: tuple = ("cache",)

    assert Old(3).size == 3
    assert Deep(2, 3).note == "x"
    assert Quiet().training is False
    with pytest.raises(TypeError, match="takes no arguments"):
        Quiet(True)


def test_what_dataclasses_refuse_is_refused_in_their_words():
    class Bad(nn.Module):
        a: list = []  # noqa: RUF012

    for _ in range(2):
        with pytest.raises(ValueError, match="default_factory"):
            Bad()
    assert not dataclasses.is_dataclass(nn.Linear)
