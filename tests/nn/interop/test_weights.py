from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import flax.linen as fl
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import brainstate_nn as nn
from brainstate_graph import GraphError
from tests.nn.interop.framework_models import CNN, MODELS
from tests.nn.interop.frameworks import NAMES, PAIRS, Held, apply, filled, made, other, t_linear, x
from tests.tables import each

TORCH = [(row, peer) for row, peer in PAIRS if peer.framework == "torch"]
FRAMEWORKS = ("torch", "linen", "nnx", "equinox")


def weights_of(model):
    return {name: np.asarray(array) for name, array in nn.to_flat_dict(model, nn.ParamState, nn.BatchState).items()}


def assert_bits(one, two):
    assert list(one) == list(two)
    for name, array in one.items():
        assert array.dtype == two[name].dtype, name
        assert array.tobytes() == two[name].tobytes(), name


def shapes(arrays):
    return {name: array.shape for name, array in arrays.items()}


# ------------------------------------------------------------------------------------------------- laws of the table


@each(("row", "peer"), PAIRS, ids=NAMES)
def test_theirs_computes_the_same_and_the_way_back_is_exact(row, peer):
    ours, inputs = row.make(1), [jnp.asarray(a) for a in row.inputs]
    theirs = nn.export_weights(ours, peer.framework, like=peer.make(ours, *inputs))
    again = row.make(2)
    assert nn.import_weights(again, theirs, peer.framework) == ((), ())
    assert_bits(weights_of(ours), weights_of(again))
    with jax.numpy_rank_promotion("allow"):
        y = peer.call(ours, theirs, *inputs)  # last, for the SpectralNorm of nnx divides its weights for good
    np.testing.assert_allclose(row.result(), y, rtol=2e-5, atol=2e-6)


@each(("row", "peer"), TORCH, ids=[row.name for row, _ in TORCH])
def test_ours_computes_the_same_with_any_weights_of_theirs(row, peer):
    ours, inputs = row.make(1), [jnp.asarray(a) for a in row.inputs]
    theirs = other(peer.make(ours, *inputs), 3)
    assert nn.import_weights(ours, theirs, peer.framework) == ((), ())
    with jax.numpy_rank_promotion("allow"):
        y = peer.call(ours, theirs, *inputs)
    np.testing.assert_allclose(apply(ours, *inputs), y, rtol=2e-5, atol=2e-6)


@each("model", MODELS.values(), ids=MODELS)
def test_whole_models_there_and_back(model):
    ours, again = made(model.ours, 1), made(model.ours, 2)
    theirs = nn.export_weights(ours, model.framework, like=model.make(), rename=model.rename)
    with jax.numpy_rank_promotion("allow"):
        np.testing.assert_allclose(apply(ours, model.x), model.call(theirs, model.x), rtol=2e-5, atol=5e-6)
    assert nn.import_weights(again, theirs, model.framework, rename=model.rename) == ((), ())
    assert_bits(weights_of(ours), weights_of(again))


@each("framework", FRAMEWORKS)
def test_flat_dictionaries_there_and_back(framework):
    class Net(nn.Module):
        def __init__(self):
            self.first = [nn.Linear(3, 4), {"b": nn.Linear(4, 4)}]
            self.rest = nn.Sequential(nn.relu, nn.Sequential(nn.BatchNorm(4), nn.Dropout(0.5)), nn.GRUCell(4, 2))
            self.stack = nn.Stack(2, lambda: nn.MLP(4, 4, 3, 1))
            self.own = nn.ParamState(jnp.ones(2, jnp.bfloat16))

    one, two = made(Net, 1), made(Net, 2)
    one.own.value = one.own.value.astype(jnp.bfloat16)
    one.rest[2].bias_hn.value = jnp.zeros(2)  # nnx has no such bias
    two.own.value = two.own.value.astype(jnp.bfloat16)
    flat = nn.export_weights(one, framework)
    assert nn.import_weights(two, flat, framework) == ((), ())
    assert_bits(weights_of(one), weights_of(two))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_kernels_of_transposed_convolutions_element_by_element(groups, few, many, window):
    """What reaches the output `o` of a group from its input `i` is the element on the other side of the window."""
    zeros: Any = lambda key, shape, dtype: np.zeros(shape, dtype)  # which need no program for each shape
    ours = nn.ConvTranspose(groups * few, groups * many, window, groups=groups, w_init=zeros, b_init=zeros)
    theirs = {"weight": x(groups * few, many, *window), "bias": x(groups * many)}
    nn.import_weights(ours, theirs, "torch")
    weight = np.asarray(ours.weight.value)
    for group, i, o, *at in np.ndindex(groups, few, many, *window):
        there = tuple(k - 1 - a for k, a in zip(window, at, strict=True))
        assert theirs["weight"][(group * few + i, o, *at)] == weight[(*there, i, group * many + o)]
    assert_bits(nn.export_weights(ours, "torch", like=theirs), theirs)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_linear_layers_of_any_sizes_are_matrices_elsewhere(inputs, outputs):
    theirs = {"weight": x(int(np.prod(outputs)), int(np.prod(inputs))), "bias": x(int(np.prod(outputs)))}
    zeros: Any = lambda key, shape, dtype: np.zeros(shape, dtype)  # which need no program for each shape
    ours = nn.LinearGeneral(inputs, outputs, axis=tuple(range(-len(inputs), 0)), w_init=zeros, b_init=zeros)
    nn.import_weights(ours, theirs, "torch")
    flat = x(2, int(np.prod(inputs)))
    weight, bias = np.asarray(ours.weight.value), np.asarray(ours.bias.value)
    y = np.tensordot(flat.reshape(2, *inputs), weight, len(inputs)) + bias  # what the layer computes
    np.testing.assert_allclose(y, t_linear(theirs, flat).reshape(2, *outputs), rtol=2e-5, atol=2e-5)


# ------------------------------------------------------------------------------------------------------------ names


class Holder(nn.Module):
    def __init__(self, **parts: Any) -> None:
        for name, part in parts.items():
            setattr(self, name, part)


def test_names_of_containers():
    net = Holder(seq=nn.Sequential(nn.relu, nn.Linear(2, 3, use_bias=False)), lists=[{"a": nn.PReLU()}])
    names = {framework: list(nn.export_weights(net, framework)) for framework in FRAMEWORKS}
    assert names == {
        "torch": ["lists.0.a.weight", "seq.1.weight"],
        "linen": ["params.lists_0_a.negative_slope", "params.seq.layers_1.kernel"],
        "nnx": ["lists.0.a.negative_slope", "seq.layers.1.kernel"],
        "equinox": ["lists.0.a.negative_slope", "seq.layers.1.weight"],
    }
    assert list(nn.export_weights([nn.Embedding(2, 2)], "nnx")) == ["0.embedding"]
    assert list(nn.export_weights([nn.Embedding(2, 2)], "linen")) == ["params.0.embedding"]


def test_what_has_no_rule_keeps_its_name_and_what_is_no_weight_stays():
    class Own(nn.Module):
        def __init__(self):
            self.table = {"a": nn.ParamState(jnp.ones(2))}
            self.h = nn.HiddenState(jnp.ones(2))
            self.drop = nn.Dropout(0.5)
            self.steps = nn.LongTermState(jnp.array(3))

    assert list(nn.export_weights(Own(), "torch")) == ["table.a"]
    assert list(nn.export_weights(Own(), "torch", nn.LongTermState)) == ["steps", "table.a"]


def test_frozen_weights_are_weights():
    net = nn.freeze(nn.Linear(2, 3), "weight")
    assert shapes(nn.export_weights(net, "torch")) == {"bias": (3,), "weight": (3, 2)}
    assert nn.import_weights(net, {"weight": x(3, 2), "bias": x(3)}, "torch") == ((), ())
    assert (net.weight.value == x(3, 2).T).all()


def test_a_rule_of_ones_own_and_of_a_subclass():
    class Scale(nn.Module):
        def __init__(self):
            self.a, self.b = nn.ParamState(jnp.array([1.0, 2.0])), nn.ParamState(jnp.array([3.0, 4.0]))
            self.inner = nn.Linear(2, 2)

    class Finer(Scale):
        pass

    class Twice(nn.Linear):
        pass

    fused = nn.WeightMap("ab", lambda a, b: np.stack([a, b]), tuple)
    nn.register_weights("torch", Scale, {("a", "b"): fused, "inner": "deep.in"})
    net = Holder(scale=Finer(), twice=Twice(2, 3))
    flat = nn.export_weights(net, "torch")
    assert shapes(flat) == {
        "scale.ab": (2, 2), "scale.deep.in.bias": (2,), "scale.deep.in.weight": (2, 2), "twice.bias": (3,),
        "twice.weight": (3, 2),
    }  # fmt: skip
    flat["scale.ab"] += 1
    nn.import_weights(net, flat, "torch")
    assert net.scale.b.value.tolist() == [4.0, 5.0]
    assert "scale.a" in nn.export_weights(net, "torch", layers={Finer: {}})  # the class itself comes before its base
    assert "twice.w" in nn.export_weights(net, "torch", layers={nn.Linear: {"weight": "w"}})
    assert "twice.weight" in nn.export_weights(net, "torch")


def test_wrong_frameworks_and_layers_are_told():
    with pytest.raises(ValueError, match=r"framework must be one of torch, linen, nnx, equinox, not 'keras'"):
        nn.export_weights(nn.Linear(2, 3), "keras")
    with pytest.raises(TypeError, match=r"a rule must be for a class of layers, such as Linear, not 'Linear'"):
        nn.register_weights("torch", "Linear", {})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"a rule must be for a class"):
        nn.import_weights(nn.Linear(2, 3), {}, "torch", layers={"Linear": {}})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="rename changes names of `like`"):
        nn.export_weights(nn.Linear(2, 3), "torch", rename={"a": "b"})


def test_two_weights_of_one_name_are_refused():
    class Odd(nn.Sequential):
        pass

    net = Odd(nn.Linear(2, 3, use_bias=False))
    setattr(net, "0", nn.Linear(2, 3, use_bias=False))
    with pytest.raises(GraphError, match=r"0.weight and layers.0.weight would both be named 0.weight"):
        nn.export_weights(net, "torch")


# ------------------------------------------------------------------------------------------------------ tied weights


class Head(nn.Module):
    def __init__(self, weight):
        self.weight = weight


def tied():
    net = Holder(tokens=nn.Embedding(5, 4), lm_head=None)
    net.lm_head = Head(net.tokens.weight)
    return net


def test_a_tied_weight_is_written_under_each_name_and_read_from_any():
    net, table = tied(), x(5, 4)
    flat = nn.export_weights(net, "torch")
    assert sorted(flat) == ["lm_head.weight", "tokens.weight"]
    assert (flat["lm_head.weight"] == flat["tokens.weight"]).all()
    for names in (["tokens.weight"], ["lm_head.weight"], ["tokens.weight", "lm_head.weight"]):
        new = tied()
        assert nn.import_weights(new, dict.fromkeys(names, table), "torch") == ((), ())
        assert new.lm_head.weight is new.tokens.weight
        assert (new.tokens.weight.value == table).all()
    like = {"lm_head.weight": table}
    assert list(nn.export_weights(net, "torch", like=like)) == ["lm_head.weight"]
    assert nn.import_weights(tied(), {}, "torch", strict=False).missing == ("tokens.weight",)


def test_tied_weights_that_differ_are_refused():
    net = tied()
    before = net.tokens.weight.value
    with pytest.raises(GraphError, match=r"are one state in the model, but differ in the data"):
        nn.import_weights(net, {"tokens.weight": x(5, 4), "lm_head.weight": x(5, 4) + 1}, "torch")
    table = nn.Embedding(5, 4)
    both = {"wte": x(5, 4), "head": x(5, 4)}
    rename = {"wte": "weight", "head": "weight"}
    assert nn.import_weights(table, both, "torch", rename=rename) == ((), ())
    both["head"] = both["head"] + 1
    with pytest.raises(GraphError, match=r"wte and head are one state in the model, but differ here"):
        nn.import_weights(table, both, "torch", rename=rename)
    assert net.tokens.weight.value is before
    assert (table.weight.value == x(5, 4)).all()


def test_a_weight_that_is_tied_in_two_layouts():
    """As of an Embedding, whose table stands as it is, and of a Linear, whose matrix is transposed."""
    net = Holder(encode=nn.Linear(5, 4, use_bias=False), table=nn.Embedding(5, 4))
    net.table.weight = net.encode.weight
    flat = nn.export_weights(net, "torch")
    assert shapes(flat) == {"encode.weight": (4, 5), "table.weight": (5, 4)}
    assert nn.import_weights(net, {name: array + 1 for name, array in flat.items()}, "torch") == ((), ())
    assert (net.table.weight.value == flat["table.weight"] + 1).all()


# ----------------------------------------------------------------------------------------------------------- reports


def test_all_that_does_not_fit_is_in_one_report_and_nothing_is_written():
    net = Holder(fc=nn.Linear(2, 3), norm=nn.LayerNorm(3), attn=nn.MultiHeadAttention(2, 4), out=nn.Linear(3, 1))
    before = weights_of(net)
    given = nn.export_weights(net, "torch")
    given["fc.weight"] = given["fc.weight"].T
    given["fc.bias"] = given["fc.bias"].astype(np.float16)
    given["extra.mask"] = np.ones(2)
    del given["attn.in_proj_weight"], given["out.bias"]
    with pytest.raises(GraphError) as caught:
        nn.import_weights(net, given, "torch")
    assert str(caught.value) == (
        "the weights do not fit the model, nothing was written: "
        "fc.bias is float32 in the model, but float16 in fc.bias: write `cast=True`; "
        "fc.weight is float32[2, 3], but fc.weight needs float32[3, 2]; "
        "missing: attn.query.weight, which is made from attn.in_proj_weight; "
        "missing: attn.key.weight, which is made from attn.in_proj_weight; "
        "missing: attn.value.weight, which is made from attn.in_proj_weight; "
        "missing: out.bias, which is made from out.bias; unexpected: extra.mask"
    )
    assert_bits(before, weights_of(net))


def test_what_both_have_is_loaded_without_strict():
    net = Holder(fc=nn.Linear(2, 3), out=nn.Linear(3, 1))
    report = nn.import_weights(net, {"fc.kernel": x(2, 3), "out_old.bias": x(1)}, "nnx", strict=False)
    assert report == (("fc.bias", "out.bias", "out.weight"), ("out_old.bias",))
    assert (net.fc.weight.value == x(2, 3)).all()


def test_a_part_of_what_belongs_together_is_missing_as_a_whole():
    cell = nn.LSTMCell(2, 3)
    flat = nn.export_weights(cell, "torch")
    del flat["bias_hh"]
    with pytest.raises(GraphError, match=r"missing: bias, which is made from bias_hh; unexpected: bias_ih$"):
        nn.import_weights(cell, flat, "torch")


def test_floats_are_cast_if_asked_to():
    net = nn.Linear(2, 3, param_dtype=jnp.bfloat16)
    wide = {"weight": x(3, 2), "bias": x(3).astype(np.float64)}
    nn.import_weights(net, wide, "torch", cast=True)
    assert net.weight.value.dtype == net.bias.value.dtype == jnp.bfloat16
    like = {name: array.astype(np.float16) for name, array in wide.items()}
    with pytest.raises(GraphError, match=r"bias is float16\[3\] in `like`, but bfloat16\[3\] from bias"):
        nn.export_weights(net, "torch", like=like)
    assert nn.export_weights(net, "torch", like=like, cast=True)["weight"].dtype == np.float16


def test_what_does_not_fit_what_is_to_be_filled():
    net = Holder(fc=nn.Linear(2, 3), out=nn.Linear(3, 1, use_bias=False))
    like = {"fc.weight": x(2, 3), "fc.bias": x(3), "head.weight": x(1)}
    with pytest.raises(GraphError) as caught:
        nn.export_weights(net, "torch", like=like)
    assert str(caught.value) == (
        "the weights cannot be exported: out.weight has no place in `like`, which does not have out.weight; "
        "fc.weight is float32[2, 3] in `like`, but float32[3, 2] from fc.weight; head.weight in `like` gets no value"
    )


def test_what_rename_leaves_out_stays_in_what_is_filled():
    net = filled(nn.Linear(2, 3, use_bias=False), 1)
    like = {"w": x(3, 2), "mask": x(4)}
    given = nn.export_weights(net, "torch", like=like, rename=[("^w$", "weight"), ("mask", None)])
    assert list(given) == ["w", "mask"]
    assert given["mask"] is like["mask"]
    assert (given["w"] == net.weight.value.T).all()


def test_weights_that_belong_together_are_chosen_together():
    net = nn.freeze(nn.MultiHeadAttention(2, 4), "key.*")
    with pytest.raises(
        GraphError, match=r"key.weight belongs together with query.weight, but the filters do not choose it"
    ):
        nn.export_weights(net, "torch", nn.ParamState)


def test_shapes_and_keys_are_no_weights():
    net = nn.Linear(2, 3)
    flat = nn.export_weights(net, "torch")
    there = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in flat.items()}
    with pytest.raises(GraphError, match=r"weight cannot be made from weight: it holds shapes, not values"):
        nn.import_weights(net, there, "torch")
    with pytest.raises(GraphError, match=r"rng.0 cannot become rng.0: random keys exist only in JAX"):
        nn.export_weights(nn.Dropout(0.5), "torch", nn.RandomState)


# ---------------------------------------------------------------------------------------------------------- refusals

REFUSED = [
    ("linen", nn.MGUCell(2, 3), r"the model is a MGUCell, which linen does not have: linen's MGUCell multiplies by"),
    ("torch", nn.SpectralNorm(nn.Linear(2, 3)), "torch keeps two singular vectors"),
    ("equinox", nn.SpectralNorm(nn.Linear(2, 3)), "equinox keeps two singular vectors"),
    ("nnx", nn.PReLU(3), "flax's PReLU has one slope"),
    ("nnx", nn.LoRA(2, 2, 3, alpha=1.0), r"nnx's LoRA has no scale, but this one has the scale 0.5"),
    ("torch", nn.WeightNorm(nn.Linear(2, 3), axis=0), "torch's weight_norm needs `weight`"),
    ("equinox", nn.WeightNorm(nn.Linear(2, 3), axis=0), "equinox's WeightNorm needs `weight`"),
    ("nnx", nn.WeightNorm(nn.Embedding(2, 3)), "flax normalises only the `kernel`"),
]  # fmt: skip


@each(("framework", "layer", "reason"), REFUSED, ids=[f"{f}-{type(m).__name__}" for f, m, _ in REFUSED])
def test_a_layer_that_computes_something_else_is_refused_with_the_reason(framework, layer, reason):
    with pytest.raises(GraphError, match=reason):
        nn.export_weights(layer, framework)
    with pytest.raises(GraphError, match=reason):
        nn.import_weights(layer, {}, framework, strict=False)
    nn.export_weights(layer, framework, layers={type(layer): {}})  # as the message says


def test_biases_that_have_no_place_are_refused():
    gru = filled(nn.GRUCell(2, 3), 1)
    with pytest.raises(GraphError, match=r"bias and bias_hn cannot become dense_i.bias: nnx's GRUCell has no bias"):
        nn.export_weights(gru, "nnx")
    gru.bias_hn.value = jnp.zeros(3)
    nn.import_weights(filled(gru, 2), nn.export_weights(nn.GRUCell(2, 3), "nnx"), "nnx")
    assert not gru.bias_hn.value.any()
    bare = nn.LSTMCell(2, 3, use_bias=False)
    with pytest.raises(GraphError, match=r"hi.bias is not zero, but the layer has no state for it"):
        nn.import_weights(bare, nn.export_weights(filled(nn.LSTMCell(2, 3), 1), "linen"), "linen")


# -------------------------------------------------------------------------------------------------- forms of the data


def test_variables_of_linen_in_all_their_forms():
    ours = made(CNN, 1)
    model = MODELS["cnn-linen"]
    theirs = nn.export_weights(ours, "linen", like=model.make(), rename=model.rename)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(theirs))
    flat = {".".join(p.key for p in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(theirs)[0]}
    frozen = fl.FrozenDict({**theirs, "cache": {"x": jnp.ones(1)}, "intermediates": {}})
    for form in (theirs, frozen, flat, jax.tree.map(np.asarray, theirs)):
        new = made(CNN, 2)
        nn.import_weights(new, form, "linen", rename=model.rename)
        assert_bits(weights_of(ours), weights_of(new))
    dense = nn.Linear(2, 3)
    params = {"kernel": x(2, 3), "bias": x(3)}  # variables["params"] alone
    nn.import_weights(dense, params, "linen")
    assert (dense.weight.value == params["kernel"]).all()
    assert sorted(nn.export_weights(dense, "linen", like=params)) == ["bias", "kernel"]


def test_variables_with_metadata_keep_it():
    init = fl.with_partitioning(fl.initializers.ones, ("in", "out"))
    like = fl.Dense(3, kernel_init=init).init(jax.random.key(0), jnp.ones((1, 2)))
    ours = filled(nn.Linear(2, 3), 1)
    theirs: Any = nn.export_weights(ours, "linen", like=like)
    assert theirs["params"]["kernel"].names == ("in", "out")
    assert (theirs["params"]["kernel"].value == ours.weight.value).all()
    again = nn.Linear(2, 3)
    nn.import_weights(again, theirs, "linen")
    assert_bits(weights_of(ours), weights_of(again))


def test_modules_and_states_of_nnx():
    ours = made(CNN, 1)
    model = MODELS["cnn-nnx"]
    module: Any = model.make()
    kernel, stream = module.fc.kernel, nnx.state(module, nnx.RngState)
    assert nn.export_weights(ours, "nnx", like=module) is module
    assert module.fc.kernel is kernel
    assert (kernel[...] == ours.fc.weight.value).all()
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b or (a == b).all(), stream, nnx.state(module, nnx.RngState)))
    state = nnx.state(module)
    blank = nn.export_weights(ours, "nnx", like=nnx.state(model.make()))
    abstract = nn.export_weights(ours, "nnx", like=nnx.eval_shape(model.make))
    pure = nnx.to_pure_dict(nnx.state(module, nnx.Not(nnx.RngState)))
    for form in (state, blank, abstract, pure):
        new = made(CNN, 2)
        assert nn.import_weights(new, form, "nnx") == ((), ())
        assert_bits(weights_of(ours), weights_of(new))


def test_a_tied_module_of_nnx():
    class Theirs(nnx.Module):
        def __init__(self):
            self.b = nnx.Embed(5, 4, rngs=nnx.Rngs(0))
            self.a = self.b

    ours = Holder(a=nn.Embedding(5, 4), b=None)
    ours.b = ours.a
    theirs: Any = nn.export_weights(ours, "nnx", like=Theirs())
    assert (theirs.b.embedding[...] == ours.a.weight.value).all()
    assert nn.import_weights(ours, theirs, "nnx") == ((), ())


def test_statistics_of_equinox_before_and_after_training():
    ours = filled(nn.BatchNorm(3, momentum=0.9), 1)
    for mode in ("ema", "batch"):
        bare = eqx.nn.BatchNorm(3, "batch", mode=mode)  # without its State: the first values stand in the module
        module: Any = nn.export_weights(ours, "equinox", like=bare)
        again = filled(nn.BatchNorm(3, momentum=0.9), 2)
        nn.import_weights(again, module, "equinox")
        assert_bits(weights_of(ours), weights_of(again))
    module, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, "batch", mode="batch", momentum=0.9)
    run = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    for step in range(3):
        _, state = run(jnp.asarray(x(8, 3) + step), state)
    assert nn.import_weights(again, (module, state), "equinox") == ((), ())
    expected = jax.vmap(eqx.nn.inference_mode(module), axis_name="batch", in_axes=(0, None))(x(8, 3), state)[0]
    np.testing.assert_allclose(again.eval()(x(8, 3)), expected, rtol=2e-5, atol=2e-6)


def test_a_mapping_that_reads_on_demand():
    class Lazy(Mapping):
        def __init__(self, arrays):
            self.arrays = arrays

        def __getitem__(self, name):
            return self.arrays[name]

        def __iter__(self):
            return iter(self.arrays)

        def __len__(self):
            return len(self.arrays)

    net = nn.Linear(2, 3)
    assert nn.import_weights(net, Lazy({"weight": x(3, 2), "bias": x(3)}), "torch") == ((), ())
    assert (net.bias.value == x(3)).all()


def test_arrays_that_speak_dlpack():
    class Tensor:
        """As a tensor of torch: no array of NumPy, and with shapes of its own."""

        def __init__(self, array):
            self.array, self.shape, self.dtype = jnp.asarray(array), array.shape, "torch.bfloat16"

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    net = nn.Embedding(2, 3, param_dtype=jnp.bfloat16)
    nn.import_weights(net, {"weight": Tensor(x(2, 3).astype(jnp.bfloat16))}, "torch")
    assert (net.weight.value == x(2, 3).astype(jnp.bfloat16)).all()


def test_what_is_exported_is_a_copy_that_may_be_written():
    net = nn.Linear(2, 3)
    flat = nn.export_weights(net, "torch")
    before = net.weight.value.tolist()
    flat["weight"][...] = 0.0
    assert flat["weight"].flags.c_contiguous
    assert net.weight.value.tolist() == before


def test_weights_stay_where_they_are():
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    sharding = jax.NamedSharding(mesh, jax.P("x", None))
    net = nn.Linear(2, 3)
    net.weight.value = jax.device_put(net.weight.value, sharding)
    theirs = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    theirs.kernel = nnx.Param(jax.device_put(jnp.zeros((2, 3)), sharding))
    nn.export_weights(net, "nnx", like=theirs)
    assert theirs.kernel[...].sharding == sharding
    nn.import_weights(net, theirs, "nnx")
    assert net.weight.value.sharding == sharding


def test_a_model_of_shapes_is_filled():
    def build():
        return filled(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3)), 1)

    net, flat = build(), nn.export_weights(build(), "torch")
    for state in net.states().values():
        state.value = jax.ShapeDtypeStruct(state.value.shape, state.value.dtype)
    with pytest.raises(GraphError, match=r"layers.0.weight cannot become 0.weight: it holds shapes, not values"):
        nn.export_weights(net, "torch")
    nn.import_weights(net, flat, "torch")
    assert_bits(weights_of(build()), weights_of(net))


# ------------------------------------------------------------------------------------------------- attention, stacks


def test_projections_that_are_separate_elsewhere():
    net = Holder(attn=filled(nn.MultiHeadAttention(2, 4), 1))
    parts = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "out_proj"}
    rename = [(rf"\.{theirs}\.", f".{ours}.") for theirs, ours in parts.items()]
    like = {f"attn.{p}.{n}": x(*s) for p in parts for n, s in (("weight", (4, 4)), ("bias", (4,)))}
    theirs = nn.export_weights(net, "torch", like=like, rename=rename)
    fused = nn.export_weights(net, "torch")
    joined = np.concatenate([theirs[f"attn.{p}_proj.weight"] for p in "qkv"])
    np.testing.assert_array_equal(joined, fused["attn.in_proj_weight"])
    again = Holder(attn=nn.MultiHeadAttention(2, 4))
    nn.import_weights(again, theirs, "torch", rename=rename)
    assert_bits(weights_of(net), weights_of(again))


def test_attention_that_torch_has_not_is_four_linear_layers():
    grouped = nn.MultiHeadAttention(4, 8, num_kv_heads=2, normalize_qk=True, use_bias=False)
    assert shapes(nn.export_weights(grouped, "torch")) == {
        "key.weight": (4, 8), "key_norm.weight": (2,), "out.weight": (8, 8), "query.weight": (8, 8),
        "query_norm.weight": (2,), "value.weight": (4, 8),
    }  # fmt: skip
    adapted = nn.MultiHeadAttention(2, 4, use_bias=False)
    nn.add_lora(adapted, 3, "query")
    names = nn.export_weights(adapted, "torch")
    assert names["query.lora_A.weight"].shape == (3, 4)
    assert names["query.base_layer.weight"].shape == names["key.weight"].shape == (4, 4)


def test_a_stack_is_a_list_of_layers_or_one_with_an_axis_more():
    shared = nn.Linear(4, 4, use_bias=False)

    class Block(nn.Module):
        def __init__(self):
            self.attention, self.up, self.shared = nn.MultiHeadAttention(2, 4, use_bias=False), nn.Linear(4, 5), shared

    net = made(lambda: Held(nn.Stack(3, Block)), 1)
    apart = nn.export_weights(net, "torch")
    assert apart["blocks.2.attention.in_proj_weight"].shape == (12, 4)
    np.testing.assert_array_equal(apart["blocks.1.up.weight"], net.blocks.layers.up.weight.value[1].T)
    np.testing.assert_array_equal(apart["blocks.shared.0.weight"], shared.weight.value.T)
    stacked = nn.export_weights(net, "equinox")
    assert stacked["blocks.layers.up.weight"].shape == (3, 5, 4)
    for framework in FRAMEWORKS:
        for like in (nn.export_weights(net, framework), None):
            if like is None:  # the other form of the two
                like = nn.export_weights(_unstacked(net), framework)
                like = {name: array for name, array in like.items() if ".shared." not in name}
            new = made(lambda: Held(nn.Stack(3, Block)), 2)
            nn.import_weights(new, like, framework, strict=False)
            for name in ("attention.key.weight", "up.bias", "up.weight"):
                one, two = (nn.to_flat_dict(m)[f"blocks.layers.{name}"] for m in (net, new))
                np.testing.assert_array_equal(one, two)


def _unstacked(net):
    return Holder(blocks=list(net.blocks))
