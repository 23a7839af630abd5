"""The pretrained models: what the original computes, and files that are equal to the bit when written again."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file, save_file

import brainstate_nn as nn
from brainstate_graph import GraphError, clone, graphdef
from brainstate_transform import jit, value_and_grad
from examples.pretrained import bert, files, gpt2, llama, resnet, vit
from examples.pretrained.generate import generate
from tests.examples.pretrained_data import (
    DATA,
    MODULES,
    copied,
    expected,
    loaded,
    outputs,
    prompts_of,
    same_bits,
    tokens_of,
)
from tests.tables import each


@each("name", MODULES)
def test_the_logits_are_those_of_the_original(name):
    given = expected(name)
    ours = outputs(name, loaded(name))
    theirs = given["logits"] if "logits" in given else given["last_hidden_state"]
    assert theirs.std() > 0.05  # so that the bound says something
    there = np.broadcast_to(tokens_of(name)[1] if ours.ndim == 3 else True, ours.shape[:-1])
    np.testing.assert_allclose(np.asarray(ours)[there], theirs[there], atol=1e-4)


def test_the_pooled_vectors_are_those_of_the_original():
    model = loaded("bert_plain")
    np.testing.assert_allclose(
        model.pool(outputs("bert_plain", model)), expected("bert_plain")["pooler_output"], atol=1e-4
    )


def given_as_before(config):
    """The configuration as transformers 4 wrote it."""
    rope = config["rope_parameters"]
    outer = {"rope_theta", "original_max_position_embeddings"} & rope.keys()
    scaling = {("type" if name == "rope_type" else name): value for name, value in rope.items() if name not in outer}
    old = {name: value for name, value in config.items() if name != "rope_parameters"}
    nothing = {"partial_rotary_factor": None, "mlp_bias": None}
    return {**old, **nothing, **{name: rope[name] for name in outer}, "rope_scaling": scaling}


@each("text, theirs", load_file(DATA / "rotary.safetensors").items())
def test_scaled_rotary_positions_are_those_of_the_original(text, theirs, tmp_path):
    there = tokens_of("llama")[1]
    assert np.abs(theirs - expected("llama")["logits"])[there].max() > 0.1  # so that the bound says something
    path = copied(
        "llama", tmp_path / str(len(list(tmp_path.iterdir()))),
        {"rope_parameters": {"rope_theta": 500.0, **json.loads(text)}},
    )  # fmt: skip
    ours = outputs("llama", llama.load(path))
    np.testing.assert_allclose(np.asarray(ours)[there], theirs[there], atol=1e-4)
    now = files.read_config(path)
    new, old = (nn.abstract(lambda c=c: llama.build(c, jnp.float32)) for c in (now, given_as_before(now)))
    assert graphdef(new) == graphdef(old) != graphdef(loaded("llama"))


@each("name, module", MODULES.items())
def test_what_is_written_again_is_equal_to_the_bit(name, module, tmp_path):
    model, config = module.load(DATA / name, None), files.read_config(DATA / name)
    path = tmp_path / name
    module.save(model, path, config, shard=12_000)
    assert same_bits(files.read_weights(path), files.read_weights(DATA / name))
    assert files.read_config(path) == config
    assert len(list(path.glob("model-*-of-*.safetensors"))) > 1
    # over what is there: one file then, and no shard of before
    module.save(model, path, config)
    assert {p.name for p in path.iterdir()} == {"config.json", "model.safetensors"}
    assert same_bits(files.read_weights(path), files.read_weights(DATA / name))


# Other names of the same weights, as files of other versions and classes have them.
OTHER_NAMES = {
    "gpt2 without a prefix": ("gpt2", lambda n: n.removeprefix("transformer."), {}),
    "gpt2 with its masks and its head": (
        "gpt2",
        None,
        {
            "transformer.h.0.attn.bias": np.ones((1, 1, 4, 4), bool),
            "transformer.h.1.attn.masked_bias": np.float32(-1e4),
            "lm_head.weight": "transformer.wte.weight",
        },
    ),
    "llama with its frequencies": ("llama", None, {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4)}),
    "llama with a head that is the table": ("llama_tied", None, {"lm_head.weight": "model.embed_tokens.weight"}),
    "bert of TensorFlow, with all heads": (
        "bert",
        lambda n: n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
        {
            "bert.embeddings.position_ids": np.arange(40)[None],
            "bert.pooler.dense.weight": np.ones((32, 32), np.float32),
            "cls.seq_relationship.weight": np.ones((2, 32), np.float32),
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
    "bert of another head": ("bert_plain", lambda n: f"bert.{n}", {"cls.predictions.bias": np.ones(96, np.float32)}),
    "vit with a pooler": ("vit", None, {"vit.pooler.dense.bias": np.ones(32, np.float32)}),
}


@each("title, row", OTHER_NAMES.items())
def test_names_of_other_versions_are_read(title, row, tmp_path):
    name, turned, besides = row
    weights = files.read_weights(DATA / name)
    more = {key: weights[value] if isinstance(value, str) else np.asarray(value) for key, value in besides.items()}
    path = tmp_path / title.replace(" ", "_")
    files.write(
        path, files.read_config(DATA / name), {**{(turned or str)(key): w for key, w in weights.items()}, **more}
    )
    module = MODULES[name]
    assert same_bits(nn.export_weights(module.load(path, None), "torch", layers=module.FAMILY.layers), weights)


# What their pages on the hub say of them, and what their files there say that is no default.
PUBLISHED = {
    "gpt2": (gpt2, {"model_type": "gpt2", "n_ctx": 1024}, 124_439_808),
    "google-bert/bert-base-uncased": (bert, {"model_type": "bert", "architectures": ["BertForMaskedLM"]}, 109_514_298),
    "google/vit-base-patch16-224": (vit, {"model_type": "vit", "num_labels": 1000}, 86_567_656),
    "microsoft/resnet-50": (resnet, {"model_type": "resnet", "num_labels": 1000}, 25_557_032),
    "meta-llama/Llama-3.2-1B": (
        llama,
        {
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "head_dim": 64, "hidden_size": 2048,
            "intermediate_size": 8192, "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
            "rope_theta": 500000.0, "tie_word_embeddings": True, "vocab_size": 128256, "torch_dtype": "bfloat16",
            "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                             "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        },
        1_235_814_400,
    ),
}  # fmt: skip


@each("name, row", PUBLISHED.items())
def test_models_of_the_hub_have_as_many_parameters_as_published(name, row):
    module, config, wanted = row
    model = nn.abstract(lambda: module.build(config, jnp.bfloat16))
    assert sum(array.size for array in nn.to_flat_dict(model, nn.ParamState).values()) == wanted


# ------------------------------------------------------------------------------------------------- what is refused

REFUSED = {
    "gpt2 with scaled attention": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "layer_idx=True"),
    "gpt2 with an unknown activation": ("gpt2", {"activation_function": "quick"}, "activation 'quick'"),
    "gpt2 of another type": ("gpt2", {"model_type": "gptj"}, "model_type 'gptj', and 'gpt2' is read here"),
    "gpt2 to classify": ("gpt2", {"architectures": ["GPT2ForSequenceClassification"]}, "GPT2ForSequenceClassification"),
    "llama with positions by length": ("llama", {"rope_parameters": {"rope_type": "dynamic"}}, "types default, linear"),
    "llama with positions of old": ("llama", {"rope_scaling": {"type": "ntk"}}, "'type': 'ntk'"),
    "llama with half of a head": ("llama", {"partial_rotary_factor": 0.5}, "whole heads alone"),
    "llama without a number": (
        "llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "without low_freq_factor, high_",
    ),
    "llama of whole numbers": ("llama", {"quantization_config": {"bits": 4}}, "quantization_config={'bits': 4}"),
    "llama by the file of gpt2": ("gpt2", {"model_type": "llama"}, "write `from examples.pretrained import llama`"),
    "bert as a decoder": ("bert", {"is_decoder": True}, "is_decoder=True"),
    "bert for questions": ("bert", {"architectures": ["BertForQuestionAnswering"]}, "BertForQuestionAnswering"),
    "vit without biases": ("vit", {"qkv_bias": False}, "qkv_bias=False"),
    "weights of another size": ("gpt2", {"n_embd": 64}, "wte.weight is float32"),
    "a layer too few": ("resnet", {"depths": [1, 3]}, "missing: stages.1.layers.2"),
}  # fmt: skip


@each("title, row", REFUSED.items())
def test_what_there_is_no_code_for_is_refused_by_name(title, row, tmp_path):
    name, config, text = row
    with pytest.raises((ValueError, GraphError), match=text.replace("(", r"\(")):
        MODULES[name].load(copied(name, tmp_path / title.replace(" ", "_"), config))


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing: give the directory"):
        gpt2.load(tmp_path)
    path = copied("gpt2", tmp_path / "a")
    (path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model-00002-of-00003\.safetensors, which .* names: get"):
        gpt2.load(path)
    path = copied("resnet", tmp_path / "b")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors: weights are read from safetensors alone"):
        MODULES["resnet"].load(path)
    path = copied("vit", tmp_path / "c")
    save_file({"x": np.ones(1)}, path / "model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match="names weights that are in no shard"):
        MODULES["vit"].load(path)


DAMAGED = {
    "a pointer of Git LFS": (
        "resnet",
        "model.safetensors",
        "version https://git-lfs.github.com/spec/v1",
        "git lfs pull",
    ),
    "half a config": ("vit", "config.json", '{"model_type": ', "config.json cannot be read as JSON"),
    "a config that is a list": ("vit", "config.json", "[]", "must have an object of JSON"),
    "an index without a map": ("bert", files.INDEX, "{}", "has no weight_map"),
    "files elsewhere": ("bert", files.INDEX, '{"weight_map": {"a": "../a.safetensors"}}', "not beside it: ../a.safet"),
}


@each("title, row", DAMAGED.items())
def test_damaged_files_are_named(title, row, tmp_path):
    name, file, content, text = row
    path = copied(name, tmp_path / title.replace(" ", "_"))
    (path / file).write_text(content)
    with pytest.raises(ValueError, match=text) as caught:
        MODULES[name].load(path)
    assert file in str(caught.value)


def test_a_model_that_is_not_wholly_written_replaces_nothing(tmp_path, monkeypatch):
    path, model = copied("gpt2", tmp_path / "a"), loaded("gpt2")
    config, before = files.read_config(path), {p.name: p.read_bytes() for p in path.iterdir()}
    for wrong in ({**config, "n_layer": 3}, {**config, "vocab_size": 97}, {"model_type": "llama"}):
        with pytest.raises(ValueError, match=r"the configuration is of another model: it has|and 'gpt2' is read here"):
            gpt2.save(model, path, wrong)
    with pytest.raises(TypeError, match="not JSON serializable"):
        gpt2.save(model, path, {**config, "more": {1, 2}})
    written = []

    def full(arrays, place, metadata):
        written.append(place)
        if len(written) == 2:
            raise OSError("no space left on device")
        save_file(arrays, place, metadata)

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(OSError, match="no space left"):
        gpt2.save(model, path, config, shard=12_000)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before


def test_the_dtype_that_is_written_is_that_of_the_weights(tmp_path):
    config = files.read_config(DATA / "llama_tied")
    assert config["dtype"] == "bfloat16"
    llama.save(loaded("llama_tied"), tmp_path, {**config, "torch_dtype": "bfloat16"})
    assert [files.read_config(tmp_path)[key] for key in ("dtype", "torch_dtype")] == ["float32"] * 2
    # Of several dtypes, the widest holds all.
    weights = files.read_weights(DATA / "llama_tied")
    halves = {name: w.astype(np.float16 if "norm" in name else w.dtype) for name, w in weights.items()}
    files.write(tmp_path, config, halves)
    again = nn.export_weights(llama.load(tmp_path, None), "torch", layers=llama.FAMILY.layers)
    assert same_bits(again, {name: w.astype(np.float32) for name, w in halves.items()})


def test_pictures_of_torch_are_refused_with_the_line_to_write():
    for name in ("vit", "resnet"):
        with pytest.raises(ValueError, match=r"write `pixels\.transpose\(0, 2, 3, 1\)`"):
            loaded(name)(jnp.asarray(expected(name)["pixel_values"]))


# ------------------------------------------------------------------------------------------------------------ LoRA


@pytest.mark.slow
@each("name", ["gpt2", "llama"])
def test_a_lora_is_trained_and_merged_and_written(name, tmp_path):
    module, model = MODULES[name], clone(loaded(name))
    weights, tokens = files.read_weights(DATA / name), jnp.asarray(tokens_of(name)[0])
    nn.add_lora(model, 2, rng=nn.RandomState(0))
    np.testing.assert_array_equal(jit(model)(tokens), jit(loaded(name))(tokens))
    params = model.states(nn.LoRAParam)
    optimizer = nn.Optimizer(params, optax.adam(0.01))

    def loss() -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(tokens[:, :-1]), tokens[:, 1:]).mean()

    @jit
    def step() -> jax.Array:
        value, grads = value_and_grad(loss, params)()
        optimizer.update(grads)
        return value

    losses = [float(step()) for _ in range(5)]
    assert losses[-1] < losses[0] - 0.1
    config = files.read_config(DATA / name)
    with pytest.raises(ValueError, match=r"write `nn\.merge_lora"):
        module.save(model, tmp_path / "refused", config)
    assert not (tmp_path / "refused").exists()

    corrected, prompts = jit(model)(tokens), prompts_of(name)
    texts = generate(model, prompts, 12) if name == "llama" else None
    nn.merge_lora(model)
    module.save(model, tmp_path / name, config)
    again = module.load(tmp_path / name)
    np.testing.assert_allclose(jit(again)(tokens), corrected, atol=1e-4)
    if name == "llama":
        assert texts == generate(again, prompts, 12) != generate(loaded(name), prompts, 12)
    tables = {key for key, w in files.read_weights(tmp_path / name).items() if w.tobytes() == weights[key].tobytes()}
    linear = {key for key in weights if key.endswith(("proj.weight", "c_attn.weight", "c_fc.weight", "lm_head.weight"))}
    assert tables == set(weights) - linear  # what is no linear layer is the same to the bit


def test_a_head_and_a_pooler_are_asked_for_where_there_is_none():
    with pytest.raises(ValueError, match="made without a pooler"):
        bert.Bert(bert.Settings(9, 4, 1, 2, 4), pooled=False).pool(jnp.ones((1, 2, 4)))
    with pytest.raises(ValueError, match="give `positions` with `decode`"):
        loaded("gpt2")(jnp.ones((1, 1), int), decode=True)


def test_prompts_fit_the_data():
    assert [len(p) for p in prompts_of("llama")] == [11, 7, 4]
    assert isinstance(loaded("llama"), llama.Llama)
