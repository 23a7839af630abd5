from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph._tools.words import amount, some
from brainstate_graph.extend import describe
from tests.tables import each

# ------------------------------------------------------------------------------------------------- values in a line


@each(
    ("value", "text"),
    [
        (jnp.ones((2, 3)), "f32[2,3]"),
        (np.zeros(4, "uint8"), "u8[4]"),
        (jnp.ones(1, "bfloat16"), "bf16[1]"),
        (np.ones((), "complex64"), "c64[]"),
        (np.ones(2, bool), "bool[2]"),
        (jax.ShapeDtypeStruct((3,), "int32"), "i32[3]"),
        (jax.random.key(0), "key<fry>[]"),
        (np.float32(1), "f32[]"),
        ({"a": [1, (2.0,)], "b": None}, "{a: [1, (2.0,)], b: None}"),
        ([0] * 10, "[0, 0, 0, 0, 0, 0, 0, 0, ... (+2 more)]"),
        ("x" * 100, f"'{'x' * 57}'..."),
        (object(), "<object>"),
        (range(3), "range(0, 3)"),
        (len, "len"),
        (set(range(1000)), "<set>"),
    ],
)
def test_describe(value, text):
    assert describe(value) == text


def test_describe_of_tracers_is_that_of_arrays():
    texts = []
    jax.jit(jax.vmap(lambda x: texts.append(describe({"x": x}))))(jnp.ones((2, 3), "int8"))
    assert texts == ["{x: i8[3]}"]


def test_describe_ends_for_what_holds_itself():
    items: list[Any] = [1]
    items.append(items)
    assert describe(items) == "[1, [1, [1, [1, [...]]]]]"


@each("size", [0, 1, 999, 1000, 1049, 999_949, 999_950, 10**6, 3 * 10**12, 10**21])
def test_amount_is_within_its_precision(size):
    number, unit = amount(size).replace(",", "").split()
    assert abs(float(number) * 1000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit) - size) <= 0.0501 * size
    assert float(number) < 1000 or unit == "PB"


def test_of_many_or_long_names_some_are_said():
    assert some(["a", "b"]) == "a, b"
    assert some([str(i) for i in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
    assert some(["layers." + "next." * 3000 + "weight"]) == f"layers.{'next.' * 6}...{'next.' * 6}next.weight"
