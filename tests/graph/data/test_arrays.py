"""Arrays, scalars and dtypes go through their forms unchanged; forms that promise more than they hold are refused."""

from __future__ import annotations

import base64
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from brainstate_graph import GraphError
from brainstate_graph._data.arrays import (
    array_form,
    array_of,
    dtype_form,
    dtype_of,
    jax_array_form,
    jax_array_of,
    scalar_form,
    scalar_of,
)
from tests.tables import each

DTYPES = [
    "?", "b", "B", "<i2", ">i2", "<u8", "<f2", "<f4", ">f8", "<c8", "<c16", "S3", "<U2", ">U2", "V5", "M8[D]",
    "m8[25s]", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.int4, ml_dtypes.uint4,
    [("a", "<f4"), ("b", "S3", (2, 3))], [(("title", "a"), "<i4"), ("b", [("c", "?")])],
    {"names": ["a", "b"], "formats": ["i1", "<f8"], "offsets": [0, 8], "itemsize": 32},
]  # fmt: skip


def through_json(form):
    return json.loads(json.dumps(form, allow_nan=False))


@each("spec", DTYPES, ids=str)
@each("shape", [(), (0,), (3,), (2, 0), (2, 3)])
def test_arrays_of_each_dtype(spec, shape):
    dtype = np.dtype(spec)
    data = np.random.default_rng(0).integers(0, 2, (*shape, dtype.itemsize), dtype="u1")
    if dtype.kind == "U":
        data = np.full((*shape, dtype.itemsize // 4), 0x263A, dtype.str[0] + "u4")
    array = np.ndarray(shape, dtype, buffer=data.tobytes())
    back = array_of(through_json(array_form(array)))
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert dtype_of(through_json(dtype_form(dtype))) == dtype


@each("spec", [spec for spec in DTYPES if spec != ">f8"], ids=str)
def test_scalars_of_each_dtype(spec):
    dtype = np.dtype(spec)
    scalar = np.zeros((), dtype)[()]
    back = scalar_of(through_json(scalar_form(scalar)))
    assert (type(back), back.dtype, back.tobytes()) == (type(scalar), scalar.dtype, scalar.tobytes())


@each("scalar", [np.float32("nan"), np.float64(-0.0), np.str_(""), np.bytes_(b"a"), np.True_])
def test_odd_scalars(scalar):
    back = scalar_of(through_json(scalar_form(scalar)))
    assert type(back) is type(scalar)
    assert back.tobytes() == scalar.tobytes()


def test_the_order_in_memory_does_not_show():
    array = np.arange(6.0).reshape(2, 3)
    assert array_form(array) == array_form(np.asfortranarray(array)) == array_form(array[::-1][::-1])


@each(
    "make",
    [
        lambda: jnp.arange(3.0),
        lambda: jnp.zeros((2, 0), "int8"),
        lambda: jnp.ones(2, "bfloat16"),
        lambda: jnp.asarray(2.0),  # of weak type
        lambda: jnp.asarray(2),
        lambda: jnp.asarray(True),
        lambda: jnp.asarray(-0.0, "float16"),
        lambda: jnp.asarray(float("nan")),
    ],
)
def test_arrays_of_jax(make):
    array = make()
    back = jax_array_of(through_json(jax_array_form(array)))
    assert isinstance(back, jax.Array)
    assert (back.dtype, back.shape, back.weak_type) == (array.dtype, array.shape, array.weak_type)
    assert np.asarray(back).tobytes() == np.asarray(array).tobytes()


def test_arrays_of_jax_are_made_for_good_inside_a_trace():
    form = jax_array_form(jnp.arange(3.0))
    made = []
    jax.jit(lambda x: made.append(jax_array_of(form)) or x)(1.0)
    assert not isinstance(made[0], jax.core.Tracer)


def test_64_bits_need_the_switch():
    form = [*array_form(np.arange(3.0)), False]
    with pytest.raises(GraphError, match="jax_enable_x64"):
        jax_array_of(form)


def given_away():
    x = jnp.ones(2)
    x.delete()
    return x


@each(
    ("make", "words"),
    [
        (lambda: jax.random.key(0), "hold it in a State"),
        (given_away, "the array was deleted, and its data with it"),
        (lambda: jnp.broadcast_to(jnp.asarray(2.0), (2,)), "weak type"),
    ],
)
def test_arrays_of_jax_without_a_form(make, words):
    with pytest.raises(GraphError, match=words):
        jax_array_form(make())


def test_objects_have_no_form():
    for array in (np.array([None]), np.zeros(2, [("a", "O")])):
        with pytest.raises(GraphError, match="Python objects"):
            array_form(array)


@each(
    "spec",
    [("<f4", (2,)), [("a", ml_dtypes.bfloat16)], [], {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [4, 0]}],
    ids=str,
)
def test_dtypes_that_a_npy_file_does_not_spell_have_no_form(spec):
    with pytest.raises(GraphError, match="cannot be written as data"):
        dtype_form(np.dtype(spec))


def test_types_of_c_have_no_form():
    if np.longlong is not np.int64:
        with pytest.raises(GraphError, match="sized type"):
            scalar_form(np.longlong(1))


def data(n):
    return base64.b64encode(bytes(n)).decode()


@each(
    "form",
    [
        "O", "|O8", "f4,f4", "<f3", "<f4[s]", "<M8[x]", "float", "object",
        "", None, 5, [], ["<f4"], "<V999999999999999",
        "{'names': []}", "bfloat17", {}, {"a": "<f4"}, [["a", "O"]], [["a", "|O8"]], [["a", "<f4", [-1]]], [["a"]],
        [["a", "<f4", [2**62, 2**62]]], [["a", "<f4", 3]], [["a", "<f4", [True]]], [["a", "<f4", [2], 1]],
        [["a", "<f4"], ["a", "<f4"]], [[["t"], "<f4"]], [[["t", "a", "b"], "<f4"]], [[[{}, "a"], "<f4"]],
        [[{}, "<f4"]], [[3, "<f4"]], [["a", {}]], [["a", None]], [["a", []]], [["a", [["b", "O"]]]],
        [["a", "|V2147483647"], ["b", "|V2147483647"]],
    ],
    ids=str,
)  # fmt: skip
def test_bad_dtypes(form):
    with pytest.raises(GraphError, match=r"not a (dtype|shape)"):
        dtype_of(form)


def test_a_deep_dtype():
    form = "<f4"
    for _ in range(5000):
        form = [["a", form]]
    with pytest.raises(GraphError, match="not a dtype"):
        dtype_of(form)


@each(
    "form",
    [
        None, [], ["<f4", [1]], ["<f4", [1], data(4), 0], ["<f4", [2], data(4)], ["<f4", [0], data(4)],
        ["<f4", [10**9], ""], ["<f4", [10**30], ""], ["<f4", [-1], data(4)], ["<f4", [True], data(4)],
        ["<f4", [1.0], data(4)], ["<f4", "1", data(4)], ["<f4", [1], "AAAA"], ["<f4", [1], "????"], ["<f4", [1], 4],
        ["<f4", [1], "AAAA\u00e9==="], ["|V0", [10**12], ""], ["<f4", [1] * 100, data(4)], ["|b1", [1], "Ag=="],
        ["<U1", [1], "////fw=="], [["<f4", [2]], [1], data(8)], ["<f4", [0, 2**63], ""],
    ],
    ids=str,
)  # fmt: skip
def test_bad_arrays(form):
    with pytest.raises(GraphError):
        array_of(form)


@each("form", [None, ["<f4"], ["<f4", data(3)], ["<f4", []], [["<f4", [2]], data(8)]])
def test_bad_scalars(form):
    with pytest.raises(GraphError):
        scalar_of(form)


@each(
    "form",
    [["<f4", [1], data(4)], ["<f4", [1], data(4), 0], ["<f4", [1], data(4), True], ["<U1", [1], data(4), False],
     ["<M8[D]", [], data(8), True], [[("a", "<f4")], [1], data(4), False]],
)  # fmt: skip
def test_bad_arrays_of_jax(form):
    with pytest.raises(GraphError):
        jax_array_of(form)
