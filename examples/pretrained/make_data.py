"""Make the small directories under ``tests/data/pretrained`` by ``transformers`` and ``torch``, not needed elsewhere.

Each is a model with random weights, written by `save_pretrained`, and beside it ``expected.safetensors``: inputs, and
what the original computes of them in float32.  Run it with ``python -m examples.pretrained.make_data`` where torch and
transformers are installed; nothing is downloaded.  The seed is set, so that it writes the same again.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

DATA = Path(__file__).parents[2] / "tests" / "data" / "pretrained"
# Small enough that five models are cut into shards as large ones are, and all is below 3 MB.
SHARD = "60KB"

TEXT = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
LLAMA = {**TEXT, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "eos_token_id": 2}
BERT = {**TEXT, "max_position_embeddings": 40}
GIVEN = ("input_ids", "attention_mask", "position_ids")
IMAGE = {"num_channels": 3, "num_labels": 7}
RESNET = {**IMAGE, "embedding_size": 8, "depths": [1, 2]}

# Of the pairs of a head, some are kept as they are, some divided, and some in between.
ROPES = {
    "linear": {"rope_type": "linear", "factor": 3.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 32},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0},
    "yarn of all positions": {"rope_type": "yarn", "factor": 2.0, "beta_fast": 8.0, "beta_slow": 2.0,
                              "truncate": False},
    "yarn of DeepSeek": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 1.0,
                         "mscale_all_dim": 0.5},
    "yarn without sharpening": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
                                "attention_factor": 1.0},
}  # fmt: skip


def models() -> dict[str, Any]:
    """Return a model for each directory."""
    t = transformers
    return {
        "gpt2": t.GPT2LMHeadModel(
            t.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=40, eos_token_id=2)
        ),
        "llama": t.LlamaForCausalLM(t.LlamaConfig(**LLAMA, rope_theta=500.0)),
        # In half precision, with one table for tokens and head, a head size of its own, biases, and the positions of
        # Llama 3.1.
        "llama_tied": t.LlamaForCausalLM(
            t.LlamaConfig(
                **LLAMA, head_dim=16, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, hidden_act="gelu",
                rope_parameters={"rope_theta": 500.0, **ROPES["llama3"]},
            )
        ).to(torch.bfloat16),
        "bert": t.BertForMaskedLM(t.BertConfig(**BERT)),
        "bert_classifier": t.BertForSequenceClassification(t.BertConfig(**BERT, num_labels=3, hidden_act="gelu_new")),
        "bert_plain": t.BertModel(t.BertConfig(**BERT)),
        "vit": t.ViTForImageClassification(
            t.ViTConfig(
                **IMAGE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
                image_size=32, patch_size=8,
            )
        ),
        "resnet": t.ResNetForImageClassification(t.ResNetConfig(**RESNET, hidden_sizes=[16, 32])),
        "resnet_basic": t.ResNetForImageClassification(
            t.ResNetConfig(**RESNET, hidden_sizes=[8, 16], layer_type="basic", downsample_in_first_stage=True)
        ),
    }  # fmt: skip


def randomise(model: torch.nn.Module, scale: float) -> None:
    """Give each weight and statistic a value that no constructor gives, so that a swapped one is noticed."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            norm = weight.ndim == 1 and name.endswith("weight")
            weight.copy_(torch.randn(weight.shape) * (scale if weight.ndim > 1 else 0.25) + norm)
        for name, statistic in model.named_buffers():
            if name.endswith("running_mean"):
                statistic.copy_(torch.randn(statistic.shape) * 0.3)
            elif name.endswith("running_var"):
                statistic.copy_(torch.rand(statistic.shape) + 0.5)
            elif name.endswith("num_batches_tracked"):
                statistic.fill_(1234)


def text_of(model: Any, name: str) -> dict[str, torch.Tensor]:
    """Return tokens, half of them behind padding on the left, and the outputs."""
    tokens = torch.randint(3, 96, (3, 11))
    mask = torch.ones_like(tokens)
    mask[1, :4], mask[2, :7] = 0, 0
    given = {"input_ids": tokens, "attention_mask": mask}
    if name.startswith("bert"):
        given["token_type_ids"] = torch.arange(11).expand(3, 11) // 6
        output = model(**given)
        kept = {name: output[name] for name in ("logits", "last_hidden_state", "pooler_output") if name in output}
        return {**given, **kept}
    given["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    written = model.generate(**{key: given[key] for key in GIVEN[:2]}, max_new_tokens=12,
                             do_sample=False, pad_token_id=0)  # fmt: skip
    return {**given, "logits": model(**given).logits, "generated": written[:, tokens.shape[1] :]}


def turned() -> dict[str, torch.Tensor]:
    """Return the logits of the weights of one Llama with other rotary positions, by their JSON."""
    given = load_file(DATA / "llama" / "expected.safetensors")
    kept = {}
    for rope in ROPES.values():
        model = transformers.LlamaForCausalLM.from_pretrained(
            DATA / "llama", rope_parameters={"rope_theta": 500.0, **rope}
        )
        with torch.no_grad():
            kept[json.dumps(rope)] = model(**{key: given[key] for key in GIVEN}).logits
    return kept


def sampled() -> dict[str, torch.Tensor]:
    """Return logits, and what the samplers of transformers leave of them."""
    scores = torch.randn(5, 40) * 3
    scores[1, 5] = scores[1, 9] = scores[1].max() + 1.0  # two best ones
    kept = {"scores": scores}
    for k, p, temperature in ((1, 1.0, 1.0), (5, 1.0, 0.7), (40, 0.8, 1.0), (7, 0.5, 2.0), (40, 0.01, 0.5)):
        processors = transformers.LogitsProcessorList(
            [
                transformers.TemperatureLogitsWarper(temperature),
                transformers.TopKLogitsWarper(k),
                transformers.TopPLogitsWarper(p),
            ]
        )
        kept[f"{k},{p},{temperature}"] = processors(None, scores).softmax(-1)
    return kept


def main() -> None:
    torch.manual_seed(0)
    shutil.rmtree(DATA, ignore_errors=True)
    for name, model in models().items():
        randomise(model, 0.5 if name == "gpt2" else 0.25)  # with smaller ones it writes one token for ever
        model.eval().save_pretrained(DATA / name, max_shard_size=SHARD)
        (DATA / name / "generation_config.json").unlink(missing_ok=True)
        # Read again: `model.float()` would keep rotary frequencies that half precision has rounded.
        model = type(model).from_pretrained(DATA / name, dtype=torch.float32)
        with torch.no_grad():
            if "vit" in name or "resnet" in name:
                pixels = torch.randn(2, 3, 32, 32)
                kept = {"pixel_values": pixels, "logits": model(pixels).logits}
            else:
                kept = text_of(model, name)
        save_file({key: value.contiguous() for key, value in kept.items()}, DATA / name / "expected.safetensors")
    save_file(sampled(), DATA / "sampling.safetensors")
    save_file(turned(), DATA / "rotary.safetensors")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
