from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import brainstate_nn as nn
from brainstate_graph import GraphError, treefy_states
from brainstate_transform import eval_shape, jit
from tests.nn.whole import Everything, all_bits, bits
from tests.tables import each


def test_state_trees_can_be_saved():
    net = nn.BatchNorm(2)
    expected = list(nn.to_flat_dict(net))
    assert list(nn.to_flat_dict(treefy_states(net))) == expected
    assert list(nn.to_flat_dict(treefy_states(net).to_flat())) == expected
    assert list(nn.to_flat_dict(net.states())) == expected
    assert list(nn.to_flat_dict(treefy_states(net), nn.ParamState)) == ["bias", "weight"]
    assert list(nn.to_flat_dict([net])) == [f"0.{name}" for name in expected]


def test_a_shared_state_has_one_name():
    net = nn.Linear(2, 2)
    twin = nn.Linear(2, 2)
    twin.weight = net.weight
    assert list(nn.to_flat_dict([net, twin])) == ["0.bias", "0.weight", "1.bias"]


def test_values_are_as_they_are():
    model = Everything()
    flat = nn.to_flat_dict(model)
    assert flat["layers.0.weight"] is model.layers[0].weight.value
    assert flat["keys.a"] is model.keys.value["a"]
    assert flat["table"] is model.table.value
    assert type(flat["steps"]) is int
    assert nn.to_pure_dict(model)["layers"]["0"]["weight"] is flat["layers.0.weight"]


@each(
    ("change", "text"),
    [
        (lambda f: f.pop("layers.0.bias"), "missing: layers.0.bias"),
        (lambda f: f.update(extra=np.zeros(1)), "unexpected: extra"),
        (
            lambda f: f.update({"half": np.zeros(4, jnp.bfloat16)}),
            r"half is bfloat16\[5\] in the model, bfloat16\[4\] in the data",
        ),
        (
            lambda f: f.update({"half": np.zeros(5, np.float32)}),
            r"half is bfloat16\[5\] in the model, float32\[5\] in the data \(`cast=True` casts it\)",
        ),
        (lambda f: f.update(steps=1.0), "steps is a Python int in the model, a Python float in the data"),
        (
            lambda f: f.update(steps=np.int32(1)),
            r"steps is a Python int in the model, int32\[\] in the data \(`cast=True` casts it\)",
        ),
        (
            lambda f: f.update({"keys.b": f["keys.a"]}),
            r"keys.b is key<rbg>\[\] in the model, key<fry>\[3\] in the data",
        ),
        (
            lambda f: f.update({"keys.b": np.zeros(4, np.uint32)}),
            r"keys.b is key<rbg>\[\] in the model, uint32\[4\] in the data",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(change, text):
    flat = nn.to_flat_dict(Everything(1))
    change(flat)
    model = Everything(0)
    before = all_bits(model)
    with pytest.raises(GraphError, match=f"the values do not fit the model, nothing was written: {text}(. With .*)?$"):
        nn.from_flat_dict(model, flat)
    assert all_bits(model) == before


def test_all_problems_are_in_one_message():
    flat = nn.to_flat_dict(nn.Linear(2, 3))
    flat["more"] = flat.pop("bias")
    flat["weight"] = flat["weight"].T
    with pytest.raises(GraphError) as caught:
        nn.from_flat_dict(nn.Linear(2, 3), flat)
    assert str(caught.value) == (
        "the values do not fit the model, nothing was written: weight is float32[2, 3] in the model, float32[3, 2] in "
        "the data; missing: bias; unexpected: more. With `rename=` names may differ, and with `strict=False` only what "
        "both have is loaded"
    )


def test_the_dictionary_given_is_not_changed():
    model = nn.Linear(2, 3)
    flat = nn.to_flat_dict(model)
    nn.from_flat_dict(model, flat)
    assert list(flat) == ["bias", "weight"]


def test_loading_does_not_change_where_arrays_are_nor_what_jit_knows():
    model, device = nn.Linear(2, 3), jax.devices()[0]
    model.weight.value = jax.device_put(model.weight.value, device)
    run = jax.jit(lambda tree: jax.tree.map(jnp.sum, tree))
    run(treefy_states(model))
    nn.from_flat_dict(model, nn.to_flat_dict(nn.Linear(2, 3)))
    assert model.weight.value.committed
    assert not model.bias.value.committed
    run(treefy_states(model))
    assert run._cache_size() == 1


def test_loading_into_a_model_of_shapes():
    model = nn.Linear(2, 3)
    full = nn.to_flat_dict(model)
    for state in model.states().values():
        state.value = jax.ShapeDtypeStruct(state.value.shape, state.value.dtype)
    nn.from_flat_dict(model, full)
    assert isinstance(model.weight.value, jax.Array)
    assert model(jnp.ones(2)).shape == (3,)


@each("form", ["nested", "flat", "numpy", "tree", "int keys and lists"])
def test_round_trip_is_exact(form):
    first, second = Everything(1), Everything(0)
    assert all_bits(first) != all_bits(second)
    if form == "flat":
        report = nn.from_flat_dict(second, nn.to_flat_dict(first))
    else:
        data = treefy_states(first) if form == "tree" else nn.to_pure_dict(first)
        if form == "numpy":
            host = lambda x: x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)
            data = jax.tree.map(lambda x: host(x) if isinstance(x, jax.Array) else x, data)
        if form == "int keys and lists":
            data["layers"] = {0: data["layers"]["0"], 1: data["layers"]["1"]}
            data["layers"][1]["rng"] = tuple(data["layers"][1]["rng"].values())
        report = nn.from_pure_dict(second, data)
    assert all_bits(first) == all_bits(second)
    assert report == ((), ())
    assert not any(report)


def test_filters_choose_what_is_taken_and_what_is_written():
    first, second = Everything(1), Everything(0)
    second.norm.running_mean.value += 1.0
    data = nn.to_pure_dict(first, nn.ParamState, nn.RandomState)
    nn.from_pure_dict(second, data, nn.ParamState, nn.RandomState)
    assert second.half.value.tolist() == first.half.value.tolist()
    assert second.norm.running_mean.value.tolist() == [1.0, 1.0]
    assert list(nn.to_flat_dict(first, nn.BatchState)) == ["norm.running_mean", "norm.running_var"]


def test_not_strict_is_told_what_is_left():
    model = Everything(1)
    flat = nn.to_flat_dict(Everything(0))
    del flat["keys.b"], flat["half"]
    flat["more"] = 1
    was = model.keys.value["b"]
    report = nn.from_flat_dict(model, flat, strict=False)
    assert report == nn.LoadReport(missing=("half", "keys.b"), unexpected=("more",))
    assert model.steps.value == 0
    assert model.keys.value["b"] is was  # the other half of the state was loaded
    assert bits(model.keys.value["a"]) == bits(flat["keys.a"])
    with pytest.raises(GraphError, match=r"rate is a Python float in the model, a Python complex in the data$"):
        nn.from_flat_dict(model, {"rate": 1j}, strict=False)  # what is there must fit
    assert nn.from_flat_dict({}, {}, strict=False) == ((), ())


@each(
    "rename",
    [
        {"old.kernel": "0.weight", "old.b": "0.bias", "old.step": "unused"},
        [(r"^old\.", "0."), (r"kernel$", "weight"), (r"\.b$", ".bias"), (r"^step$", None)],
        lambda name: {"old.kernel": "0.weight", "old.b": "0.bias"}.get(name),
        {"old.kernel": "0.weight", "old.b": "0.bias"}.get,
    ],
    ids=["mapping", "pairs", "function", "get"],
)
def test_renames(rename):
    data = {"old": {"kernel": jnp.ones((2, 3)), "b": jnp.ones(3)}, "step": jnp.ones(())}
    model = [nn.Linear(2, 3)]
    report = nn.from_pure_dict(model, data, rename=rename, strict=False)
    assert report == ((), ("step",) if isinstance(rename, dict) else ())
    assert model[0].bias.value.tolist() == [1.0, 1.0, 1.0]
    assert model[0].weight.value.tolist() == [[1.0, 1.0, 1.0]] * 2


def test_renames_that_cannot_be():
    model = nn.Linear(2, 3)
    flat = nn.to_flat_dict(model)
    with pytest.raises(GraphError, match=r"bias and weight are both renamed to bias; .*; missing: weight"):
        nn.from_flat_dict(model, flat, rename=lambda name: "bias")
    for rename in (3, ["ab(", ("a", "b", "c")], [("(", "")]):
        with pytest.raises(
            TypeError, match=r"rename must be a mapping of names, a function, or pairs of a regular expr"
        ):
            nn.from_flat_dict(model, flat, rename=rename)
    with pytest.raises(GraphError, match=r"missing: weight; unexpected: kernel\. With `rename=` names may differ"):
        nn.from_flat_dict(model, {"kernel": flat["weight"], "bias": flat["bias"]})


CASTS = [
    (jnp.zeros(2, jnp.bfloat16), np.array([1.5, 2.25]), True),
    (jnp.zeros(2, jnp.float32), jnp.array([1.5, 2.0], jnp.float8_e4m3fn), True),
    (jnp.zeros((), jnp.float32), 1.5, True),
    (jnp.zeros(2, jnp.int8), np.array([-128, 127]), True),
    (jnp.zeros(2, jnp.int8), np.array([0, 128]), False),
    (jnp.zeros(2, jnp.uint8), np.array([0, -1]), False),
    (jnp.zeros(2, jnp.uint32), np.array([0, -1], np.int32), False),
    (jnp.zeros(2, jnp.int32), np.array([0, 2**32 - 1], np.uint32), False),
    (jnp.zeros(2, jnp.float32), np.array([1, 2]), False),
    (jnp.zeros(2, jnp.int32), np.array([1.0, 2.0]), False),
    (jnp.zeros(2, jnp.complex64), np.array([1.0, 2.0j]), True),
    (jnp.zeros(2, jnp.float32), np.array([True, False]), False),
    (jnp.zeros(2, jnp.float32), np.zeros(3), False),
    (jnp.zeros(2, jnp.float32), "no array", False),
    (np.zeros(2, np.float64), jnp.ones(2), True),
    (np.float16(0), jnp.float32(3.0), True),
    (3, np.array(4), True),
    (3, jnp.int32(4), True),
    (3, np.array([4]), False),
    (3, 4.0, False),
    (3.0, jnp.float32(4.0), True),
    (True, np.array(False), True),
    (jax.random.key(0), np.zeros(2, np.uint32), False),
    (jnp.zeros(2, jnp.uint32), jax.random.key(0), False),
]


@each(("live", "given", "fits"), CASTS, ids=map(str, range(len(CASTS))))
def test_casts_keep_the_kind_of_number_and_its_value(live, given, fits):
    model = {"s": nn.State(live)}
    before = all_bits(model)
    with pytest.raises(GraphError, match=r"^the values do not fit the model, .*: s is .*") as caught:
        nn.from_flat_dict(model, {"s": given})
    assert ("cast=True" in str(caught.value)) == fits
    assert all_bits(model) == before
    if not fits:
        with pytest.raises(GraphError, match=r"^the values do not fit the model, .*: s is .*"):
            nn.from_flat_dict(model, {"s": given}, cast=True)
        return
    nn.from_flat_dict(model, {"s": given}, cast=True)
    new = model["s"].value
    assert type(new) is type(live)
    assert getattr(new, "dtype", None) == getattr(live, "dtype", None)
    np.testing.assert_array_equal(np.asarray(new, complex), np.asarray(given, complex))


def tied():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.weight = one.weight
    return [one, two]


def test_a_tied_state_may_have_any_of_its_names_and_several_if_they_agree():
    model, weight = tied(), jnp.ones((2, 2))
    flat = nn.to_flat_dict(model)
    assert list(flat) == ["0.bias", "0.weight", "1.bias"]
    for names in (["0.weight"], ["1.weight"], ["1.weight", "0.weight"]):
        data = {name: value for name, value in flat.items() if name != "0.weight"}
        data |= {name: np.full((2, 2), len(names), np.float32) for name in names}
        nn.from_flat_dict(model, data)
        assert model[0].weight is model[1].weight
        assert model[0].weight.value.tolist() == [[len(names)] * 2] * 2
    with pytest.raises(GraphError, match=r"0.weight and 1.weight are one state in the model, but differ in the data$"):
        nn.from_flat_dict(model, {**flat, "0.weight": weight, "1.weight": weight + 1.0})
    with pytest.raises(GraphError, match=r"0.weight and 1.weight are one state in the model, but differ in the data$"):
        nn.from_flat_dict(model, {**flat, "0.weight": weight, "1.weight": np.ones((2, 2))})


def test_a_model_of_shapes_is_filled_and_says_what_it_is():
    shapes = eval_shape(lambda: nn.Linear(2, 3))
    assert nn.to_pure_dict(shapes)["bias"].shape == (3,)
    full = nn.Linear(2, 3)
    assert nn.from_pure_dict(shapes, {"bias": full.bias.value}, strict=False).missing == ("weight",)
    assert isinstance(shapes.weight.value, jax.ShapeDtypeStruct)
    nn.from_pure_dict(shapes, nn.to_pure_dict(full))
    np.testing.assert_array_equal(shapes(jnp.ones(2)), full(jnp.ones(2)))


def test_arrays_that_were_put_somewhere_do_not_fix_those_that_were_not():
    model, data = {"a": nn.State(jnp.ones(2)), "k": nn.State(jax.random.key(0))}, nn.to_flat_dict
    put = jax.device_put(data(model), jax.devices()[0])
    assert put["k"].committed
    nn.from_flat_dict(model, put)
    assert not model["a"].value.committed
    assert not model["k"].value.committed


@each("given", [np.float32(3.0), jnp.float32(3.0), jnp.asarray(3.0)], ids=["numpy", "strong", "weak"])
@each("live", [jnp.float32(1.0), jnp.asarray(1.0)], ids=["strong", "weak"])
def test_what_gives_way_to_other_dtypes_goes_on_to(live, given):
    model = {"s": nn.State(live)}
    nn.from_flat_dict(model, {"s": given})
    assert model["s"].value.weak_type == live.weak_type
    assert (model["s"].value * jnp.bfloat16(1)).dtype == (live * jnp.bfloat16(1)).dtype
    assert model["s"].value == 3.0


def test_what_is_no_dictionary():
    with pytest.raises(TypeError, match=r"data must be a dictionary of arrays by name, not a list"):
        nn.from_flat_dict(nn.Linear(2, 3), [])
    with pytest.raises(TypeError, match=r"data must be made of dictionaries, lists and arrays, .*, not 3"):
        nn.from_pure_dict(nn.Linear(2, 3), 3)


def test_inside_of_a_program():
    model = nn.Linear(2, 3)

    @jit
    def double():
        nn.from_flat_dict(model, {name: 2.0 * value for name, value in nn.to_flat_dict(model).items()})
        return nn.to_pure_dict(model)["weight"]

    before = model.weight.value
    np.testing.assert_array_equal(double(), 2.0 * before)
    np.testing.assert_array_equal(model.weight.value, 2.0 * before)


@given(st.integers(0, 2**31), st.sampled_from([nn.ParamState, nn.State, nn.RandomState]), st.booleans())
def test_what_is_left_out_and_put_in_is_reported(seed, kind, drop):
    model = Everything(0)
    flat = nn.to_flat_dict(model)
    chosen = list(nn.to_flat_dict(model, kind))
    rng = np.random.default_rng(seed)
    lost = [name for name in chosen if rng.random() < 0.5] if drop else []
    data = {name: flat[name] for name in chosen if name not in lost}
    extra = [f"x{i}" for i in range(rng.integers(3))]
    report = nn.from_flat_dict(model, data | dict.fromkeys(extra, 1.0), kind, strict=False)
    assert report == (tuple(lost), tuple(extra))
